"""Every exit code of `seatrial`, and what ends with which."""

from enum import IntEnum

from controller.errors import BadInputError, CouldNotRunError, SeatrialError
from controller.experiment.result import Outcome, Result


class Exit(IntEnum):
    """What a shell or a CI pipeline is told."""

    PASS = 0
    FAIL = 1
    UNDECIDED = 2
    BAD_INPUT = 3
    COULD_NOT_RUN = 4
    INTERRUPTED = 130


def of_result(result: Result) -> Exit:
    """The code of an experiment that was run."""
    if result.interrupted:
        return Exit.INTERRUPTED
    if result.failure:
        return Exit.COULD_NOT_RUN
    match result.verdict.outcome if result.verdict else Outcome.NONE:
        case Outcome.PASS | Outcome.NONE:
            return Exit.PASS
        case Outcome.FAIL:
            return Exit.FAIL
        case Outcome.INVALID | Outcome.INCONCLUSIVE:
            return Exit.UNDECIDED


def of_error(error: BaseException) -> Exit | None:
    """The code of an error that ended a command; None for one that is a defect of ours."""
    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED
    if isinstance(error, BadInputError):
        return Exit.BAD_INPUT
    if isinstance(error, CouldNotRunError | SeatrialError):
        return Exit.COULD_NOT_RUN
    from protocol.errors import ProtocolError  # noqa: PLC0415 not for --help

    return Exit.COULD_NOT_RUN if isinstance(error, ProtocolError) else None
