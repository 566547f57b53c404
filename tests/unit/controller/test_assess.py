from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured_samples import (
    MS,
    SPANS,
    Raw,
    Sample,
    Truth,
    exact_slo,
    known,
    measured,
    really_holds,
    slo,
    true_answers,
    unseen,
)

from controller.assess import (
    EVIDENCE,
    LOAD,
    MISSING,
    SHARDS,
    Soundness,
    aborted_judgement,
    evidence_needed,
    judge,
    limit_ns,
    limits_ns,
    thin_evidence,
    verdict,
    winners,
    with_load_not_made,
)
from controller.experiment.assess import Side, Slo
from controller.experiment.metrics import metric_name
from controller.experiment.result import Outcome
from controller.measure import ALL_ASSUMPTIONS, OURS, Unknown
from protocol.messages import Fate

quick = settings(deadline=None, max_examples=60)
spans = st.integers(1, 20).map(lambda ms: ms * MS) | st.integers(1, 20 * MS)
fates = st.sampled_from([Fate.OK, Fate.OK, Fate.OK, Fate.ERROR, Fate.CUT])
samples = st.builds(
    Sample,
    service=spans,
    lag=st.sampled_from([0, 0, 0, 1, 3 * MS]),
    wait=st.sampled_from([0, 0, 2 * MS]),
    fate=fates,
    has_first=st.sampled_from([True, True, False]),
)
connects = {
    "connects": st.lists(spans, max_size=5).map(tuple),
    "connect_timeouts": st.sampled_from([0, 0, 0, 2]),
    "elapsed_s": st.sampled_from([0.0, 2.5, 10.0]),
    "bytes_in": st.integers(0, 30),
}
raws = st.builds(
    Raw,
    samples=st.lists(samples, max_size=25).map(tuple),
    unaccounted=st.sampled_from([0, 0, 1, 5]),
    is_open=st.booleans(),
    **connects,
)
closed = st.builds(
    Raw,
    samples=st.lists(samples, max_size=25).map(tuple),
    is_open=st.just(value=False),
    unsent=st.sampled_from([0, 1, 5]),
    **connects,
)
STATISTICS = ["p10", "p50", "p75", "p90", "p99", "mean", "min", "max"]


@st.composite
def slos(draw, raw, names=("latency", "count", "rate", "size", "span", "span"), *, sides=(True, False)):
    """An SLO whose limit is near something that the samples come to."""
    is_upper = draw(st.sampled_from(sides))
    kind = draw(st.sampled_from(names))
    if kind == "rate":
        return exact_slo("error-rate", draw(st.decimals(0, 1, places=2)), is_upper=is_upper)
    if kind == "size":
        return exact_slo(draw(st.sampled_from(["bytes-in", "rate"])), draw(st.integers(0, 30)), is_upper=is_upper)
    if kind == "count":
        metric = draw(st.sampled_from(["request-count", "error-count", "unsent-count"]))
        return exact_slo(metric, draw(st.integers(0, 30)), is_upper=is_upper)
    span = "latency" if kind == "latency" else draw(st.sampled_from(["latency", *SPANS] if kind == "stddev" else SPANS))
    name = kind if kind == "stddev" else draw(st.sampled_from(STATISTICS))
    return exact_slo(f"{span}-{name}", draw(limits(raw, span, name)), is_upper=is_upper)


@st.composite
def limits(draw, raw, span, name):
    """A limit in msec near one of the samples."""
    found = [value for clock in (None, "unlagged", "service") for value, _ in known(raw, span, clock)] or [MS]
    near = draw(st.sampled_from(found)) + draw(st.sampled_from([-1, 0, 0, 1]))
    limit = max(1, near if name.startswith("p") or name in ("min", "max") else draw(st.integers(1, 20 * MS)))
    return Decimal(limit) / MS


def outcome(several, raw, confidence=None, soundness=None):
    facts = measured(raw, several)
    return verdict([judge(one, facts, confidence) for one in several], soundness or Soundness()).outcome


