"""`seatrial http URL`: one endpoint, one line; the same experiment that `launch` would make of values."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from controller.cli import flags

SLO_WORDS = {
    "errors": "error-rate",
    "error-rate": "error-rate",
    "error-count": "error-count",
    "requests": "request-count",
}
STATISTICS = ("mean", "stddev", "min", "max")


def http(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="What to load.")],
    rate: Annotated[
        float | None, typer.Option("-r", "--rate", help="Requests per second; without it, as fast as answers come.")
    ] = None,
    duration: Annotated[
        str | None, typer.Option("-d", "--duration", help="How long, such as 30s.", metavar="DURATION")
    ] = None,
    requests: Annotated[int | None, typer.Option("-n", "--requests", help="How many requests; wins over -d.")] = None,
    connections: Annotated[int | None, typer.Option("-c", "--connections", help="Connections in all.")] = None,
    slo: Annotated[
        list[str] | None,
        typer.Option("--slo", help="'p99<50ms', 'mean<=20ms', 'errors<0.1%'; repeat it.", metavar="SLO"),
    ] = None,
    method: Annotated[str | None, typer.Option("-X", "--method", help="GET, or POST with --data.")] = None,
    header: Annotated[list[str] | None, typer.Option("-H", "--header", help="'Name: value'; repeat it.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="The body; @FILE reads it from a file.")] = None,
    timeout: Annotated[str | None, typer.Option("-t", "--timeout", help="Of each request.", metavar="DURATION")] = None,
    dry: Annotated[bool, typer.Option("--dry", help="Write experiment.yaml, and run nothing.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write the HTML report there as well.")] = None,
    run_dir: flags.RunDir = Path(),
    agents: flags.Agents = "auto",
    nats: flags.Nats = None,
    wait_agents: flags.WaitAgents = "10s",
    namespace: flags.Namespace = "default",
    loglevel: flags.LogLevel = None,
) -> int:
    """Load one URL, hold it against SLOs, and print the report. Writes experiment.yaml, as launch does.

    For example: seatrial http http://127.0.0.1:8000/ -r 500 -d 30s -c 8 --slo 'p99<50ms' --slo 'errors<0.1%'
    """
    from controller.cli.documents import warn, write_new  # noqa: PLC0415 not for --help
    from controller.cli.execution import execute, write_html  # noqa: PLC0415
    from controller.experiment.spec import from_document  # noqa: PLC0415

    if html is not None and not html.resolve().parent.is_dir():
        raise typer.BadParameter(f"{html.resolve().parent} is no folder", param_hint="--html")
    level = flags.log_level(loglevel, context)
    site = flags.where(agents, nats, wait_agents, namespace)
    given: dict[str, Any] = {
        "url": url,
        "qps": -1 if rate is None else None,
        "rate": rate,
        "duration": duration if duration or requests else "10s",
        "numRequests": requests,
        "connections": connections,
        "method": method,
        "headers": _headers(header or []) or None,
        "timeout": timeout,
        "allowInitialErrors": True if requests is None else None,
        **_payload(data),
    }
    tasks: list[dict[str, Any]] = [
        {"task": "http", "with": {name: value for name, value in given.items() if value is not None}}
    ]
    if slo:
        tasks.append({"task": "assess", "with": {"SLOs": slos_of(slo)}})
    document = {"spec": tasks}
    experiment = from_document(document, "the command line")
    if dry:
        typer.echo(f"dry run: wrote {write_new(run_dir, document)}")
        warn(experiment)
        return 0
    code = execute(experiment, document, run_dir, site, level, is_new=True)
    if html is not None:
        write_html(run_dir, html)
    return int(code)


def slos_of(texts: list[str]) -> dict[str, list[dict[str, object]]]:
    """`p99<50ms` -> an upper limit on http/latency-p99 of 50ms; limits include themselves, so < and <= are the same."""
    from controller.errors import BadInputError  # noqa: PLC0415 not for --help

    found: dict[str, list[dict[str, object]]] = {}
    for text in texts:
        parts = re.fullmatch(r"\s*([^<>=\s]+)\s*([<>])=?\s*([^<>=\s]+)\s*", text)
        if parts is None:
            raise BadInputError(f"--slo: expected a metric, < or >, and a limit, such as 'p99<50ms', got {text!r}")
        side = "upper" if parts[2] == "<" else "lower"
        found.setdefault(side, []).append({"metric": _metric(parts[1]), "limit": _limit(parts[3])})
    return found


def _metric(name: str) -> str:
    if "/" in name:
        return name
    if name in STATISTICS or (name[:1] == "p" and name[1:2].isdigit()):
        return f"http/latency-{name}"
    return f"http/{SLO_WORDS.get(name, name)}"


def _limit(text: str) -> object:
    """A number where it is one: then the unit is the metric's own."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _headers(given: list[str]) -> dict[str, str]:
    from controller.errors import BadInputError  # noqa: PLC0415 not for --help

    headers: dict[str, str] = {}
    for one in given:
        name, colon, value = one.partition(":")
        if not colon or not name.strip():
            raise BadInputError(f"--header: expected 'Name: value', got {one!r}")
        if name.strip().lower() in {known.lower() for known in headers}:
            raise BadInputError(f"--header: {name.strip()} is given twice: give it once, with all its values")
        headers[name.strip()] = value.strip()
    return headers


def _payload(data: str | None) -> dict[str, str]:
    if data is None:
        return {}
    return {"payloadFile": data[1:]} if data.startswith("@") else {"payloadStr": data}
