"""Closed load: a number of users, each of which sends its next request when it has its answer, after some thought."""

import asyncio
from collections import deque
from collections.abc import Sequence

import numpy as np

from agent.outcome import Outcome
from agent.pool import Pool, Reins
from agent.record import Recorder
from agent.wake import Waker
from protocol.messages import Segment
from protocol.schedule import Mix, Stripe, Users

CHUNK = 50_000
UNBOUNDED = 1 << 62


class ClosedLoad:
    """The way of closed load; see `agent.load.Load`, which alone talks to it."""

    def __init__(self, reins: Reins, segment: Segment, pools: Sequence[Pool], recorder: Recorder) -> None:
        self.clear_until_ns = 0
        self.in_flight = 0
        self._reins = reins
        self._recorder = recorder
        self.good = recorder.good_then(self._ended)  # for drivers: a request went well
        self._stripe = segment.stripe
        self._think_ns = segment.shape.think_ns
        self._mix = Mix([target.weight for target in segment.targets], segment.shape.seed)
        self._start_of = {target: pool.driver.start for pool in pools for target in pool.targets}
        self._only = pools[0].driver.start if len(segment.targets) == 1 else None
        self._phases_ns = segment.phases_ns
        # An agent's connections are its share already; users over time are of all agents.
        self._fixed = segment.connections * segment.streams
        self._users = Users(segment.shape, segment.stripe, 0) if segment.shape.users else None
        lasts = self._users.length_ns if self._users else None
        duration = segment.shape.duration_ns if lasts is None and segment.count is None else lasts
        self._length_ns = UNBOUNDED if duration is None else duration
        self._count = segment.count
        self._limit = UNBOUNDED if segment.count is None else segment.count
        self._next = 0
        self._thinking: deque[int] = deque()  # until when each of those who think does so
        self._waiting: deque[int] = deque()  # since when each of those who would send has had no connection or stream
        self._start_ns = 0
        self._waker: Waker | None = None
        # Whether whoever has an answer goes on at once: then nothing needs to be looked up.
        self._is_plain = self._users is None and not self._think_ns

    @property
    def is_more(self) -> bool:
        """Whether anything is left to start."""
        return self._next < self._limit

    def begin(self, start_ns: int, waker: Waker) -> None:
        """Be ready for the first tick."""
        self._start_ns = start_ns
        self._waker = waker

    def restripe(self, _stripe: Stripe, _elapsed_ns: int) -> bool:
        """Closed load has no timetable to split."""
        return False

    def oldest_waiting_ns(self) -> int | None:
        """Closed load keeps no ticks."""
        return None

    def tick(self, now_ns: int) -> None:
        """Have as many users at work as there should be, and wake up for the next change."""
        elapsed = now_ns - self._start_ns
        if elapsed >= self._length_ns:
            self._reins.complete()
            return
        self.clear_until_ns = min(self.clear_until_ns, self._start_ns + self._length_ns - 1)
        users = self._fixed if self._users is None else self._users.at(elapsed)
        while self._thinking and self._thinking[0] <= now_ns:
            self._waiting.append(self._thinking.popleft())
        surplus = self.in_flight + len(self._thinking) + len(self._waiting) - users
        for _ in range(min(surplus, len(self._waiting))):
            self._waiting.pop()
        self._waiting.extend([now_ns] * -surplus)
        self._serve()
        self._arm(elapsed)

    def done(self, outcome: Outcome) -> None:
        """For drivers: a request ended."""
        self._recorder.done(outcome)
        self._ended(outcome.done_ns)

    async def close_account(self, stopped_ns: int, *, is_late: bool, is_withdrawn: bool) -> None:
        """Count what was planned and not started: unsent if it ran out of time, withdrawn if it was stopped."""
        if self._count is None:
            return
        is_unsent = is_late and not is_withdrawn
        phase = sum(1 for start_ns in self._phases_ns if start_ns <= stopped_ns)
        for first in range(self._next, self._count, CHUNK):
            numbers = np.arange(first, min(first + CHUNK, self._count), dtype=np.int64)
            picks = self._mix.picks(numbers * self._stripe.of + self._stripe.index)
            for target, count in enumerate(np.bincount(picks, minlength=1).tolist()):
                if not count:
                    continue
                self._recorder.planned(phase, target, count)
                if is_unsent:
                    self._recorder.unsent(target, np.full(count, stopped_ns, dtype=np.int64), stopped_ns)
                else:
                    self._recorder.withdrawn(phase, target, count)
            await asyncio.sleep(0)

    def _ended(self, now_ns: int) -> None:
        self.in_flight -= 1
        if now_ns <= self.clear_until_ns:
            if self._is_plain:
                if self._waiting or not self._ask(now_ns):
                    self._waiting.append(now_ns)
                    self._serve()
            elif self._think_ns:
                self._think(now_ns)
                self._serve()
            else:
                self.tick(now_ns)
        elif not self._reins.is_barred(now_ns):
            self.tick(now_ns)
        if not self.in_flight:
            self._reins.finish_if_idle()

    def _think(self, now_ns: int) -> None:
        """A user has its answer, and thinks; one that is too many leaves."""
        users = self._fixed if self._users is None else self._users.at(now_ns - self._start_ns)
        if self.in_flight + len(self._thinking) + len(self._waiting) < users:
            self._thinking.append(now_ns + self._think_ns)
            if len(self._thinking) == 1:
                self._arm(now_ns - self._start_ns)

    def _serve(self) -> None:
        """Let those send who have waited longest, as far as there is room."""
        while self._waiting and self._ask(self._waiting[0]):
            self._waiting.popleft()

    def _ask(self, planned_ns: int) -> bool:
        """Start the next request; False if there is none, or nothing is free."""
        j = self._next
        if j >= self._limit:
            return False
        number = j * self._stripe.of + self._stripe.index
        if self._only is not None:
            if not self._only(0, planned_ns, number):
                return False
        else:
            target = self._mix.pick(number)
            if not self._start_of[target](target, planned_ns, number):
                return False
        self._next = j + 1
        self.in_flight += 1
        return True

    def _arm(self, elapsed: int) -> None:
        """Wake up when the first has thought, the number of users changes, or all is over."""
        at_ns = self._start_ns + self._length_ns
        if self._thinking:
            at_ns = min(at_ns, self._thinking[0])
        change_ns = self._users.next_change_ns(elapsed) if self._users else None
        if change_ns is not None:
            at_ns = min(at_ns, self._start_ns + change_ns)
        if self._waker is not None and at_ns < self._start_ns + UNBOUNDED:
            self._waker.arm(at_ns)
