from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.outcome import Connected, Outcome
from agent.record import PORTION, Recorder
from protocol.histogram import Histogram
from protocol.messages import TIMEOUTS, Clock, ErrorClass, Fate, Series, SeriesKey, Target
from protocol.series import BODY_KEPT, FAILED_KEPT, REMOTES_KEPT, SLOWEST_KEPT, Tally

quick = settings(deadline=None, max_examples=30)
KEY = SeriesKey(segment=2)
LIMITS = (0, 1_000_000, 1_000_001, 5_000_000)
FOREVER = 1 << 62
spans = st.integers(0, 6_000_000) | st.sampled_from([0, 1, 1_000_000, 1_000_001, 5_000_000])
errors = st.sampled_from([None, None, None, ErrorClass.STATUS, ErrorClass.RESET, *TIMEOUTS])


START = 7_000_000_000
TARGET = Target(endpoint="", url="http://127.0.0.1/", limits_ns=LIMITS)


@dataclass(frozen=True)
class Request:
    """One request and all that is true of it; `first` is None if no byte came back."""

    planned: int
    started: int
    sent: int
    done: int
    error: ErrorClass | None
    status: int
    first: int | None = None
    target: int = 0

    @property
    def fate(self):
        return Fate.OK if self.error is None else Fate.CUT if self.error in TIMEOUTS else Fate.ERROR

    @property
    def clocks(self):
        return {
            Clock.RESPONSE: self.done - self.planned,
            Clock.UNLAGGED: self.done - self.started,
            Clock.SERVICE: self.done - self.sent,
            Clock.WAIT: self.sent - self.started,
            Clock.LAG: self.started - self.planned,
        } | ({} if self.first is None else {Clock.TTFB: self.first - self.sent, Clock.BODY: self.done - self.first})

    def outcome(self):
        return Outcome(
            self.target,
            START + self.planned,
            START + self.sent,
            START + self.done,
            self.error,
            status=self.status,
            bytes_in=7,
            bytes_out=3,
            first_ns=0 if self.first is None else START + self.first,
        )

    def tell(self, recorder):
        """As a driver does: an ordinary good answer by a plain call, whatever else in full."""
        if self.error is None and self.done - self.planned <= recorder.slow_ns[self.target]:
            plain = (START + one for one in (self.planned, self.sent, self.first or 0, self.done))
            recorder.good(self.target, *plain, self.status, 7, 3)
        else:
            recorder.done(self.outcome())


