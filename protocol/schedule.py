"""Which request is due when, and whose it is: pure arithmetic that agents pace by and the controller judges by.

Request k of a segment is due at the same instant for any number of agents; a stripe says which k are one agent's own,
so the union over agents never loses or doubles a request. How due times are computed stands in `arrivals`.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import accumulate

import msgspec
import numpy as np
from numpy.typing import NDArray

from protocol.arrivals import NS_PER_S, Constant, Course, Evenly, Ramp, Scattered, Varying, hashed, hashed_many
from protocol.errors import ProtocolError

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
    """The due times of an open segment, for all agents together. Times are ns since the segment's start.

    Request k is due when the cumulative rate reaches k, rounded down to ns; under Poisson arrivals, where the process
    of the seed puts it. Numbers of requests are below `planned`.
    """

    shape: Shape

    @cached_property
    def _arrivals(self) -> Constant | Varying:
        return _arrivals(self.shape)

    @property
    def planned(self) -> int:
        """How many requests there are."""
        return self._arrivals.planned

    @property
    def length_ns(self) -> int:
        """The planned length: the duration or that of the stages; where a count ends it, until that has come.

        At a constant even rate that is the count over the rate, else until just after the last request is due.
        """
        return self._arrivals.length_ns

    def due_ns(self, k: int) -> int:
        """When request k is due."""
        return self._arrivals.due_ns(k)

    def due_many(self, first: int, step: int, count: int) -> NDArray[np.int64]:
        """When so many requests are due: first, first + step and so on."""
        return self._arrivals.due_many(first, step, count)

    def due_count(self, elapsed_ns: int) -> int:
        """How many requests are due at `elapsed_ns` or before."""
        return self._arrivals.due_count(elapsed_ns)


@lru_cache(maxsize=16)
def _arrivals(shape: Shape) -> Constant | Varying:
    """Kept, because a Poisson process has to count its requests from the start."""
    places = Evenly() if shape.arrival is Arrival.UNIFORM else Scattered(shape.seed)
    if shape.stages:
        return Varying(Course(_ramps(shape.stages)), places, shape.count)
    assert shape.rate_per_s is not None, "closed load has no timetable"
    rate = _number(shape.rate_per_s)
    if rate <= 0:
        raise ProtocolError(f"a rate of {rate} per second: expected more than 0")
    if shape.arrival is Arrival.UNIFORM:
        return Constant(rate, shape.count, shape.duration_ns)
    rate = _level(shape.rate_per_s)
    duration_ns = UNBOUNDED if shape.count is not None else shape.duration_ns
    assert duration_ns is not None, "open load has a count or a duration"
    return Varying(Course([Ramp(rate, rate, duration_ns)]), places, shape.count)


def _ramps(stages: Sequence[Stage]) -> list[Ramp]:
    for stage in stages:
        if stage.duration_ns < 0:
            raise ProtocolError(f"a stage of {stage.duration_ns} ns: expected 0 or more")
    return [Ramp(_level(stage.begin), _level(stage.end), stage.duration_ns) for stage in stages]


def _number(text: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise ProtocolError(f'a rate or a number of users of "{text}": expected a decimal number') from error


def _level(text: str) -> Fraction:
    """A rate, or a number of users, that floating-point numbers can be trusted with."""
    level = _number(text)
    if level and not Fraction(1, NS_PER_S) <= level <= NS_PER_S:
        raise ProtocolError(f"a rate or a number of users of {text}: expected 0, or from 1e-9 to 1e9")
    return level


def cut_short(shape: Shape, count: int) -> Shape:
    """The same timetable, ending before request number `count`: for open load."""
    count = min(count, Timetable(shape).planned)
    return msgspec.structs.replace(shape, count=count, duration_ns=None)


def stage_starts_ns(shape: Shape) -> tuple[int, ...]:
    """When the second and later stages begin: of the rate, or of the users of a closed load."""
    durations = [stage.duration_ns for stage in shape.stages or shape.users]
    return tuple(accumulate(durations))[:-1]


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
            until = self.timetable.planned
            if position + 1 < len(self.stripes):
                until = min(until, self.stripes[position + 1].first)
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

    def due_block(self, j: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """When the own requests from the j-th on are due, and their k: so many, or as many as there are."""
        dues = [np.empty(0, dtype=np.int64)]
        numbers = [np.empty(0, dtype=np.int64)]
        for first, step, own, before in self._spans:
            begin, end = max(j, before), min(j + count, before + own)
            if begin < end:
                start = first + (begin - before) * step
                dues.append(self.timetable.due_many(start, step, end - begin))
                numbers.append(np.arange(end - begin, dtype=np.int64) * step + start)
        if len(dues) == 2:
            return dues[1], numbers[1]
        return np.concatenate(dues), np.concatenate(numbers)

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


class Mix:
    """Which target each request of a mix is for: by weight, from the seed and the request's number alone."""

    def __init__(self, weights: Sequence[int], seed: int) -> None:
        if min(weights, default=0) < 0 or sum(weights) <= 0:
            raise ProtocolError(f"weights of {list(weights)}: expected none below 0, and one above")
        self._key = hashed(seed, 2)
        limits = [-(-(upto << 63) // sum(weights)) for upto in accumulate(weights)]
        self._limits = limits[:-1]  # of the 63 upper bits of a hash
        self._array = np.array(self._limits, dtype=np.uint64)

    def pick(self, number: int) -> int:
        """The target of request `number`, as an index into the weights."""
        if not self._limits:
            return 0
        return bisect_right(self._limits, hashed(self._key, number) >> 1)

    def picks(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The target of each of these requests."""
        if not self._limits:
            return np.zeros(len(numbers), dtype=np.int64)
        return self._array.searchsorted(hashed_many(self._key, numbers) >> np.uint64(1), "right").astype(np.int64)


class Users:
    """How many users of a closed load are an agent's own, over time.

    All agents together have the number that the stages ask for, rounded to the nearest whole (halves up), and none
    after their end; without stages, one a connection, for ever.
    """

    def __init__(self, shape: Shape, stripe: Stripe, connections: int) -> None:
        self._stripe = stripe
        self._connections = connections
        ramps = _ramps(shape.users)
        self._starts = list(accumulate((ramp.duration_ns for ramp in ramps), initial=0))
        self._lines = [_line(ramp) for ramp in ramps]
        self.length_ns = self._starts[-1] if ramps else None

    def at(self, elapsed_ns: int) -> int:
        """How many users this agent has at an instant."""
        return share(self.total(elapsed_ns), self._stripe.index, self._stripe.of)

    def total(self, elapsed_ns: int) -> int:
        """How many users all agents have at an instant."""
        if self.length_ns is None:
            return self._connections
        if not 0 <= elapsed_ns < self.length_ns:
            return 0
        stage = bisect_right(self._starts, elapsed_ns) - 1
        base, slope, divisor = self._lines[stage]
        return (base + slope * (elapsed_ns - self._starts[stage])) // divisor

    def next_change_ns(self, elapsed_ns: int) -> int | None:
        """The next instant at which the agents' users change, or a stage begins; None if they stay for ever."""
        if self.length_ns is None or elapsed_ns >= self.length_ns:
            return None
        stage = bisect_right(self._starts, max(0, elapsed_ns)) - 1
        begin, end = self._starts[stage], self._starts[stage + 1]
        base, slope, divisor = self._lines[stage]
        if elapsed_ns < 0 or not slope:
            return begin if elapsed_ns < begin else end
        now = self.total(elapsed_ns)
        to_go = (now + 1) * divisor - base if slope > 0 else base - now * divisor + 1
        return min(end, begin - (-to_go // abs(slope)))

    def most(self) -> int:
        """The most users that all agents have at one time."""
        if self.length_ns is None:
            return self._connections
        stages = zip(self._starts, self._starts[1:], strict=False)
        return max((self.total(instant) for begin, end in stages for instant in (begin, end - 1)), default=0)


def _line(ramp: Ramp) -> tuple[int, int, int]:
    """A ramp plus one half as (base + slope x ns) / divisor in whole numbers."""
    base = ramp.begin + Fraction(1, 2)
    slope = (ramp.end - ramp.begin) / max(ramp.duration_ns, 1)
    divisor = base.denominator * slope.denominator
    return int(base * divisor), int(slope * divisor), divisor


def most(shape: Shape, connections: int) -> int:
    """The most users that all agents together have at one time."""
    return Users(shape, Stripe(0, 1), connections).most()
