"""When the requests of a varying or random rate are due: the arithmetic under `schedule`, which says what it is for.

Everything lives on the axis of the cumulative rate: the rate, added up over time, reaches u at one instant, and one
request comes per unit of u on average. Evenly spaced, request k stands at u = k. As a Poisson process, blocks of a fixed
length on that axis hold a Poisson number of requests at random places, all from counter-based hashes of (seed, block,
place): so one table of probabilities serves every rate and ramp, and any block can be computed by itself, the same on
every machine. Only correctly rounded operations of IEEE 754 are used, in an order that keeps them monotone.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

NS_PER_S = 1_000_000_000
BLOCK = 1024  # requests on average: large enough for numpy, small enough not to hold up a pacer
_CACHED = 16
_INT64 = 1 << 63
_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]


# --- chance --------------------------------------------------------------------------------------------------------


def hashed(key: int, counter: int) -> int:
    """The 64 random bits for a counter under a key: splitmix64 that can be entered anywhere."""
    word = (key + (counter + 1) * _GOLDEN) & _WORD
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _WORD
    return word ^ (word >> 31)


def hashed_many(key: int, counters: Ints) -> Words:
    """The same as `hashed`, for each counter."""
    words = counters.astype(np.uint64)
    words += np.uint64(1)
    words *= np.uint64(_GOLDEN)
    words += np.uint64(key & _WORD)
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words


@lru_cache(maxsize=1)
def _poisson_table() -> tuple[int, Words]:
    """The lowest number of requests that a block can hold, and the hashes from which on it holds one more.

    Integers all the way, so no machine's `exp` has a say. What is left out lies 12 standard deviations away.
    """
    lowest, highest = BLOCK - 384, BLOCK + 384
    weights = {BLOCK: 1 << 192}
    for number in range(BLOCK, lowest, -1):
        weights[number - 1] = weights[number] * number // BLOCK
    for number in range(BLOCK, highest):
        weights[number + 1] = weights[number] * BLOCK // (number + 1)
    sums = list(accumulate(weights[number] for number in range(lowest, highest + 1)))
    return lowest, np.array([(below << 64) // sums[-1] for below in sums[:-1]], dtype=np.uint64)


# --- where requests stand on the axis of the cumulative rate ---------------------------------------------------------


class Places(Protocol):
    """Where each request stands, in blocks that follow one another; none is empty."""

    def first(self, block: int) -> int:
        """The number of a block's first request."""
        ...

    def block_of(self, k: int) -> int:
        """The block that request k is in."""
        ...

    def many(self, first: int, step: int, count: int) -> Floats:
        """The places of so many requests: first, first + step and so on."""
        ...

    def before(self, reached: Fraction) -> int:
        """How many requests stand before a place."""
        ...


