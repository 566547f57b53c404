"""The flags that several commands share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

LEVELS = ("trace", "debug", "info", "warning", "error", "fatal", "panic")
FILE = "experiment.yaml"

Values = Annotated[
    list[str] | None,
    typer.Option(
        "-f", "--values", help="Values in a YAML file or at a URL; repeat it, later ones win.", metavar="FILE"
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="Set values: a.b=1,c={x,y}, a[0].b=1; escape with a backslash.", metavar="KEY=VALUE"),
]
SetStrings = Annotated[
    list[str] | None, typer.Option("--set-string", help="As --set, every value a string.", metavar="KEY=VALUE")
]
SetFiles = Annotated[
    list[str] | None, typer.Option("--set-file", help="Set a value to the content of a file.", metavar="KEY=PATH")
]
RunDir = Annotated[Path, typer.Option("--runDir", help="The folder of experiment.yaml.", metavar="DIR")]
Lenient = Annotated[bool, typer.Option("--lenient", help="Accept unknown fields, as Iter8 did.")]
Agents = Annotated[
    str, typer.Option("--agents", help="How many agents make the load; auto: as many as it takes.", metavar="N|auto")
]
Nats = Annotated[
    str | None,
    typer.Option(
        "--nats", help="Use the agents on this NATS server, not ones of our own.", envvar="SEATRIAL_NATS", metavar="URL"
    ),
]
WaitAgents = Annotated[
    str, typer.Option("--wait-agents", help="How long to wait for enough free agents.", metavar="DURATION")
]
Namespace = Annotated[str, typer.Option("--namespace", help="The fleet to use, with --nats.", metavar="NAME")]
LogLevel = Annotated[
    str | None, typer.Option("-l", "--loglevel", help=f"{', '.join(LEVELS)}.", metavar="LEVEL", show_default="info")
]
ChartName = Annotated[str | None, typer.Option("-c", "--chartName", hidden=True)]
RemoteFolder = Annotated[str | None, typer.Option("--remoteFolderURL", hidden=True)]
NoDownload = Annotated[bool, typer.Option("--noDownload", hidden=True)]
ChartsParent = Annotated[str | None, typer.Option("--chartsParentDir", hidden=True)]


@dataclass(frozen=True)
class Where:
    """Where an experiment runs: agents of our own, or those of a fleet."""

    agents: int | None
    nats: str | None
    wait_s: float
    namespace: str


def where(agents: str, nats: str | None, wait_agents: str, namespace: str) -> Where:
    """The checked flags; `BadInputError` for one that is wrong."""
    from controller.errors import BadInputError  # noqa: PLC0415 not for --help

    if nats is not None and not nats.startswith(("nats://", "tls://")):
        raise BadInputError(f"--nats: expected a URL such as nats://127.0.0.1:4222, got {nats!r}")
    return Where(agent_count(agents), nats, seconds(wait_agents, "--wait-agents"), namespace)


def agent_count(text: str) -> int | None:
    """A number of agents; None for auto."""
    from controller.errors import BadInputError  # noqa: PLC0415 not for --help

    if text.lower() == "auto":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise BadInputError(f"--agents: expected a number from 1 to 10000, or auto, got {text!r}")
    return int(text)


def seconds(text: str, flag: str) -> float:
    """A duration such as 30s or 1m30s; a bare 0 is one too."""
    from controller.errors import BadInputError  # noqa: PLC0415 not for --help
    from controller.experiment.units import duration_ns  # noqa: PLC0415

    found = duration_ns(text)
    if found is None and text != "0":
        raise BadInputError(f'{flag}: expected a duration such as "30s" or "1m30s", got "{text}"')
    return float(found or 0) / 1e9


def check_level(level: str | None) -> str | None:
    """The level in lower case; a usage error if there is none such."""
    if level is not None and level.lower() not in LEVELS:
        raise typer.BadParameter(f"{level!r} is no log level: expected {', '.join(LEVELS)}", param_hint="--loglevel")
    return level.lower() if level else None


def log_level(own: str | None, context: typer.Context) -> str:
    """The level by the command's own flag, or the one before the command."""
    return check_level(own) or context.obj or "info"


def no_charts(*flags: object) -> None:
    """Iter8's flags about charts are refused: ours are built in."""
    if any(flags):
        raise typer.BadParameter("charts are built in", param_hint="--chartName, --remoteFolderURL, --noDownload")
