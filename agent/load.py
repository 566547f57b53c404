"""Starts whatever is due, and never waits for an answer to start more.

Open load: requests are due by the timetable; those for which nothing is free wait as a pair of indices into it, in
planned order. Closed load: each user's next request is due when its last one is done.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import StrEnum

from agent.outcome import Driver, Outcome
from agent.record import Recorder
from agent.wake import Waker
from protocol.messages import Segment
from protocol.schedule import NS_PER_S, Part, Stripe, Timetable

IN_TIME_NS = 100_000_000  # a request counts for its second if it was started no later than this after it was due
FROZEN_NS = 5 * NS_PER_S  # whoever did not run for so long asks before it sends again
_BUSY_RATE = 20_000
_FLOOR_NS = 100_000  # at such rates waking for each request costs more than it gives
_CHUNK = 50_000


class Ended(StrEnum):
    """Why a segment ended."""

    COMPLETE = "complete"
    MAX_DURATION = "max-duration"
    STOPPED = "stopped"
    LEASE = "lease"
    LOST = "lost"  # the controller counts this agent as lost


class Lease:
    """Until when this agent may make load without hearing from a controller."""

    def __init__(self, until_ns: int) -> None:
        self.until_ns = until_ns


class Load:
    """One segment's load on one driver. `run` it once; `stop` it early.

    All instants are ns since the segment's start, but those of `now_ns` and of the lease, which are the machine's.
    """

    def __init__(
        self,
        segment: Segment,
        driver: Driver,
        recorder: Recorder,
        lease: Lease,
        *,
        now_ns: Callable[[], int],
        make_waker: Callable[[Callable[[], None]], Waker],
    ) -> None:
        self._segment = segment
        self._driver = driver
        self._recorder = recorder
        self._lease = lease
        self._now_ns = now_ns
        self._make_waker = make_waker
        shape = segment.shape
        self._part = Part(Timetable(shape), (segment.stripe,)) if shape.is_open else None
        self._floor_ns = _FLOOR_NS if self._part and self._own_rate() >= _BUSY_RATE else 0
        self._taken = 0  # of the own requests, those that the pacer took as due
        self._next = 0  # of those, the first that still waits
        self._in_flight = 0
        self._count = self._part.planned if self._part else segment.count
        self._ended: Ended | None = None
        self._finished = asyncio.Event()
        self._start_ns = 0
        self._last_ns = 0
        self._waker: Waker | None = None
        self._marks: deque[tuple[int, int]] = deque()
        self._reconnects = 0
        self._stopped_ns = 0  # when the last request could be started; negative if it was stopped before the start
        self.is_held = False
        self.elapsed_ns = 0

    @property
    def finished(self) -> asyncio.Event:
        """Set when nothing is in flight and nothing will be started any more."""
        return self._finished

    @property
    def pacer(self) -> str:
        """What wakes the pacer."""
        return self._waker.kind if self._waker else ""

    def begin(self, start_ns: int) -> None:
        """Make load from an instant of `now_ns` on; it may lie ahead."""
        self._start_ns = start_ns
        self._last_ns = self._now_ns()
        self._reconnects = self._driver.reconnects
        self._driver.done = self._done
        self._waker = self._make_waker(self._tick)
        self._waker.arm(start_ns)

    def stop(self, why: Ended) -> None:
        """Start nothing more; what is in flight ends by itself, within its time-out."""
        if self._ended is None:
            self._ended = why
            self._stopped_ns = self._now_ns() - self._start_ns
            self._finish_if_idle()

    def abandon(self) -> None:
        """Start nothing more, and don't wait for what is in flight: nobody counts it any more."""
        self._ended = self._ended or Ended.STOPPED
        if self._waker:
            self._waker.close()

    def resume(self) -> None:
        """The controller answered: go on after a freeze."""
        if self.is_held:
            self.is_held = False
            self._last_ns = self._now_ns()
            self._tick()

    def restripe(self, stripe: Stripe) -> bool:
        """From a request on, another part of the timetable is this agent's own; False if it is too late for that."""
        part = self._part
        if part is None or self._ended is not None:
            return False
        if part.timetable.due_count(self._now_ns() - self._start_ns) > stripe.first:
            return False  # some from there on were started by the old stripe
        self._part = part.restriped(stripe)
        self._count = self._part.planned
        self._tick()
        return True

    def watch(self) -> None:
        """Call this several times a second: a tick for what no outcome and no due time brings about."""
        self._tick()
        reconnects = self._driver.reconnects
        self._recorder.reconnected(reconnects - self._reconnects)
        self._reconnects = reconnects

    def sweep(self, horizon_ns: int) -> None:
        """Let the recorder forget what no request in flight can need: none was sent longer ago than the horizon."""
        now = self._now_ns() - self._start_ns
        if self._part and self._next < self._count_or_none(self._part.planned):
            self._marks.append((now, self._part.due_ns(self._next)))
            while len(self._marks) > 1 and self._marks[1][0] < now - horizon_ns:
                self._marks.popleft()
            if self._marks[0][0] < now - horizon_ns:
                self._recorder.forget_ticks(self._marks[0][1])

    async def close_account(self) -> None:
        """Count what was planned and not tried. Call once, when finished."""
        tried = self._recorder.tried
        if self._part is None:
            planned = tried if self._count is None else self._count
            left = planned - tried
            is_unsent = self._ended is Ended.MAX_DURATION
            if left and is_unsent:
                await self._unsent_in_chunks(left, lambda _j: self._stopped_ns)
            elif left:
                self._recorder.withdrawn(left)
            self._recorder.planned(planned)
            return
        part = self._part
        if self._ended in (Ended.LEASE, Ended.LOST):  # not the target's doing, so nothing here is an error of its
            self._recorder.withdrawn(part.planned - self._next)
            self._recorder.planned(part.planned)
            return
        due = part.planned if self._ended is Ended.MAX_DURATION else max(self._taken, part.due_count(self._stopped_ns))
        first = self._next
        await self._unsent_in_chunks(due - first, lambda j: part.due_ns(first + j))
        if part.planned > due:
            self._recorder.withdrawn(part.planned - due)
        self._recorder.planned(part.planned)

    async def _unsent_in_chunks(self, count: int, planned_ns: Callable[[int], int]) -> None:
        for first in range(0, count, _CHUNK):
            self._recorder.unsent([planned_ns(j) for j in range(first, min(first + _CHUNK, count))], self._stopped_ns)
            await asyncio.sleep(0)

    def _own_rate(self) -> float:
        assert self._part is not None
        return self._part.planned / max(self._part.timetable.length_ns, 1) * 1e9

    def _count_or_none(self, count: int | None) -> int:
        return 1 << 62 if count is None else count

    def _tick(self) -> None:
        now = self._now_ns()
        if self._is_barred(now):
            return
        elapsed = now - self._start_ns
        if elapsed < 0:
            return
        if self._part is None:
            self._start_users(elapsed)
        else:
            self._take_due(self._part, elapsed)
        self._finish_if_idle()

    def _is_barred(self, now: int) -> bool:
        """Whether nothing may be started now: ended, out of lease, too late, or frozen for a while until just now."""
        if self._ended is not None:
            return True
        if now > self._lease.until_ns:
            self.stop(Ended.LEASE)
            return True
        if now - self._start_ns > self._segment.max_length_ns:
            self.stop(Ended.MAX_DURATION)
            return True
        if now - self._last_ns > FROZEN_NS and now - self._start_ns > FROZEN_NS:
            self.is_held = True
        self._last_ns = now
        return self.is_held

    def _take_due(self, part: Part, elapsed: int) -> None:
        due = part.due_count(elapsed)
        if due > self._taken:
            self._recorder.ticks.append(elapsed)
            self._recorder.begun(begun_in_time(part, self._taken, due, elapsed))
            self._taken = due
        self._start_waiting(part)
        if due < part.planned and self._waker:
            self._waker.arm(max(part.due_ns(due), elapsed + self._floor_ns) + self._start_ns)

    def _start_waiting(self, part: Part) -> None:
        start = self._driver.start
        while self._next < self._taken and start(0, part.due_ns(self._next)):
            self._next += 1
            self._in_flight += 1

    def _start_users(self, elapsed: int) -> None:
        """Closed load: whoever is free asks for the next."""
        duration = self._segment.shape.duration_ns
        if self._segment.shape.count is None and duration is not None and elapsed >= duration:
            self.stop(Ended.COMPLETE)
            return
        count = self._count_or_none(self._count)
        while self._in_flight < self._segment.connections and self._next < count:
            if not self._driver.start(0, self._now_ns() - self._start_ns):
                return
            self._next += 1
            self._in_flight += 1

    def _done(self, outcome: Outcome) -> None:
        self._in_flight -= 1
        outcome.done_ns -= self._start_ns
        outcome.sent_ns -= self._start_ns
        self._recorder.done(outcome)
        if self._part is None:
            self._tick()
        elif self._next < self._taken and not self._is_barred(self._now_ns()):
            self._start_waiting(self._part)
        if not self._in_flight:
            self._finish_if_idle()

    def _finish_if_idle(self) -> None:
        if self._in_flight or self._finished.is_set():
            return
        if self._ended is None:
            if self._count is None or self._next < self._count:
                return
            self._ended = Ended.COMPLETE
            self._stopped_ns = max(0, self._now_ns() - self._start_ns)
        self.elapsed_ns = max(0, self._now_ns() - self._start_ns)
        if self._waker:
            self._waker.close()
        self._finished.set()

    @property
    def ended(self) -> Ended:
        """Why it ended; asked when finished."""
        return self._ended or Ended.STOPPED


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
