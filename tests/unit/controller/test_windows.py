from dataclasses import replace
from itertools import pairwise
from math import ceil, floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured_samples import MS, SPANS, Raw, Sample, exact_slo, measured, slo, tallied

from controller.assess import MISSING, SHARDS, judge, limits_ns
from controller.experiment.result import Bound
from controller.measure import Unknown
from controller.windows import MOST_BY_SECOND, BySecond, judged, windows, worst
from protocol.messages import Fate

OPEN = True
spans = st.integers(1, 9).map(lambda ms: ms * MS)
samples = st.builds(
    Sample,
    service=spans,
    lag=st.sampled_from([0, 0, MS]),
    wait=st.sampled_from([0, 2 * MS]),
    fate=st.sampled_from([Fate.OK, Fate.OK, Fate.OK, Fate.OK, Fate.ERROR, Fate.CUT]),
    has_first=st.sampled_from([True, True, True, False]),
)


@st.composite
def runs(draw, *, unaccounted=(0, 0, 0, 2), missing=True):
    """What was done in each second, where it begins and ends, an SLO with a window, and the seconds without a shard."""
    first, length = draw(st.integers(0, 3)), draw(st.integers(1, 9))
    is_open = draw(st.booleans())
    whole = draw(st.booleans())
    one_second = st.builds(
        Raw,
        st.lists(samples, min_size=4 if whole else 0, max_size=8).map(tuple),
        is_open=st.just(is_open),
        connects=st.lists(spans, max_size=2).map(tuple),
        bytes_in=st.integers(0, 9),
    )
    seconds = {first + i: draw(one_second) for i in range(length) if whole or draw(st.integers(0, 3))}
    clock = draw(st.sampled_from(["latency", "latency", *SPANS]))
    name = draw(st.sampled_from(["p50", "p50", "p75", "mean", "min", "max", "stddev"]))
    metric = draw(st.sampled_from([f"{clock}-{name}", f"{clock}-{name}", "error-rate", "rate", "bytes-in"]))
    limit = draw(st.integers(0, 12)) if metric != "error-rate" else draw(st.sampled_from(["0.2", "0.5"]))
    judged = exact_slo(metric, limit, is_upper=draw(st.booleans()), window_s=draw(st.integers(1, 6)))
    ends = st.floats(first + length - 1, first + length + 0.75, width=16)
    gaps = draw(st.frozensets(st.integers(first, first + length - 1), max_size=1)) if missing else frozenset()
    return seconds, judged, is_open, (float(first), draw(ends)), gaps, draw(st.sampled_from(unaccounted))


def by_second(seconds, judged, is_open, bounds_s, gaps=frozenset(), unaccounted=0):
    limits = limits_ns([judged], ["http"])
    tallies = {second: tallied(raw, limits) for second, raw in seconds.items()}
    return BySecond(tallies, is_open, limits, *bounds_s, gaps, unaccounted)


def joined(raws, is_open, elapsed_s, unaccounted=0):
    """The same requests as one."""
    return Raw(
        tuple(one for raw in raws for one in raw.samples),
        unaccounted,
        is_open,
        connects=tuple(one for raw in raws for one in raw.connects),
        elapsed_s=elapsed_s,
        bytes_in=sum(raw.bytes_in for raw in raws),
    )


def every_window(seconds, judged, is_open, bounds_s, gaps, unaccounted):
    """Each window's judgement by itself, and whether it lacks a shard: added up request by request."""
    first = ceil(bounds_s[0])
    stop = max(first + 1, floor(bounds_s[1]), *seconds, *gaps)
    last = max(first, stop - judged.window_s)
    for start in range(first, last + 1):
        is_last = start == last
        inside = [one for one in seconds if start <= one < start + judged.window_s or (is_last and one >= start)]
        begins_s = bounds_s[0] if start == first else start
        ends_s = max(bounds_s[1], stop) if is_last else start + judged.window_s
        raw = joined([seconds[one] for one in inside], is_open, ends_s - begins_s, unaccounted)
        has_gap = any(start <= one < start + judged.window_s or (is_last and one >= start) for one in gaps)
        yield judge(judged, measured(raw, [judged]), None), has_gap


@settings(deadline=None, max_examples=200)
@given(runs())
def test_an_slo_is_satisfied_in_all_windows_violated_in_any_or_else_undecided(case):
    expected = list(every_window(*case))

    found = worst(case[1], by_second(*case), None)

    sound = [one for one, has_gap in expected if not has_gap]
    if any(one.satisfied is False for one in sound):
        assert found.satisfied is False
    elif all(one.satisfied for one, _ in expected) and len(sound) == len(expected):
        assert found.satisfied is True
    elif found.satisfied is False:  # nothing that is missing could have undone it
        assert any(one.satisfied is False for one, has_gap in expected if has_gap)
        assert case[1].metric.statistic in ("max", "min") or case[1].metric.name in ("bytes-in", "rate")
    else:
        assert found.satisfied is None


