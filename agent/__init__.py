"""Makes load: takes assignments from a controller over the bus and tells what came of them."""


def main() -> None:
    """The console script `seatrial-agent`."""
    from agent.cli import main as run  # noqa: PLC0415 the package imports nothing by itself

    run()
