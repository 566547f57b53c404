from decimal import Decimal
from fractions import Fraction

import pytest

from controller.errors import BadInputError
from controller.experiment.http_parts import ErrorRange
from controller.experiment.spec import from_document
from protocol.messages import Check, CheckKind

URL = "http://127.0.0.1:8000/"


def task_of(**settings):
    return from_document({"spec": [{"task": "http", "with": {"url": URL} | settings}]}).spec[0]


def endpoint_of(**settings):
    (endpoint,) = task_of(**settings).resolved()
    return endpoint


def test_the_defaults_are_iter8s():
    endpoint = endpoint_of()

    assert (endpoint.name, endpoint.provider, endpoint.url, endpoint.method) == ("", "http", URL, "GET")
    assert (endpoint.num_requests, endpoint.duration_s, endpoint.duration_ignored) == (100, None, False)
    assert (endpoint.rate_per_s, endpoint.ahead, endpoint.timeout_s) == (8, 4, 3.0)
    assert endpoint.error_ranges == (ErrorRange(lower=400),)
    assert [str(p) for p in endpoint.percentiles] == ["50", "75", "90", "95", "99", "99.9"]
    assert (endpoint.allow_initial_errors, endpoint.expect, dict(endpoint.headers)) == (False, "success", {})
    assert (endpoint.warmup_num_requests, endpoint.warmup_duration_s) == (None, None)
    assert (task_of().on_agent_loss, task_of().agents, task_of().is_warmup) == ("fail", None, False)


def test_numbers_are_taken_exactly_as_written():
    assert endpoint_of(qps=0.1).rate_per_s == Decimal("0.1")
    assert Fraction(endpoint_of(rate=33.3).rate_per_s) == Fraction(333, 10)


@pytest.mark.parametrize(("settings", "rate_per_s"), [({"qps": 0}, 8), ({"qps": -1}, None), ({"rate": 50}, 50)])
def test_zero_is_the_default_rate_and_negative_is_closed_load(settings, rate_per_s):
    assert endpoint_of(**settings).rate_per_s == rate_per_s


@pytest.mark.parametrize(
    ("settings", "num_requests", "duration_s", "ignored"),
    [
        ({"duration": "30s"}, None, 30.0, False),
        ({"numRequests": 5}, 5, None, False),
        ({"numRequests": 5, "duration": "30s"}, 5, None, True),
    ],
)
def test_num_requests_wins_over_duration_and_says_so(settings, num_requests, duration_s, ignored):
    endpoint = endpoint_of(**settings)

    assert (endpoint.num_requests, endpoint.duration_s, endpoint.duration_ignored) == (
        num_requests,
        duration_s,
        ignored,
    )


@pytest.mark.parametrize(
    ("settings", "method"),
    [
        ({"payloadStr": "x"}, "POST"),
        ({"payloadFile": "x"}, "POST"),
        ({"payloadURL": URL}, "POST"),
        ({"contentType": "text/plain"}, "POST"),
        ({"payloadStr": ""}, "GET"),
        ({"payloadStr": "x", "method": "put"}, "PUT"),
        ({"method": "delete"}, "DELETE"),
    ],
)
def test_a_payload_or_a_content_type_makes_it_post_unless_a_method_is_given(settings, method):
    assert endpoint_of(**settings).method == method


def test_a_url_wins_over_a_file_and_a_file_over_text():
    both = endpoint_of(payloadStr="x", payloadFile="f")
    every = endpoint_of(payloadStr="x", payloadFile="f", payloadURL=URL)

    assert (both.payload_str, both.payload_file, both.payload_url) == (None, "f", None)
    assert (every.payload_str, every.payload_file, every.payload_url) == (None, None, URL)


def test_the_content_type_parameter_wins_over_the_header():
    endpoint = endpoint_of(contentType="text/plain", headers={"content-type": "text/html", "X": "y"})

    assert (endpoint.content_type, dict(endpoint.headers)) == ("text/plain", {"X": "y"})


def test_the_users_percentiles_come_first_and_the_defaults_are_always_there():
    assert [str(p) for p in endpoint_of(percentiles=[99.99, 50, 50.0, 100]).percentiles] == [
        "99.99",
        "50",
        "100",
        "75",
        "90",
        "95",
        "99",
        "99.9",
    ]


@pytest.mark.parametrize(
    ("settings", "max_duration_s"),
    [
        ({"duration": "10s"}, 40.0),
        ({"duration": "10s", "timeout": "20s"}, 50.0),
        ({"numRequests": 100, "qps": 10}, 40.0),
        ({"numRequests": 100, "qps": -1, "connections": 3}, 34 * 3 + 30.0),
        ({"numRequests": 10**9, "qps": -1}, 24 * 3600 + 30.0),
        ({"duration": "10s", "maxDuration": "11s"}, 11.0),
    ],
)
def test_a_run_ends_some_time_after_its_plan_at_the_latest(settings, max_duration_s):
    assert endpoint_of(**settings).max_duration_s == max_duration_s


