"""`seatrial launch`: values -> experiment -> run -> report."""

from pathlib import Path
from typing import Annotated

import typer

from controller.cli import flags


def launch(
    context: typer.Context,
    values: flags.Values = None,
    sets: flags.Sets = None,
    set_strings: flags.SetStrings = None,
    set_files: flags.SetFiles = None,
    dry: Annotated[bool, typer.Option("--dry", help="Write experiment.yaml, and run nothing.")] = False,
    run_dir: flags.RunDir = Path(),
    agents: flags.Agents = "auto",
    nats: flags.Nats = None,
    wait_agents: flags.WaitAgents = "10s",
    namespace: flags.Namespace = "default",
    lenient: flags.Lenient = False,
    chart_name: flags.ChartName = None,
    remote_folder: flags.RemoteFolder = None,
    no_download: flags.NoDownload = False,
    charts_parent: flags.ChartsParent = None,
    loglevel: flags.LogLevel = None,
) -> int:
    """Make an experiment from values, run it, and print the report.

    For example: seatrial launch --set "tasks={http,assess}" --set http.url=http://127.0.0.1:8000/
    --set assess.SLOs.upper.http/latency-p99=50ms
    """
    from controller.cli.documents import from_values, warn, write_new  # noqa: PLC0415 not for --help
    from controller.cli.execution import execute  # noqa: PLC0415

    level = flags.log_level(loglevel, context)
    flags.no_charts(chart_name, remote_folder, no_download, charts_parent)
    site = flags.where(agents, nats, wait_agents, namespace)
    document, experiment = from_values(values, sets, set_strings, set_files, lenient=lenient)
    if dry:
        path = write_new(run_dir, document)
        warn(experiment)
        typer.echo(f"dry run: wrote {path}")
        return 0
    return int(execute(experiment, document, run_dir, site, level, is_new=True))
