"""Pure: outcomes -> interval histograms and counts -> series. Knows no clock, no bus and no socket.

An outcome costs a few appends; everything else happens in bulk when an interval is cut.
"""

from array import array
from collections import Counter
from collections.abc import Sequence
from heapq import heappush, heappushpop

import numpy as np
import numpy.typing as npt

from agent.outcome import Outcome
from protocol.messages import TIMEOUTS, Clock, Evidence, Fate, Series, SeriesKey
from protocol.series import BODY_KEPT, FAILED_KEPT, REMOTES_KEPT, SLOWEST_KEPT, Tally

_FATES = (Fate.OK, Fate.ERROR, Fate.CUT)
_FRESH_KEPT = 64
_Ns = npt.NDArray[np.int64]


class Recorder:
    """The outcomes of one target in one segment; `cut` gives those done before an instant as a `Series`.

    `limits_ns` are the limits above which requests are counted exactly. `ticks` are the instants at which the pacer
    took requests as due: a request was started at the first tick that is not before its planned time. Closed load has
    no ticks: there a request is started when it is planned.
    """

    def __init__(self, key: SeriesKey, limits_ns: Sequence[int], *, agent: str = "") -> None:
        self.key = key
        self.ticks: array[int] = array("q")
        self.total = Tally(key)
        self.tried = 0
        self._limits = tuple(limits_ns)
        self._agent = agent
        self._planned: array[int] = array("q")
        self._sent: array[int] = array("q")
        self._done: array[int] = array("q")
        self._fates: array[int] = array("b")
        self._waiting = Tally(key)  # counted since the last cut, other than the arrays above
        self._slowest: list[int] = []
        self._slow_floor = -1
        self._slow: list[Outcome] = []
        self._failed: list[Outcome] = []
        self._failed_seen: Counter[str] = Counter()
        self._remotes: set[str] = set()

    def done(self, outcome: Outcome) -> None:
        """Count one outcome; they come in the order of `done_ns`."""
        self.tried += 1
        self._planned.append(outcome.planned_ns)
        self._sent.append(outcome.sent_ns)
        self._done.append(outcome.done_ns)
        waiting = self._waiting
        waiting.bytes_in += outcome.bytes_in
        waiting.bytes_out += outcome.bytes_out
        if outcome.status:
            waiting.statuses[outcome.status] += 1
        if outcome.error is None:
            self._fates.append(0)
        else:
            self._fates.append(2 if outcome.error in TIMEOUTS else 1)
            waiting.classes[outcome.error] += 1
            if self._failed_seen[outcome.error] < FAILED_KEPT:
                self._failed_seen[outcome.error] += 1
                self._failed.append(outcome)
        response = outcome.done_ns - outcome.planned_ns
        if response > self._slow_floor:
            self._keep_slow(outcome, response)
        if outcome.remote not in self._remotes and outcome.remote and len(self._remotes) < REMOTES_KEPT:
            self._remotes.add(outcome.remote)
            waiting.remotes[outcome.remote] = None

    def planned(self, count: int) -> None:
        """Count requests of the plan."""
        self._waiting.planned += count

    def begun(self, counts: dict[int, int]) -> None:
        """Count requests that were started in time, by the second in which they were due."""
        self._waiting.started.update(counts)

    def reconnected(self, count: int) -> None:
        """Count connections that took the place of others."""
        self._waiting.reconnects += count

    def unsent(self, planned_ns: Sequence[int], end_ns: int) -> None:
        """Count requests that still waited when the run ended: errors that are at least so slow."""
        planned = np.array(planned_ns, dtype=np.int64)
        self._waiting.unsent += len(planned)
        waited = np.maximum(end_ns - planned, 0)
        started = self._started_of(planned)
        self._record(self._waiting, Clock.RESPONSE, Fate.CUT, waited)
        self._record(self._waiting, Clock.UNLAGGED, Fate.CUT, np.maximum(end_ns - np.maximum(started, planned), 0))

    def withdrawn(self, count: int) -> None:
        """Count requests that were not yet due when the run was stopped."""
        self._waiting.withdrawn += count

    def cut(self, until_ns: int) -> Series:
        """What was counted since the last cut; of outcomes, those done before `until_ns`. Added to `total` as well."""
        tally, self._waiting = self._waiting, Tally(self.key)
        take = int(np.searchsorted(np.frombuffer(self._done, dtype=np.int64), until_ns, side="left"))
        if take:
            self._count(tally, take)
            for column in (self._planned, self._sent, self._done, self._fates):
                del column[:take]
        tally.slow = [self._evidence(one) for one in self._slow]
        tally.failed = [self._evidence(one) for one in self._failed]
        self._slow, self._failed = [], []
        interval = tally.series()
        self.total.add(interval)
        return interval

    def forget_ticks(self, before_ns: int) -> None:
        """Let go of the ticks that no request still to be counted can have been started at."""
        del self.ticks[: int(np.searchsorted(np.frombuffer(self.ticks, dtype=np.int64), before_ns, side="left"))]

    def _count(self, tally: Tally, take: int) -> None:
        planned, sent, done = (
            np.frombuffer(column, dtype=np.int64)[:take].copy() for column in (self._planned, self._sent, self._done)
        )
        fates = np.frombuffer(self._fates, dtype=np.int8)[:take].copy()
        started = self._started_of(planned)
        spans = {
            Clock.RESPONSE: done - planned,
            Clock.UNLAGGED: done - started,
            Clock.SERVICE: done - sent,
            Clock.WAIT: sent - started,
            Clock.LAG: started - planned,
        }
        for number, fate in enumerate(_FATES):
            chosen = fates == number
            if not chosen.any():
                continue
            for clock, span in spans.items():
                self._record(tally, clock, fate, span[chosen])
        tally.ok += int((fates == 0).sum())
        tally.errors += int((fates != 0).sum())

    def _record(self, tally: Tally, clock: Clock, fate: Fate, spans_ns: _Ns) -> None:
        name = f"{clock}.{fate}"
        tally.histogram(name).record_many(spans_ns)
        if self._limits and clock not in (Clock.WAIT, Clock.LAG):
            counts = tally.over.setdefault(name, [0] * len(self._limits))
            for position, limit in enumerate(self._limits):
                counts[position] += int((spans_ns > limit).sum())

    def _started_of(self, planned: _Ns) -> _Ns:
        if not self.ticks:
            return planned
        ticks = np.frombuffer(self.ticks, dtype=np.int64)
        started: _Ns = ticks[np.minimum(np.searchsorted(ticks, planned, side="left"), len(ticks) - 1)]
        return started

    def _keep_slow(self, outcome: Outcome, response: int) -> None:
        if len(self._slowest) < SLOWEST_KEPT:
            heappush(self._slowest, response)
        else:
            heappushpop(self._slowest, response)
        if len(self._slowest) == SLOWEST_KEPT:
            self._slow_floor = self._slowest[0]
        self._slow.append(outcome)
        if len(self._slow) > _FRESH_KEPT:  # ever slower answers: each was among the slowest for a moment
            self._slow.sort(key=lambda one: one.planned_ns - one.done_ns)
            del self._slow[SLOWEST_KEPT:]

    def _evidence(self, outcome: Outcome) -> Evidence:
        started = int(self._started_of(np.array([outcome.planned_ns], dtype=np.int64))[0])
        return Evidence(
            planned_ns=outcome.planned_ns,
            started_ns=started,
            sent_ns=outcome.sent_ns,
            done_ns=outcome.done_ns,
            error=outcome.error or "",
            status=outcome.status,
            text=outcome.text,
            remote=outcome.remote,
            agent=self._agent,
            body=bytes(outcome.body[outcome.body_at : outcome.body_at + BODY_KEPT]),
        )
