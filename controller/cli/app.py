"""The commands of `seatrial`, in the order that its help shows."""

import typer

from controller.cli import assert_, demo, doctor, gen, http, launch, report, run, schema, version
from controller.cli.flags import LogLevel, check_level

app = typer.Typer(
    name="seatrial",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 pass, 1 an SLO is not satisfied, 2 invalid or inconclusive, 3 bad input, "
    "4 could not be carried out, 130 interrupted.",
)


@app.callback()
def seatrial(context: typer.Context, loglevel: LogLevel = "info") -> None:
    """Sea trials for services: distributed performance tests, SLO validation, and a verdict you don't have to second-guess."""
    context.obj = check_level(loglevel)


app.command("launch")(launch.launch)
app.command("http")(http.http)
app.command("gen")(gen.gen)
app.command("run")(run.run)
app.command("assert")(assert_.assert_)
app.command("report")(report.report)
app.command("schema")(schema.schema)
app.command("doctor")(doctor.doctor)
app.command("version")(version.version)
app.command("demo")(demo.demo)
app.command("target", hidden=True)(demo.target)
