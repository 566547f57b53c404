import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import BadInputError
from controller.experiment.assess import Goal, Side
from controller.experiment.document import dump_yaml
from controller.experiment.spec import from_document, load

URL = "http://127.0.0.1:8000/"


def experiment_of(http=None, assess=None, **top):
    spec = [{"task": "http", "with": {"url": URL} if http is None else http}]
    if assess is not None:
        spec.append({"task": "assess", "with": assess})
    return from_document({"spec": spec, **top})


def mistakes_in(document, **options):
    with pytest.raises(BadInputError) as raised:
        from_document(document, **options)

    return str(raised.value).splitlines()[1:]


def mistakes_of(*tasks):
    return mistakes_in({"spec": list(tasks)})


def test_the_smallest_experiment_has_a_name_a_namespace_and_one_task():
    experiment = load(f"spec: [{{task: http, with: {{url: '{URL}'}}}}]")

    assert (experiment.metadata.name, experiment.metadata.namespace) == ("default", "default")
    assert [task.task for task in experiment.spec] == ["http"]
    assert experiment.result is None
    assert experiment.slos == ()


EVERYTHING_WRONG = """
metadata: {name: "-x", nmae: y}
spec:
- task: http
  with:
    url: ftp://x
    numRequest: 5
    numRequests: "12"
    duration: 5
    qps: fast
    connections: 0
    errorRanges: [{lower: 500, upper: 400}]
- task: assess
  with:
    SLOs:
      upper:
      - {metric: http/latency-p99, limit: fast}
      - {metric: http/latncy-p99, limit: 1}
      - {metric: http-x/error-rate, limit: 1}
- task: grpc
"""


MISTAKES = """
metadata.nmae: unknown field; did you mean name?
metadata.name: expected a name of at most 63 letters, digits, - and _, with a letter or digit at both ends, got "-x"
spec[0].with.numRequest: unknown field; did you mean numRequests?
spec[0].with.url: expected a URL that begins with http:// or https://, got "ftp://x"
spec[0].with.errorRanges[0]: expected lower <= upper, got 500 and 400
spec[0].with.numRequests: expected a whole number from 1 to 1000000000000, got "12"
spec[0].with.duration: expected a duration such as "30s", got 5: write "5s"
spec[0].with.qps: expected a number of requests per second, got "fast"
spec[0].with.connections: expected a whole number from 1 to 100000, got 0
spec[1].with.SLOs.upper[2].metric: no http task before this one gives "http-x/error-rate"; did you mean http/error-rate?
spec[1].with.SLOs.upper[0].limit: expected a duration such as "50ms", or a number of milliseconds, \
for http/latency-p99, got "fast"
spec[1].with.SLOs.upper[1].metric: unknown metric "latncy-p99"; did you mean http/latency-p99?
spec[2].task: "grpc" is not supported by this version; supported are http and assess
"""


def test_every_mistake_is_told_at_once_one_a_line_with_its_path():
    with pytest.raises(BadInputError) as raised:
        load(EVERYTHING_WRONG, "my.yaml")

    first, *lines = str(raised.value).splitlines()
    assert first == "my.yaml: 13 mistakes"
    assert "\n".join(lines) == MISTAKES.strip()


def test_lenient_drops_unknown_keys_and_nothing_else():
    document = {"spec": [{"task": "http", "with": {"url": URL, "numRequest": 5}, "x": 1}], "y": 2}

    assert from_document(document, lenient=True).spec[0].settings.num_requests is None
    assert len(mistakes_in(document)) == 3
    assert mistakes_in({"spec": [{"task": "http", "with": {}}]}, lenient=True) != []


def test_field_names_match_in_any_case_and_the_names_of_users_keep_theirs():
    text = f"""
    SPEC:
    - Task: http
      WITH:
        URL: {URL}
        NumRequests: 10
        Headers: {{X-Id: a}}
        Endpoints: {{Get: {{}}, get: {{QPS: 5}}}}
        ERRORRANGES: [{{Lower: 500}}]
    - task: assess
      with: {{slos: {{Upper: [{{Metric: http-Get/error-count, LIMIT: 0}}]}}, Rewards: {{MIN: [http-get/error-rate]}}}}
    """
    experiment = load(text)

    assert [endpoint.name for endpoint in experiment.spec[0].resolved()] == ["Get", "get"]
    assert experiment.spec[0].resolved()[1].rate_per_s == 5
    assert experiment.spec[0].resolved()[0].headers == {"X-Id": "a"}
    assert str(experiment.slos[0].metric) == "http-Get/error-count"
    assert experiment.spec[1].rewards[0].goal is Goal.MIN


