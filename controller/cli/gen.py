"""`seatrial gen`: values -> experiment.yaml."""

from pathlib import Path

import typer

from controller.cli import flags


def gen(
    context: typer.Context,
    values: flags.Values = None,
    sets: flags.Sets = None,
    set_strings: flags.SetStrings = None,
    set_files: flags.SetFiles = None,
    run_dir: flags.RunDir = Path(),
    lenient: flags.Lenient = False,
    chart_name: flags.ChartName = None,
    remote_folder: flags.RemoteFolder = None,
    no_download: flags.NoDownload = False,
    charts_parent: flags.ChartsParent = None,
    loglevel: flags.LogLevel = None,
) -> None:
    """Write experiment.yaml from values, and run nothing."""
    from controller.cli.documents import from_values, warn, write_new  # noqa: PLC0415 not for --help

    flags.log_level(loglevel, context)
    flags.no_charts(chart_name, remote_folder, no_download, charts_parent)
    document, experiment = from_values(values, sets, set_strings, set_files, lenient=lenient)
    path = write_new(run_dir, document)
    warn(experiment)
    typer.echo(f"wrote {path}")