# --- one SLO -------------------------------------------------------------------------------------------------------


@quick
@given((raws | closed).flatmap(lambda raw: st.tuples(st.just(raw), slos(raw))))
def test_an_slo_is_decided_where_the_raw_values_give_one_answer_whatever_is_assumed(case):
    raw, slo = case
    answers = true_answers(slo, raw)
    metric = slo.metric
    samples = len(known(raw, metric.clock)) if metric.clock else 0
    too_few = metric.percentile is not None and samples < 1 / (1 - Fraction(metric.percentile) / 100)

    judgement = judge(slo, measured(raw, [slo]), None)

    nothing = (metric.clock and not samples) or (metric.name == "error-rate" and not raw.requests)
    if None in answers or (nothing and len(answers) == 1):
        assert (judgement.satisfied, judgement.decided_by) == (None, (MISSING,))
    elif answers == {True} and too_few:
        assert (judgement.satisfied, judgement.decided_by) == (None, (EVIDENCE,))
    elif len(answers) == 1:
        assert judgement.satisfied is answers.pop()
        assert judgement.decided_by == ()
    else:
        assert judgement.satisfied is None
        assert judgement.decided_by
        assert set(judgement.decided_by) <= set(Unknown)


@st.composite
def truths(draw, names):
    """What was measured, an SLO, and one way in which it all may really have been."""
    raw = draw(raws | closed)
    judged = draw(slos(raw, names))
    span = judged.metric.clock or "latency"
    if judged.metric.statistic == "stddev":  # a part of each lag may widen or narrow a spread
        raw = replace(raw, samples=tuple(replace(one, lag=0) for one in raw.samples))
    whole = known(raw, span)
    least = known(raw, span, "unlagged") if raw.is_open else whole
    more = st.integers(0, 40 * MS)
    values = [
        draw(st.integers(low, high)) + (draw(more) if is_cut else 0)
        for (high, is_cut), (low, _) in zip(whole, least, strict=True)
    ]
    values += [draw(more) for _ in range(unseen(raw, span))]
    found = draw(st.lists(st.sampled_from(["ok", "error", "unsent", "never"]), max_size=raw.unaccounted))
    values += [draw(more) for one in found if one != "never"]
    errors = sum(one in ("error", "unsent") for one in found)
    requests, unsent = sum(one != "never" for one in found), found.count("unsent")
    return (
        raw,
        judged,
        Truth(
            {span: values},
            raw.requests + requests,
            raw.errors + errors,
            len(raw.samples) + requests - unsent,
            raw.unsent + unsent,
            raw.bytes_in + draw(st.integers(0, 10)) * (requests - unsent),
            raw.elapsed_s,
        ),
    )


@settings(deadline=None, max_examples=150)
@given(truths(("latency", "latency", "stddev", "count", "rate", "size", "span", "span", "span")))
def test_a_decided_slo_is_right_however_it_really_was(case):
    raw, slo, truth = case

    judgement = judge(slo, measured(raw, [slo]), None)

    truly = really_holds(slo, truth)
    assert judgement.satisfied is None or truly is None or judgement.satisfied == truly


@pytest.mark.parametrize("metric", ["latency-p50", "latency-max", "latency-mean", "latency-min"])
@pytest.mark.parametrize(
    ("took", "upper", "lower"), [(50 * MS, True, True), (50 * MS + 1, False, True), (50 * MS - 1, True, False)]
)
def test_a_limit_is_itself_allowed_and_one_nanosecond_beyond_is_not(metric, took, upper, lower):
    raw = Raw((Sample(took),) * 2)
    at_most, at_least = slo(metric, upper="50ms"), slo(metric, lower="50ms")

    assert judge(at_most, measured(raw, [at_most]), None).satisfied is upper
    assert judge(at_least, measured(raw, [at_least]), None).satisfied is lower


