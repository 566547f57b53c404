"""`seatrial report`: the result of a folder's experiment, in one of several formats."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from controller.cli import flags


def report(
    context: typer.Context,
    output: Annotated[
        str, typer.Option("-o", "--outputFormat", help="text, html, json, junit or markdown.", metavar="FORMAT")
    ] = "text",
    run_dir: flags.RunDir = Path(),
    loglevel: flags.LogLevel = None,
) -> None:
    """Print the report of the experiment in a folder."""
    from controller.cli.documents import read_result  # noqa: PLC0415 not for --help
    from controller.report import FORMATS, ReportInput, render  # noqa: PLC0415

    flags.log_level(loglevel, context)
    if output.lower() not in FORMATS:
        render(ReportInput("", "", [], None, completed=False), output)  # says what is wrong with it
    document, experiment, result = read_result(run_dir)
    text = render(
        ReportInput(
            name=experiment.metadata.name,
            namespace=experiment.metadata.namespace,
            spec=list(document.get("spec", [])),
            result=result,
            completed=result is not None and result.num_completed_tasks == len(experiment.spec),
        ),
        output,
    )
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
