"""Pure: SLOs with a window, judged on the worst of all windows of that length. One that fits in no longer run is one.

Windows slide over whole seconds. What was done in a second belongs to it; the fractions of a second at both ends of
what was measured belong to the whole seconds beside them.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil, floor, inf

import numpy as np

from controller.assess import MISSING, SHARDS, Decision, comparison, decide, holds, is_ours, judge, judgement
from controller.experiment.assess import Slo
from controller.experiment.result import SLOJudgement
from controller.experiment.units import span
from controller.measure import Measured
from protocol.histogram import Histogram, Packed
from protocol.messages import Clock, Fate, SeriesKey
from protocol.series import Tally

MOST_BY_SECOND = 600  # more windows than these go forward by a tenth of their length
STEPS_IN_A_WINDOW = 10
_TOTALS = ("ok", "errors", "unsent", "bytes_in", "bytes_out")


@dataclass(frozen=True)
class BySecond:
    """What was measured of one provider in each second of its segment, by when requests were done.

    The seconds are looked up in order, each once and those of the worst window once more: they may be made as they are
    asked for. `starts_s` and `ends_s` are where what is measured begins and ends, such as a stage. For the seconds in
    `missing`, a shard did not arrive. `unaccounted` requests may have been done in any second. In those of `idle` nothing
    was planned: a window of such seconds alone, in which nothing was done, is none.
    """

    seconds: Mapping[int, Tally]
    is_open: bool
    limits_ns: tuple[int, ...] = ()
    starts_s: float = 0.0
    ends_s: float = 0.0
    missing: frozenset[int] = frozenset()
    unaccounted: int = 0
    idle: frozenset[int] = frozenset()  # seconds for which nothing was planned

    @cached_property
    def whole(self) -> range:
        """The whole seconds; what was done before or after them belongs to the first or the last."""
        first = ceil(self.starts_s)
        return range(first, max(first + 1, floor(self.ends_s), *self.seconds, *self.missing))

    def bounds_s(self, window: range) -> tuple[float, float]:
        """Where a window begins and ends, with the fractions of a second at the ends of what was measured."""
        begins_s = self.starts_s if window.start == self.whole.start else float(window.start)
        ends_s = max(self.ends_s, float(window.stop)) if window.stop == self.whole.stop else float(window.stop)
        return begins_s, ends_s

    def is_idle(self, window: range) -> bool:
        """Whether it is known that nothing was to be done in a window."""
        return self.idle.issuperset(window) and not self.missing_in(window) and not self.unaccounted

    def missing_in(self, window: range) -> list[int]:
        """The seconds of a window for which a shard did not arrive."""
        return sorted(second for second in self.missing if _within(second, self.whole) in window)


@dataclass(frozen=True)
class _Judged:
    """One window, and what came of it: the larger `badness` is, the worse."""

    window: range
    decision: Decision
    would_be: bool | None
    badness: tuple[int, float]


def judged(
    slo: Slo, facts: Mapping[str, Measured], seconds: Mapping[str, BySecond], confidence: float | None
) -> SLOJudgement:
    """An SLO's judgement: on its worst window if it has one, else on the whole; both by provider."""
    if not slo.window_s:
        return judge(slo, facts.get(slo.metric.provider), confidence)
    return worst(slo, seconds.get(slo.metric.provider), confidence)


def worst(slo: Slo, by_second: BySecond | None, confidence: float | None) -> SLOJudgement:
    """An SLO on its worst window: satisfied if it is in all of them, violated if it is in any, else undecided."""
    text = span(float(slo.window_s))
    if by_second is None:
        missing = Decision(None, (MISSING,), f"{slo.metric} was not measured")
        return judgement(slo, None, missing).model_copy(update={"window": text})
    found = [
        _judged(slo, by_second, window, facts, confidence)
        for window, facts in _slide(slo, by_second)
        if not (by_second.is_idle(window) and facts.requests == 0)
    ]
    if not found:
        missing = Decision(None, (MISSING,), f"{slo.metric} was not measured")
        return judgement(slo, None, missing).model_copy(update={"window": text})
    chosen = max(found, key=lambda one: one.badness)  # the first of those that are equally bad
    facts = next(facts for _window, facts in _slide(slo, by_second, chosen.window))
    decision = chosen.decision
    why = decision.why or comparison(slo, facts, satisfied=decision.satisfied is True)
    begins_s, ends_s = by_second.bounds_s(chosen.window)
    which = "only" if len(found) == 1 else "worst"
    reason = f"{why}, in the {which} window of {text}, from {begins_s:g} s to {ends_s:g} s"
    answers = {one.would_be for one in found}
    return judgement(slo, facts, decision._replace(why=reason)).model_copy(
        update={
            "window": text,
            "worst_window": (begins_s, ends_s),
            "would_be": False if False in answers else None if None in answers else True,
        }
    )


