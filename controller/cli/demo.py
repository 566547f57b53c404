"""`seatrial demo`: a sample service, an experiment with two endpoints and SLOs, and the reports."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from controller.cli import flags

REPORT = Path("seatrial-demo.html")
END_S = 3.0


def demo(
    context: typer.Context,
    duration: Annotated[
        str, typer.Option("-d", "--duration", help="Of each endpoint's load.", metavar="DURATION")
    ] = "5s",
    agents: flags.Agents = "2",
    html: Annotated[Path, typer.Option("--html", help="Where to write the HTML report.")] = REPORT,
    loglevel: flags.LogLevel = None,
) -> int:
    """See it work: starts a sample service, a NATS server and agents, runs an experiment, and stops them all."""
    from controller.cli.execution import execute, write_html  # noqa: PLC0415 not for --help
    from controller.experiment.spec import from_document  # noqa: PLC0415

    level = flags.log_level(loglevel, context)
    site = flags.where(agents, None, "10s", "demo")
    with tempfile.TemporaryDirectory(prefix="seatrial-demo-") as folder, _sample_service() as url:
        document = experiment_of(url, duration)
        experiment = from_document(document, "the demo")
        code = execute(experiment, document, Path(folder), site, level, is_new=True)
        write_html(Path(folder), html)
    typer.echo(f"HTML report: {html.resolve()}")
    return int(code)


def target(
    host: Annotated[str, typer.Option("--host")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0 takes a free one.")] = 0,
    end_with_stdin: Annotated[bool, typer.Option("--end-with-stdin", help="End when standard input closes.")] = False,
) -> None:
    """The sample service alone, for the tutorial: prints its address, and serves until it is stopped."""
    import uvloop  # noqa: PLC0415 not for --help

    from controller.demo.target import serve_until_stopped  # noqa: PLC0415
    from controller.errors import BadInputError  # noqa: PLC0415

    try:
        uvloop.run(serve_until_stopped(host, port, end_with_stdin=end_with_stdin))
    except OSError as error:
        raise BadInputError(f"the sample service can't listen on {host}:{port}: {error.strerror or error}") from error


def experiment_of(url: str, duration: str) -> dict[str, Any]:
    """Two endpoints under load one after another, held against limits that the sample service can meet."""
    upper = {
        "http-catalogue/latency-p50": "12ms",
        "http-catalogue/latency-p99": "60ms",
        "http-checkout/latency-p99": "120ms",
        "http-catalogue/error-rate": "0.1%",
        "http-checkout/error-rate": "0.1%",
    }
    endpoints = {
        "catalogue": {"url": f"{url}/catalogue", "qps": 300},
        "checkout": {
            "url": f"{url}/checkout",
            "qps": 100,
            "payloadStr": '{"cart": 7}',
            "contentType": "application/json",
        },
    }
    load = {"duration": duration, "connections": 16, "warmupNumRequests": 50, "endpoints": endpoints}
    slos = {"upper": [{"metric": metric, "limit": limit} for metric, limit in upper.items()]}
    return {
        "metadata": {"name": "demo", "namespace": "demo"},
        "spec": [{"task": "http", "with": load}, {"task": "assess", "with": {"SLOs": slos}}],
    }


@contextmanager
def _sample_service() -> Iterator[str]:
    """The sample service in a process of its own, by its URL."""
    from controller.errors import CouldNotRunError  # noqa: PLC0415 not for --help
    from controller.local import find  # noqa: PLC0415

    process = subprocess.Popen(
        [find("seatrial"), "target", "--end-with-stdin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise CouldNotRunError("the sample service did not start")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