def test_the_planned_size_is_known_where_the_target_does_not_decide_it():
    assert (endpoint_of(duration="10s", qps=2.5).planned_requests, endpoint_of(duration="10s").planned_length_s) == (
        25,
        10.0,
    )
    assert endpoint_of(duration="10s", qps=-1).planned_requests is None
    assert endpoint_of(qps=-1).planned_length_s is None


def test_error_ranges_include_both_ends():
    found = ErrorRange(lower=400, upper=499)

    assert [code in found for code in (399, 400, 499, 500)] == [False, True, True, False]
    assert endpoint_of(errorRanges=[]).error_ranges == ()


def test_endpoints_come_in_document_order_with_their_own_providers():
    endpoints = task_of(endpoints={"z": {}, "a b": {}, "Get": None}).resolved()

    assert [(e.name, e.provider) for e in endpoints] == [("z", "http-z"), ("a b", "http-a b"), ("Get", "http-Get")]


@pytest.mark.parametrize(
    ("field", "attribute", "base", "own", "resolved_base", "resolved_own"),
    [
        ("url", "url", "http://a/", "http://b/", "http://a/", "http://b/"),
        ("method", "method", "PUT", "GET", "PUT", "GET"),
        ("payloadStr", "payload_str", "a", "b", "a", "b"),
        ("contentType", "content_type", "a/a", "b/b", "a/a", "b/b"),
        ("numRequests", "num_requests", 5, 6, 5, 6),
        ("duration", "duration_s", "5s", "6s", 5.0, 6.0),
        ("qps", "rate_per_s", 5, 6, 5, 6),
        ("rate", "rate_per_s", 5, 6, 5, 6),
        ("connections", "connections", 5, 6, 5, 6),
        ("timeout", "timeout_s", "5s", "6s", 5.0, 6.0),
        ("maxDuration", "max_duration_s", "5s", "6s", 5.0, 6.0),
        ("errorRanges", "error_ranges", [{"lower": 500}], [], (ErrorRange(lower=500),), ()),
        ("allowInitialErrors", "allow_initial_errors", True, False, True, False),
        ("warmupNumRequests", "warmup_num_requests", 5, 6, 5, 6),
        ("warmupDuration", "warmup_duration_s", "5s", "6s", 5.0, 6.0),
        ("expect", "expect", "errors", "success", "errors", "success"),
    ],
)
def test_endpoints_override_the_task_parameter_by_parameter(field, attribute, base, own, resolved_base, resolved_own):
    plain, overriding = task_of(**{field: base}, endpoints={"plain": {}, "own": {field: own}}).resolved()

    assert getattr(plain, attribute) == resolved_base
    assert getattr(overriding, attribute) == resolved_own


def test_headers_are_merged_name_by_name_in_any_case():
    (endpoint,) = task_of(headers={"X-A": "1", "X-B": "2"}, endpoints={"e": {"headers": {"x-a": "3"}}}).resolved()

    assert dict(endpoint.headers) == {"X-B": "2", "x-a": "3"}


def test_an_endpoints_payload_or_rate_replaces_the_tasks_whichever_way_each_is_given():
    (endpoint,) = task_of(payloadFile="f", qps=5, endpoints={"e": {"payloadStr": "x", "rate": 7}}).resolved()

    assert (endpoint.payload_str, endpoint.payload_file, endpoint.rate_per_s) == ("x", None, 7)


def test_an_endpoints_own_duration_counts_when_the_task_gives_no_number():
    """Iter8 gave the task 100 requests by default, which then won over the endpoint's duration."""
    (endpoint,) = task_of(endpoints={"e": {"duration": "5s"}}).resolved()

    assert (endpoint.num_requests, endpoint.duration_s) == (None, 5.0)


def test_warmup_requests_win_over_a_warmup_duration():
    endpoint = endpoint_of(warmupNumRequests=5, warmupDuration="5s")

    assert (endpoint.warmup_num_requests, endpoint.warmup_duration_s) == (5, None)


def test_task_settings_are_read():
    task = task_of(onAgentLoss="redistribute", agents="auto", warmup=True)

    assert (task.on_agent_loss, task.agents, task.is_warmup) == ("redistribute", "auto", True)
    assert task_of(agents=3).agents == 3


@pytest.mark.parametrize("rate", [0, -1, -0.5])
def test_a_rate_under_its_new_name_is_above_0(rate):
    with pytest.raises(BadInputError, match="more than 0 requests per second"):
        endpoint_of(rate=rate)


@pytest.mark.parametrize(
    ("settings", "connections", "ahead", "streams"),
    [
        ({}, 1024, 4, 1),
        ({"connections": 50}, 50, 50, 1),
        ({"maxInFlight": 3}, 3, 3, 1),
        ({"connections": 50, "maxInFlight": 80}, 80, 50, 1),
        ({"http2": True}, 10, 4, 100),
        ({"http2": True, "connections": 2}, 2, 2, 100),
        ({"http2": True, "maxInFlight": 30}, 1, 1, 30),
        ({"http2": True, "connections": 20, "maxInFlight": 1000}, 20, 20, 50),
        ({"qps": -1}, 4, 4, 1),
        ({"qps": -1, "http2": True, "streams": 10, "connections": 3}, 3, 3, 10),
    ],
)
def test_connections_grow_in_open_load_and_are_users_in_closed_load(settings, connections, ahead, streams):
    endpoint = endpoint_of(**settings)

    assert (endpoint.connections, endpoint.ahead, endpoint.streams) == (connections, ahead, streams)