def test_fields_of_parts_match_in_any_case_at_any_depth_and_columns_keep_theirs():
    text = f"""
    spec:
    - task: http
      with:
        url: {URL}
        STAGES: [{{Rate: 5, DURATION: 1s, From: 1}}]
        Data: {{Rows: [{{Id: 7}}]}}
        AUTH: {{Basic: {{USER: ada, PasswordENV: P}}}}
        abortON: [{{METRIC: http-A/rate, Lower: 1}}]
        endpoints: {{A: {{Checks: [{{JSONpath: $.A, Equals: {{B: 1}}}}], Measure: {{TO: 1s}}}}}}
    """
    (endpoint,) = load(text).spec[0].resolved()

    assert (endpoint.stages[0].begin, endpoint.stages[0].end, endpoint.measure_to_s) == (1, 5, 1.0)
    assert (endpoint.data.rows, endpoint.auth.basic.password_env) == (({"Id": 7},), "P")
    assert (endpoint.checks[0].json_path, endpoint.checks[0].equals) == ("$.A", {"B": 1})


def test_one_field_in_two_spellings_is_a_mistake():
    assert mistakes_of({"task": "http", "with": {"url": URL, "qps": 1, "QPS": 2}}) == [
        "spec[0].with.QPS: the same field as qps: give it once"
    ]


def test_null_means_absent():
    assert experiment_of({"url": URL, "numRequests": None, "endpoints": None}).spec[0].resolved()[0].num_requests == 100


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (None, "expected a map with the key spec, got nothing"),
        ([], "got an empty list"),
        ("x", 'got "x"'),
        ({}, "spec: expected a list of tasks, got nothing"),
        ({"spec": []}, "spec: expected a list of tasks, got an empty list"),
        ({"spec": {}}, "spec: expected a list of tasks, got an empty map"),
        ({"spec": ["http"]}, 'spec[0]: expected a task such as {task: http, with: …}, got "http"'),
        ({"spec": [{}]}, "spec[0].task: is missing: expected http or assess"),
        ({"spec": [{"task": 5}]}, "spec[0].task: expected http or assess, got 5"),
        ({"spec": [{"task": "htp"}]}, 'spec[0].task: unknown task "htp"; did you mean http?'),
        ({"spec": [{"task": "HTTP"}]}, "did you mean http?"),
        ({"spec": [{"run": "ls"}]}, "spec[0].run: scripts are not supported by this version"),
        ({"spec": [{"task": "http", "if": "SLOs()"}]}, "spec[0].if: conditions are not supported by this version"),
        ({"spec": [{"task": "http", "with": 5}]}, "spec[0].with: expected a map, got 5"),
        ({"spec": [{"task": "http"}]}, "spec[0].with.url: is missing"),
        ({"spec": [{"task": "http", "with": {"url": URL}}], "result": 5}, "result: expected a map, got 5"),
        ({"spec": [{"task": "http", "with": {"url": URL}}], "metadata": 5}, "metadata: expected a map, got 5"),
        ({"spec": [{"task": "k8s-object-ready"}]}, '"k8s-object-ready" is not supported by this version'),
    ],
)
def test_what_is_no_experiment_is_told(document, words):
    with pytest.raises(BadInputError) as raised:
        from_document(document)

    assert words in str(raised.value)


@pytest.mark.parametrize("name", ["ready", "grpc", "custommetrics", "abnmetrics", "notify", "slack", "github", "run"])
def test_tasks_of_iter8_that_this_version_lacks_are_known(name):
    assert mistakes_of({"task": name}) == [
        f'spec[0].task: "{name}" is not supported by this version; supported are http and assess'
    ]


