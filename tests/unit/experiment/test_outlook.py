import pytest

from controller.experiment.outlook import Code, outlook, requests_needed
from controller.experiment.spec import from_document

URL = "http://127.0.0.1:8000/"


def cautions_of(http, upper=None, lower=None, **assess):
    slos = {"upper": upper or {}, "lower": lower or {}}
    spec = [{"task": "http", "with": {"url": URL} | http}, {"task": "assess", "with": {"SLOs": slos} | assess}]
    return outlook(from_document({"spec": spec}))


def test_a_sound_experiment_has_no_cautions():
    assert cautions_of({"numRequests": 1000, "qps": 500}, {"http/latency-p99.9": 50, "http/error-rate": "1%"}) == ()


@pytest.mark.parametrize(
    ("http", "upper", "path", "code", "words"),
    [
        (
            {},
            {"http/latency-p99.9": 50},
            "spec[1].with.SLOs.upper[0]",
            Code.THIN_EVIDENCE,
            "http/latency-p99.9 needs 1,000 requests to be decided, and the plan has 100",
        ),
        (
            {"duration": "10s", "qps": 5},
            {"http/latency-p99": 50},
            "spec[1].with.SLOs.upper[0]",
            Code.THIN_EVIDENCE,
            "needs 100 requests to be decided, and the plan has 50",
        ),
        (
            {},
            {"http/error-count": 0, "http/latency-mean": "3s"},
            "spec[1].with.SLOs.upper[1]",
            Code.LIMIT_ABOVE_TIMEOUT,
            "a limit of 3000 ms on http/latency-mean can't fail by a slow answer, because requests time out after 3s",
        ),
        (
            {"qps": 5000, "connections": 4},
            {},
            "spec[0].with.connections",
            Code.RATE_NEEDS_CONNECTIONS,
            "4 connections can't carry 5,000 requests/s to a target that takes longer than 0.8 ms",
        ),
        (
            {},
            {"http/error-rate": 5},
            "spec[1].with.SLOs.upper[0]",
            Code.ERROR_RATE_ABOVE_ONE,
            'is a fraction from 0 to 1, so a limit of 5 can\'t fail: write "5%" if percent was meant',
        ),
        (
            {"numRequests": 10, "duration": "5s"},
            {},
            "spec[0].with.duration",
            Code.DURATION_IGNORED,
            "is ignored, because numRequests is given: 10 requests are sent",
        ),
    ],
)
def test_what_cannot_come_out_well_is_said_before_any_load(http, upper, path, code, words):
    (caution,) = cautions_of(http, upper)

    assert (caution.path, caution.code) == (path, code)
    assert words in caution.message


@pytest.mark.parametrize(
    ("http", "metric", "said"),
    [
        ({"step": {"from": 5, "to": 50, "by": 45, "duration": "10s"}}, "http@5/latency-p99", "the plan has 50"),
        ({"rate": 50, "duration": "10s", "measure": {"from": "9s"}}, "http/latency-p99", "the plan has 50"),
        (
            {"mix": True, "rate": 30, "duration": "5s", "endpoints": {"a": {"weight": 2}, "b": {}}},
            "http-b/latency-p99",
            "the plan has 50",
        ),
        (
            {"rate": 10, "duration": "60s"},
            {"metric": "http/latency-p99", "limit": 50, "window": "5s"},
            "a window has at most 50",
        ),
    ],
)
def test_evidence_is_counted_by_stage_measured_part_share_of_a_mix_and_window(http, metric, said):
    limit = metric if isinstance(metric, dict) else {"metric": metric, "limit": 50}
    (caution,) = cautions_of(http, [limit])

    assert caution.code is Code.THIN_EVIDENCE
    assert f"needs 100 requests to be decided, and {said}: send more" in caution.message


def test_the_total_of_a_mix_has_the_evidence_of_all_and_the_longest_timeout():
    mix = {"mix": True, "rate": 30, "duration": "5s", "endpoints": {"a": {"timeout": "1s"}, "b": {}}}

    assert cautions_of(mix, {"http/latency-p99": "2s", "http/error-count": 0}) == ()
    (caution,) = cautions_of(mix, {"http-a/latency-max": "2s"})
    assert caution.code is Code.LIMIT_ABOVE_TIMEOUT


def test_connections_that_may_grow_are_bounded_by_what_may_be_under_way():
    (caution,) = cautions_of({"rate": 50_000, "maxInFlight": 20})

    assert (caution.path, caution.code) == ("spec[0].with.maxInFlight", Code.RATE_NEEDS_CONNECTIONS)
    assert cautions_of({"rate": 50_000}) == ()
    assert cautions_of({"rate": 50_000, "http2": True, "connections": 1}) == ()


def test_waiting_is_not_ended_by_a_timeout():
    assert cautions_of({}, {"http/wait-max": "5s"}) == ()


def test_an_endpoints_caution_names_the_endpoint():
    (caution,) = cautions_of({"endpoints": {"a": {}, "b": {"qps": 8000, "connections": 4}}})

    assert caution.path == "spec[0].with.endpoints.b.connections"


def test_closed_load_has_no_plan_to_judge():
    assert cautions_of({"qps": -1, "duration": "1s"}, {"http/latency-p99.9": 50}) == ()


@pytest.mark.parametrize(
    ("metric", "limit", "confidence", "needed"),
    [
        ("http/latency-p99", 50, None, 100),
        ("http/latency-p99.9", 50, None, 1000),
        ("http/latency-p50", 50, None, 2),
        ("http/latency-p95", 50, 0.95, 59),
        ("http/latency-p99", 50, 0.95, 299),
        ("http/latency-p99.9", 50, 0.95, 2995),
        ("http/latency-mean", 50, 0.95, 0),
        ("http/error-rate", 0.001, None, 0),
        ("http/error-rate", 0.001, 0.95, 2995),
        ("http/error-rate", 0, 0.95, 0),
        ("http/error-count", 0, 0.95, 0),
    ],
)
def test_the_evidence_an_slo_needs_is_computed_in_decimals(metric, limit, confidence, needed):
    spec = [
        {"task": "http", "with": {"url": URL}},
        {"task": "assess", "with": {"SLOs": {"upper": {metric: limit}}}},
    ]
    (slo,) = from_document({"spec": spec}).slos

    assert requests_needed(slo, confidence) == needed
