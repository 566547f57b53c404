"""Rows of figures: medians and spreads, held against a bar and a goal, as text for a terminal and for the page."""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BEGIN = "<!-- written by make bench: begin -->"
END = "<!-- written by make bench: end -->"
_HEADS = ("measure", "Seatrial", "against", "its figure", "judged", "bar", "goal", "met")
_MARGIN = 1e-9


@dataclass(frozen=True)
class Limit:
    """What a judged figure should come to: at least, or at most, the bar; better, the goal."""

    bar: float
    goal: float
    is_upper: bool = False
    unit: str = ""
    is_lag: bool = False

    def is_met(self, value: float) -> bool:
        """Whether the bar is met."""
        return value <= self.bar + _MARGIN if self.is_upper else value >= self.bar - _MARGIN

    def is_goal_met(self, value: float) -> bool:
        """Whether the goal is met as well."""
        return value <= self.goal + _MARGIN if self.is_upper else value >= self.goal - _MARGIN

    def said(self, value: float) -> str:
        """A limit as people write it."""
        return f"{'≤' if self.is_upper else '≥'} {plain(value)}{self.unit}"


@dataclass(frozen=True)
class Row:
    """One line of the table, ready to be printed."""

    measure: str
    ours: str = ""
    peer: str = ""
    theirs: str = ""
    judged: str = ""
    bar: str = ""
    goal: str = ""
    met: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """Its cells, in order."""
        return (self.measure, self.ours, self.peer, self.theirs, self.judged, self.bar, self.goal, self.met)


def plain(value: float) -> str:
    """A figure with as many digits as it deserves."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.4g}" if 0.99 < abs(value) < 1 else f"{value:.3g}"


def spread(values: Sequence[float], unit: str = "") -> str:
    """The median, and the least and greatest of several."""
    middle = f"{plain(statistics.median(values))}{unit}"
    return middle if len(values) == 1 else f"{middle} ({plain(min(values))}–{plain(max(values))})"


def ratio_row(
    measure: str, ours: Sequence[float], peer: str, theirs: Sequence[float], limit: Limit | None, unit: str = "/s"
) -> Row:
    """Ours over theirs, round by round; the median of these ratios is what is judged."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    row = judged_row(measure, ratios, limit)
    middles = [f"{plain(statistics.median(values))}{unit}" for values in (ours, theirs)]
    return Row(measure, middles[0], peer, middles[1], f"{row.judged} ×", row.bar, row.goal, row.met)


def judged_row(measure: str, values: Sequence[float], limit: Limit | None, unit: str = "") -> Row:
    """A figure that is held against a limit itself."""
    unit = limit.unit if limit else unit
    judged = spread(values, unit)
    if limit is None:
        return Row(measure, judged=judged, met="for information")
    return Row(
        measure,
        judged=judged,
        bar=limit.said(limit.bar),
        goal=limit.said(limit.goal),
        met=verdict(limit, statistics.median(values)),
    )


def verdict(limit: Limit, value: float) -> str:
    """In a word: goal, bar or no."""
    if not limit.is_met(value):
        return "**no**"
    return "goal" if limit.is_goal_met(value) else "bar"


def not_run(measure: str, reason: str) -> Row:
    """A measure that could not be taken."""
    short = " ".join(reason.replace("|", "/").split())
    return Row(measure, met=f"not run: {short[:300]}")


def markdown(rows: Sequence[Row]) -> str:
    """The table."""
    lines = [_HEADS, ("---",) * len(_HEADS), *(row.cells for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def text(rows: Sequence[Row]) -> str:
    """The table for a terminal: columns as wide as they need to be, reasons at the end of a line."""
    lines = [_HEADS, *(row.cells for row in rows)]
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(_HEADS) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)), cells[-1].strip("*")])
        for cells in lines
    )


def write_page(page: Path, description: Sequence[str], rows: Sequence[Row]) -> None:
    """Put the table between the marks of the page; the rest of it is written by hand."""
    known = page.read_text(encoding="utf-8")
    if BEGIN not in known or END not in known:
        raise ValueError(f"{page} lacks the lines {BEGIN!r} and {END!r}, between which the table goes")
    about = "\n".join(f"- {line}" for line in description)
    fresh = f"{BEGIN}\n\n{about}\n\n{markdown(rows)}\n\n{END}"
    page.write_text(re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _m: fresh, known, flags=re.DOTALL), "utf-8")