@pytest.mark.parametrize(("bad", "satisfied"), [(1, True), (2, False), (0, True)])
@pytest.mark.parametrize("limit", ["0.1%", 0.001])
def test_an_error_rate_at_its_limit_is_fine(bad, satisfied, limit):
    raw = Raw((Sample(MS),) * (1000 - bad) + (Sample(MS, fate=Fate.ERROR),) * bad)
    judged = slo("error-rate", upper=limit)

    assert judge(judged, measured(raw, [judged]), None).satisfied is satisfied


def test_a_lower_limit_on_requests_counts_those_that_were_never_sent():
    raw = Raw((Sample(MS),) * 9, is_open=False, unsent=1)
    judged = slo("request-count", lower=10)

    assert judge(judged, measured(raw, [judged]), None).satisfied is True


@pytest.mark.parametrize(
    ("limit", "is_upper", "ns"),
    [
        ("50", True, 50_000_000),
        ("0.0000015", True, 1),
        ("50", False, 49_999_999),
        ("0.0000015", False, 1),
        ("0", True, 0),
    ],
)
def test_requests_are_counted_against_the_last_nanosecond_that_is_fine(limit, is_upper, ns):
    assert limit_ns(exact_slo("latency-p99", limit, is_upper=is_upper)) == ns


@pytest.mark.parametrize(("count", "satisfied", "why"), [(99, None, (EVIDENCE,)), (100, True, ())])
def test_too_few_requests_cannot_satisfy_a_percentile(count, satisfied, why):
    raw, judged = Raw((Sample(MS),) * count), slo("latency-p99", upper=50)

    judgement = judge(judged, measured(raw, [judged]), None)

    assert (judgement.satisfied, judgement.decided_by) == (satisfied, why)


def test_too_few_requests_can_violate_a_percentile():
    raw, judged = Raw((Sample(60 * MS),)), slo("latency-p99", upper=50)

    assert judge(judged, measured(raw, [judged]), None).satisfied is False


@pytest.mark.parametrize(
    ("metric", "limit", "needed"),
    [("latency-p95", 50, 59), ("latency-p99", 50, 299), ("latency-p99.9", 50, 2995), ("error-rate", 0.01, 299)],
)
def test_confidence_decides(metric, limit, needed):
    judged = slo(metric, upper=limit)

    def satisfied(count, confidence):
        raw = Raw((Sample(MS),) * count)
        return judge(judged, measured(raw, [judged]), confidence).satisfied

    assert needed in (evidence_needed(judged, 0.95), evidence_needed(judged, 0.95) - 1)
    needed = evidence_needed(judged, 0.95)
    assert satisfied(needed, 0.95) is True
    assert satisfied(needed - 1, 0.95) is None
    assert satisfied(max(needed - 1, 1000 if metric.endswith(".9") else 100 if metric.endswith("99") else 59), None)


def test_thin_evidence_is_said_even_where_it_does_not_decide():
    judged = slo("latency-p99", upper=50)
    thin, ample = (measured(Raw((Sample(MS),) * count), [judged]) for count in (298, 299))

    assert "298 requests: 299 are needed to be 95 % sure" in thin_evidence(judged, thin, None)
    assert thin_evidence(judged, ample, None) == ""
    assert judge(judged, thin, None).satisfied is True


def test_a_percentile_among_what_was_cut_off_cannot_satisfy_an_upper_limit_but_can_violate_it():
    raw = Raw((Sample(MS),) * 190 + (Sample(3000 * MS, fate=Fate.CUT),) * 10)
    generous, strict, below = (slo(f"latency-p{p}", upper=limit) for p, limit in ((99, "5s"), (99, "2s"), (95, "2s")))
    facts = measured(raw, [generous, strict, below])

    answers = [judge(one, facts, None) for one in (generous, strict, below)]

    assert [one.satisfied for one in answers] == [None, False, True]
    assert answers[0].decided_by == (Unknown.CUT_OFF,)
    assert answers[0].value_is_lower_bound
    assert answers[0].would_be is True


