"""Pure: outcomes -> interval histograms and counts -> series. Knows no clock, no bus and no socket.

A request costs a few appends; everything else happens in bulk, in portions that are too short to hold the pacer up.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from heapq import heappush, heappushpop

import numpy as np
import numpy.typing as npt

from agent.outcome import Connected, Good, Outcome
from protocol.histogram import record_rows
from protocol.messages import TIMEOUTS, Clock, Evidence, Fate, Series, SeriesKey, Target
from protocol.series import BODY_KEPT, FAILED_KEPT, REMOTES_KEPT, SLOWEST_KEPT, Tally

PORTION = 1000  # rows that are counted in one go: about 150 µs
_FATES = (Fate.OK, Fate.ERROR, Fate.CUT)
_SPANS = (Clock.RESPONSE, Clock.UNLAGGED, Clock.SERVICE, Clock.WAIT, Clock.LAG, Clock.TTFB, Clock.BODY)
_ALWAYS = 5  # of the spans: the others need a first byte
_FRESH_KEPT = 64
_STATUSES = 1000
_UNSENT_SPANS = (Clock.RESPONSE, Clock.UNLAGGED)
_Ns = npt.NDArray[np.int64]


class Recorder:
    """The outcomes of one segment; `cut` gives those done before an instant, a `Series` for each phase and target.

    All instants are ns since the segment's start, but for those of outcomes, from which `start_ns` is taken off.
    `ticks` are the instants at which the pacer took requests as due: a request was started at the first tick that is not
    before its planned time. Closed load has no ticks: there a request is started when it is planned. What was planned
    before `phases_ns[0]` belongs to phase 0, and so on. `slow_ns` are, by target, what a request must take from planned
    to done to be among the slowest so far.
    """

    def __init__(
        self,
        segment: int,
        targets: Sequence[Target],
        phases_ns: Sequence[int] = (),
        *,
        agent: str = "",
        is_open: bool = True,
    ) -> None:
        self.ticks: array[int] = array("q")
        self.totals: dict[SeriesKey, Tally] = {}
        self.start_ns = 0
        self.slow_ns = [-1] * len(targets)
        self._segment = segment
        self._targets = targets
        self._limits = [tuple(target.limits_ns) for target in targets]
        self._phases = np.array(phases_ns, dtype=np.int64)
        self._agent = agent
        self._is_open = is_open
        self._planned: array[int] = array("q")
        self._sent: array[int] = array("q")
        self._done: array[int] = array("q")
        self._kinds: array[int] = array("q")  # target, status and fate in one number
        self._bytes_in: array[int] = array("q")
        self._bytes_out: array[int] = array("q")
        self._firsts: dict[int, int] = {}  # row -> first byte; 0: none; absent: the answer came in one piece
        self._rows = 0  # counted and gone
        self._waiting: dict[SeriesKey, Tally] = {}  # counted since the last cut
        self._slowest: list[list[int]] = [[] for _ in targets]
        self._slow: list[Outcome] = []
        self._failed: list[Outcome] = []
        self._failed_seen: Counter[tuple[int, str]] = Counter()
        self._remotes: set[str] = set()
        self.good = self.good_then(lambda _done_ns: None)

    @property
    def tried(self) -> int:
        """Requests that have ended, in whatever way."""
        return self._rows + len(self._done)

    @property
    def uncounted(self) -> int:
        """Rows that wait to be counted."""
        return len(self._done)

    def good_then(self, then: Callable[[int], None]) -> Good:
        """What counts an ordinary good answer and goes on with `then(done_ns)`: one call of a driver's does both.

        Outcomes come in the order of `done_ns`.
        """
        add_planned, add_sent, add_done = self._planned.append, self._sent.append, self._done.append
        add_kind, add_bytes_in, add_bytes_out = self._kinds.append, self._bytes_in.append, self._bytes_out.append

        def good(  # noqa: PLR0913, PLR0917 see agent.outcome.Good
            target: int,
            planned_ns: int,
            sent_ns: int,
            first_ns: int,
            done_ns: int,
            status: int,
            bytes_in: int,
            bytes_out: int,
        ) -> None:
            add_planned(planned_ns)
            add_sent(sent_ns)
            add_done(done_ns)
            add_kind((target * _STATUSES + status) << 2)
            add_bytes_in(bytes_in)
            add_bytes_out(bytes_out)
            if first_ns != done_ns:
                self._firsts[self._rows + len(self._done) - 1] = first_ns
            then(done_ns)

        return good

    def done(self, outcome: Outcome) -> None:
        """Count one outcome; they come in the order of `done_ns`."""
        target = outcome.target
        fate = 0 if outcome.error is None else 2 if outcome.error in TIMEOUTS else 1
        self.good(
            target,
            outcome.planned_ns,
            outcome.sent_ns,
            outcome.first_ns,
            outcome.done_ns,
            outcome.status if outcome.status < _STATUSES else 0,
            outcome.bytes_in,
            outcome.bytes_out,
        )
        self._kinds[-1] |= fate
        if outcome.error is not None or outcome.redirects:
            tally = self._tally(self._key(outcome.planned_ns - self.start_ns, target))
            tally.redirects += outcome.redirects
            if outcome.error is not None:
                tally.classes[outcome.error] += 1
                if self._failed_seen[target, outcome.error] < FAILED_KEPT:
                    self._failed_seen[target, outcome.error] += 1
                    self._failed.append(outcome)
        response = outcome.done_ns - outcome.planned_ns
        if response > self.slow_ns[target]:
            self._keep_slow(outcome, response)

    def connected(self, target: int, at_ns: int, made: Iterable[Connected]) -> None:
        """Count connections that were made, for the driver of a target."""
        tally = self._tally(self._key(at_ns, target))
        for one in made:
            tally.histogram(f"{Clock.CONNECT}.{Fate.OK}").record(one.connect_ns)
            self._count_over(tally, target, f"{Clock.CONNECT}.{Fate.OK}", np.array([one.connect_ns]))
            if one.tls_ns is not None:
                tally.histogram(f"{Clock.TLS}.{Fate.OK}").record(one.tls_ns)
                self._count_over(tally, target, f"{Clock.TLS}.{Fate.OK}", np.array([one.tls_ns]))
            if one.remote not in self._remotes and len(self._remotes) < REMOTES_KEPT:
                self._remotes.add(one.remote)
                tally.remotes[one.remote] = None

    def planned(self, phase: int, target: int, count: int) -> None:
        """Count requests of the plan."""
        self._tally(SeriesKey(self._segment, phase, target=target)).planned += count

    def opened(self, target: int, at_ns: int, count: int) -> None:
        """Count connections by which the most that were open at once has grown."""
        if count:
            self._tally(self._key(at_ns, target)).connections += count

    def begun(self, counts: dict[int, int]) -> None:
        """Count requests that were started in time, by the second in which they were due; of all targets together."""
        self._tally(SeriesKey(self._segment)).started.update(counts)

    def reconnected(self, target: int, at_ns: int, count: int) -> None:
        """Count connections that took the place of others."""
        if count:
            self._tally(self._key(at_ns, target)).reconnects += count

    def unsent(self, target: int, planned_ns: _Ns, end_ns: int) -> None:
        """Count requests that still waited when the run ended: errors that are at least so slow."""
        waited = np.maximum(end_ns - planned_ns, 0)
        unlagged = np.maximum(end_ns - np.maximum(self._started_of(planned_ns), planned_ns), 0)
        spans = np.stack((waited, unlagged))
        for phase, chosen in self._by_phase(planned_ns):
            tally = self._tally(SeriesKey(self._segment, phase, target=target))
            tally.unsent += int(chosen.sum())
            self._record(tally, target, Fate.CUT, _UNSENT_SPANS, spans[:, chosen])

    def withdrawn(self, phase: int, target: int, count: int) -> None:
        """Count requests that were not yet due when the run was stopped."""
        self._tally(SeriesKey(self._segment, phase, target=target)).withdrawn += count

    def count(self, until_ns: int) -> bool:
        """Count a portion of the outcomes done before an instant; whether more of them are left."""
        done = np.frombuffer(self._done, dtype=np.int64)[: PORTION + 1]
        take = int(np.searchsorted(done, until_ns + self.start_ns, side="left"))
        del done
        portion = min(take, PORTION)
        if portion:
            self._count(portion)
            self._rows += portion
        return take > portion

    def cut(self, until_ns: int) -> tuple[Series, ...]:
        """What was counted since the last cut, with all outcomes done before `until_ns`. Added to `totals` as well."""
        while self.count(until_ns):
            pass
        for one, is_slow in (*((one, True) for one in self._slow), *((one, False) for one in self._failed)):
            tally = self._tally(self._key(one.planned_ns - self.start_ns, one.target))
            (tally.slow if is_slow else tally.failed).append(self._evidence(one))
        self._slow, self._failed = [], []
        waiting, self._waiting = self._waiting, {}
        found = tuple(tally.series() for _key, tally in sorted(waiting.items()))
        for series in found:
            self.totals.setdefault(series.key, Tally(series.key)).add(series)
        return found

    def forget_ticks(self, before_ns: int) -> None:
        """Let go of the ticks that no request still to be counted can have been started at."""
        del self.ticks[: int(np.searchsorted(np.frombuffer(self.ticks, dtype=np.int64), before_ns, side="left"))]

    def _count(self, take: int) -> None:
        planned, sent, done, kinds, bytes_in, bytes_out = (
            np.frombuffer(column, dtype=np.int64)[:take].copy()
            for column in (self._planned, self._sent, self._done, self._kinds, self._bytes_in, self._bytes_out)
        )
        for column in (self._planned, self._sent, self._done, self._kinds, self._bytes_in, self._bytes_out):
            del column[:take]
        planned -= self.start_ns
        sent -= self.start_ns
        done -= self.start_ns
        first, has_first = self._first_of(done, take)
        started = self._started_of(planned)
        spans = np.stack(
            (done - planned, done - started, done - sent, sent - started, started - planned, first - sent, done - first)
        )
        for phase, in_phase in self._by_phase(planned):
            for kind, chosen in _by_value(kinds >> 2, in_phase):
                target, status = divmod(kind, _STATUSES)
                tally = self._tally(SeriesKey(self._segment, phase, target=target))
                if status:
                    tally.statuses[status] += int(chosen.sum())
                tally.bytes_in += int(bytes_in[chosen].sum())
                tally.bytes_out += int(bytes_out[chosen].sum())
                self._count_fates(tally, target, kinds & 3, chosen, spans, has_first)

    def _count_fates(
        self, tally: Tally, target: int, fates: _Ns, chosen: npt.NDArray[np.bool_], spans: _Ns, has_first: _Ns
    ) -> None:
        for number, rows in _by_value(fates, chosen):
            count = int(rows.sum())
            if number:
                tally.errors += count
            else:
                tally.ok += count
            if not self._is_open:  # what is tried is what was planned
                tally.planned += count
            fate = _FATES[number]
            answered = rows & (has_first != 0)
            if answered.all():
                self._record(tally, target, fate, _SPANS, spans)
            else:
                self._record(tally, target, fate, _SPANS[:_ALWAYS], spans[:_ALWAYS, rows])
                self._record(tally, target, fate, _SPANS[_ALWAYS:], spans[_ALWAYS:, answered])

    def _first_of(self, done: _Ns, take: int) -> tuple[_Ns, _Ns]:
        """When the first bytes came, and whether any did, of the next rows."""
        first, has_first = done, np.ones(take, dtype=np.int64)
        if self._firsts:
            first = done.copy()
            for row in [row for row in self._firsts if row < self._rows + take]:
                at_ns = self._firsts.pop(row)
                first[row - self._rows] = at_ns - self.start_ns
                has_first[row - self._rows] = at_ns
        return first, has_first

    def _record(self, tally: Tally, target: int, fate: Fate, clocks: Sequence[Clock], spans_ns: _Ns) -> None:
        if not spans_ns.shape[1]:
            return
        names = [f"{clock}.{fate}" for clock in clocks]
        record_rows([tally.histogram(name) for name in names], spans_ns)
        for row, name in enumerate(names):
            self._count_over(tally, target, name, spans_ns[row])

    def _count_over(self, tally: Tally, target: int, name: str, spans_ns: _Ns) -> None:
        limits = self._limits[target]
        if limits:
            counts = tally.over.setdefault(name, [0] * len(limits))
            for position, limit in enumerate(limits):
                counts[position] += int(np.count_nonzero(spans_ns > limit))

    def _by_phase(self, planned: _Ns) -> Iterable[tuple[int, npt.NDArray[np.bool_]]]:
        if not len(self._phases):
            return ((0, np.ones(len(planned), dtype=np.bool_)),) if len(planned) else ()
        phases = np.searchsorted(self._phases, planned, side="right")
        return _by_value(phases, np.ones(len(planned), dtype=np.bool_))

    def _key(self, planned_ns: int, target: int) -> SeriesKey:
        phase = int(np.searchsorted(self._phases, planned_ns, side="right")) if len(self._phases) else 0
        return SeriesKey(self._segment, phase, target=target)

    def _tally(self, key: SeriesKey) -> Tally:
        tally = self._waiting.get(key)
        if tally is None:
            tally = self._waiting[key] = Tally(key)
        return tally

    def _started_of(self, planned: _Ns) -> _Ns:
        if not self.ticks:
            return planned
        ticks = np.frombuffer(self.ticks, dtype=np.int64)
        started: _Ns = ticks[np.minimum(np.searchsorted(ticks, planned, side="left"), len(ticks) - 1)]
        return started

    def _keep_slow(self, outcome: Outcome, response: int) -> None:
        slowest = self._slowest[outcome.target]
        if len(slowest) < SLOWEST_KEPT:
            heappush(slowest, response)
        else:
            heappushpop(slowest, response)
        if len(slowest) == SLOWEST_KEPT:
            self.slow_ns[outcome.target] = slowest[0]
        self._slow.append(outcome)
        if len(self._slow) > _FRESH_KEPT * len(self._targets):  # ever slower: each was among the slowest for a moment
            self._slow = [
                one
                for target in range(len(self._targets))
                for one in sorted(
                    (one for one in self._slow if one.target == target), key=lambda one: one.planned_ns - one.done_ns
                )[:SLOWEST_KEPT]
            ]

    def _evidence(self, outcome: Outcome) -> Evidence:
        planned = outcome.planned_ns - self.start_ns
        started = int(self._started_of(np.array([planned], dtype=np.int64))[0])
        return Evidence(
            planned_ns=planned,
            started_ns=started,
            sent_ns=outcome.sent_ns - self.start_ns,
            done_ns=outcome.done_ns - self.start_ns,
            error=outcome.error or "",
            status=outcome.status,
            text=outcome.text,
            remote=outcome.remote,
            agent=self._agent,
            body=bytes(outcome.body[outcome.body_at : outcome.body_at + BODY_KEPT]),
            first_ns=outcome.first_ns - self.start_ns if outcome.first_ns else 0,
            trace=outcome.trace,
            number=outcome.number,
        )


def _by_value(values: _Ns, chosen: npt.NDArray[np.bool_]) -> Iterable[tuple[int, npt.NDArray[np.bool_]]]:
    """The values among the chosen rows, and which of these rows have each."""
    found = values[chosen]
    if len(found) and found.min() == found.max():
        yield int(found[0]), chosen
        return
    for value in np.unique(found).tolist():
        yield int(value), chosen & (values == value)
