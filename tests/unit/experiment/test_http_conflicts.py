import pytest

from controller.errors import BadInputError
from controller.experiment.spec import from_document

URL = "http://127.0.0.1:8000/"
RATES = [{"rate": 10, "duration": "1s"}]
USERS = [{"users": 10, "duration": "1s"}]
STEP = {"from": 10, "to": 30, "by": 10, "duration": "1s"}
BASIC = {"basic": {"user": "ada", "passwordEnv": "PASSWORD"}}


def load(settings):
    return from_document({"spec": [{"task": "http", "with": {"url": URL} | settings}]}).spec[0]


def mistakes_of(settings):
    with pytest.raises(BadInputError) as raised:
        load(settings)

    return [line.removeprefix("spec[0].with.") for line in str(raised.value).splitlines()[1:]]


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ({"stages": RATES, "duration": "1s"}, "duration: does not go with stages, which has durations of its own"),
        ({"stages": RATES, "numRequests": 5}, "numRequests: does not go with stages, which has durations of its own"),
        ({"step": STEP, "rate": 5}, "rate: does not go with step, which has rates of its own"),
        ({"step": STEP, "stages": RATES}, "step: is a course of the load, and so is stages: give one of them"),
        ({"stages": RATES, "qps": -1}, "qps: asks for closed load, and stages of rates are open load"),
        ({"stages": USERS, "qps": 5}, "qps: does not go with stages of users, which are closed load"),
        ({"stages": USERS, "rate": 5}, "rate: does not go with stages of users, which are closed load"),
        ({"stages": RATES + USERS}, "stages[1].users: is users, and a stage before has rate: open load has rates"),
        ({"stages": []}, "stages: expected from 1 to 1000 stages, got 0"),
        ({"stages": [{"duration": "1s"}]}, "stages[0]: expected one of rate, users, got nothing"),
        ({"stages": [{"rate": 0, "duration": "1s"}]}, "stages: makes no request: expected a rate, or users, above 0"),
        ({"stages": [{"users": 5, "from": 0.5, "duration": "1s"}]}, "stages[0]: expected from to be a whole number"),
        ({"stages": [RATES[0], {**RATES[0], "name": "1"}]}, 'stages[1].name: "1" is already the name of stages[0]'),
        ({"stages": [{**RATES[0], "name": 5}]}, "stages[0].name: expected a stage's name: up to 100 letters"),
        ({"step": {**STEP, "to": 5}}, "step: expected from <= to, got 10 and 5"),
        ({"step": {**STEP, "by": 0.001}}, "step: expected at most 1000 steps, got 20001"),
        ({"qps": -1, "arrival": "poisson"}, "arrival: poisson: only open load has it, and this is closed load"),
        ({"qps": -1, "seed": 1}, "seed: only open load has it, and this is closed load"),
        ({"seed": -1}, "seed: expected a whole number from 0 to 9223372036854775807, got -1"),
        ({"stages": USERS, "maxInFlight": 5}, "maxInFlight: only open load has it, and this is closed load"),
        ({"thinkTime": "1s"}, "thinkTime: only closed load has it (qps: -1, or stages of users), and this is open"),
        ({"connections": 5, "maxInFlight": 4}, "maxInFlight: expected at least the 5 connections to begin with, got 4"),
        ({"streams": 5}, "streams: only HTTP/2 connections have streams: give http2: true"),
        ({"measure": {}}, "measure: expected from, to or both, got neither"),
        ({"measure": {"from": "2s", "to": "2s"}}, "measure: expected from < to, got 2s and 2s"),
        ({"duration": "2s", "measure": {"from": "2s"}}, "measure.from: expected an instant before the end of the load"),
        ({"duration": "2s", "measure": {"to": "3s"}}, "measure.to: expected no later than the end of the load at 2s"),
        ({"keepAlive": False, "requestsPerConnection": 2}, "requestsPerConnection: does not go with keepAlive: false"),
        ({"tls": {"insecure": True}}, "tls: only https has TLS, and the URL is"),
        ({"url": "https://h/", "tls": {"cert": "c.pem"}}, "tls: expected cert and key together, got cert alone"),
        ({"url": "https://h/", "tls": {"minVersion": 1.1}}, "tls.minVersion: expected 1.2 or 1.3, got"),
        ({"url": "https://h/", "tls": {"alpn": ["h2"]}}, 'tls: expected alpn without "h2", because http2 is not true'),
        (
            {"url": "https://h/", "http2": True, "tls": {"alpn": ["http/1.1"]}},
            'tls: expected "h2" among alpn, because http2 is true',
        ),
        ({"http2": "yes"}, 'http2: expected true, false or "prior-knowledge", got "yes"'),
        ({"auth": {}}, "auth: expected one of basic, bearer, got nothing"),
        ({"auth": {"bearer": {}}}, "auth.bearer: expected one of tokenEnv, tokenFile, got nothing"),
        (
            {"auth": {"basic": {"user": "a:b", "passwordEnv": "P"}}},
            "auth.basic: expected a user's name without a colon",
        ),
        ({"auth": BASIC, "headers": {"authorization": "x"}}, "auth: makes the header Authorization, and headers has"),
        ({"template": True, "url": f"{URL}{{{{ nmber }}}}"}, "url: at character 23: "),
        ({"template": True, "headers": {"X": "{{ row. }}"}}, "headers: X: at character 1: "),
        ({"template": True, "payloadStr": "{{"}, "payloadStr: at character 1: {{ without }}"),
        ({"url": f"{URL}{{{{ number }}}}"}, "url: has spaces, which only a template may have"),
        ({"url": "http://{{ row.host }}/", "template": True}, "url: expected a URL such as"),
        ({"template": False, "data": {"file": "x.csv"}}, "template: is false, and data is for templates"),
        (
            {"data": {"file": "x.txt"}},
            'data: the ending of "x.txt" does not tell the format: give format: csv or json-l',
        ),
        ({"data": {"file": "x.csv", "rows": [{"a": 1}]}}, "data: expected one of file, url, rows, got file and rows"),
        ({"data": {"rows": [{"a": None}]}}, 'data.rows: expected text, a number, true or false in column "a" of row 0'),
        ({"checks": [{}]}, "checks[0]: expected one of contains, regex, jsonPath, maxBytes, got nothing"),
        ({"checks": [{"regex": "("}]}, "checks[0]: expected a regular expression, got '('"),
        ({"checks": [{"jsonPath": "$.a"}]}, "checks[0]: expected jsonPath and equals together"),
        ({"checks": [{"jsonPath": "a b", "equals": 1}]}, "checks[0]: expected a JSON path of names and indices"),
        ({"redirects": 21}, "redirects: expected a whole number from 0 to 20, got 21"),
        ({"traceShare": 1.5}, "traceShare: expected a share from 0.000001 to 1, or 0, got 1.5"),
        ({"mix": True}, "mix: expected endpoints to mix, got none"),
        ({"weight": 3}, "weight: unknown field"),
        ({"endpoints": {"a": {"weight": 3}}}, "endpoints.a.weight: only endpoints of a mix have weights"),
        (
            {"mix": True, "endpoints": {"a": {"weight": 0}}},
            "endpoints.a.weight: expected a whole number from 1 to 10000",
        ),
        (
            {"abortOn": [{"metric": "http@2/rate", "lower": 5}], "stages": RATES},
            "abortOn[0].metric: this task does not",
        ),
    ],
)
def test_what_does_not_go_together_is_told(settings, mistake):
    found = mistakes_of(settings)

    assert len(found) == 1
    assert found[0].startswith(mistake)


