from decimal import Decimal

import pytest
from pydantic import ValidationError

from controller.errors import BadInputError
from controller.experiment.abort import AbortOn
from controller.experiment.chart import from_values
from controller.experiment.metrics import CLOCKS, PLAIN, STATISTICS, Unit, limit_of, metric_name, providers_of
from controller.experiment.spec import from_document

URL = "http://127.0.0.1:8000/"
STAGED = {"url": URL, "stages": [{"rate": 5, "duration": "5s"}, {"rate": 9, "duration": "5s", "name": "peak"}]}

SPIKE = ("@before", "@spike", "@after")


def slos_of(slos, **http):
    document = {"spec": [{"task": "http", "with": {"url": URL, **http}}, {"task": "assess", "with": {"SLOs": slos}}]}
    return from_document(document).slos


def mistakes_of(slos, **http):
    with pytest.raises(BadInputError) as raised:
        slos_of(slos, **http)
    return [line.removeprefix("spec[1].with.SLOs.") for line in str(raised.value).splitlines()[1:]]


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("http@peak/latency-p99.0", ("http@peak", "http", "peak", "latency", "p99", Unit.MSEC)),
        ("http-get@2/error-rate", ("http-get@2", "http-get", "2", "", "", Unit.FRACTION)),
        ("http/connect-stddev", ("http", "http", "", "connect", "stddev", Unit.MSEC)),
        ("http/rate", ("http", "http", "", "", "", Unit.PER_SECOND)),
        ("http/bytes-out", ("http", "http", "", "", "", Unit.BYTES)),
        ("http/unsent-count", ("http", "http", "", "", "", Unit.COUNT)),
    ],
)
def test_a_name_tells_provider_stage_clock_statistic_and_unit(written, parts):
    name = metric_name(written)

    assert (name.provider, name.base, name.stage, name.clock, name.statistic, name.unit) == parts


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("statistic", [*STATISTICS, "p50", "p99.99"])
def test_every_clock_has_every_statistic(clock, statistic):
    name = metric_name(f"http/{clock}-{statistic}")

    assert (name.clock, name.statistic, name.unit, name.grows) == (clock, statistic, Unit.MSEC, False)


def test_what_grows_is_what_a_part_of_a_run_has_less_of():
    assert [name for name in PLAIN if metric_name(f"http/{name}").grows] == [
        *("request-count", "error-count", "unsent-count", "bytes-in", "bytes-out")
    ]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("http/servce-p99", "did you mean http/service-p99?"),
        ("http@peak/ttfbp99", "did you mean http@peak/ttfb-p99?"),
        ("http/bytesin", "did you mean http/bytes-in?"),
        ("http/tls-p0", "did you mean http/tls-min?"),
        ("http/lag-p100", "did you mean http/lag-max?"),
        ("http@/rate", 'unknown provider "http@": expected http, or http-<endpoint>; @<stage> may follow either'),
        ("http/foo", "-p<number> of each of latency, service, wait, lag, connect, tls, ttfb, body"),
    ],
)
def test_an_unknown_metric_names_the_nearest_of_its_clock(written, words):
    with pytest.raises(ValueError, match=r"expected|unknown") as raised:
        metric_name(written)

    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("metric", "written", "limit"),
    [
        ("rate", "500/s", "500"),
        ("rate", 0.5, "0.5"),
        ("bytes-in", "10kB", "10000"),
        ("bytes-in", "10 KB", "10000"),
        ("bytes-out", "1.5MiB", "1572864"),
        ("bytes-out", "7B", "7"),
        ("bytes-out", 7, "7"),
        ("connect-p99", "5ms", "5"),
    ],
)
def test_limits_have_the_units_of_their_metric(metric, written, limit):
    assert limit_of(metric_name(f"http/{metric}"), written) == Decimal(limit)


@pytest.mark.parametrize(
    ("metric", "written"),
    [("rate", "5ms"), ("rate", "10kB"), ("bytes-in", "10k"), ("bytes-in", "5/s"), ("ttfb-p50", "5/s"), ("rate", -1)],
)
def test_a_limit_in_another_unit_is_refused(metric, written):
    with pytest.raises(ValueError, match=f"expected .* for http/{metric}, got"):
        limit_of(metric_name(f"http/{metric}"), written)