def test_a_percentile_among_what_was_cut_off_satisfies_a_lower_limit_that_it_has_reached():
    raw = Raw((Sample(3000 * MS, fate=Fate.CUT),) * 100)
    judged = slo("latency-p50", lower="3s")

    assert judge(judged, measured(raw, [judged]), None).satisfied is True


def test_lateness_of_our_own_leaves_it_undecided_and_says_so():
    raw, judged = Raw((Sample(45 * MS, lag=6 * MS),) * 2), slo("latency-p50", upper="50ms")

    judgement = judge(judged, measured(raw, [judged]), None)

    assert (judgement.satisfied, judgement.decided_by) == (None, (Unknown.LAG,))
    assert (judgement.low, judgement.high, judgement.would_be) == (
        pytest.approx(45, 1e-3),
        pytest.approx(51, 1e-3),
        False,
    )
    assert "the agents' own lateness" in judgement.reason


TEN_AND_TWENTY = (Sample(10 * MS), Sample(20 * MS))


@pytest.mark.parametrize(
    ("raw", "judged", "satisfied"),
    [
        (Raw(TEN_AND_TWENTY), slo("latency-stddev", lower=5), True),
        (Raw(TEN_AND_TWENTY, unaccounted=2), slo("latency-stddev", lower=5), None),  # they may have taken 15 ms
        (Raw(TEN_AND_TWENTY, unaccounted=2), slo("latency-stddev", lower=3.5), True),
        (Raw((*TEN_AND_TWENTY, Sample(1, fate=Fate.CUT))), slo("latency-stddev", lower=5), None),  # so may this one
        (Raw((*TEN_AND_TWENTY, Sample(3000 * MS, fate=Fate.CUT))), slo("latency-stddev", upper=1000), False),
        (Raw((*TEN_AND_TWENTY, Sample(3000 * MS, fate=Fate.CUT))), slo("latency-stddev", lower=1000), True),
    ],
)
def test_a_spread_is_decided_by_the_least_that_it_may_be(raw, judged, satisfied):
    assert judge(judged, measured(raw, [judged]), None).satisfied is satisfied


def test_in_closed_load_nothing_is_our_lateness():
    raw, judged = Raw((Sample(45 * MS, lag=6 * MS),) * 2, is_open=False), slo("latency-p50", upper="50ms")

    assert judge(judged, measured(raw, [judged]), None).satisfied is True


def test_what_was_not_measured_is_undecided():
    judgement = judge(slo("latency-p50", upper=5), None, None)

    assert (judgement.satisfied, judgement.value, judgement.decided_by) == (None, None, (MISSING,))


def test_where_only_unaccounted_requests_are_known_nothing_was_measured():
    raw, judged = Raw((), unaccounted=5), slo("error-rate", upper="100%")

    assert judge(judged, measured(raw, [judged]), None).decided_by == (MISSING,)


def test_a_judgement_shows_the_whole_range():
    raw, judged = Raw((Sample(10 * MS),) * 3, unaccounted=1), slo("latency-mean", upper="9ms")

    judgement = judge(judged, measured(raw, [judged]), None)

    assert (judgement.value, judgement.low, judgement.high) == (10.0, 7.5, None)
    assert judgement.decided_by == (Unknown.UNACCOUNTED,)


@pytest.mark.parametrize("metric", ["ttfb-p50", "body-p50", "ttfb-max", "body-mean"])
def test_a_first_byte_that_never_came_makes_no_span_look_good(metric):
    """Nine answers were quick, and ninety requests timed out without a byte."""
    raw = Raw((Sample(3 * MS),) * 9 + (Sample(3000 * MS, fate=Fate.CUT, has_first=False),) * 90)
    judged = slo(metric, upper="50ms")

    judgement = judge(judged, measured(raw, [judged]), None)

    assert (judgement.satisfied, judgement.decided_by, judgement.samples) == (None, (Unknown.CUT_OFF,), 9)
    assert judgement.value_is_lower_bound