def test_a_mix_has_one_load_and_each_endpoint_its_share():
    task = task_of(mix=True, rate=10, duration="10s", endpoints={"a": {"weight": 3}, "b": {"timeout": "1s"}})
    a, b = task.resolved()

    assert task.is_mix
    assert [(e.weight, e.share, e.planned_requests, e.own_requests()) for e in (a, b)] == [
        (3, Fraction(3, 4), 100, 75),
        (1, Fraction(1, 4), 100, 25),
    ]
    assert (a.timeout_s, b.timeout_s) == (3.0, 1.0)


def test_an_endpoints_load_takes_the_place_of_the_tasks_stages_and_its_stages_that_of_the_tasks_load():
    stages = [{"rate": 10, "duration": "1s"}]
    plain, own = task_of(stages=stages, endpoints={"plain": {}, "own": {"duration": "5s"}}).resolved()
    rate, staged = task_of(rate=7, duration="9s", endpoints={"rate": {}, "staged": {"stages": stages}}).resolved()

    assert (len(plain.stages), len(own.stages), own.rate_per_s, own.duration_s) == (1, 0, 8, 5.0)
    assert (rate.rate_per_s, rate.duration_s) == (7, 9.0)
    assert (staged.rate_per_s, staged.duration_s, staged.stages[0].begin, staged.planned_length_s) == (None, None, 0, 1)


@pytest.mark.parametrize(
    ("settings", "http2"),
    [
        ({}, ""),
        ({"http2": False}, ""),
        ({"http2": True}, "prior-knowledge"),
        ({"http2": True, "url": "HTTPS://h/"}, "alpn"),
        ({"http2": "prior-knowledge", "url": "https://h/"}, "prior-knowledge"),
    ],
)
def test_http2_is_agreed_on_over_tls_and_known_beforehand_without(settings, http2):
    assert endpoint_of(**settings).http2 == http2


@pytest.mark.parametrize(
    ("settings", "period"),
    [
        ({}, 100),
        ({"traceShare": 0}, 0),
        ({"traceShare": 1}, 1),
        ({"traceShare": 0.3}, 3),
        ({"headers": {"TraceParent": "x"}}, 0),
    ],
)
def test_every_so_manyth_request_is_traced_unless_the_user_does(settings, period):
    assert endpoint_of(**settings).trace_period == period


def test_data_makes_it_a_template_and_tells_its_format_by_its_ending():
    rows = endpoint_of(url=f"{URL}{{{{ row.id }}}}", data={"rows": [{"id": 7, "Name": "Ada"}]})
    formats = [{"file": "a.CSV"}, {"url": "http://h/a.jsonl?v=1.csv"}, {"file": "a", "format": "json-lines"}]

    assert (rows.is_template, rows.url, rows.data.rows[0], rows.data.read_as) == (
        True,
        f"{URL}{{{{ row.id }}}}",
        {"id": 7, "Name": "Ada"},
        None,
    )
    assert [endpoint_of(data=one).data.read_as for one in formats] == ["csv", "json-lines", "json-lines"]
    assert not endpoint_of(url=f"{URL}{{{{x}}}}").is_template


def test_checks_become_what_agents_run():
    checks = [{"contains": "a"}, {"regex": "b+"}, {"jsonPath": "$.c", "equals": {"d": [1]}}, {"maxBytes": 5}]

    assert [check.as_message() for check in endpoint_of(checks=checks).checks] == [
        Check(CheckKind.CONTAINS, "a"),
        Check(CheckKind.REGEX, "b+"),
        Check(CheckKind.JSON_PATH, "$.c", '{"d":[1]}'),
        Check(CheckKind.MAX_BYTES, "5"),
    ]


def test_what_connections_and_requests_are_like_is_read():
    tls = {"ca": "ca.pem", "cert": "c.pem", "key": "k.pem", "minVersion": 1.3, "serverName": "s", "alpn": ["http/1.1"]}
    endpoint = endpoint_of(
        url="https://h/", tls=tls, keepAlive=False, redirects=3, auth={"bearer": {"tokenFile": "t"}}, arrival="poisson"
    )

    assert (endpoint.tls.min_version, endpoint.tls.server_name, endpoint.tls.alpn) == ("1.3", "s", ("http/1.1",))
    assert (endpoint.keep_alive, endpoint.requests_per_connection, endpoint.redirects) == (False, 0, 3)
    assert (endpoint.auth.bearer.token_file, endpoint.arrival, endpoint.seed) == ("t", "poisson", 0)
    assert endpoint_of(requestsPerConnection=5, qps=-1, thinkTime="250ms").think_s == 0.25


def test_abort_conditions_are_the_tasks():
    (condition,) = task_of(abortOn=[{"metric": "http/error-rate", "upper": "10%"}]).abort_on

    assert (condition.slo.limit, condition.min_requests) == (Decimal("0.1"), 100)
