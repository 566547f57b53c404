"""`seatrial schema`: the JSON Schema of experiment.yaml, or of the JSON report."""

import json
from typing import Annotated

import typer


def schema(
    of: Annotated[str, typer.Argument(help="experiment or report.", metavar="[experiment|report]")] = "experiment",
) -> None:
    """Print the JSON Schema of experiment.yaml, for editors and checks, or that of the JSON report."""
    from controller.errors import BadInputError  # noqa: PLC0415 not for --help

    match of.lower():
        case "experiment":
            from controller.experiment.schema import json_schema  # noqa: PLC0415

            found = json_schema()
        case "report":
            from controller.report.json_ import json_schema as report_schema  # noqa: PLC0415

            found = report_schema()
        case _:
            raise BadInputError(f"expected experiment or report, got {of!r}")
    typer.echo(json.dumps(found, indent=2))