@pytest.mark.parametrize("clock", ["connect", "tls"])
def test_connections_that_timed_out_leave_connecting_undecided(clock):
    judged = slo(f"{clock}-p50", upper="50ms")
    few, most = (Raw((), connects=(MS,) * 10, connect_timeouts=count) for count in (9, 11))

    assert judge(judged, measured(few, [judged]), None).satisfied is True
    assert judge(judged, measured(most, [judged]), None).decided_by == (Unknown.CUT_OFF,)


def test_what_waited_and_was_cut_off_later_has_waited_that_long():
    raw = Raw((Sample(3000 * MS, wait=20 * MS, fate=Fate.CUT),) * 100)
    judged = slo("wait-p99", upper="20ms")

    assert judge(judged, measured(raw, [judged]), None).satisfied is True


def test_samples_that_nobody_counted_against_a_limit_satisfy_none():
    """As of an agent of an earlier version, which counts for fewer clocks."""
    judged = slo("wait-p50", upper="20ms")
    facts = measured(Raw((Sample(MS),) * 10), [judged])
    facts.tally.over.clear()

    assert judge(judged, facts, None).decided_by == (MISSING,)


@pytest.mark.parametrize(
    ("metric", "limit", "satisfied", "unit", "said"),
    [
        ("rate", "10/s", True, "1/s", "http/rate is 10/s, at least 10/s"),
        ("rate", 11, False, "1/s", "http/rate is 10/s, below 11/s"),
        ("bytes-in", "2kB", True, "bytes", "http/bytes-in is 2000 bytes, at least 2000 bytes"),
        ("unsent-count", 1, False, "", "http/unsent-count is 0, below 1"),
    ],
)
def test_rates_bytes_and_counts_are_judged_in_their_own_unit(metric, limit, satisfied, unit, said):
    raw, judged = Raw((Sample(MS),) * 100, elapsed_s=10.0, bytes_in=2000), slo(metric, lower=limit)

    judgement = judge(judged, measured(raw, [judged]), None)

    assert (judgement.satisfied, judgement.unit, judgement.reason) == (satisfied, unit, said)


def test_targets_count_against_the_limits_of_all_that_they_are_part_of():
    def of(metric, upper):
        return Slo(Side.UPPER, 0, metric_name(metric), Decimal(upper), upper)

    slos = [
        of("http/latency-p99", 50),
        of("http@peak/ttfb-p99", 30),
        of("http-get/connect-p50", 50),
        of("http-get/latency-mean", 7),
        of("http-post/wait-p50", 5),
    ]

    assert limits_ns(slos, ["http", "http@peak", "http-get"]) == (30 * MS, 50 * MS)
    assert limits_ns(slos, ["http-post"]) == (5 * MS,)


def test_a_limit_that_ended_a_run_fails_it_whatever_came_in_since():
    judged = slo("error-rate", upper="50%")
    facts = measured(Raw((Sample(MS),) * 10), [judged])

    judgement = aborted_judgement("abortOn: http/error-rate is 0.6, above 0.5", judged, facts)

    assert judgement.satisfied is False
    assert verdict([judgement], Soundness()).outcome is Outcome.FAIL
    assert verdict([judgement], Soundness()).reasons == (judgement.reason,)


# --- all of them ---------------------------------------------------------------------------------------------------


