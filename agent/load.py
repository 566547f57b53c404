"""One segment's load: begins, is watched, ends; what is started when is up to its way, open or closed.

The load decides whether anything may be started at all: it ended, its lease ran out, it is too late, or this process
stood still for so long that it must ask first.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum

from agent.closed_load import ClosedLoad
from agent.open_load import OpenLoad
from agent.outcome import Driver
from agent.pool import Pool, Reins
from agent.record import Recorder
from agent.wake import Waker
from protocol.arrivals import NS_PER_S
from protocol.messages import Segment
from protocol.schedule import Stripe

FROZEN_NS = 5 * NS_PER_S  # whoever did not run for so long asks before it sends again


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
    """One segment's load on its drivers. `begin` it once; `stop` it early.

    All instants are ns since the segment's start, but those of `now_ns`, of the lease and of drivers, which are the
    machine's.
    """

    def __init__(
        self,
        segment: Segment,
        pools: Sequence[Pool],
        recorder: Recorder,
        lease: Lease,
        *,
        now_ns: Callable[[], int],
        make_waker: Callable[[Callable[[], None]], Waker],
    ) -> None:
        self._segment = segment
        self._pools = pools
        self._recorder = recorder
        self._lease = lease
        self._now_ns = now_ns
        self._make_waker = make_waker
        reins = Reins(self.is_barred, self.finish_if_idle, self.complete)
        self._way = (OpenLoad if segment.shape.is_open else ClosedLoad)(reins, segment, pools, recorder)
        self._ended: Ended | None = None
        self._finished = asyncio.Event()
        self._start_ns = 0
        self._last_ns = 0
        self._waker: Waker | None = None
        self._marks: deque[tuple[int, int]] = deque()
        self._told: dict[Driver, tuple[int, int]] = {}
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

    @property
    def ended(self) -> Ended:
        """Why it ended; asked when finished."""
        return self._ended or Ended.STOPPED

    def begin(self, start_ns: int) -> None:
        """Make load from an instant of `now_ns` on; it may lie ahead."""
        self._start_ns = start_ns
        self._last_ns = self._now_ns()
        self._recorder.start_ns = start_ns
        self._waker = self._make_waker(self._tick)
        self._way.begin(start_ns, self._waker)
        for pool in self._pools:
            driver = pool.driver
            self._told.setdefault(driver, (driver.reconnects, 0))
            driver.slow_ns = self._recorder.slow_ns
            driver.good, driver.done = self._way.good, self._way.done
        self._waker.arm(start_ns)

    def stop(self, why: Ended) -> None:
        """Start nothing more; what is in flight ends by itself, within its time-out."""
        if self._ended is None:
            self._ended = why
            self._way.clear_until_ns = 0
            self._stopped_ns = self._now_ns() - self._start_ns
            self.finish_if_idle()

    def complete(self) -> None:
        """The way has nothing more to start."""
        self.stop(Ended.COMPLETE)

    def abandon(self) -> None:
        """Start nothing more, and don't wait for what is in flight: nobody counts it any more."""
        self._ended = self._ended or Ended.STOPPED
        self._way.clear_until_ns = 0
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
        if self._ended is not None or not self._way.restripe(stripe, self._now_ns() - self._start_ns):
            return False
        self._tick()
        return True

    def watch(self) -> None:
        """Call this several times a second: a tick for what no outcome and no due time brings about."""
        self._tick()
        now = self._now_ns() - self._start_ns
        for pool in self._pools:
            driver = pool.driver
            reconnects, most_open = self._told.get(driver, (driver.reconnects, 0))
            self._recorder.reconnected(pool.first, now, driver.reconnects - reconnects)
            self._recorder.opened(pool.first, now, driver.most_open - most_open)
            self._told[driver] = (driver.reconnects, driver.most_open)
            if driver.connected:
                self._recorder.connected(pool.first, now, driver.connected)
                driver.connected.clear()

    def sweep(self, horizon_ns: int) -> None:
        """Let the recorder forget what no request in flight can need: none was sent longer ago than the horizon."""
        now = self._now_ns() - self._start_ns
        oldest_ns = self._way.oldest_waiting_ns()
        if oldest_ns is not None:
            self._marks.append((now, oldest_ns))
            while len(self._marks) > 1 and self._marks[1][0] < now - horizon_ns:
                self._marks.popleft()
            if self._marks[0][0] < now - horizon_ns:
                self._recorder.forget_ticks(self._marks[0][1])

    async def close_account(self) -> None:
        """Count what was planned and not tried. Call once, when finished."""
        is_ours = self._ended in (Ended.LEASE, Ended.LOST)  # not the target's doing: nothing here is an error of its
        await self._way.close_account(self._stopped_ns, is_late=self._ended is Ended.MAX_DURATION, is_withdrawn=is_ours)

    def is_barred(self, now_ns: int) -> bool:
        """Whether nothing may be started now: ended, out of lease, too late, or frozen for a while until just now."""
        if self._ended is not None:
            return True
        latest_ns = self._start_ns + self._segment.max_length_ns
        if now_ns > self._lease.until_ns:
            self.stop(Ended.LEASE)
            return True
        if now_ns > latest_ns:
            self.stop(Ended.MAX_DURATION)
            return True
        if now_ns - self._last_ns > FROZEN_NS and now_ns - self._start_ns > FROZEN_NS:
            self.is_held = True
        self._last_ns = now_ns
        # Until then the way need not ask again.
        clear_ns = 0 if self.is_held else min(self._lease.until_ns, latest_ns, now_ns + FROZEN_NS)
        self._way.clear_until_ns = clear_ns
        return self.is_held

    def finish_if_idle(self) -> None:
        """End when nothing is in flight, and nothing is left to start."""
        if self._way.in_flight or self._finished.is_set():
            return
        if self._ended is None:
            if self._way.is_more:
                return
            self._ended = Ended.COMPLETE
            self._way.clear_until_ns = 0
            self._stopped_ns = max(0, self._now_ns() - self._start_ns)
        self.elapsed_ns = max(0, self._now_ns() - self._start_ns)
        if self._waker:
            self._waker.close()
        self._finished.set()

    def _tick(self) -> None:
        now_ns = self._now_ns()
        if self.is_barred(now_ns) or now_ns < self._start_ns:
            return
        self._way.tick(now_ns)
        self.finish_if_idle()
