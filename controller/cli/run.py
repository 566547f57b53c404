"""`seatrial run`: runs an experiment.yaml that is there."""

from pathlib import Path

import typer

from controller.cli import flags


def run(
    context: typer.Context,
    run_dir: flags.RunDir = Path(),
    agents: flags.Agents = "auto",
    nats: flags.Nats = None,
    wait_agents: flags.WaitAgents = "10s",
    namespace: flags.Namespace = "default",
    lenient: flags.Lenient = False,
    loglevel: flags.LogLevel = None,
) -> int:
    """Run experiment.yaml, rewriting it with its result, and print the report."""
    from controller.cli.documents import read  # noqa: PLC0415 not for --help
    from controller.cli.execution import execute  # noqa: PLC0415

    level = flags.log_level(loglevel, context)
    site = flags.where(agents, nats, wait_agents, namespace)
    document, experiment = read(run_dir, lenient=lenient)
    return int(execute(experiment, document, run_dir, site, level, is_new=False))
