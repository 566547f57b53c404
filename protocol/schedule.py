"""Which request is due when, and whose it is: pure arithmetic that agents pace by and the controller judges by.

Request k of a segment is due at the same instant for any number of agents; a stripe says which k are one agent's own.
All of it is integer arithmetic over an exact rate, so the union over agents never loses or doubles a request.
"""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cached_property

import msgspec

from protocol.errors import ProtocolError

NS_PER_S = 1_000_000_000
UNBOUNDED = 1 << 62


class Arrival(StrEnum):
    """How requests are spaced: evenly, or as a Poisson process (independent users)."""

    UNIFORM = "uniform"
    POISSON = "poisson"


class Stage(msgspec.Struct, frozen=True):
    """A linear ramp, or a hold where both ends are equal: of requests per second (open load) or of users (closed)."""

    begin: str  # a decimal number as text
    end: str
    duration_ns: int


class Shape(msgspec.Struct, frozen=True):
    """The load of one segment over all agents. Open load has a rate; closed load has none and goes as answers come.

    `rate_per_s` is a decimal number or a fraction as text, so that both sides compute with the same exact value.
    `stages` take the place of a rate and a duration. With a constant rate `count` wins over `duration_ns`, and open load
    has at least one of them; with stages `count` cuts the timetable short. Closed load has as many users as connections,
    or those of `users`; each thinks for `think_ns` between an answer and the next request. `seed` decides Poisson
    arrivals and mixes.
    """

    rate_per_s: str | None = None
    count: int | None = None
    duration_ns: int | None = None
    stages: tuple[Stage, ...] = ()
    users: tuple[Stage, ...] = ()
    think_ns: int = 0
    arrival: Arrival = Arrival.UNIFORM
    seed: int = 0

    @property
    def is_open(self) -> bool:
        """Whether a rate was asked for."""
        return self.rate_per_s is not None or bool(self.stages)


class Stripe(msgspec.Struct, frozen=True):
    """From request `first` on, an agent's own requests are those whose k leaves `index` when divided by `of`."""

    index: int
    of: int
    first: int = 0


@dataclass(frozen=True)
class Timetable:
    """The due times of an open segment, for all agents together. Times are ns since the segment's start."""

    shape: Shape

    @cached_property
    def _rate(self) -> Fraction:
        assert self.shape.rate_per_s is not None, "closed load has no timetable"
        rate = Fraction(self.shape.rate_per_s)
        if rate <= 0:
            raise ProtocolError(f"a rate of {rate} per second: expected more than 0")
        return rate

    @cached_property
    def planned(self) -> int:
        """How many requests there are."""
        if self.shape.count is not None:
            return self.shape.count
        assert self.shape.duration_ns is not None, "open load has a count or a duration"
        numerator, denominator = self._rate.as_integer_ratio()
        return -(-self.shape.duration_ns * numerator // (denominator * NS_PER_S))

    @property
    def length_ns(self) -> int:
        """The planned length: the duration, or the count over the rate."""
        if self.shape.count is None and self.shape.duration_ns is not None:
            return self.shape.duration_ns
        return int(self.planned * NS_PER_S / self._rate)

    def due_ns(self, k: int) -> int:
        """When request k is due."""
        numerator, denominator = self._rate.as_integer_ratio()
        return k * denominator * NS_PER_S // numerator

    def due_count(self, elapsed_ns: int) -> int:
        """How many requests are due at `elapsed_ns` or before."""
        if elapsed_ns < 0:
            return 0
        numerator, denominator = self._rate.as_integer_ratio()
        return min(self.planned, ((elapsed_ns + 1) * numerator - 1) // (denominator * NS_PER_S) + 1)


@dataclass(frozen=True)
class Part:
    """One agent's part of a timetable: its j-th own request, over the stripes of successive epochs."""

    timetable: Timetable
    stripes: tuple[Stripe, ...]

    @cached_property
    def _spans(self) -> tuple[tuple[int, int, int, int], ...]:
        """Per stripe: the first own k, the step, how many are own, and how many own ones came before."""
        spans = []
        before = 0
        for position, stripe in enumerate(self.stripes):
            until = self.stripes[position + 1].first if position + 1 < len(self.stripes) else self.timetable.planned
            first = stripe.first + (stripe.index - stripe.first) % stripe.of
            own = max(0, -(-(until - first) // stripe.of))
            spans.append((first, stripe.of, own, before))
            before += own
        return tuple(spans)

    @cached_property
    def planned(self) -> int:
        """How many requests are this agent's own."""
        return sum(own for _first, _step, own, _before in self._spans)

    def request(self, j: int) -> int:
        """The k of the j-th own request."""
        for first, step, own, before in self._spans:
            if j < before + own:
                return first + (j - before) * step
        raise IndexError(j)

    def due_ns(self, j: int) -> int:
        """When the j-th own request is due."""
        return self.timetable.due_ns(self.request(j))

    def due_count(self, elapsed_ns: int) -> int:
        """How many own requests are due at `elapsed_ns` or before."""
        return self.own_before(self.timetable.due_count(elapsed_ns))

    def own_before(self, k: int) -> int:
        """How many own requests there are among the first k."""
        return sum(min(own, max(0, -(-(k - first) // step))) for first, step, own, _before in self._spans)

    def restriped(self, stripe: Stripe) -> "Part":
        """The same part up to `stripe.first`, and `stripe` from there on."""
        kept = tuple(old for old in self.stripes if old.first < stripe.first)
        return Part(self.timetable, (*kept, stripe))


def share(total: int, index: int, of: int) -> int:
    """What falls to one of `of` when a total is split as evenly as whole numbers allow."""
    return total // of + (1 if index < total % of else 0)
