"""Schedules experiments over agents, merges what they measured, and judges it."""


def main() -> None:
    """The console script `seatrial`."""
    from controller.cli import main as run  # noqa: PLC0415 the package imports nothing by itself

    run()