@pytest.mark.parametrize(
    ("settings", "providers"),
    [
        ({}, ["http"]),
        ({"stages": [{}, {"name": "peak"}]}, ["http", "http@1", "http@peak"]),
        ({"step": {"from": 10, "to": 25, "by": 7.5}}, ["http", "http@10", "http@17.5", "http@25"]),
        ({"step": {"from": 10, "to": 25, "by": 0}}, ["http"]),
        ({"step": {"from": 10}}, ["http"]),
        ({"spike": {}}, ["http", "http@before", "http@spike", "http@after"]),
        ({"endpoints": {"a": {"spike": {}}}, "stages": [{}]}, [f"http-a{at}" for at in ("", *SPIKE)]),
        ({"endpoints": {"a": {}, "b": {"rate": 5}}, "stages": [{}]}, ["http-a", "http-a@1", "http-b"]),
        ({"endpoints": {"a": {}}, "mix": True, "stages": [{}]}, ["http", "http@1", "http-a", "http-a@1"]),
    ],
)
def test_a_task_gives_metrics_of_endpoints_stages_and_a_mixs_total(settings, providers):
    assert providers_of(settings) == providers


def test_an_slo_may_be_on_a_stage_and_only_on_one_that_there_is():
    named = slos_of({"upper": [{"metric": "http@peak/latency-p50", "limit": "50ms"}]}, **STAGED)

    assert (named[0].metric.base, named[0].metric.stage) == ("http", "peak")
    (mistake,) = mistakes_of({"upper": [{"metric": "http@peek/latency-p50", "limit": 5}]}, **STAGED)
    assert mistake.startswith('upper[0].metric: no http task before this one gives "http@peek/latency-p50"')
    assert mistake.endswith("did you mean http@peak/latency-p50?")


def test_a_limit_may_have_a_window_in_a_list_and_in_a_map():
    listed = slos_of({"upper": [{"metric": "http/latency-p50", "limit": "50ms", "Window": "1m"}]})
    mapped = slos_of({"upper": {"http/latency-p50": {"Limit": "50ms", "window": "60s"}, "http/error-rate": "1%"}})

    assert listed[0].window_s == 60
    assert (mapped[0], mapped[1].window_s) == (listed[0], 0)


def test_values_of_the_chart_take_a_window_too():
    limits = {"http/latency-p50": {"limit": "50ms", "window": "10s"}, "http/error-rate": 0}
    values = {"tasks": ["http", "assess"], "http": {"url": URL}, "assess": {"SLOs": {"upper": limits}}}

    assert [slo.window_s for slo in from_document(from_values(values)).slos] == [10, 0]


@pytest.mark.parametrize(
    ("limit", "mistake"),
    [
        ({"limit": 5, "window": "500ms"}, 'upper[0].window: expected a duration from 1s to 24h, got "500ms"'),
        ({"limit": 5, "window": "1.5s"}, 'upper[0].window: expected whole seconds, got "1.5s"'),
        ({"limit": 5, "window": 10}, 'upper[0].window: expected a duration such as "10s", got 10: write "10s"'),
        ({"window": "10s"}, "upper[0].limit: is missing"),
        ({"limit": 5, "windw": "10s"}, "upper.http/rate.windw: unknown field; did you mean window?"),
        ({"limit": 5, "metric": "http/x"}, "upper.http/rate.metric: unknown field"),
    ],
)
def test_a_wrong_window_is_told(limit, mistake):
    (found, *_) = mistakes_of({"upper": {"http/rate": limit}})

    assert found.startswith(mistake)


def test_one_metric_may_have_limits_on_the_whole_and_on_windows_but_each_once():
    def of(*windows):
        return [{"metric": "http/latency-p50", "limit": 50} | ({"window": one} if one else {}) for one in windows]

    assert [slo.window_s for slo in slos_of({"upper": of(None, "10s", "1m")})] == [0, 10, 60]
    assert mistakes_of({"upper": of(None, "60s", "1m")}) == [
        "upper[2].metric: http/latency-p50 already stands at spec[1].with.SLOs.upper[1]: give it once"
    ]


def test_what_ends_a_run_is_an_slo_on_it():
    slow = AbortOn.model_validate({"metric": "http@peak/latency-p99", "upper": "2s", "minRequests": 50})
    idle = AbortOn.model_validate({"metric": "http/rate", "lower": "5/s"})

    assert (slow.slo.is_upper, slow.slo.limit, slow.min_requests) == (True, 2000, 50)
    assert (idle.slo.is_upper, idle.slo.limit, idle.min_requests) == (False, 5, 100)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"metric": "http/rate"}, "expected upper or lower, got neither"),
        ({"metric": "http/rate", "upper": 5, "lower": 1}, "expected upper or lower, got both"),
        ({"metric": "http/rate", "upper": "5ms"}, "expected a number per second"),
        ({"metric": "http/rte", "upper": 5}, "did you mean http/rate?"),
        ({"metric": "http/request-count", "lower": 5}, "starts at 0 and grows, so a lower limit would end every run"),
        ({"metric": "http/rate", "upper": 5, "minRequests": 0}, "expected a whole number from 1 to"),
    ],
)
def test_a_condition_that_can_end_no_run_or_every_one_is_refused(given, words):
    with pytest.raises(ValidationError, match=words.replace("?", r"\?")):
        AbortOn.model_validate(given)
