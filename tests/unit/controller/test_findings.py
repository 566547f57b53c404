import pytest
from fleet_samples import Paper, conducted_of, load, open_shape
from measured_samples import MS, Raw, Sample, measured, slo

from controller import findings, loop
from controller.account import account
from controller.assess import Soundness, judge, verdict
from controller.experiment.result import (
    Account,
    AgentResult,
    Clocks,
    Distribution,
    Outcome,
    RunResult,
    SegmentResult,
    TargetResult,
)
from controller.experiment.result import Series as Points
from controller.experiment.spec import from_document
from controller.plan import split
from controller.run import OnLoss
from controller.summary import Telling, run_result
from protocol.schedule import NS_PER_S, Shape

NOTHING = Distribution(count=0)
CLOCKS = Clocks(response=NOTHING, service=NOTHING, wait=NOTHING, lag=NOTHING, ok=NOTHING, errors=NOTHING)
TELLING = Telling("r", 0, {}, (), lambda _target, _numbers: [])
AGENTS = (AgentResult(agent="agent-0"), AgentResult(agent="agent-1"))


def target(*, tried=100, errors=0, unsent=0, statuses=None, classes=None, series=None):
    return TargetResult(
        account=Account(planned=tried + unsent, tried=tried, ok=tried - errors, errors=errors, unsent=unsent),
        status_codes={"200": tried - errors} if statuses is None else statuses,
        error_classes=classes or {},
        clocks=CLOCKS,
        series=series or Points(),
    )


def segment(*targets, kind="open"):
    return SegmentResult(name="http", load=kind, connections=4, targets=targets)


def run_of(*segments, agents=AGENTS):
    account = Account(planned=1, tried=1, ok=1)
    return RunResult(run_id="r", task=0, started_at="", account=account, segments=segments, agents=agents)


def codes(run, **tightest):
    return {one.code for one in findings.of_run(run, tightest)}


# --- was the load made? --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("planned", "started", "is_made"),
    [
        ([100] * 100, [100] * 100, True),
        ([100] * 100, [99] * 100, True),
        ([100] * 100, [98] + [100] * 99, True),
        ([100] * 100, [98] * 2 + [100] * 98, False),
        ([100] * 3, [100, 98, 100], False),
        ([100, 0, 100], [100, 0, 100], True),
        ([], [], True),
    ],
)
def test_the_load_is_made_if_almost_every_second_began_almost_all_of_its_plan(planned, started, is_made):
    made = segment(target(series=Points(planned=tuple(planned), started=tuple(started))))

    assert (findings.load_not_made(made, AGENTS, None) == "") is is_made


def test_how_many_agents_would_make_the_load_is_said():
    half = segment(target(series=Points(planned=(100, 100), started=(40, 40))))

    said = findings.load_not_made(half, AGENTS, None)

    assert "in 2 of 2 seconds" in said
    assert "80 of 200 requests" in said
    assert "5 agents, or more cores, would do" in said


def test_want_of_files_or_ports_is_load_that_was_not_made():
    assert "files, ports or memory" in findings.load_not_made(segment(target(classes={"local": 2})), AGENTS, None)
    assert findings.load_not_made(segment(target(classes={"local": 1})), AGENTS, None) == ""


@pytest.mark.parametrize(
    ("delay_ms", "tightest_ms", "is_made"),
    [(10.0, None, True), (10.1, None, False), (20.0, 400.0, True), (20.1, 400.0, False), (10.1, 50.0, False)],
)
def test_in_closed_load_a_late_loop_is_load_that_was_not_made(delay_ms, tightest_ms, is_made):
    late = (AGENTS[0], AgentResult(agent="agent-1", loop_delay_p99_ms=delay_ms))

    said = findings.load_not_made(segment(target(), kind="closed"), late, tightest_ms)

    assert (said == "") is is_made


def test_load_that_was_not_made_turns_a_pass_into_invalid():
    judged = slo("latency-max", upper=50)
    judgement = judge(judged, measured(Raw((Sample(MS),) * 100), [judged]), None)
    bad = segment(target(series=Points(planned=(100,), started=(50,))))

    sound = verdict([judgement], Soundness())
    unsound = verdict([judgement], Soundness(load_not_made=findings.load_not_made(bad, AGENTS, None)))

    assert (sound.outcome, unsound.outcome) == (Outcome.PASS, Outcome.INVALID)
    assert "began less than 99 % of the plan in time" in unsound.reasons[0]