def test_the_task_names_of_iter8_0_8_to_0_10_are_taken():
    spec = [
        {"task": "gen-load-and-collect-metrics-http", "with": {"url": URL}},
        {"task": "assess-app-versions", "with": {"SLOs": {"upper": {"http/error-count": 0}}}},
    ]

    assert [task.task for task in from_document({"spec": spec}).spec] == ["http", "assess"]


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ({"qps": 1, "rate": 1}, "rate: means the same as qps: give one of them"),
        ({"qps": float("nan")}, "qps: expected a number of requests per second, got nan"),
        ({"qps": float("inf")}, "qps: expected a number of requests per second, got inf"),
        ({"rate": 1e8}, "rate: expected a rate from 0.000001 to 10000000 requests per second, got 100000000.0"),
        ({"qps": True}, "qps: expected a number of requests per second, got true"),
        ({"timeout": "2h"}, 'timeout: expected a duration from 1ms to 1h, got "2h"'),
        ({"percentiles": [0]}, "percentiles[0]: expected a percentile above 0 and at most 100, got 0"),
        ({"percentiles": 50}, "percentiles: expected a list, got 50"),
        ({"errorRanges": [{}]}, "errorRanges[0]: expected lower, upper or both, got neither"),
        ({"errorRanges": [{"lower": "x"}]}, 'errorRanges[0].lower: expected a whole number from -1 to 999, got "x"'),
        ({"errorRanges": {}}, "errorRanges: expected a list, got an empty map"),
        ({"headers": {"X": 3}}, 'headers: X: expected text, got 3: write it in quotes, "3", or use --set-string'),
        ({"headers": []}, "headers: expected a map from header name to text, got an empty list"),
        ({"payloadStr": 5}, 'payloadStr: expected text, got 5: write it in quotes, "5", or use --set-string'),
        ({"payloadFile": ""}, 'payloadFile: expected text that is not empty, got ""'),
        ({"warmup": "true"}, 'warmup: expected true or false, got "true"'),
        ({"onAgentLoss": "panic"}, 'onAgentLoss: expected fail, degrade or redistribute, got "panic"'),
        ({"expect": 1}, "expect: expected success or errors, got 1"),
        ({"agents": 0}, 'agents: expected a whole number from 1 to 10000, or "auto", got 0'),
        ({"method": "a b"}, 'method: expected an HTTP method such as GET, got "a b"'),
        ({"endpoints": {}}, "endpoints: expected at least one endpoint, got an empty map"),
        ({"endpoints": []}, "endpoints: expected a map, got an empty list"),
        ({"endpoints": {"a": 5}}, "endpoints.a: expected a map, got 5"),
        ({"endpoints": {"a": {"warmup": True}}}, "endpoints.a.warmup: unknown field; did you mean"),
        ({"endpoints": {"a": {"qps": 1, "rate": 1}}}, "endpoints.a.rate: means the same as qps"),
        ({"endpoints": {"a/b": {}}}, "endpoints.a/b: expected an endpoint name of letters"),
        ({"endpoints": {"": {}}}, "endpoints.: expected an endpoint name of letters"),
        ({"endpoints": {"a": {"connections": 1.5}}}, "endpoints.a.connections: expected a whole number"),
    ],
)
def test_a_wrong_parameter_of_http_is_told(settings, mistake):
    found = mistakes_of({"task": "http", "with": {"url": URL} | settings})

    assert len(found) == 1
    assert found[0].startswith(f"spec[0].with.{mistake}")


def test_each_endpoint_needs_a_url_of_its_own_or_of_the_task():
    assert mistakes_of({"task": "http", "with": {"endpoints": {"a": {"url": URL}, "b": {}}}}) == [
        "spec[0].with.endpoints.b.url: is missing: give the endpoint or the task a URL"
    ]


def test_slos_are_a_list_or_a_map_and_exact_with_the_text_as_written():
    as_list = experiment_of(assess={"SLOs": {"upper": [{"metric": "http/latency-p99.0", "limit": "0.25s"}]}})
    as_map = experiment_of(assess={"SLOs": {"upper": {"http/latency-p99.0": "0.25s"}}})

    assert as_list.slos == as_map.slos
    (slo,) = as_list.slos
    assert (slo.side, slo.is_upper, slo.index, str(slo.metric)) == (Side.UPPER, True, 0, "http/latency-p99")
    assert (slo.limit, slo.written, slo.metric.percentile) == (250, "0.25s", 99)


