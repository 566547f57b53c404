"""How an SLO and its judgement are put into words, the same in every format."""

import math

from controller.experiment.result import Bound, SLOJudgement
from controller.report.numbers import ABSENT, BYTES, figure, figure_beside, printable, quantity, share, size


def condition(slo: SLOJudgement) -> str:
    """The SLO as Iter8 writes it: `http/latency-mean (msec) <= 50`, `5 <= http/request-count`; and its window."""
    if slo.unit == BYTES:
        name, limit = printable(slo.metric), size(slo.limit, digits=15)
    else:
        name, limit = named(slo.metric, slo.unit), figure(slo.limit, digits=15)
    text = f"{name} <= {limit}" if slo.bound is Bound.UPPER else f"{limit} <= {name}"
    return printable(f"{text} in each {slo.window}") if slo.window else text


def named(metric: str, unit: str | None) -> str:
    """A metric with its unit, on one line."""
    return printable(f"{metric} ({unit})" if unit else metric)


def window_text(slo: SLOJudgement) -> str:
    """Of an SLO that is judged on windows, which one its value is of: `worst 10s window (30–40 s)`."""
    if not slo.window:
        return ""
    where = f" ({span_text(*slo.worst_window)})" if slo.worst_window else ""
    return printable(f"worst {slo.window} window{where}")


def explained(slo: SLOJudgement) -> str:
    """What is to be said below a table of SLOs: the worst window, and why one is not satisfied; else nothing."""
    reason = "" if slo.satisfied is True else slo.reason
    window = "" if "window" in reason else window_text(slo)
    return "; ".join(part for part in (reason, window) if part)


def span_text(from_s: float, to_s: float) -> str:
    """A part of a run: `30–40 s`."""
    return f"{figure(from_s)}–{figure(to_s)} s"


def range_text(slo: SLOJudgement, *, absent: str) -> str:
    """All values that the unknowns leave possible; one where they leave no choice."""
    if slo.low is None and slo.high is None:
        return absent
    low = quantity(slo.low, slo.unit, group=True, absent="?")
    high = quantity(slo.high, slo.unit, group=True, absent="unbounded")
    return low if low == high else f"{low} – {high}"


def satisfied_word(slo: SLOJudgement) -> str:
    """Iter8's `true` and `false`, and what it never said: `undecided`."""
    if slo.satisfied is None:
        return "undecided"
    return "true" if slo.satisfied else "false"


def value_text(slo: SLOJudgement, *, group: bool = False, absent: str = ABSENT) -> str:
    """The measured value, marked where it is only a lower bound."""
    if slo.unit == BYTES:
        text = size(slo.value, beside=slo.limit, absent=absent)
    else:
        text = figure_beside(slo.value, slo.limit, group=group, absent=absent)
    return f"≥ {text}" if slo.value is not None and slo.value_is_lower_bound else text


def margin(slo: SLOJudgement) -> float | None:
    """How far the value is on the good side of its limit; negative beyond it."""
    if slo.value is None or not (math.isfinite(slo.value) and math.isfinite(slo.limit)):
        return None
    return slo.limit - slo.value if slo.bound is Bound.UPPER else slo.value - slo.limit


def margin_text(slo: SLOJudgement, *, group: bool = False, absent: str = "") -> str:
    """The margin with its sign, and as a part of the limit; nothing where the value is only a lower bound."""
    room = margin(slo)
    if room is None or (slo.value_is_lower_bound and room > 0):
        return absent
    sign = "+" if room > 0 else ""
    text = sign + (size(room, digits=3) if slo.unit == BYTES else figure(room, digits=3, group=group))
    return f"{text} ({share(room, abs(slo.limit))})" if slo.limit else text
