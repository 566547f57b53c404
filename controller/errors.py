"""What can go wrong on the controller's side, by what its caller does about it.

The exit code of each kind is decided in `controller.cli.exits`; nothing here knows about processes.
"""


class SeatrialError(Exception):
    """Anything that Seatrial itself reports; the message says what happened, what was expected, what to do."""


class BadInputError(SeatrialError):
    """What the user gave can't be used: nothing was run and nothing was written."""


class CouldNotRunError(SeatrialError):
    """The experiment was fine and could not be carried out: no agents, no bus, a task that failed."""