def windows(whole: range, window_s: int) -> list[range]:
    """The windows over whole seconds, the last one at their end; a shorter run is one window."""
    last = max(whole.start, whole.stop - window_s)
    step = 1 if last - whole.start < MOST_BY_SECOND else max(1, window_s // STEPS_IN_A_WINDOW)
    starts = dict.fromkeys([*range(whole.start, last, step), last])
    return [range(start, min(start + window_s, whole.stop)) for start in starts]


def _judged(slo: Slo, by_second: BySecond, window: range, facts: Measured, confidence: float | None) -> _Judged:
    decision = decide(slo, facts, confidence)
    gaps = by_second.missing_in(window)
    if gaps and not (decision.satisfied is False and _is_final(slo)):
        decision = Decision(None, (SHARDS,), f"undecided: shards are missing of second {', '.join(map(str, gaps))}")
    rank = 0 if decision.satisfied else 3 if decision.satisfied is False else 2 if is_ours(decision.decided_by) else 1
    value = facts.value(slo.metric.name)
    size = -inf if value is None else float(value if slo.is_upper else -value)
    return _Judged(window, decision, holds(slo, facts), (rank, size))


def _within(second: int, whole: range) -> int:
    return min(max(second, whole.start), whole.stop - 1)


def _is_final(slo: Slo) -> bool:
    """Whether no further request can undo a violation."""
    metric = slo.metric
    if slo.is_upper:
        return metric.grows or metric.name == "rate" or metric.statistic == "max"
    return metric.statistic == "min"


def _slide(slo: Slo, by_second: BySecond, only: range | None = None) -> Iterator[tuple[range, Measured]]:
    """Each window, or only one, with what was measured in it; good until the next is asked for."""
    whole = by_second.whole
    parts = _Parts(by_second.seconds, whole)
    sum_ = _Sum(_names(slo, is_open=by_second.is_open))
    reached = 0
    for window in [only] if only is not None else windows(whole, slo.window_s):
        for second in range(max(reached, window.start), window.stop):
            sum_.add(second, parts.of(second))
        reached = window.stop
        sum_.drop_before(window.start)
        begins_s, ends_s = by_second.bounds_s(window)
        facts = Measured(
            sum_.tally,
            by_second.is_open,
            by_second.unaccounted,
            by_second.limits_ns,
            ends_s - begins_s,
        )
        yield window, facts


def _names(slo: Slo, *, is_open: bool) -> tuple[str, ...]:
    """The histograms that an SLO needs, as `clock.fate`."""
    match slo.metric.clock:
        case "":
            clocks: tuple[Clock, ...] = ()
        case "latency":
            clocks = (Clock.RESPONSE, Clock.UNLAGGED) if is_open else (Clock.SERVICE,)
        case "ttfb" | "body":
            clocks = (Clock(slo.metric.clock), Clock.SERVICE)  # which knows what was cut off
        case clock:
            clocks = (Clock(clock),)
    return tuple(f"{clock}.{fate}" for clock in clocks for fate in Fate)


@dataclass(frozen=True)
class _Parts:
    """The tallies of each whole second."""

    seconds: Mapping[int, Tally]
    whole: range

    def of(self, second: int) -> list[Tally]:
        """The tallies that belong to a whole second: its own, and at an end of the whole those beyond."""
        if second not in (self.whole.start, self.whole.stop - 1):
            return [self.seconds[second]] if second in self.seconds else []
        return [self.seconds[one] for one in self.seconds if _within(one, self.whole) == second]


@dataclass
class _Sum:
    """The sum of the seconds of a window, which moves on: what comes in is added, what goes out taken off again."""

    names: tuple[str, ...]
    tally: Tally = field(default_factory=lambda: Tally(SeriesKey()))
    _held: deque[tuple[int, Tally, dict[str, Packed]]] = field(default_factory=deque)

    def add(self, second: int, tallies: list[Tally]) -> None:
        """Count a further second."""
        for tally in tallies:
            packed = {name: tally.histograms[name].pack() for name in self.names if name in tally.histograms}
            kept = Tally(
                tally.key, classes=tally.classes, over={name: tally.over[name] for name in packed if name in tally.over}
            )
            for total in _TOTALS:
                setattr(kept, total, getattr(tally, total))
            self._held.append((second, kept, packed))
            self._count(kept, 1)
            for name, one in packed.items():
                self.tally.histogram(name).merge(one)

    def drop_before(self, second: int) -> None:
        """Take off what was done before a second."""
        dropped: set[str] = set()
        while self._held and self._held[0][0] < second:
            _second, tally, packed = self._held.popleft()
            self._count(tally, -1)
            for name, one in packed.items():
                _take_off(self.tally.histograms[name], one)
                dropped.add(name)
        for name in dropped:
            left = [packed[name] for _second, _tally, packed in self._held if name in packed and packed[name].count]
            histogram = self.tally.histograms[name]
            histogram.min_ns = min((one.min_ns for one in left), default=0)
            histogram.max_ns = max((one.max_ns for one in left), default=0)

    def _count(self, tally: Tally, sign: int) -> None:
        for total in _TOTALS:
            setattr(self.tally, total, getattr(self.tally, total) + sign * getattr(tally, total))
        for error, count in tally.classes.items():
            self.tally.classes[error] += sign * count
        for name, counts in tally.over.items():
            sums = self.tally.over.setdefault(name, [0] * len(counts))
            self.tally.over[name] = [total + sign * count for total, count in zip(sums, counts, strict=True)]


def _take_off(histogram: Histogram, packed: Packed) -> None:
    """What was merged before; the extremes are left as they are."""
    indices = np.frombuffer(packed.indices, dtype="<u2")
    histogram.counts[indices] -= np.frombuffer(packed.counts, dtype="<u8").astype(np.int64)
    histogram.count -= packed.count
    histogram.sum_ns -= packed.sum_ns
    histogram.sum_squares -= int.from_bytes(packed.sum_squares, "big")
    histogram.overflow -= packed.overflow