@pytest.mark.parametrize(
    ("assess", "mistake"),
    [
        ({"SLOs": {"upper": {"http/error-rate": "50ms"}}}, "SLOs.upper[0].limit: expected a fraction such as 0.001"),
        ({"SLOs": {"upper": [{"metric": "http/error-rate"}]}}, "SLOs.upper[0].limit: is missing"),
        ({"SLOs": {"upper": [{"limit": [1]}]}}, "SLOs.upper[0].metric: is missing"),
        ({"SLOs": {"upper": [5]}}, "SLOs.upper[0]: expected a map, got 5"),
        ({"SLOs": {"upper": 5}}, "SLOs.upper: expected a list, got 5"),
        ({"SLOs": [5]}, "SLOs: expected a map, got a list"),
        ({"SLOs": {"uper": []}}, "SLOs.uper: unknown field; did you mean upper?"),
        (
            {"SLOs": {"upper": {"http/latency-p50": 1, "http/latency-p50.0": 2}}},
            "SLOs.upper[1].metric: http/latency-p50 already stands at spec[1].with.SLOs.upper[0]: give it once",
        ),
        ({"rewards": {"max": ["http/x"]}}, 'rewards.max[0]: unknown metric "x"'),
        ({"rewards": {"max": ["http-a/error-rate"]}}, 'rewards.max[0]: no http task before this one gives "http-a/'),
        ({"rewards": {"min": "http/error-rate"}}, "rewards.min: expected a list"),
        ({"confidence": 1}, "confidence: expected a number above 0 and below 1, such as 0.95, got 1"),
    ],
)
def test_a_wrong_parameter_of_assess_is_told(assess, mistake):
    found = mistakes_of({"task": "http", "with": {"url": URL}}, {"task": "assess", "with": assess})

    assert len(found) == 1
    assert found[0].startswith(f"spec[1].with.{mistake}")


def test_the_same_metric_may_have_an_upper_and_a_lower_limit():
    slos = {"upper": {"http/request-count": 100}, "lower": {"http/request-count": 100}}

    assert [slo.side for slo in experiment_of(assess={"SLOs": slos}).slos] == ["upper", "lower"]


def test_assess_needs_a_measuring_task_before_it():
    assess = {"task": "assess", "with": {}}
    words = ["expected an http task before this one: there is nothing to assess yet"]

    assert mistakes_of(assess, {"task": "http", "with": {"url": URL}}) == [f"spec[0]: {words[0]}"]
    assert mistakes_of({"task": "http", "with": {"url": URL, "warmup": True}}, assess) == [f"spec[1]: {words[0]}"]


def test_two_assess_tasks_must_agree_on_slos():
    http = {"task": "http", "with": {"url": URL}}
    one, other = ({"task": "assess", "with": {"SLOs": {"upper": {"http/error-count": n}}}} for n in (0, 1))

    assert from_document({"spec": [http, one, one]}).slos[0].limit == 0
    assert mistakes_of(http, one, other) == ["spec[2].with.SLOs: expected the SLOs of spec[1], got others"]


def test_a_result_is_kept_as_it_is():
    assert experiment_of(result={"numLoops": 3, "Failure": False}).result == {"numLoops": 3, "Failure": False}


def test_duplicate_endpoints_aliases_and_fifty_megabytes_are_refused():
    text = f"spec: [{{task: http, with: {{url: '{URL}', endpoints: {{a: {{}}, a: {{}}}}}}}}]"
    with pytest.raises(BadInputError, match="duplicate key 'a'"):
        load(text)
    with pytest.raises(BadInputError, match="anchors"):
        load("spec: &x [{task: http}]")

    started = time.perf_counter()
    with pytest.raises(BadInputError, match="at most 4 MiB"):
        load(b"#" * (50 << 20))
    assert time.perf_counter() - started < 0.5


def test_experiments_are_frozen():
    experiment = experiment_of()

    with pytest.raises(ValueError, match="frozen"):
        experiment.spec = ()


FUZZED = """task with url qps SLOs upper metric limit endpoints errorRanges stages step from rate users duration mix headers
auth tls alpn data rows checks jsonPath equals template measure http2 abortOn maxInFlight"""
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FUZZED.split()) | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
tasks = st.builds(lambda task, settings: {"task": task, "with": settings}, st.sampled_from(["http", "assess"]), junk)


@given(junk | st.builds(lambda spec: {"spec": spec}, st.lists(tasks | junk, max_size=3)))
def test_any_document_is_an_experiment_or_a_list_of_mistakes(document):
    """Never an error of the library below, and never its wording."""
    told = ""
    try:
        from_document(document)
    except BadInputError as error:
        told = str(error)

    assert "Input should" not in told
    assert "another kind of value" not in told


def test_what_is_dumped_loads_the_same():
    document = {"spec": [{"task": "http", "with": {"url": URL, "qps": 0.1, "percentiles": [99.99]}}]}

    assert load(dump_yaml(document)) == from_document(document)