def test_seconds_that_the_run_was_cut_short_of_are_no_load_that_was_not_made():
    plan = split([load(open_shape("10", 10))], 1)
    paper = Paper(plan, 0, stopped_ns=4 * NS_PER_S + NS_PER_S // 2)
    conducted = conducted_of(plan, paper.told, stopped_s=1004.5)

    result = run_result(conducted, TELLING)

    (only,) = result.segments
    assert only.targets[0].series.planned[:4] == (10, 10, 10, 10)
    assert findings.load_not_made(only, result.agents, None) == ""


def test_seconds_in_which_nothing_was_begun_are_load_that_was_not_made():
    plan = split([load(open_shape("10", 10))], 1)
    paper = Paper(plan, 0, unsent=30)

    result = run_result(conducted_of(plan, paper.told), TELLING)

    assert "in 3 of 10 seconds" in findings.load_not_made(result.segments[0], result.agents, None)


# --- did anything go well? -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        (target(tried=100, errors=50), ""),
        (target(tried=100, errors=51), "51 of 100 requests failed"),
        (target(tried=50, unsent=51), "51 of 101 requests failed"),
        (target(statuses={"301": 100}), "no request got a 2xx status"),
        (target(statuses={"404": 99, "204": 1}), ""),
        (target(tried=0, statuses={}), ""),
    ],
)
def test_mostly_errors_or_no_2xx_at_all_is_no_success(measured, words):
    assert words in findings.no_success(measured)
    assert bool(words) is bool(findings.no_success(measured))


def outcome_expecting(expect, result):
    """The verdict on a run of an endpoint that expects this, all of whose SLOs are satisfied."""
    http = {"task": "http", "with": {"url": "http://127.0.0.1/", "expect": expect}}
    assess = {"task": "assess", "with": {"SLOs": {"upper": {"http/latency-max": 50}}}}
    experiment = from_document({"spec": [http, assess]})
    (endpoint,) = experiment.spec[0].resolved()
    (judged,) = experiment.slos
    facts = measured(Raw((Sample(MS),) * 100), [judged])
    so_far = loop._Pass(runs=[run_of(segment(result))], endpoints={"http": endpoint})
    return verdict([judge(judged, facts, None)], loop._soundness(so_far)).outcome


@pytest.mark.parametrize(
    "result", [target(tried=100, errors=100, statuses={"500": 100}), target(statuses={"301": 100})]
)
def test_nothing_but_failure_passes_only_where_it_was_expected(result):
    assert outcome_expecting("success", result) is Outcome.INCONCLUSIVE
    assert outcome_expecting("errors", result) is Outcome.PASS


def test_a_good_run_passes_whatever_was_expected():
    assert outcome_expecting("success", target()) is Outcome.PASS


# --- from the messages to the verdict ------------------------------------------------------------------------------


def judged_run(conducted, *slos):
    """The verdict on a whole run, as the loop comes to it."""
    from controller.account import measured as facts_of

    result = run_result(conducted, TELLING)
    judgements = [judge(one, facts_of(conducted, 0), None) for one in slos]
    return verdict(judgements, loop._soundness(loop._Pass(runs=[result])))


def fleet(shape=None, agents=2, **facts):
    plan = split([load(shape or open_shape("100", 10))], agents)
    return plan, [Paper(plan, index, **facts) for index in range(agents)]


def test_a_sound_run_passes_and_the_same_run_with_a_lost_agent_does_not():
    plan, papers = fleet()
    judged = slo("latency-p99", upper="5ms")
    whole = conducted_of(plan, [one for paper in papers for one in paper.told])
    torn = conducted_of(
        plan,
        [*papers[0].told, *papers[1].shards[:5]],
        lost={"agent-1": 1005.0},
        on_loss=OnLoss.DEGRADE,
        lease_s=60.0,
    )

    assert judged_run(whole, judged).outcome is Outcome.PASS
    assert judged_run(torn, judged).outcome is Outcome.INVALID
    assert account(torn, 0).unaccounted == 250


def test_an_account_that_does_not_close_is_invalid_even_where_an_slo_is_violated():
    plan, papers = fleet(took_ms=(9,))
    stranger = Paper(split([load(open_shape("90", 10))], 2), 1)

    found = judged_run(conducted_of(plan, [*papers[0].told, *stranger.told]), slo("latency-p99", upper="5ms"))

    assert found.outcome is Outcome.INVALID
    assert found.reasons == ("the account of run r does not close",)