@st.composite
def loads(draw, *, least=0, is_open=True, targets=1):
    """The ticks of a pacer, and requests in the order in which they were done."""
    planned, ticks = 0, set()
    plans = []
    for _ in range(draw(st.integers(least, 40))):
        planned += draw(st.integers(1, 3_000_000))
        plans.append(planned)
        ticks.add(planned + draw(st.sampled_from([0, 0, 100, 2_000_000])))
    ordered = sorted(ticks) if is_open else []
    requests = []
    for planned in plans:
        started = next((tick for tick in ordered if tick >= planned), planned)
        sent = started + draw(st.sampled_from([0, 0, 500_000]) if is_open else st.just(0))
        error = draw(errors)
        status = 200 if error is None else 500 if error is ErrorClass.STATUS else 0
        done = sent + draw(spans)
        first = draw(st.sampled_from([done, done, (sent + done) // 2]))
        if not status and draw(st.booleans()):
            first = None
        target = draw(st.integers(0, targets - 1))
        requests.append(Request(planned, started, sent, done, error, status, first, target))
    return ordered, sorted(requests, key=lambda one: one.done)


def a_recorder(*, targets=1, phases_ns=(), is_open=True):
    recorder = Recorder(KEY.segment, (TARGET,) * targets, phases_ns, agent="agent-1", is_open=is_open)
    recorder.start_ns = START
    return recorder


def recorded(ticks, requests):
    recorder = a_recorder()
    recorder.ticks.extend(ticks)
    for one in requests:
        one.tell(recorder)
    return recorder


def only(found):
    """The series of the one key there is."""
    assert len(found) <= 1
    return found[0] if found else Series(KEY)


def total_of(recorder):
    return only([tally.series() for tally in recorder.totals.values()])


def histogram_of(samples):
    histogram = Histogram()
    histogram.record_many(np.array(samples, dtype=np.int64))
    return histogram.pack()


def check_against_raw(series, requests):
    """The series says of these requests exactly what is true of them."""
    raw = defaultdict(list)
    for one in requests:
        for clock, span in one.clocks.items():
            raw[f"{clock}.{one.fate}"].append(span)
    assert series.histograms == {name: histogram_of(samples) for name, samples in raw.items()}
    assert series.over == {
        name: tuple(sum(span > limit for span in samples) for limit in LIMITS) for name, samples in raw.items()
    }
    assert series.ok == sum(one.error is None for one in requests)
    assert series.errors == sum(one.error is not None for one in requests)
    assert series.classes == Counter(one.error for one in requests if one.error)
    assert series.statuses == Counter(one.status for one in requests if one.status)
    assert (series.bytes_in, series.bytes_out) == (7 * len(requests), 3 * len(requests))


@quick
@given(st.booleans().flatmap(lambda is_open: loads(is_open=is_open)))
def test_what_is_counted_is_what_happened(load):
    ticks, requests = load

    series = only(recorded(ticks, requests).cut(FOREVER))

    check_against_raw(series, requests)


@quick
@given(loads(), st.lists(st.tuples(st.integers(0, 40), st.integers(-2_000_000, 2_000_000)), max_size=6))
def test_cuts_at_any_instants_add_up_to_the_whole(load, cuts):
    ticks, requests = load
    recorder = a_recorder()
    recorder.ticks.extend(ticks)
    at = defaultdict(list)
    for position, offset in cuts:
        at[position].append(offset)
    intervals = []
    for position, one in enumerate(requests):
        one.tell(recorder)
        intervals += [only(recorder.cut(one.done + offset)) for offset in at[position]]
    intervals.append(only(recorder.cut(FOREVER)))

    total = Tally(KEY)
    for interval in intervals:
        total.add(interval)

    assert total.series() == total_of(recorder)
    assert recorder.tried == total.tried == len(requests)
    check_against_raw(total.series(), requests)


@quick
@given(loads(least=1), st.data())
def test_a_cut_holds_the_outcomes_before_its_instant(load, data):
    ticks, requests = load
    until = data.draw(st.sampled_from([one.done for one in requests]))
    before = [one for one in requests if one.done < until]

    first = only(recorded(ticks, requests).cut(until))

    assert (first.ok + first.errors) == len(before)
    assert sum(one.count for name, one in first.histograms.items() if name.startswith("service.")) == len(before)


@quick
@given(loads(least=1))
def test_a_response_is_lag_and_wait_and_service(load):
    ticks, requests = load

    series = only(recorded(ticks, requests).cut(FOREVER))

    sums = Counter()
    for name, packed in series.histograms.items():
        sums[name.partition(".")[0]] += packed.sum_ns
    assert sums["response"] == sums["lag"] + sums["wait"] + sums["service"]
    assert sums["response"] == sums["lag"] + sums["unlagged"]


@pytest.mark.parametrize(("planned", "lag"), [(0, 0), (10, 0), (1, 9), (9, 1), (11, 89), (100, 0)], ids=str)
def test_a_request_is_started_at_the_first_tick_that_is_not_before_its_due_time(planned, lag):
    request = Request(planned, 0, 200, 300, None, 200)

    series = only(recorded([0, 10, 100], [request]).cut(FOREVER))

    assert series.histograms["lag.ok"].sum_ns == lag


def test_ticks_that_nobody_can_need_are_forgotten():
    recorder = recorded([10, 20, 30], [])

    recorder.forget_ticks(20)

    assert list(recorder.ticks) == [20, 30]


@quick
@given(loads(), st.integers(0, 5))
def test_the_ten_slowest_are_shown(load, cuts):
    ticks, requests = load
    recorder = recorded(ticks, [])
    for position, one in enumerate(requests):
        one.tell(recorder)
        if cuts and position % (cuts + 1) == 0:
            recorder.cut(one.done)
    recorder.cut(FOREVER)

    slow = total_of(recorder).slow

    responses = sorted((one.done - one.planned for one in requests), reverse=True)
    assert [one.done_ns - one.planned_ns for one in slow] == responses[:SLOWEST_KEPT]
    by_plan = {one.planned: one for one in requests}
    assert all((one.started_ns, one.sent_ns) == instants(by_plan[one.planned_ns]) for one in slow)


def instants(request):
    return request.started, request.sent


def test_answers_that_grow_ever_slower_leave_the_slowest():
    requests = [Request(k, k, k, 10_000 * (k + 1), None, 200) for k in range(500)]

    recorder = recorded([], requests)

    recorder.cut(FOREVER)

    assert [one.planned_ns for one in total_of(recorder).slow] == list(range(499, 489, -1))


@quick
@given(loads())
def test_the_first_five_failures_of_each_class_are_shown(load):
    ticks, requests = load

    failed = only(recorded(ticks, requests).cut(FOREVER)).failed

    expected = defaultdict(list)
    for one in requests:
        if one.error:
            expected[one.error].append(one.planned)
    shown = defaultdict(list)
    for one in failed:
        shown[one.error].append(one.planned_ns)
    assert shown == {error: plans[:FAILED_KEPT] for error, plans in expected.items()}


def test_evidence_says_who_saw_what_and_is_bounded():
    recorder = Recorder(2, [TARGET], agent="agent-7")
    body = b"HTTP/1.1 500 Oops\r\n\r\n" + b"x" * 5000
    outcome = Outcome(0, 5, 6, 9, ErrorClass.STATUS, status=500, remote="[::1]:80", text="500 Oops", first_ns=8)
    outcome.body, outcome.body_at, outcome.trace, outcome.number = body, 21, "4bf9", 12

    recorder.done(outcome)

    (one,) = only(recorder.cut(FOREVER)).failed
    assert (one.first_ns, one.trace, one.number) == (8, "4bf9", 12)
    assert (one.agent, one.error, one.status, one.text, one.remote) == (
        "agent-7",
        "status",
        500,
        "500 Oops",
        "[::1]:80",
    )
    assert one.body == b"x" * BODY_KEPT


def test_what_waited_when_the_run_ended_is_an_error_that_is_at_least_so_slow():
    recorder = recorded([0, 100], [])

    recorder.unsent(0, np.array([50, 90, 150]), 1_000_001)

    series = only(recorder.cut(FOREVER))
    assert (series.unsent, series.ok, series.errors) == (3, 0, 0)
    assert series.histograms == {
        "response.cut": histogram_of([999_951, 999_911, 999_851]),
        "unlagged.cut": histogram_of([999_901, 999_901, 999_851]),
    }
    assert series.over["response.cut"] == (3, 0, 0, 0)


def test_counts_that_are_no_outcomes_come_along():
    recorder = a_recorder()

    recorder.planned(0, 0, 10)
    recorder.withdrawn(0, 0, 4)
    recorder.reconnected(0, 0, 2)
    recorder.opened(0, 0, 3)
    recorder.begun({0: 3})
    recorder.begun({0: 1, 1: 2})

    series = only(recorder.cut(0))
    assert (series.planned, series.withdrawn, series.reconnects, series.connections) == (10, 4, 2, 3)
    assert series.started == {0: 4, 1: 2}
    assert recorder.cut(0) == ()


def test_connections_are_timed_and_their_remote_addresses_told_once_and_bounded():
    recorder = a_recorder()
    made = [Connected(f"10.0.0.{k}:80", 1_000 * k, 5_000 if k % 2 else None) for k in range(2 * REMOTES_KEPT)]

    recorder.connected(0, 0, [*made, *made])

    series = only(recorder.cut(FOREVER))
    assert series.histograms["connect.ok"] == histogram_of([one.connect_ns for one in made] * 2)
    assert series.histograms["tls.ok"] == histogram_of([5_000] * 2 * REMOTES_KEPT)
    assert len(series.remotes) == REMOTES_KEPT
    recorder.connected(0, 0, made)
    assert only(recorder.cut(FOREVER)).remotes == ()


@quick
@given(loads(least=1, targets=3), st.lists(st.integers(1, 60_000_000), max_size=3, unique=True))
def test_each_phase_and_target_is_measured_by_itself_and_nothing_is_lost_between_them(load, starts):
    ticks, requests = load
    starts.sort()
    recorder = a_recorder(targets=3, phases_ns=starts)
    recorder.ticks.extend(ticks)
    for one in requests:
        one.tell(recorder)

    found = {(series.key.stage, series.key.target): series for series in recorder.cut(FOREVER)}

    expected = defaultdict(list)
    for one in requests:
        phase = sum(start <= one.planned for start in starts)
        expected[phase, one.target].append(one)
    assert found.keys() == expected.keys()
    for place, own in expected.items():
        check_against_raw(found[place], own)


@quick
@given(loads(is_open=False))
def test_in_closed_load_what_was_tried_is_what_was_planned(load):
    _ticks, requests = load
    recorder = a_recorder(is_open=False)
    for one in requests:
        one.tell(recorder)

    assert only(recorder.cut(FOREVER)).planned == len(requests)


def test_a_portion_at_a_time_comes_to_the_same_as_all_at_once():
    requests = [Request(k, k, k, k + 50_000, None, 200, k + 50_000) for k in range(3 * PORTION + 7)]
    recorder = recorded([], requests)

    portions = 1
    while recorder.count(FOREVER):
        portions += 1

    assert portions == 4
    assert recorder.tried == len(requests)
    check_against_raw(only(recorder.cut(FOREVER)), requests)


def test_redirects_that_were_followed_are_counted():
    recorder = a_recorder()

    recorder.done(Outcome(0, START, START, START + 5, status=200, redirects=2))
    recorder.done(Outcome(0, START, START, START + 5, ErrorClass.STATUS, status=302, redirects=3))

    series = only(recorder.cut(FOREVER))
    assert (series.redirects, series.ok, series.errors) == (5, 1, 1)