@settings(deadline=None, max_examples=150)
@given(runs(missing=False))
def test_the_value_is_that_of_the_worst_window(case):
    expected = [one for one, _ in every_window(*case)]

    found = worst(case[1], by_second(*case), None)

    kinds = [one for one in expected if one.satisfied is found.satisfied]
    if found.satisfied is None:
        assert found.value in [one.value for one in kinds]
        return
    values = [one.value for one in kinds]
    assert found.value == (max(values) if found.bound is Bound.UPPER else min(values))
    assert (found.low, found.high, found.samples) in [(one.low, one.high, one.samples) for one in kinds]


@settings(deadline=None, max_examples=150)
@given(runs(unaccounted=(0,), missing=False), st.data())
def test_a_decided_slo_is_right_whatever_a_lost_shard_held(case, data):
    """Some requests of one second are not in its shard: their second is known to lack one, and no more."""
    seconds, judged, is_open, bounds_s, _gaps, _unaccounted = case
    if not seconds or judged.metric.statistic == "stddev" or not is_open:
        return
    plain = {
        second: replace(raw, samples=tuple(Sample(one.service) for one in raw.samples))
        for second, raw in seconds.items()
    }
    gap = data.draw(st.sampled_from(sorted(plain)))
    known = data.draw(st.integers(0, len(plain[gap].samples)))
    told = plain | {gap: replace(plain[gap], samples=plain[gap].samples[:known], bytes_in=0, connects=())}

    found = worst(judged, by_second(told, judged, is_open, bounds_s, frozenset({gap})), None)

    if found.satisfied is not None:
        whole = worst(judged, by_second(plain, judged, is_open, bounds_s), None)
        assert whole.satisfied in (found.satisfied, None)


@settings(deadline=None, max_examples=100)
@given(runs(), st.integers(0, 12), st.integers(1, 5))
def test_what_becomes_unknown_never_turns_a_judgement_to_satisfied(case, second, more):
    seconds, judged, is_open, bounds_s, gaps, unaccounted = case
    before = worst(judged, by_second(*case), None)

    if second in seconds:
        lacking = worst(judged, by_second(seconds, judged, is_open, bounds_s, gaps | {second}, unaccounted), None)
        assert not lacking.satisfied or before.satisfied
    lost = worst(judged, by_second(seconds, judged, is_open, bounds_s, gaps, unaccounted + more), None)
    assert not lost.satisfied or before.satisfied


def steady(length, slow=()):
    """A hundred requests of 10 ms in each second, or of 60 ms in those that are slow."""
    return {second: Raw((Sample((60 if second in slow else 10) * MS),) * 100) for second in range(length)}


def test_a_bad_stretch_that_the_whole_hides_is_found_and_told():
    judged_slo = slo("latency-p99", upper="50ms", window_s=5)
    seconds = steady(300, slow=[41, 42])
    raw = joined(seconds.values(), is_open=True, elapsed_s=300)

    whole = judge(judged_slo, measured(raw, [judged_slo]), None)
    found = worst(judged_slo, by_second(seconds, judged_slo, OPEN, (0.0, 300.02)), None)

    assert whole.satisfied is True
    assert (found.satisfied, found.window, found.worst_window) == (False, "5s", (37.0, 42.0))
    assert found.value == pytest.approx(60, 1e-3)
    assert found.samples == 500
    assert found.reason.endswith("above 50 msec, in the worst window of 5s, from 37 s to 42 s")


def test_evidence_is_asked_of_each_window():
    judged_slo = slo("latency-p99.9", upper="50ms", window_s=5)

    found = worst(judged_slo, by_second(steady(60), judged_slo, OPEN, (0.0, 60.0)), None)

    assert (found.satisfied, found.would_be) == (None, True)
    assert "needs 1,000 requests, there are 500" in found.reason


def test_a_window_without_a_request_has_no_latency_and_a_rate_of_0():
    seconds = {second: raw for second, raw in steady(30).items() if not 10 <= second < 20}
    latency, rate = slo("latency-p50", upper=50, window_s=5), slo("rate", lower=1, window_s=5)

    silent = worst(latency, by_second(seconds, latency, OPEN, (0.0, 30.0)), None)
    idle = worst(rate, by_second(seconds, rate, OPEN, (0.0, 30.0)), None)

    assert (silent.satisfied, silent.decided_by, silent.value) == (None, (MISSING,), None)
    assert (idle.satisfied, idle.value) == (False, 0.0)


@pytest.mark.parametrize("gap", [0, 17, 30])
def test_a_window_that_lacks_a_shard_is_undecided_and_says_which(gap):
    judged_slo = slo("latency-p99", upper="50ms", window_s=5)

    found = worst(judged_slo, by_second(steady(30), judged_slo, OPEN, (0.0, 30.4), frozenset({gap})), None)

    assert (found.satisfied, found.decided_by) == (None, (SHARDS,))
    assert f"shards are missing of second {gap}," in found.reason


