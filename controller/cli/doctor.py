"""`seatrial doctor`: is everything there that an experiment needs, and if not, what to do."""

import json
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controller.cli import flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controller.doctor.checkup import Question
    from controller.doctor.line import Line, Load
    from controller.experiment.spec import Experiment

INDENT = "      "
UNWRAPPED = 10_000


def doctor(
    context: typer.Context,
    url: Annotated[str | None, typer.Argument(help="What is to be loaded; without it, the machine alone.")] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("-f", "--values", help="An experiment.yaml, or values as for launch; repeat it.", metavar="FILE"),
    ] = None,
    rate: Annotated[float | None, typer.Option("-r", "--rate", help="Requests per second to be made.")] = None,
    connections: Annotated[int | None, typer.Option("-c", "--connections", help="Connections in all.")] = None,
    agents: flags.Agents = "auto",
    nats: flags.Nats = None,
    namespace: flags.Namespace = "default",
    run_dir: flags.RunDir = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, for pipelines.")] = False,
    loglevel: flags.LogLevel = None,
) -> int:
    """Check this machine, NATS, the agents and the target before any load is made; each problem with its fix.

    One request is sent to each URL. For example: seatrial doctor http://127.0.0.1:8000/ -r 500 -c 100
    """
    import uvloop  # noqa: PLC0415 not for --help

    from controller.cli.exits import Exit  # noqa: PLC0415
    from controller.doctor.checkup import check  # noqa: PLC0415
    from controller.doctor.line import Level, summary  # noqa: PLC0415
    from controller.settings import set_up_log  # noqa: PLC0415

    set_up_log(flags.log_level(loglevel, context))
    question = _question(url, values, rate, connections, flags.where(agents, nats, "0", namespace), run_dir)
    lines = uvloop.run(check(question))
    is_ready = all(line.level is not Level.FAIL for line in lines)
    if as_json:
        checks = [line.to_document() for line in lines]
        typer.echo(json.dumps({"ready": is_ready, "summary": summary(lines), "checks": checks}, indent=2))
    else:
        typer.echo("\n".join([*_shown(lines), summary(lines)]))
    return int(Exit.PASS if is_ready else Exit.COULD_NOT_RUN)


def _question(
    url: str | None,
    values: list[str] | None,
    rate: float | None,
    connections: int | None,
    where: flags.Where,
    run_dir: Path,
) -> "Question":
    from controller.doctor.checkup import Question, for_experiment  # noqa: PLC0415 not for --help
    from controller.errors import BadInputError  # noqa: PLC0415
    from controller.experiment.spec import from_document  # noqa: PLC0415

    if values and not (url is None and rate is None and connections is None):
        raise BadInputError("-f: the file says what is loaded: give it without a URL, -r and -c")
    if values:
        load, aims = for_experiment(_experiment(values), where.agents)
    else:
        given: dict[str, Any] = {"url": url or "http://127.0.0.1/", "rate": rate, "connections": connections}
        task = {name: value for name, value in given.items() if value is not None}
        task |= {} if rate else {"qps": -1}
        experiment = from_document({"spec": [{"task": "http", "with": task}]}, "the command line")
        load, aims = for_experiment(experiment, where.agents)
        if url is None:
            load, aims = _of_flags(load, connections, where.agents), ()
    return Question(load, aims, where.nats, where.namespace, run_dir)


def _of_flags(load: "Load", connections: int | None, agents: int | None) -> "Load":
    """What is asked of a machine when there is no target yet: nothing that no flag says."""
    from dataclasses import replace  # noqa: PLC0415 not for --help

    from controller.doctor.line import Load  # noqa: PLC0415

    known = Load() if connections is None else load
    return replace(known, agents=agents or load.agents, rate_per_s=load.rate_per_s, port=None)


def _experiment(files: list[str]) -> "Experiment":
    """One file with a spec is an experiment; anything else is values."""
    from controller.cli.documents import MAX_BYTES, from_values  # noqa: PLC0415 not for --help
    from controller.errors import BadInputError  # noqa: PLC0415
    from controller.experiment.document import parse_yaml  # noqa: PLC0415
    from controller.experiment.spec import from_document  # noqa: PLC0415

    path = Path(files[0])
    if len(files) == 1 and path.is_file():
        try:
            text = path.read_bytes()
        except OSError as error:
            raise BadInputError(f"--values: {path} can't be read: {error.strerror or error}") from error
        document = parse_yaml(text, str(path), max_bytes=MAX_BYTES)
        if isinstance(document, dict) and any(key.lower() == "spec" for key in document):
            return from_document(document, str(path))
    return from_values(files, (), (), (), lenient=False)[1]


def _shown(lines: "Sequence[Line]") -> list[str]:
    """The lines, wrapped where there is a terminal, each fix below what it is for."""
    width = shutil.get_terminal_size((UNWRAPPED, 24)).columns
    shown: list[str] = []
    for line in lines:
        shown += textwrap.wrap(str(line), width, subsequent_indent=INDENT, **_WHOLE_WORDS)
        if line.fix:
            shown += textwrap.wrap(
                f"fix: {line.fix}", width, initial_indent=INDENT, subsequent_indent=INDENT, **_WHOLE_WORDS
            )
    return shown


_WHOLE_WORDS: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