@pytest.mark.parametrize(
    "own",
    [
        {"qps": 5},
        {"stages": RATES},
        {"connections": 5},
        {"warmupDuration": "1s"},
        {"measure": {"from": "1s"}},
        {"maxDuration": "9s"},
    ],
)
def test_the_load_of_a_mix_is_the_tasks_alone(own):
    (field,) = own

    assert mistakes_of({"mix": True, "endpoints": {"a": own, "b": {}}}) == [
        f"endpoints.a.{field}: is the whole mix's: give it to the task"
    ]


def test_a_parameter_that_some_endpoints_cannot_use_may_be_the_tasks():
    settings = {"thinkTime": "1s", "qps": -1, "endpoints": {"closed": {}, "open": {"qps": 5}}}
    closed, open_ = load(settings).resolved()

    assert (closed.think_s, open_.think_s) == (1.0, 0.0)


def test_a_parameter_that_no_endpoint_can_use_is_told_once_where_it_stands():
    settings = {"thinkTime": "1s", "endpoints": {"a": {}, "b": {"qps": 5}}}
    own = {"qps": -1, "endpoints": {"a": {"thinkTime": "1s"}, "b": {"qps": 5, "thinkTime": "1s"}}}

    assert [line.partition(":")[0] for line in mistakes_of(settings)] == ["thinkTime"]
    assert [line.partition(":")[0] for line in mistakes_of(own)] == ["endpoints.b.thinkTime"]


def test_a_clash_between_task_and_endpoint_is_told_at_the_endpoint():
    settings = {"auth": BASIC, "endpoints": {"a": {}, "b": {"headers": {"Authorization": "x"}}}}

    assert [line.partition(":")[0] for line in mistakes_of(settings)] == ["endpoints.b.auth"]


def test_every_clash_is_told_at_once_beside_other_mistakes():
    settings = {"stages": RATES, "duration": "x", "streams": 5, "qps": -1, "conections": 1}

    assert [line.partition(":")[0] for line in mistakes_of(settings)] == [
        "conections",
        "duration",
        "qps",
        "streams",
        "duration",
    ]