@st.composite
def grown(draw):
    """What was measured, and the same with more that is not known; and some SLOs."""
    raw = draw(raws)
    # Requests that were cut off are errors, which is known: they may rightly reach a lower limit on errors.
    several = st.integers(1, 2)
    chosen = [draw(slos(raw, ("latency", "stddev", "span"), sides=(True, False))) for _ in range(draw(several))]
    chosen += [draw(slos(raw, ("count", "rate", "size"), sides=(True,))) for _ in range(draw(st.integers(0, 1)))]
    # What lag and wait come to is known, and so is that there is more of it.
    has_spread = any(one.metric.statistic == "stddev" or one.metric.clock == "lag" for one in chosen)
    lags = st.just(0) if has_spread else st.sampled_from([0, 0, 1, 5 * MS])
    later = []
    for one in raw.samples:
        fate, has_first = one.fate, one.has_first
        if fate is Fate.OK and draw(st.integers(0, 5)) == 0:
            fate, has_first = Fate.CUT, has_first and draw(st.booleans())
        later.append(replace(one, lag=one.lag + draw(lags), fate=fate, has_first=has_first))
    kept = raw.connects[: draw(st.integers(0, len(raw.connects)))]
    more = draw(st.sampled_from([0, 0, 1, 10]))
    timeouts = raw.connect_timeouts + len(raw.connects) - len(kept)
    after = replace(
        raw, samples=tuple(later), unaccounted=raw.unaccounted + more, connects=kept, connect_timeouts=timeouts
    )
    return chosen, raw, after


@settings(deadline=None, max_examples=150)
@given(grown(), st.sampled_from([None, 0.5, 0.95]))
def test_a_verdict_never_turns_pass_when_more_becomes_unknown(case, confidence):
    chosen, before, after = case

    if outcome(chosen, after, confidence) is Outcome.PASS:
        assert outcome(chosen, before, confidence) is Outcome.PASS


@settings(deadline=None, max_examples=60)
@given(
    closed.flatmap(lambda raw: st.tuples(st.just(raw), slos(raw, ("latency", "span", "stddev"), sides=(True,)))),
    st.integers(0, 3),
)
def test_in_closed_load_what_was_never_sent_never_turns_a_verdict_pass(case, count):
    raw, judged = case
    kept = raw.samples[: max(0, len(raw.samples) - count)]
    fewer = replace(raw, samples=kept, unsent=raw.unsent + len(raw.samples) - len(kept))

    if outcome([judged], fewer) is Outcome.PASS:
        assert outcome([judged], raw) is Outcome.PASS


@quick
@given((raws | closed).flatmap(lambda raw: st.tuples(st.just(raw), st.lists(slos(raw), max_size=3))), st.data())
def test_nothing_that_bars_a_pass_can_make_one(case, data):
    raw, chosen = case
    words = st.sampled_from(["", "a reason"])
    soundness = data.draw(st.builds(Soundness, account=words, load_not_made=words, no_success=words, interrupted=words))

    found = outcome(chosen, raw, soundness=soundness)

    if found is Outcome.PASS:
        assert soundness == Soundness()
    if soundness.account:
        assert found is Outcome.INVALID


GOOD, BAD = slo("latency-max", upper=50), slo("latency-max", upper=1)
OURS_DECIDES, THIN = slo("latency-min", upper="9.5ms"), slo("latency-p99", upper=50)
FACTS = Raw((Sample(9 * MS, lag=MS),) * 2)
RANKED = [(BAD, Outcome.FAIL), (OURS_DECIDES, Outcome.INVALID), (THIN, Outcome.INCONCLUSIVE), (GOOD, Outcome.PASS)]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_fail_stands_before_invalid_before_inconclusive_before_pass(size):
    for chosen in combinations(RANKED, size):
        assert outcome([one for one, _ in chosen], FACTS) is chosen[0][1]
        assert outcome([one for one, _ in reversed(chosen)], FACTS) is chosen[0][1]


@pytest.mark.parametrize(
    ("soundness", "found"),
    [
        (Soundness(account="the account of run r does not close"), Outcome.INVALID),
        (Soundness(load_not_made="the load was not made"), Outcome.INVALID),
        (Soundness(no_success="no request got a 2xx"), Outcome.INCONCLUSIVE),
        (Soundness(interrupted="the run was interrupted"), Outcome.INCONCLUSIVE),
        (Soundness(), Outcome.PASS),
    ],
)
def test_what_bars_a_pass_is_named_in_the_reasons(soundness, found):
    judged = verdict([judge(GOOD, measured(FACTS, [GOOD]), None)], soundness)

    assert judged.outcome is found
    said = {value for value in vars(soundness).values() if value}
    assert said <= set(judged.reasons)


