import pytest

from controller.cli import http_words as words
from controller.errors import BadInputError
from controller.experiment.spec import from_document


def test_limits_are_short_for_slos():
    assert words.slos_of(["p99<50ms", "rate>=100", "http/connect-p95 < 5"]) == {
        "upper": [{"metric": "http/latency-p99", "limit": "50ms"}, {"metric": "http/connect-p95", "limit": 5}],
        "lower": [{"metric": "http/rate", "limit": 100}],
    }


def test_an_end_is_a_limit_from_its_other_side():
    assert words.abort_on_of(["errors>10%", "rate<5"]) == [
        {"metric": "http/error-rate", "upper": "10%"},
        {"metric": "http/rate", "lower": 5},
    ]


def test_stages_are_rates_and_durations():
    assert words.stages_of(["100:10s", "0.5:1m"]) == [
        {"rate": 100, "duration": "10s"},
        {"rate": 0.5, "duration": "1m"},
    ]


@pytest.mark.parametrize(
    ("text", "equals"), [("7", 7), ('"7"', "7"), ("ok", "ok"), ("true", True), ("NaN", "NaN"), ("a=b", "a=b"), ("", "")]
)
def test_a_value_at_a_path_is_json_or_else_text(text, equals):
    assert words.checks_of(["in stock"], [f"$.a.b={text}"]) == [
        {"contains": "in stock"},
        {"jsonPath": "$.a.b", "equals": equals},
    ]


def test_secrets_are_named_and_never_given():
    assert words.auth_of("ada", "PASSWORD", None) == {"basic": {"user": "ada", "passwordEnv": "PASSWORD"}}
    assert words.auth_of(None, None, "TOKEN") == {"bearer": {"tokenEnv": "TOKEN"}}
    assert words.auth_of(None, None, None) is None


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: words.slos_of(["p99=5"]), "--slo: expected a metric, < or >, and a limit"),
        (lambda: words.abort_on_of(["errors"]), "--abort-on: expected a metric, > or <, and a limit"),
        (lambda: words.stages_of(["100"]), "--stage: expected RATE:DURATION, such as 100:10s, got '100'"),
        (lambda: words.checks_of([], ["$.a"]), "--check-json: expected PATH=VALUE"),
        (lambda: words.auth_of("ada:secret", None, None), "--user: expected a name without the password"),
        (lambda: words.auth_of("ada", None, None), "--user: expected --user and --password-env together"),
        (lambda: words.auth_of(None, "P", None), "--password-env: expected --user and --password-env together"),
        (lambda: words.auth_of("ada", "P", "T"), "--bearer-env: expected a token or --user, got both"),
        (lambda: words.headers_of(["X"]), "--header: expected 'Name: value', got 'X'"),
        (lambda: words.headers_of(["X: 1", "x: 2"]), "--header: x is given twice"),
    ],
)
def test_what_is_no_option_is_told(call, said):
    with pytest.raises(BadInputError) as raised:
        call()

    assert str(raised.value).startswith(said)
    assert "secret" not in str(raised.value)


def test_what_the_options_say_is_an_experiment():
    http = {
        "url": "https://127.0.0.1/",
        "stages": words.stages_of(["100:10s"]),
        "auth": words.auth_of("ada", "P", None),
        "checks": words.checks_of(["ok"], ["$.a=1"]),
        "abortOn": words.abort_on_of(["errors>10%"]),
    }
    assess = {"SLOs": words.slos_of(["p99<50ms"])}

    assert from_document({"spec": [{"task": "http", "with": http}, {"task": "assess", "with": assess}]}).slos
