"""Pure: what the merged counts of a target say, metric by metric, under each assumption about what is not known.

Three things may be unknown: how much of a latency is our own lateness, what became of requests given to a lost agent,
and how long requests that were cut off would have taken. An `Assumption` settles all three; a metric is then a number.
"""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cache
from itertools import product
from math import inf, sqrt

import numpy as np

from protocol.histogram import Histogram, highest_of
from protocol.messages import Clock, Fate
from protocol.series import Tally

NS_PER_MS = 1_000_000
Number = Fraction | float  # exact, or infinite


class Unknown(StrEnum):
    """What a verdict may have to survive."""

    LAG = "lag"
    UNACCOUNTED = "unaccounted"
    CUT_OFF = "cut-off"


OURS = frozenset({Unknown.LAG, Unknown.UNACCOUNTED})


@dataclass(frozen=True)
class Assumption:
    """The worst about these unknowns, and the best about the others.

    Worst: our lag belongs to the latency; unaccounted requests were errors slower than any limit; cut-off ones would
    never have ended. Best: without our lag; unaccounted ones were perfect; cut-off ones ended right there. Requests of
    closed load that were never sent are cut off with nothing known of them.
    """

    worst: frozenset[Unknown]


ALL_ASSUMPTIONS = tuple(
    Assumption(frozenset(unknown for unknown, is_worst in zip(Unknown, choice, strict=True) if is_worst))
    for choice in product((False, True), repeat=len(Unknown))
)


@dataclass(frozen=True)
class Limit:
    """A limit in ns as `Target.limits_ns` has it, at this position; samples above it are counted exactly."""

    position: int
    ns: int


@dataclass(frozen=True)
class Measured:
    """One target's merged counts. `unaccounted` requests were given to an agent that was lost."""

    tally: Tally
    is_open: bool
    unaccounted: int = 0
    limits_ns: tuple[int, ...] = ()

    @property
    def requests(self) -> int:
        """Requests in the metrics: tried and unsent."""
        return self.tally.tried + self.tally.unsent

    @property
    def errors(self) -> int:
        """Requests that went wrong or were never sent."""
        return self.tally.errors + self.tally.unsent

    @property
    def clock(self) -> Clock:
        """The clock that latency is judged by."""
        return Clock.RESPONSE if self.is_open else Clock.SERVICE

    def fate(self, clock: Clock, fate: Fate) -> Histogram:
        """The histogram of one clock and fate."""
        return self.tally.histograms.get(f"{clock}.{fate}") or _empty()

    def histogram(self, clock: Clock, fates: tuple[Fate, ...] = tuple(Fate)) -> Histogram:
        """One clock's histogram over fates; those cut off count with what is known of them."""
        total = Histogram()
        for fate in fates:
            total.merge(self.fate(clock, fate))
        return total

    def request_count(self, assumption: Assumption | None = None) -> int:
        """Requests; those unaccounted may or may not have been sent."""
        is_worst = assumption is not None and Unknown.UNACCOUNTED in assumption.worst
        return self.requests + (self.unaccounted if is_worst else 0)

    def error_count(self, assumption: Assumption | None = None) -> int:
        """Errors; at worst all unaccounted requests are."""
        is_worst = assumption is not None and Unknown.UNACCOUNTED in assumption.worst
        return self.errors + (self.unaccounted if is_worst else 0)

    def error_rate(self, assumption: Assumption | None = None) -> Fraction | None:
        """Errors as a fraction of requests."""
        requests = self.requests + (0 if assumption is None else self.unaccounted)
        return None if not requests else Fraction(self.error_count(assumption), requests)

    def latency(self, statistic: str, assumption: Assumption | None = None) -> Number | None:
        """`mean`, `stddev`, `min`, `max` or `p<X>` in msec, exactly; infinite where the assumption leaves no bound.

        Without an assumption: as measured, cut-off requests with what is known of them, unaccounted ones left out.
        """
        known, cut = self._parts(assumption)
        endless, perfect = self._without_bound(assumption)
        finite = _sum(known, cut)
        if self._is_worst(assumption, Unknown.CUT_OFF):
            finite, endless = known, endless + cut.count
        elif statistic == "stddev" and assumption is not None and cut.min_ns * finite.count < finite.sum_ns:
            finite, perfect = known, perfect + cut.count  # a longer one may lie nearer to the others
        value = _statistic(statistic, finite, perfect, endless)
        return value if value is None or value == inf else Fraction(value) / NS_PER_MS

    def is_within(self, percentile: Fraction, limit: Limit, assumption: Assumption | None = None) -> bool | None:
        """Whether a percentile is at most a limit, by exact counts: count(> limit) <= (1 - p) n. None: no samples."""
        clock = self._clock(assumption)
        known = sum(self._over(clock, fate, limit) for fate in (Fate.OK, Fate.ERROR))
        _known, cut = self._parts(assumption)
        over_cut = cut.count if self._is_worst(assumption, Unknown.CUT_OFF) else self._over(clock, Fate.CUT, limit)
        endless, perfect = self._without_bound(assumption)
        total = _known.count + cut.count + endless + perfect
        return None if not total else known + over_cut + endless <= (1 - percentile) * total

    def samples(self) -> int:
        """Requests behind a latency."""
        return sum(self.fate(self.clock, fate).count for fate in Fate)

    def _over(self, clock: Clock, fate: Fate, limit: Limit) -> int:
        counts = self.tally.over.get(f"{clock}.{fate}")
        return counts[limit.position] if counts else 0

    def _clock(self, assumption: Assumption | None) -> Clock:
        if self.is_open and assumption is not None and Unknown.LAG not in assumption.worst:
            return Clock.UNLAGGED
        return self.clock

    def _is_worst(self, assumption: Assumption | None, unknown: Unknown) -> bool:
        return assumption is not None and unknown in assumption.worst

    def _parts(self, assumption: Assumption | None) -> tuple[Histogram, Histogram]:
        clock = self._clock(assumption)
        return self.histogram(clock, (Fate.OK, Fate.ERROR)), self.fate(clock, Fate.CUT)

    def _without_bound(self, assumption: Assumption | None) -> tuple[int, int]:
        """Of the requests whose latency may be anything: how many are endless by an assumption, how many perfect."""
        if assumption is None:
            return 0, 0
        never_sent = 0 if self.is_open else self.tally.unsent
        of = {Unknown.UNACCOUNTED: self.unaccounted, Unknown.CUT_OFF: never_sent}
        endless = sum(count for unknown, count in of.items() if unknown in assumption.worst)
        return endless, sum(of.values()) - endless


