from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.experiment import units
from controller.experiment.metrics import limit_of, metric_name


@pytest.mark.parametrize(
    ("text", "found_s"),
    [("30s", 30), ("1m30s", 90), ("100ms", 0.1), ("1.5h", 5400), ("250us", 0.00025), ("1µs", 1e-6), (".5s", 0.5)],
)
def test_go_durations_become_seconds(text, found_s):
    assert units.seconds(0, 1e6, "30s")(text) == found_s


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (5, 'expected a duration such as "30s", got 5: write "5s"'),
        ("5", 'expected a duration such as "30s", got "5": write "5s"'),
        (0.5, 'expected a duration such as "30s", got 0.5: write "0.5s"'),
        ("fast", 'expected a duration such as "30s", got "fast"'),
        ("-3s", 'expected a duration such as "30s", got "-3s"'),
        ("3 s", 'expected a duration such as "30s", got "3 s"'),
        ("0s", 'expected a duration from 1ms to 1h, got "0s"'),
        ("2h", 'expected a duration from 1ms to 1h, got "2h"'),
        (True, 'expected a duration such as "30s", got true'),
        (None, 'expected a duration such as "30s", got null'),
        ("1s" * 1000, 'expected a duration such as "30s", got "1s1s'),
    ],
)
def test_what_is_no_duration_is_told_with_what_to_write(value, words):
    with pytest.raises(ValueError, match="expected a duration") as raised:
        units.seconds(0.001, 3600, "30s")(value)

    assert str(raised.value).startswith(words)


@given(st.integers(1, 10**15))
def test_a_length_reads_back_as_it_is_shown(ns):
    assert units.duration_ns(units.span(ns / 1e9)) == pytest.approx(ns, rel=1e-9)


@pytest.mark.parametrize("value", [1, 1e3, 1000])
def test_whole_floats_are_whole_numbers(value):
    assert units.whole(1, 1000)(value) == value


@pytest.mark.parametrize("value", [True, "12", 0, 1001, 1.5, float("nan"), float("inf"), None, [1], 10**400])
def test_what_is_no_whole_number_in_bounds_is_refused(value):
    with pytest.raises(ValueError, match="expected a whole number from 1 to 1000, got "):
        units.whole(1, 1000)(value)


@pytest.mark.parametrize(
    "value",
    ["http://h", "https://a-b.example.com:8443/p?q=1#f", "http://[::1]:80/", "http://127.0.0.1:8000/", "http://svc_x/"],
)
def test_good_urls_are_taken_as_they_are(value):
    assert units.url(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        "h",
        "ftp://h",
        "http://",
        "http:///p",
        "http://h:0/",
        "http://h:70000/",
        "http://h:x/",
        "http://h/a b",
        "http://h/\r\nX: y",
        "http://h/ü",
        "http://[::1",
        "http://user:secret@h/",
        "http://-h/",
        "http://a,b/",
        "http://h/" + "x" * 9000,
        5,
        None,
    ],
)
def test_bad_urls_are_refused(value):
    with pytest.raises(ValueError, match="expected "):
        units.url(value)


@pytest.mark.parametrize(
    "value",
    [
        {"a b": "c"},
        {"": "c"},
        {"X": "a\r\nY: b"},
        {"X": "ü"},
        {"X": 3},
        {"X": None},
        {"X": "a", "x": "b"},
        {"Content-Length": "3"},
        ["X"],
    ],
)
def test_bad_headers_are_refused(value):
    with pytest.raises(ValueError, match=r"expected |given twice|is computed"):
        units.headers(value)


@pytest.mark.parametrize(
    ("metric", "written", "limit"),
    [
        ("http/latency-mean", 50, "50"),
        ("http/latency-mean", 0.1, "0.1"),
        ("http/latency-p99", "50ms", "50"),
        ("http/latency-p99", "1s", "1000"),
        ("http/latency-max", "250us", "0.25"),
        ("http/latency-max", "12.5", "12.5"),
        ("http/error-rate", "0.1%", "0.001"),
        ("http/error-rate", 0.001, "0.001"),
        ("http-get/error-count", 0, "0"),
    ],
)
def test_limits_are_exact_in_the_metrics_own_unit(metric, written, limit):
    assert limit_of(metric_name(metric), written) == Decimal(limit)


@pytest.mark.parametrize(
    ("metric", "written"),
    [
        ("http/latency-p99", "fast"),
        ("http/latency-p99", "1%"),
        ("http/error-rate", "50ms"),
        ("http/error-count", "1%"),
        ("http/request-count", "1s"),
        ("http/latency-p99", True),
        ("http/latency-p99", None),
        ("http/latency-p99", float("nan")),
        ("http/latency-p99", float("inf")),
        ("http/latency-p99", -1),
        ("http/latency-p99", "1e999"),
    ],
)
def test_a_limit_that_does_not_fit_its_metric_is_refused(metric, written):
    with pytest.raises(ValueError, match=f"expected .* for {metric}, got"):
        limit_of(metric_name(metric), written)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("http/latency-p50.0", "http/latency-p50"),
        ("http-get/latency-p99.90", "http-get/latency-p99.9"),
        ("http/latency-p090", "http/latency-p90"),
        ("http-a.b c/error-rate", "http-a.b c/error-rate"),
    ],
)
def test_a_metric_has_one_spelling_for_endpoints_too(written, name):
    assert str(metric_name(written)) == name
    assert metric_name(written) == metric_name(name)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("http/latency-p100", "did you mean http/latency-max?"),
        ("http/latency-p0", "did you mean http/latency-min?"),
        ("http/latncy-mean", "did you mean http/latency-mean?"),
        ("http/latency/p99", "did you mean http/latency-p99?"),
        ("p99", "did you mean http/latency-p99?"),
        ("error-rate", "did you mean http/error-rate?"),
        ("http/xyz", "known are request-count"),
        ("grpc/latency/p99", 'unknown provider "grpc"'),
        (5, "expected a metric such as http/latency-p99, got 5"),
    ],
)
def test_an_unknown_metric_names_the_nearest_known_one(written, words):
    with pytest.raises(ValueError, match=r"expected|unknown") as raised:
        metric_name(written)

    assert words in str(raised.value)
