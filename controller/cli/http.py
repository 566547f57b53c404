"""`seatrial http URL`: one endpoint, one line; the same experiment that `launch` would make of values."""

from pathlib import Path
from typing import Annotated, Any

import typer

from controller.cli import flags


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
    stage: Annotated[
        list[str] | None,
        typer.Option("--stage", help="Rise or fall to a rate over a time; repeat it.", metavar="RATE:DURATION"),
    ] = None,
    arrival: Annotated[
        str | None, typer.Option("--arrival", help="How requests are spaced.", metavar="uniform|poisson")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed gives the same arrivals.")] = None,
    connections: Annotated[
        int | None, typer.Option("-c", "--connections", help="Connections in all; without -r or --stage, users.")
    ] = None,
    max_in_flight: Annotated[
        int | None, typer.Option("--max-in-flight", help="The most requests under way at once, with -r or --stage.")
    ] = None,
    think: Annotated[
        str | None, typer.Option("--think", help="Each user's pause before its next request.", metavar="DURATION")
    ] = None,
    warmup: Annotated[
        str | None, typer.Option("--warmup", help="Load that long first, in no metric.", metavar="DURATION")
    ] = None,
    abort_on: Annotated[
        list[str] | None,
        typer.Option("--abort-on", help="'errors>10%', 'p99>2s': end the run early; repeat it.", metavar="LIMIT"),
    ] = None,
    slo: Annotated[
        list[str] | None,
        typer.Option("--slo", help="'p99<50ms', 'mean<=20ms', 'errors<0.1%'; repeat it.", metavar="SLO"),
    ] = None,
    method: Annotated[str | None, typer.Option("-X", "--method", help="GET, or POST with --data.")] = None,
    header: Annotated[list[str] | None, typer.Option("-H", "--header", help="'Name: value'; repeat it.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="The body; @FILE reads it from a file.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="For basic authentication; with --password-env.")] = None,
    password_env: Annotated[
        str | None, typer.Option("--password-env", help="The variable with the password.", metavar="NAME")
    ] = None,
    bearer_env: Annotated[
        str | None, typer.Option("--bearer-env", help="The variable with a bearer token.", metavar="NAME")
    ] = None,
    check: Annotated[
        list[str] | None, typer.Option("--check", help="Text that each body must contain; repeat it.")
    ] = None,
    check_json: Annotated[
        list[str] | None,
        typer.Option("--check-json", help="'$.a.b=value' that each body must have; repeat it.", metavar="PATH=VALUE"),
    ] = None,
    redirects: Annotated[int | None, typer.Option("--redirects", help="How many redirects are followed.")] = None,
    timeout: Annotated[str | None, typer.Option("-t", "--timeout", help="Of each request.", metavar="DURATION")] = None,
    no_keepalive: Annotated[
        bool, typer.Option("--no-keepalive", help="A connection of its own for each request.")
    ] = False,
    http2: Annotated[bool, typer.Option("--http2", help="Speak HTTP/2.")] = False,
    streams: Annotated[
        int | None, typer.Option("--streams", help="Requests at once on a connection, with --http2.")
    ] = None,
    insecure: Annotated[bool, typer.Option("-k", "--insecure", help="Trust any server.")] = False,
    cacert: Annotated[str | None, typer.Option("--cacert", help="Certificates to trust.", metavar="FILE")] = None,
    cert: Annotated[str | None, typer.Option("--cert", help="Our own certificate.", metavar="FILE")] = None,
    key: Annotated[str | None, typer.Option("--key", help="The key of --cert.", metavar="FILE")] = None,
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
    from controller.cli import http_words as words  # noqa: PLC0415 not for --help
    from controller.cli.documents import warn, write_new  # noqa: PLC0415
    from controller.cli.execution import execute, write_html  # noqa: PLC0415
    from controller.experiment.spec import from_document  # noqa: PLC0415

    if html is not None and not html.resolve().parent.is_dir():
        raise typer.BadParameter(f"{html.resolve().parent} is no folder", param_hint="--html")
    level = flags.log_level(loglevel, context)
    site = flags.where(agents, nats, wait_agents, namespace)
    tls = {"insecure": insecure or None, "ca": cacert, "cert": cert, "key": key}
    given: dict[str, Any] = {
        "url": url,
        "qps": -1 if rate is None and not stage else None,
        "rate": rate,
        "stages": words.stages_of(stage or []),
        "duration": duration if duration or requests or stage else "10s",
        "numRequests": requests,
        "arrival": arrival,
        "seed": seed,
        "connections": connections,
        "maxInFlight": max_in_flight,
        "thinkTime": think,
        "warmupDuration": warmup,
        "method": method,
        "headers": words.headers_of(header or []),
        "auth": words.auth_of(user, password_env, bearer_env),
        "checks": words.checks_of(check or [], check_json or []),
        "redirects": redirects,
        "timeout": timeout,
        "keepAlive": False if no_keepalive else None,
        "http2": http2 or None,
        "streams": streams,
        "tls": _given(tls),
        "allowInitialErrors": True if requests is None else None,
        "abortOn": words.abort_on_of(abort_on or []),
        **words.payload_of(data),
    }
    tasks: list[dict[str, Any]] = [{"task": "http", "with": _given(given)}]
    if slo:
        tasks.append({"task": "assess", "with": {"SLOs": words.slos_of(slo)}})
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


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value not in (None, [], {})}
