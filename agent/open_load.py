"""Open load: requests are due by the timetable, and nothing waits for an answer to start more.

What waits for a connection is a pair of indices into the timetable per pool, taken in planned order.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agent.outcome import Outcome
from agent.pool import Pool, Reins
from agent.record import Recorder
from agent.wake import Waker
from protocol.arrivals import NS_PER_S
from protocol.messages import Segment
from protocol.schedule import Mix, Part, Stripe, Timetable
from protocol.spread import spreads

IN_TIME_NS = 100_000_000  # a request counts for its second if it was started no later than this after it was due
BLOCK = 256
CHUNK = 50_000
_BUSY_RATE = 15_000
_FLOOR_NS = 70_000  # at such rates waking for each request costs more than it gives
_KEPT_BLOCKS = 8
_Ns = npt.NDArray[np.int64]
_Count = Callable[[int, int, int], None]  # phase, target, how many


class _Block(NamedTuple):
    """Some of the own requests: when each is due, its number over all agents, and its target."""

    first: int
    due: list[int]
    numbers: list[int]
    targets: list[int]


class _Lane:
    """A pool, and the first of its requests that was not started yet."""

    def __init__(self, pool: Pool, *, is_only: bool) -> None:
        self.start = pool.driver.start
        self.targets = pool.targets
        self.is_only = is_only
        self.next = 0


class OpenLoad:
    """The way of open load; see `agent.load.Load`, which alone talks to it."""

    def __init__(self, reins: Reins, segment: Segment, pools: Sequence[Pool], recorder: Recorder) -> None:
        self.clear_until_ns = 0
        self.in_flight = 0
        self._reins = reins
        self._recorder = recorder
        self.good = recorder.good_then(self._ended)  # for drivers: a request went well
        self._phases_ns = segment.phases_ns
        self._weights = [target.weight for target in segment.targets]
        self._seed = segment.shape.seed
        self._mix = Mix(self._weights, self._seed)
        self._targets = len(segment.targets)
        self._lanes = [_Lane(pool, is_only=len(pools) == 1) for pool in pools]
        self._part = Part(Timetable(segment.shape), (segment.stripe,))
        rate = self._part.planned / max(self._part.timetable.length_ns, 1) * NS_PER_S
        self._floor_ns = _FLOOR_NS if rate >= _BUSY_RATE else 0
        self._blocks: dict[int, _Block] = {}
        self._block = self._block_at(0)
        self._at = 0  # of the block: the first that is not due yet
        self._taken = 0  # of the own requests, those that the pacer took as due
        self._second = range(0)
        self._start_ns = 0
        self._waker: Waker | None = None

    @property
    def is_more(self) -> bool:
        """Whether anything is left to start."""
        return any(lane.next < self._part.planned for lane in self._lanes)

    def begin(self, start_ns: int, waker: Waker) -> None:
        """Be ready for the first tick."""
        self._start_ns = start_ns
        self._waker = waker

    def restripe(self, stripe: Stripe, elapsed_ns: int) -> bool:
        """Go on with another part of the timetable, unless some of it was due already."""
        if self._part.timetable.due_count(elapsed_ns) > stripe.first:
            return False  # some from there on were started by the old stripe
        self._part = self._part.restriped(stripe)
        self._blocks.clear()
        self._block, self._at = self._block_at(self._taken), self._taken % BLOCK
        return True

    def oldest_waiting_ns(self) -> int | None:
        """When the first request that was not started is due; None if there is none."""
        first = min(lane.next for lane in self._lanes)
        return self._part.due_ns(first) if first < self._part.planned else None

    def tick(self, now_ns: int) -> None:
        """Start what is due, as far as connections are free, and wake up for the next."""
        elapsed = now_ns - self._start_ns
        block, at = self._block, self._at
        until = bisect_right(block.due, elapsed, at)
        if until > at:
            self._recorder.ticks.append(elapsed)
            self._take(block, at, until, elapsed)
            while until == len(block.due) and self._taken < self._part.planned:
                block = self._block = self._block_at(self._taken)
                until = bisect_right(block.due, elapsed)
                self._take(block, 0, until, elapsed)
            self._at = until
            for lane in self._lanes:
                self._fill(lane)
        if self._taken < self._part.planned and self._waker is not None:
            self._waker.arm(max(self._block.due[self._at], elapsed + self._floor_ns) + self._start_ns)

    def done(self, outcome: Outcome) -> None:
        """For drivers: a request ended."""
        self._recorder.done(outcome)
        self._ended(outcome.done_ns)

    async def close_account(self, stopped_ns: int, *, is_late: bool, is_withdrawn: bool) -> None:
        """Count what was planned, and of that what was not started: unsent where it was due, withdrawn else."""
        part = self._part
        due = part.planned if is_late else max(self._taken, part.due_count(stopped_ns))
        for lane in self._lanes:
            if not is_withdrawn:
                for target, planned_ns in self._own_of(lane, lane.next, due):
                    self._recorder.unsent(target, planned_ns, stopped_ns)
                    await asyncio.sleep(0)
            await self._count(self._recorder.withdrawn, lane, lane.next if is_withdrawn else due)
            await self._count(self._recorder.planned, lane, 0)

    def _ended(self, now_ns: int) -> None:
        self.in_flight -= 1
        taken = self._taken
        for lane in self._lanes:
            if lane.next < taken:
                if now_ns > self.clear_until_ns and self._reins.is_barred(now_ns):
                    break
                self._fill(lane)
        if not self.in_flight:
            self._reins.finish_if_idle()

    def _take(self, block: _Block, at: int, until: int, elapsed: int) -> None:
        """Note that requests were taken as due, and whether that was in time."""
        self._taken = block.first + until
        if until == at:
            return
        first, last = block.due[at], block.due[until - 1]
        if elapsed - first <= IN_TIME_NS and first // NS_PER_S == last // NS_PER_S:
            self._recorder.begun({first // NS_PER_S: until - at})
        else:
            self._recorder.begun(begun_in_time(self._part, block.first + at, block.first + until, elapsed))

    def _fill(self, lane: _Lane) -> None:
        """Start what waits in a lane, in planned order, as far as its driver has room."""
        start, start_ns, j, taken = lane.start, self._start_ns, lane.next, self._taken
        while j < taken:
            block = self._block if j >= self._block.first else self._block_at(j)
            at, until = j - block.first, min(taken - block.first, len(block.due))
            while at < until:
                target = block.targets[at]
                if lane.is_only or target in lane.targets:
                    if not start(target, block.due[at] + start_ns, block.numbers[at]):
                        lane.next = block.first + at
                        return
                    self.in_flight += 1
                at += 1
            j = block.first + at
        lane.next = j

    def _block_at(self, j: int) -> _Block:
        """The block that holds the j-th own request."""
        index = j // BLOCK
        block = self._blocks.get(index)
        if block is None:
            due, numbers = self._part.due_block(index * BLOCK, BLOCK)
            targets = [0] * len(due) if self._targets == 1 else self._mix.picks(numbers).tolist()
            block = _Block(index * BLOCK, due.tolist(), numbers.tolist(), targets)
            while len(self._blocks) >= _KEPT_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[index] = block
        return block

    def _own_of(self, lane: _Lane, first: int, until: int) -> Iterator[tuple[int, _Ns]]:
        """When a lane's requests from the j-th on are due, in chunks, by target."""
        for j in range(first, until, CHUNK):
            due, numbers = self._part.due_block(j, min(CHUNK, until - j))
            if self._targets == 1:
                yield 0, due
                continue
            picks = self._mix.picks(numbers)
            for target in sorted(lane.targets):
                chosen = picks == target
                if chosen.any():
                    yield target, due[chosen]

    async def _count(self, count: _Count, lane: _Lane, first: int) -> None:
        """Count a lane's requests from the j-th on, by phase and target."""
        planned = self._part.planned
        for portion in spreads(self._part, self._weights, self._seed, self._phases_ns, first, planned):
            for (phase, target), requests in portion.items():
                if lane.is_only or target in lane.targets:
                    count(phase, target, requests)
            await asyncio.sleep(0)


def begun_in_time(part: Part, first: int, until: int, at_ns: int) -> dict[int, int]:
    """Of the own requests from `first` up to `until`, all started at an instant, those that were in time, by second."""
    first = max(first, part.due_count(at_ns - IN_TIME_NS - 1))
    counts: dict[int, int] = {}
    while first < until:
        second = part.due_ns(first) // NS_PER_S
        end = min(until, part.due_count((second + 1) * NS_PER_S - 1))
        counts[second] = end - first
        first = end
    return counts