def test_an_account_that_does_not_close_is_invalid_without_slos():
    plan, papers = fleet()
    stranger = Paper(split([load(open_shape("90", 10))], 2), 1)

    assert judged_run(conducted_of(plan, [*papers[0].told, *stranger.told])).outcome is Outcome.INVALID


# --- what the reader is told ---------------------------------------------------------------------------------------


def test_a_sound_run_has_no_findings():
    assert codes(run_of(segment(target()))) == set()


@pytest.mark.parametrize(
    ("run", "code"),
    [
        (run_of().model_copy(update={"interrupted": True}), "interrupted"),
        (run_of().model_copy(update={"account": Account(planned=2, tried=1, closes=False)}), "account-open"),
        (run_of(agents=(AgentResult(agent="a", state="lost"),)), "agent-lost"),
        (run_of(agents=(AgentResult(agent="a", shards_missing=2),)), "missing-shards"),
        (run_of(agents=(AgentResult(agent="a", pacer="timer"),)), "coarse-pacer"),
        (run_of(segment(target(), kind="closed")), "closed-load"),
        (run_of(segment(target(series=Points(planned=(9,), started=(1,))))), "load-not-made"),
        (run_of(segment(target(unsent=1))), "unsent"),
        (run_of(segment(target(unsent=1)).model_copy(update={"ended": "max-duration"})), "max-duration"),
        (run_of(segment(target(errors=60))), "mostly-errors"),
    ],
)
def test_what_was_not_as_it_should_be_is_said(run, code):
    assert code in codes(run)


def test_a_finding_says_where_to_read_about_it():
    (one,) = findings.of_run(run_of(agents=(AgentResult(agent="a", state="lost"),)), {})

    assert one.message.endswith("(docs/invalid-runs.md#agent-lost)")


def test_fast_failures_that_make_latency_look_good_are_said():
    assert findings.errors_hide_latency(target(errors=1)) is None
    assert findings.errors_hide_latency(target(errors=2)).code == "errors-hide-latency"


def test_a_warm_up_is_not_judged():
    warm_up = segment(target(errors=100)).model_copy(update={"is_warmup": True})

    assert codes(run_of(warm_up)) == set()
    assert loop._soundness(loop._Pass(runs=[run_of(warm_up)])) == Soundness()


def test_a_closed_load_of_requests_is_sound():
    plan, papers = fleet(Shape(count=400))

    found = judged_run(
        conducted_of(plan, [one for paper in papers for one in paper.told]), slo("latency-p99", upper="5ms")
    )

    assert found.outcome is Outcome.PASS


# --- did the connections do? ---------------------------------------------------------------------------------------


def waiting(*, wait_ms, service_ms, seconds, kind="open", errors=0):
    """A load whose requests waited so long for one of four connections, of which all were in use."""
    spans = {
        name: Distribution(count=1000, percentiles={"50": ms, "99": ms})
        for name, ms in (("wait", wait_ms), ("service", service_ms))
    }
    one = target(tried=1000, errors=errors, series=Points(planned=(100,) * len(seconds), service_p50=tuple(seconds)))
    found = segment(one.model_copy(update={"clocks": CLOCKS.model_copy(update=spans)}), kind=kind)
    return found.model_copy(update={"connections_open": 4, "rate_per_s": 100.0, "achieved_per_s": 100.0})


def test_a_cap_that_binds_while_the_service_is_steady_is_told_with_the_number_needed():
    found = findings.connection_limited(waiting(wait_ms=200, service_ms=100, seconds=[100] * 10))

    assert ": 10 would carry the load" in found


@pytest.mark.parametrize(
    "facts",
    [
        {"wait_ms": 0.5, "service_ms": 100, "seconds": [100] * 10},
        {"wait_ms": 200, "service_ms": 100, "seconds": [100] * 4 + [None] * 2 + [100] * 4},
        {"wait_ms": 200, "service_ms": 100, "seconds": [100] * 7 + [300] * 3},
        {"wait_ms": 200, "service_ms": 100, "seconds": [100] * 10, "errors": 500},
    ],
    ids=["no wait", "a stall", "ever slower", "errors"],
)
def test_a_service_that_is_not_steady_is_what_requests_wait_for(facts):
    assert findings.connection_limited(waiting(**facts)) == ""


def test_users_of_closed_load_who_had_nothing_to_send_on_are_told():
    assert "fewer users were at work" in findings.connection_limited(
        waiting(wait_ms=80, service_ms=100, seconds=[100], kind="closed")
    )
    assert not findings.connection_limited(waiting(wait_ms=0.1, service_ms=100, seconds=[100], kind="closed"))