def percentile_fraction(statistic: str) -> Fraction:
    """`p99.9` -> 999/1000."""
    return Fraction(statistic.removeprefix("p")) / 100


@cache
def _empty() -> Histogram:
    return Histogram()


def _sum(first: Histogram, second: Histogram) -> Histogram:
    total = Histogram()
    total.merge(first)
    total.merge(second)
    return total


def _statistic(statistic: str, finite: Histogram, zeros: int, infinite: int) -> Number | None:
    """A statistic in ns of these samples, some zeros, and some that are larger than anything.

    The spread is smallest where what may be anything lies at the mean of the rest: there, zeros count as being so.
    """
    total = finite.count + zeros + infinite
    if not total:
        return None
    if statistic.startswith("p"):
        return _percentile(percentile_fraction(statistic), finite, zeros, total)
    if statistic == "min":
        return Fraction(0) if zeros else Fraction(finite.min_ns) if finite.count else inf
    if infinite:
        return inf
    if statistic == "max":
        return Fraction(finite.max_ns)
    if statistic == "mean":
        return Fraction(finite.sum_ns, total)
    if statistic == "stddev":
        squares = finite.sum_squares * finite.count - finite.sum_ns**2
        return Fraction(sqrt(Fraction(squares, max(1, finite.count) * total)))
    raise ValueError(f"latency-{statistic}: expected mean, stddev, min, max or p<X>")


def _percentile(percentile: Fraction, finite: Histogram, zeros: int, total: int) -> Number:
    rank = max(1, -(-percentile.numerator * total // percentile.denominator))
    if rank <= zeros:
        return Fraction(0)
    if rank > zeros + finite.count:
        return inf
    index = int(np.searchsorted(np.cumsum(finite.counts), rank - zeros))
    return Fraction(min(highest_of(index) * 1000, finite.max_ns))