class Evenly:
    """Request k stands at k."""

    def first(self, block: int) -> int:  # noqa: D102 see Places
        return block * BLOCK

    def block_of(self, k: int) -> int:  # noqa: D102 see Places
        return k // BLOCK

    def many(self, first: int, step: int, count: int) -> Floats:  # noqa: D102 see Places
        return (np.arange(count, dtype=np.int64) * step + first).astype(np.float64)

    def before(self, reached: Fraction) -> int:  # noqa: D102 see Places
        return -(-reached.numerator // reached.denominator)


class Scattered:
    """Requests stand where a Poisson process of a seed puts them, one per unit on average."""

    def __init__(self, seed: int) -> None:
        self._counts_key = hashed(seed, 0)
        self._places_key = hashed(seed, 1)
        self._firsts: Ints = np.zeros(1, dtype=np.int64)  # of each block so far, and of the one after
        self._block = lru_cache(maxsize=_CACHED)(self._make_block)

    def first(self, block: int) -> int:  # noqa: D102 see Places
        while block >= len(self._firsts):
            self._extend()
        return int(self._firsts[block])

    def block_of(self, k: int) -> int:  # noqa: D102 see Places
        while k >= self._firsts[-1]:
            self._extend()
        return int(self._firsts.searchsorted(k, "right")) - 1

    def many(self, first: int, step: int, count: int) -> Floats:  # noqa: D102 see Places
        parts: list[Floats] = [np.empty(0)]
        k, left = first, count
        while left > 0:
            block = self.block_of(k)
            part = self._block(block)[k - self.first(block) :: step][:left]
            parts.append(part)
            k += step * len(part)
            left -= len(part)
        return np.concatenate(parts)

    def before(self, reached: Fraction) -> int:  # noqa: D102 see Places
        block = int(reached) // BLOCK
        return self.first(block) + int(self._block(block).searchsorted(float(reached)))

    def _make_block(self, block: int) -> Floats:
        count = self.first(block + 1) - self.first(block)
        words = hashed_many(hashed(self._places_key, block), np.arange(count, dtype=np.int64))
        places = (words >> np.uint64(11)).astype(np.float64)
        places *= BLOCK * 2.0**-53
        places += block * BLOCK
        places.sort()
        return places

    def _extend(self) -> None:
        """Counts the requests of some more blocks: 8 bytes for each 1,024 requests of a run."""
        known = len(self._firsts) - 1
        blocks = np.arange(known, known + max(1024, known // 8), dtype=np.int64)
        lowest, table = _poisson_table()
        counts = table.searchsorted(hashed_many(self._counts_key, blocks), "right") + lowest
        self._firsts = np.concatenate((self._firsts, self._firsts[-1] + np.cumsum(counts)))


# --- from the cumulative rate to the clock ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Ramp:
    """A rate per second that changes linearly over a time, or not at all."""

    begin: Fraction
    end: Fraction
    duration_ns: int

    @property
    def area(self) -> Fraction:
        """How far the cumulative rate comes in it."""
        return (self.begin + self.end) * self.duration_ns / (2 * NS_PER_S)


class _Piece:
    """A ramp with a rate, at its place in time and on the axis of the cumulative rate."""

    def __init__(self, ramp: Ramp, start_ns: int, reached: Fraction) -> None:
        self.start_ns = start_ns
        self.reached = float(reached)
        self._length = float(ramp.duration_ns)
        self._area = float(ramp.area)
        self._is_rising = ramp.end > ramp.begin
        low, high = sorted((ramp.begin, ramp.end))
        self._is_gentle = 2 * low >= high
        self._low, self._high = float(low), float(high)
        self._slope = float((high - low) * NS_PER_S / ramp.duration_ns)
        self._begin = float(ramp.begin)

    def reached_at(self, elapsed_ns: int) -> float:
        """Where the cumulative rate is at an instant within."""
        seconds = (elapsed_ns - self.start_ns) / NS_PER_S
        half_slope = (self._slope if self._is_rising else -self._slope) / 2
        return self.reached + (self._begin + half_slope * seconds) * seconds

    def due_ns(self, places: Floats) -> Ints:
        """When the cumulative rate reaches each of some rising places within.

        Measured from the end of the ramp where the numbers don't cancel; either form is monotone as computed. Divided
        last, so that what is due at a whole ns, as at 1,000 per second, is due then and not 1 ns before.
        """
        along = places - self.reached
        is_from_end = self._is_gentle == self._is_rising
        if is_from_end:
            along = self._area - along
        if self._is_gentle:  # from the end with the higher rate
            root = np.sqrt(np.maximum(self._high * self._high - 2 * self._slope * along, 0.0))
            ns = along * (2 * NS_PER_S) / (self._high + root)
        else:  # from the end with the lower rate
            root = np.sqrt(np.maximum(self._low * self._low + 2 * self._slope * along, 0.0))
            ns = (root - self._low) * NS_PER_S / self._slope
        if is_from_end:
            ns = self._length - ns
        return np.clip(ns, 0.0, self._length - 1).astype(np.int64) + self.start_ns


class Course:
    """A rate over time, ramp after ramp: how far the cumulative rate has come when, and the other way round."""

    def __init__(self, ramps: Sequence[Ramp]) -> None:
        starts = list(accumulate((ramp.duration_ns for ramp in ramps), initial=0))
        reached = list(accumulate((ramp.area for ramp in ramps), initial=Fraction(0)))
        self.length_ns = starts[-1]
        self.total = reached[-1]
        placed = zip(ramps, starts, reached, strict=False)
        self._pieces = [_Piece(ramp, start, place) for ramp, start, place in placed if ramp.area]
        self._starts = [piece.start_ns for piece in self._pieces]
        self._reached = [piece.reached for piece in self._pieces]
        self._ends = [start + ramp.duration_ns for ramp, start in zip(ramps, starts, strict=False) if ramp.area]

    def reached(self, elapsed_ns: int) -> float:
        """Where the cumulative rate is at an instant."""
        index = bisect_right(self._starts, elapsed_ns) - 1
        if index < 0:
            return 0.0
        return self._pieces[index].reached_at(min(elapsed_ns, self._ends[index]))

    def due_ns(self, places: Floats) -> Ints:
        """When the cumulative rate reaches each of some rising places; nothing is due where the rate is 0."""
        if not self._pieces:
            return np.empty(0, dtype=np.int64)
        cuts = [0, *(int(cut) for cut in places.searchsorted(self._reached[1:])), len(places)]
        parts = [
            piece.due_ns(places[begin:end])
            for piece, (begin, end) in zip(self._pieces, pairwise(cuts), strict=True)
            if end > begin
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, dtype=np.int64), *parts])


# --- timetables ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Constant:
    """Evenly spaced requests of a constant rate: integers, exact."""

    rate: Fraction
    count: int | None
    duration_ns: int | None

    @cached_property
    def planned(self) -> int:
        """How many requests there are."""
        if self.count is not None:
            return self.count
        assert self.duration_ns is not None, "open load has a count or a duration"
        return -(-self.duration_ns * self.rate.numerator // (self.rate.denominator * NS_PER_S))

    @property
    def length_ns(self) -> int:
        """The duration, or the count over the rate."""
        if self.count is None and self.duration_ns is not None:
            return self.duration_ns
        return int(self.planned * NS_PER_S / self.rate)

    def due_ns(self, k: int) -> int:
        """When request k is due."""
        return k * self.rate.denominator * NS_PER_S // self.rate.numerator

    def due_many(self, first: int, step: int, count: int) -> Ints:
        """When so many requests are due: first, first + step and so on."""
        divisor = self.rate.numerator
        base, rest = divmod(first * self.rate.denominator * NS_PER_S, divisor)
        whole, part = divmod(step * self.rate.denominator * NS_PER_S, divisor)
        if max(base + count * (whole + 1), (count + 1) * divisor) >= _INT64:
            return np.array([self.due_ns(first + step * each) for each in range(count)], dtype=np.int64)
        each = np.arange(count, dtype=np.int64)
        return each * whole + base + (each * part + rest) // divisor

    def due_count(self, elapsed_ns: int) -> int:
        """How many requests are due at `elapsed_ns` or before."""
        if elapsed_ns < 0:
            return 0
        scaled = (elapsed_ns + 1) * self.rate.numerator - 1
        return min(self.planned, scaled // (self.rate.denominator * NS_PER_S) + 1)


class Varying:
    """Requests at places along a course; `count` cuts it short."""

    def __init__(self, course: Course, places: Places, count: int | None) -> None:
        self._course = course
        self._places = places
        self._count = count
        self._block = lru_cache(maxsize=_CACHED)(self._make_block)

    @cached_property
    def planned(self) -> int:
        """How many requests there are."""
        total = self._course.total
        if self._count is not None and 2 * self._count + BLOCK < total:
            return self._count  # no block is half empty, so there is no need to count all of a long course
        whole = self._places.before(total)
        return whole if self._count is None else min(self._count, whole)

    @cached_property
    def length_ns(self) -> int:
        """The course's length, or until just after the last request where the count cuts it short."""
        if self._count is None or self._count > self.planned:
            return self._course.length_ns
        return self.due_ns(self.planned - 1) + 1 if self.planned else 0

    def due_ns(self, k: int) -> int:
        """When request k is due."""
        block = self._places.block_of(k)
        return int(self._block(block)[k - self._places.first(block)])

    def due_many(self, first: int, step: int, count: int) -> Ints:
        """When so many requests are due: first, first + step and so on."""
        return self._course.due_ns(self._places.many(first, step, count))

    def due_count(self, elapsed_ns: int) -> int:
        """How many requests are due at `elapsed_ns` or before."""
        if elapsed_ns < 0 or not self.planned:
            return 0
        places = self._places
        block = min(int(self._course.reached(elapsed_ns)) // BLOCK, places.block_of(self.planned - 1))
        while block and self._block(block)[0] > elapsed_ns:  # the estimate and the due times round differently
            block -= 1
        due = places.first(block) + int(self._block(block).searchsorted(elapsed_ns, "right"))
        while due == places.first(block + 1) and due < self.planned:
            block += 1
            due += int(self._block(block).searchsorted(elapsed_ns, "right"))
        return min(due, self.planned)

    def _make_block(self, block: int) -> Ints:
        first = self._places.first(block)
        return self.due_many(first, 1, self._places.first(block + 1) - first)
