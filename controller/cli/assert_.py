"""`seatrial assert`: does a result hold what is asserted?"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli import flags

if TYPE_CHECKING:
    from controller.experiment.result import Result

CONDITIONS = ("completed", "nofailure", "slos")
POLL_S = 0.5


def assert_(
    context: typer.Context,
    conditions: Annotated[
        list[str],
        typer.Option("-c", "--condition", help=f"{', '.join(CONDITIONS)}; repeat it, or separate with commas."),
    ],
    timeout: Annotated[
        str, typer.Option("-t", "--timeout", help="How long to wait for the conditions to hold.", metavar="DURATION")
    ] = "0s",
    run_dir: flags.RunDir = Path(),
    loglevel: flags.LogLevel = None,
) -> int:
    """Check conditions on the experiment in a folder; waits no longer than the outcome can still change.

    Exit code: 0 all hold, 1 an SLO is violated, 2 an SLO is undecided, 4 not completed or failed.
    """
    from controller.cli.documents import read_result  # noqa: PLC0415 not for --help

    flags.log_level(loglevel, context)
    wanted = _conditions(conditions)
    deadline_s = time.monotonic() + flags.seconds(timeout, "--timeout")
    while True:
        _document, experiment, result = read_result(run_dir)
        state = _State(result, len(experiment.spec), has_slos=bool(experiment.slos))
        clauses = [_CHECKS[one](state) for one in wanted]
        is_final = state.is_final
        if all(clause.holds for clause in clauses) or is_final or time.monotonic() >= deadline_s:
            break
        time.sleep(min(POLL_S, max(0.0, deadline_s - time.monotonic())))
    for clause in clauses:
        typer.echo(f"{'ok  ' if clause.holds else 'FAIL'} {clause.name}: {clause.why}")
    failed = [clause for clause in clauses if not clause.holds]
    return min((clause.code for clause in failed), key=_RANK.index, default=0)


_RANK = (4, 1, 2)


@dataclass(frozen=True)
class _Clause:
    name: str
    holds: bool
    why: str
    code: int = 0


@dataclass(frozen=True)
class _State:
    result: "Result | None"
    tasks: int
    has_slos: bool

    @property
    def done(self) -> int:
        return self.result.num_completed_tasks if self.result else 0

    @property
    def is_final(self) -> bool:
        """Whether nothing can change any more: it failed, was interrupted, or is complete."""
        result = self.result
        return result is not None and (result.failure or result.interrupted or self.done == self.tasks)


def _conditions(given: list[str]) -> list[str]:
    from controller.errors import BadInputError  # noqa: PLC0415 not for --help

    wanted = [part.strip() for one in given for part in one.split(",") if part.strip()]
    for one in wanted:
        if one.lower() not in CONDITIONS:
            raise BadInputError(f"unsupported assert condition {one!r}: expected {', '.join(CONDITIONS)}")
    if not wanted:
        raise BadInputError(f"--condition: expected one or more of {', '.join(CONDITIONS)}")
    return [one.lower() for one in wanted]


def _completed(state: _State) -> _Clause:
    words = f"{state.done} of {state.tasks} tasks are complete"
    return _Clause("completed", state.done == state.tasks, words, 4)


def _nofailure(state: _State) -> _Clause:
    result = state.result
    if result is None:
        return _Clause("nofailure", holds=False, why="the experiment has not run", code=4)
    return _Clause("nofailure", not result.failure, result.error or "no task failed", 4)


def _slos(state: _State) -> _Clause:
    from controller.experiment.result import Outcome  # noqa: PLC0415 not for --help

    verdict = state.result.verdict if state.result else None
    if verdict is None:
        return _Clause("slos", holds=False, why="the SLOs have not been judged", code=2)
    reasons = "; ".join(verdict.reasons)
    match verdict.outcome:
        case Outcome.PASS:
            return _Clause("slos", holds=True, why=reasons)
        case Outcome.NONE:
            return _Clause("slos", not state.has_slos, reasons, 2)
        case Outcome.FAIL:
            return _Clause("slos", holds=False, why=f"not satisfied: {reasons}", code=1)
        case Outcome.INVALID | Outcome.INCONCLUSIVE:
            return _Clause("slos", holds=False, why=f"{verdict.outcome}: {reasons}", code=2)


_CHECKS: dict[str, Callable[[_State], _Clause]] = {"completed": _completed, "nofailure": _nofailure, "slos": _slos}
