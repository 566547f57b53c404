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
from typing import assert_never

import numpy as np

from controller.experiment.metrics import CLOCKS, LATENCY
from protocol.histogram import Histogram, highest_of, merged
from protocol.messages import Clock, ErrorClass, Fate
from protocol.series import Tally

NS_PER_MS = 1_000_000
Number = Fraction | float  # exact, or infinite
_WHOLE = frozenset(
    {Clock.WAIT, Clock.LAG, Clock.TTFB}
)  # over before a request that was recorded in them can be cut off


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
    never have ended. Best: without our lag; unaccounted ones were perfect; cut-off ones ended right there. Of some that
    were cut off nothing is known on a clock: of those never sent on all but response; of those without a first byte on
    ttfb and body; of connections that timed out on connect and tls. At best they took no time.
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
    """One provider's merged counts. `unaccounted` requests were given to an agent that was lost.

    `elapsed_s` is the length over which they were measured, which rates are of.
    """

    tally: Tally
    is_open: bool
    unaccounted: int = 0
    limits_ns: tuple[int, ...] = ()
    elapsed_s: float = 0.0

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

    def value(self, name: str, assumption: Assumption | None = None) -> Number | None:
        """A metric by its name without the provider, in its own unit and exactly; None if it was not measured.

        Without an assumption: as measured, cut-off requests with what is known of them, unaccounted ones left out.
        """
        match name:
            case "request-count":
                return self.request_count(assumption)
            case "error-count":
                return self.error_count(assumption)
            case "unsent-count":
                return self.tally.unsent + self._more(assumption)
            case "error-rate":
                return self.error_rate(assumption)
            case "rate":
                return self.rate(assumption)
            case "bytes-in" | "bytes-out":
                known = self.tally.bytes_in if name == "bytes-in" else self.tally.bytes_out
                return inf if self._more(assumption) else known
        span, _, statistic = name.partition("-")
        return self.span(span, statistic, assumption)

    def request_count(self, assumption: Assumption | None = None) -> int:
        """Requests; those unaccounted may or may not have been sent."""
        return self.requests + self._more(assumption)

    def error_count(self, assumption: Assumption | None = None) -> int:
        """Errors; at worst all unaccounted requests are."""
        return self.errors + self._more(assumption)

    def error_rate(self, assumption: Assumption | None = None) -> Fraction | None:
        """Errors as a fraction of requests."""
        requests = self.requests + (0 if assumption is None else self.unaccounted)
        return None if not requests else Fraction(self.error_count(assumption), requests)

    def rate(self, assumption: Assumption | None = None) -> Fraction | None:
        """Requests tried per second; those unaccounted may have been."""
        if self.elapsed_s <= 0:
            return None
        return (self.tally.tried + self._more(assumption)) / Fraction(self.elapsed_s)

    def latency(self, statistic: str, assumption: Assumption | None = None) -> Number | None:
        """`mean`, `stddev`, `min`, `max` or `p<X>` of the clock that is judged, in msec; otherwise as `value`."""
        return self.span(LATENCY, statistic, assumption)

    def span(self, span: str, statistic: str, assumption: Assumption | None = None) -> Number | None:
        """A statistic of latency, or of a clock, in msec; infinite where the assumption leaves no bound."""
        known, cut = self._parts(self._clock(span, assumption))
        endless, perfect = self._without_bound(span, assumption)
        finite = _joined(known, cut)
        if self._is_worst(assumption, Unknown.CUT_OFF):
            finite, endless = known, endless + cut.count
        elif statistic == "stddev" and assumption is not None and cut.min_ns * finite.count < finite.sum_ns:
            finite, perfect = known, perfect + cut.count  # a longer one may lie nearer to the others
        value = _statistic(statistic, finite, perfect, endless)
        return value if value is None or value == inf else Fraction(value) / NS_PER_MS

    def is_within(
        self, percentile: Fraction, limit: Limit, assumption: Assumption | None = None, span: str = LATENCY
    ) -> bool | None:
        """Whether a percentile is at most a limit, by exact counts: count(> limit) <= (1 - p) n.

        None: there are no samples, or their agents did not count them against this limit.
        """
        clock = self._clock(span, assumption)
        over = 0
        for fate in Fate:
            is_endless = fate in _cut_fates(clock) and self._is_worst(assumption, Unknown.CUT_OFF)
            found = self.fate(clock, fate).count if is_endless else self._over(clock, fate, limit)
            if found is None:
                return None
            over += found
        endless, perfect = self._without_bound(span, assumption)
        total = self._count(clock) + endless + perfect
        return None if not total else over + endless <= (1 - percentile) * total

    def samples(self, span: str = LATENCY) -> int:
        """Requests behind a latency, or requests or connections behind another span."""
        return self._count(self._clock(span, None))

    def unknowns(self, name: str) -> frozenset[Unknown]:
        """Those that can make a difference to a metric: whatever is assumed of the others, its value is the same."""
        found = {Unknown.UNACCOUNTED} if self.unaccounted else set()
        span = name.partition("-")[0]
        if span in CLOCKS:
            if span == LATENCY and self.is_open:
                found.add(Unknown.LAG)
            clock = self._clock(span, None)
            if self._never_recorded(clock) or any(self.fate(clock, fate).count for fate in _cut_fates(clock)):
                found.add(Unknown.CUT_OFF)
        return frozenset(found)

    def _more(self, assumption: Assumption | None) -> int:
        return self.unaccounted if self._is_worst(assumption, Unknown.UNACCOUNTED) else 0

    def _count(self, clock: Clock) -> int:
        return sum(self.fate(clock, fate).count for fate in Fate)

    def _over(self, clock: Clock, fate: Fate, limit: Limit) -> int | None:
        counts = self.tally.over.get(f"{clock}.{fate}", ())
        if limit.position < len(counts):
            return counts[limit.position]
        return None if self.fate(clock, fate).count else 0

    def _clock(self, span: str, assumption: Assumption | None) -> Clock:
        if span != LATENCY:
            return Clock(span)
        if self.is_open and assumption is not None and Unknown.LAG not in assumption.worst:
            return Clock.UNLAGGED
        return self.clock

    def _is_worst(self, assumption: Assumption | None, unknown: Unknown) -> bool:
        return assumption is not None and unknown in assumption.worst

    def _parts(self, clock: Clock) -> tuple[Histogram, Histogram]:
        """What is known whole, and what is only known to have taken at least so long."""
        cut = _cut_fates(clock)
        whole = (self.fate(clock, fate) for fate in Fate if fate not in cut)
        return _joined(*whole), _joined(*(self.fate(clock, fate) for fate in cut))

    def _without_bound(self, span: str, assumption: Assumption | None) -> tuple[int, int]:
        """Of the spans that may be anything: how many are endless by an assumption, how many perfect."""
        if assumption is None:
            return 0, 0
        of = {
            Unknown.UNACCOUNTED: self.unaccounted,
            Unknown.CUT_OFF: self._never_recorded(self._clock(span, assumption)),
        }
        endless = sum(count for unknown, count in of.items() if unknown in assumption.worst)
        return endless, sum(of.values()) - endless

    def _never_recorded(self, clock: Clock) -> int:
        """Spans that were cut off before anything could be recorded of them."""
        cut = self.fate(clock, Fate.CUT).count
        match clock:
            case Clock.RESPONSE | Clock.UNLAGGED:  # an unsent request is recorded in these
                return 0
            case Clock.SERVICE | Clock.WAIT | Clock.LAG:
                return self.tally.unsent
            case Clock.TTFB | Clock.BODY:  # no first byte in time: it may have come at any later time
                return self.tally.unsent + max(0, self.fate(Clock.SERVICE, Fate.CUT).count - cut)
            case Clock.CONNECT | Clock.TLS:
                return max(0, self.tally.classes[ErrorClass.CONNECT_TIMEOUT] - cut)
            case _:
                assert_never(clock)


def _cut_fates(clock: Clock) -> tuple[Fate, ...]:
    """The fates of which a clock only tells the least that a span would have taken."""
    return () if clock in _WHOLE else (Fate.CUT,)


def percentile_fraction(statistic: str) -> Fraction:
    """`p99.9` -> 999/1000."""
    return Fraction(statistic.removeprefix("p")) / 100


@cache
def _empty() -> Histogram:
    return Histogram()


def _joined(*parts: Histogram) -> Histogram:
    """The histogram of all parts' samples, to be read only: it may be one of them."""
    full = [part for part in parts if part.count]
    if len(full) == 1:
        return full[0]
    return merged(full)


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
    raise ValueError(f"{statistic}: expected mean, stddev, min, max or p<X>")


def _percentile(percentile: Fraction, finite: Histogram, zeros: int, total: int) -> Number:
    rank = max(1, -(-percentile.numerator * total // percentile.denominator))
    if rank <= zeros:
        return Fraction(0)
    if rank > zeros + finite.count:
        return inf
    index = int(np.searchsorted(np.cumsum(finite.counts), rank - zeros))
    return Fraction(min(highest_of(index) * 1000, finite.max_ns))