@pytest.mark.parametrize(
    ("soundness", "found"),
    [
        (Soundness(account="the account of run r does not close"), Outcome.INVALID),
        (Soundness(load_not_made="x", no_success="x", interrupted="x"), Outcome.NONE),
        (Soundness(), Outcome.NONE),
    ],
)
def test_without_slos_only_an_account_that_does_not_close_is_a_verdict(soundness, found):
    assert verdict([], soundness).outcome is found


def test_a_violated_slo_fails_whatever_the_load_was():
    judged = [judge(BAD, measured(FACTS, [BAD]), None)]

    everything = Soundness(load_not_made="x", no_success="x", interrupted="x")

    assert verdict(judged, everything).outcome is Outcome.FAIL


@pytest.mark.parametrize("decider", [*sorted(OURS), LOAD, SHARDS])
def test_an_slo_that_hangs_on_what_is_ours_is_invalid_rather_than_inconclusive(decider):
    hanging = judge(GOOD, measured(FACTS, [GOOD]), None).model_copy(
        update={"satisfied": None, "decided_by": (str(decider), str(Unknown.CUT_OFF))}
    )

    assert verdict([hanging], Soundness()).outcome is Outcome.INVALID


def test_every_combination_of_what_is_not_known_is_tried():
    assert len(set(ALL_ASSUMPTIONS)) == 2 ** len(Unknown)


@pytest.mark.parametrize(
    ("values", "largest", "found"),
    [
        ([{"m": 1.0}, {"m": 3.0}, {"m": 2.0}], True, 1),
        ([{"m": 1.0}, {"m": 3.0}, {"m": 2.0}], False, 0),
        ([{"m": 2.0}, {"m": 2.0}], True, 0),
        ([{"m": 2.0}, {"m": 2.0}], False, 0),
        ([{}, {"m": 2.0}], True, 1),
        ([{}, {"m": 0.0}], False, 1),
        ([{}, {"other": 2.0}], True, -1),
        ([], True, -1),
    ],
)
def test_the_best_version_wins_and_ties_go_to_the_first(values, largest, found):
    assert winners(["m"], values, largest=largest) == (found,)


def test_a_latency_that_was_violated_while_the_agents_stood_still_is_undecided():
    """And an error count that was violated stays so: standing still makes no errors."""
    raw = Raw(samples=(Sample(service=30 * MS, fate=Fate.ERROR),) * 10)
    several = [exact_slo("latency-mean", Decimal(20)), exact_slo("error-count", 5)]
    facts = measured(raw, several)
    judged = [judge(one, facts, None) for one in several]
    why = "in 3 of 5 seconds the agents began less than 99 % of the plan"

    latency, errors = with_load_not_made(judged, why)

    assert (latency.satisfied, latency.decided_by) == (None, (LOAD,))
    assert errors.satisfied is False
    assert verdict([latency], Soundness(load_not_made=why)).outcome is Outcome.INVALID
    assert verdict([latency, errors], Soundness(load_not_made=why)).outcome is Outcome.FAIL
    assert with_load_not_made(judged, "") == tuple(judged)


def test_a_rate_that_the_agents_did_not_make_is_not_held_against_the_target():
    several = [exact_slo("rate", 20, is_upper=False), exact_slo("rate", 5)]
    facts = measured(Raw((Sample(MS),) * 100), several)

    too_low, too_high = with_load_not_made([judge(one, facts, None) for one in several], "the agents stood still")

    assert (too_low.satisfied, too_low.decided_by) == (None, (LOAD,))
    assert too_high.satisfied is False