def test_a_lost_shard_cannot_undo_a_slowest_request():
    judged_slo = slo("latency-max", upper="50ms", window_s=5)
    seconds = steady(30, slow=[17])

    assert (
        worst(judged_slo, by_second(seconds, judged_slo, OPEN, (0.0, 30.0), frozenset({17})), None).satisfied is False
    )


def test_requests_of_a_lost_agent_may_have_been_in_any_window():
    judged_slo = slo("latency-p99", upper="50ms", window_s=5)

    found = worst(judged_slo, by_second(steady(30), judged_slo, OPEN, (0.0, 30.0), frozenset(), 6), None)

    assert (found.satisfied, found.decided_by) == (None, (Unknown.UNACCOUNTED,))


def test_a_run_shorter_than_its_window_is_one_window():
    judged_slo = slo("latency-p99", upper="50ms", window_s=60)

    found = worst(judged_slo, by_second(steady(3), judged_slo, OPEN, (0.0, 3.2)), None)

    assert (found.satisfied, found.samples, found.worst_window) == (True, 300, (0.0, 3.2))
    assert "in the only window of 1m, from 0 s to 3.2 s" in found.reason


def test_fractions_of_a_second_at_the_ends_belong_to_the_whole_seconds_beside_them():
    """A stage from 2.5 s to 5.25 s: three windows of a second, the first and the last longer."""
    rate = slo("rate", lower=100, window_s=1)
    seconds = {second: Raw((Sample(MS),) * count) for second, count in {2: 50, 3: 100, 4: 100, 5: 25}.items()}

    found = worst(rate, by_second(seconds, rate, OPEN, (2.5, 5.25)), None)

    assert (found.satisfied, found.value) == (True, 100.0)
    assert found.worst_window == (2.5, 4.0)


@given(st.integers(0, 50), st.integers(1, 4000), st.integers(1, 700))
def test_windows_cover_every_second_and_there_are_not_too_many(first, length, window_s):
    found = windows(range(first, first + length), window_s)

    assert found[0].start == first
    assert found[-1].stop == first + length
    assert all(len(one) == min(window_s, length) for one in found)
    assert all(1 <= later.start - earlier.start <= max(1, window_s // 10) for earlier, later in pairwise(found))
    if length - window_s < MOST_BY_SECOND:
        assert len(found) == max(1, length - window_s + 1)


def test_each_second_is_asked_for_in_order_and_once_but_for_the_worst_window():
    asked = []

    class Lazy(dict):
        def __getitem__(self, second):
            asked.append(second)
            return super().__getitem__(second)

    judged_slo = slo("latency-p99", upper="50ms", window_s=5)
    made = by_second(steady(20, slow=[12]), judged_slo, OPEN, (0.0, 20.0))
    worst(judged_slo, replace(made, seconds=Lazy(made.seconds)), None)

    assert asked == [*range(20), *range(8, 13)]


def test_an_slo_without_a_window_is_judged_on_the_whole_and_one_with_a_window_needs_seconds():
    plain, sliding = slo("latency-p50", upper=50), slo("latency-p50", upper=50, window_s=5)
    facts = {"http": measured(Raw((Sample(MS),) * 100), [plain])}

    assert judged(plain, facts, {}, None) == judge(plain, facts["http"], None)
    assert judged(sliding, facts, {}, None).decided_by == (MISSING,)
    assert judged(sliding, facts, {"http": by_second(steady(9), sliding, OPEN, (0.0, 9.0))}, None).satisfied is True


GOOD_SECOND = Raw((Sample(10 * MS),) * 100)


def windowed(seconds, **facts):
    one = slo("latency-p50", upper="20ms", window_s=1)
    made = by_second(seconds, one, OPEN, (0.0, 3.0))
    return worst(one, replace(made, **facts), None)


def test_a_second_in_which_nothing_was_planned_and_nothing_done_is_no_window():
    assert windowed({0: GOOD_SECOND, 2: GOOD_SECOND}, idle=frozenset({1})).satisfied is True


@pytest.mark.parametrize(
    "facts",
    [{}, {"idle": frozenset({1}), "missing": frozenset({1})}, {"idle": frozenset({1}), "unaccounted": 1}],
    ids=["something was planned", "a shard is missing", "something is unaccounted"],
)
def test_a_second_in_which_something_may_have_been_done_decides(facts):
    assert windowed({0: GOOD_SECOND, 2: GOOD_SECOND}, **facts).satisfied is None


def test_late_answers_in_an_idle_second_count():
    late = Raw((Sample(30 * MS),) * 100)

    assert windowed({0: GOOD_SECOND, 1: late, 2: GOOD_SECOND}, idle=frozenset({1})).satisfied is False
