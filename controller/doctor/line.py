"""What a checkup says: one line for each thing that was looked at, and the load that it was looked at for."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a thing was found; only `fail` keeps an experiment from being carried out as asked."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Line:
    """What was looked at, how it was found, and what to do about it, as a command where there is one."""

    level: Level
    what: str
    found: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.level:<4}  {self.what}: {self.found}"

    def to_document(self) -> dict[str, str]:
        """The line as JSON has it."""
        return {**asdict(self), "level": str(self.level)}


@dataclass(frozen=True)
class Load:
    """What is to be made, over all agents. Of the connections that there may be, `certain` are opened in any case.

    Load that grows by itself opens up to 1,024; so does load of which nothing is known.
    """

    agents: int = 1
    connections: int = 1024
    certain: int = 0
    rate_per_s: float | None = None
    keep_alive: bool = True
    port: int | None = None  # of the target

    def each(self, connections: int) -> int:
        """The most that fall to one agent."""
        return -(-connections // self.agents)


def ok(what: str, found: str) -> Line:
    """A thing as it should be."""
    return Line(Level.OK, what, found)


def warn(what: str, found: str, fix: str) -> Line:
    """A thing that may spoil the measurement."""
    return Line(Level.WARN, what, found, fix)


def fail(what: str, found: str, fix: str) -> Line:
    """A thing that the experiment can't do without."""
    return Line(Level.FAIL, what, found, fix)


def counted(number: int, noun: str) -> str:
    """`1 agent`, `2 agents`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def summary(lines: Sequence[Line]) -> str:
    """The last line."""
    counts = {level: sum(line.level is level for line in lines) for level in Level}
    told = f"{counts[Level.OK]} ok, {counts[Level.WARN]} warn, {counts[Level.FAIL]} fail"
    if counts[Level.FAIL]:
        return f"{told}: mend what fails first"
    return f"{told}: {'ready, with reservations' if counts[Level.WARN] else 'ready'}"
