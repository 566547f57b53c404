import itertools
import subprocess
import sys

import load_samples
import pytest
import report_samples as samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.errors import BadInputError
from controller.experiment.result import Outcome, Result
from controller.report import FORMATS, ReportInput, render

STORIES = (*samples.STORIES, *load_samples.STORIES)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_the_same_result_gives_the_same_text(story, form):
    assert render(story(), form) == render(story(), form.upper())


def test_an_unknown_format_is_refused_with_those_there_are():
    with pytest.raises(BadInputError) as caught:
        render(samples.passing(), "pdf")

    assert str(caught.value) == "unsupported report format 'pdf': expected text, html, json, junit or markdown"


def test_only_the_html_report_loads_jinja_and_plotly():
    program = (
        "import sys; from controller.report import *;"
        "[render(ReportInput('n', 'd', [], None, False), form) for form in FORMATS if form != 'html'];"
        "sys.exit('jinja2' in sys.modules or 'plotly' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


names = st.text(max_size=12)
numbers = st.floats() | st.sampled_from([0.0, 0.004, 50.0])
counts = st.integers(min_value=0, max_value=10**7)


def optional(values):
    return st.none() | values


@st.composite
def distributions(draw):
    edges = sorted(draw(st.lists(st.floats(min_value=0, max_value=3.6e6), max_size=6)))
    buckets = [(low, high, draw(counts)) for low, high in itertools.pairwise(edges)]
    return {
        "count": draw(counts),
        "mean": draw(optional(numbers)),
        "min": draw(optional(numbers)),
        "max": draw(optional(numbers)),
        "percentiles": draw(st.dictionaries(st.sampled_from(["50", "90", "99", "99.9"]), numbers)),
        "censored": draw(counts),
        "buckets": buckets,
    }


accounts = st.fixed_dictionaries(
    dict.fromkeys(("planned", "tried", "ok", "errors", "unsent", "withdrawn", "unaccounted"), counts),
    optional={"closes": st.booleans()},
)
series = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.lists(counts, max_size=5) for name in ("planned", "started", "ok", "errors")},
        **{name: st.lists(optional(numbers), max_size=5) for name in ("p50", "p99", "max", "lagP99")},
        "missing": st.lists(st.integers(min_value=0, max_value=6), max_size=2),
    },
)
sample = st.fixed_dictionaries(
    {"kind": names, "plannedS": numbers, "lagMs": numbers, "responseMs": numbers},
    optional={
        "status": optional(counts),
        "error": names,
        "body": names,
        "trace": names,
        "waitMs": optional(numbers),
        "ttfbMs": optional(numbers),
    },
)


@st.composite
def clocks(draw):
    # One drawn distribution for all but two of the clocks: drawing each apart takes ten times as long.
    one, other = draw(distributions()), draw(distributions())
    given = {"response": one, "service": other, "wait": other, "lag": other, "ok": one, "errors": other}
    split = {name: draw(st.sampled_from([one, other, {"count": 0}])) for name in ("ttfb", "body", "connect", "tls")}
    return {**given, **split, "latency": draw(st.sampled_from(["response", "service"]))}


stage = st.fixed_dictionaries(
    {
        "name": names,
        "provider": st.sampled_from(["http@a", "http"]),
        "startsS": numbers,
        "endsS": numbers,
        "beginsAt": numbers,
        "endsAt": numbers,
        "account": accounts,
        "latency": distributions(),
    },
    optional={"ratePerS": optional(numbers), "meetsSlos": optional(st.booleans())},
)
targets = st.fixed_dictionaries(
    {"account": accounts, "clocks": clocks(), "series": series},
    optional={
        "endpoint": names,
        "provider": st.sampled_from(["http", "http-x"]),
        "url": names,
        "version": st.integers(min_value=0, max_value=2),
        "errorClasses": st.dictionaries(names, counts, max_size=3),
        "statusCodes": st.dictionaries(names, counts, max_size=3),
        "samples": st.lists(sample, max_size=2),
        "stages": st.lists(stage, max_size=2),
        "weight": st.integers(0, 3),
        "ratePerS": optional(numbers),
        "redirects": counts,
        "addresses": counts,
        "remotes": st.lists(names, max_size=10),
    },
)
segments = st.fixed_dictionaries(
    {"name": names, "targets": st.lists(targets, max_size=2)},
    optional={
        "isWarmup": st.booleans(),
        "load": st.sampled_from(["open", "closed"]),
        "ratePerS": optional(numbers),
        "achievedPerS": optional(numbers),
        "elapsedS": numbers,
        "ended": st.sampled_from(["complete", "aborted"]),
        "total": optional(targets),
        "streams": counts,
        "connections": counts,
        "connectionsOpen": counts,
        "measuredFromS": optional(numbers),
        "measuredToS": optional(numbers),
        "bestStage": names,
    },
)
agents = st.fixed_dictionaries(
    {"agent": names},
    optional={name: optional(numbers) for name in ("cpuShare", "lagP99Ms", "cpuQuota", "rssMib")}
    | dict.fromkeys(("throttled", "files", "filesLimit", "ports", "portsLimit"), counts),
)
runs = st.fixed_dictionaries(
    {"runId": names, "task": counts, "startedAt": names, "account": accounts},
    optional={"segments": st.lists(segments, max_size=2), "agents": st.lists(agents, max_size=2)},
)
metrics = st.sampled_from(["http/latency-p99", "http/latency-mean", "http/error-rate", "http-x/latency-p99.9", "odd"])
slos = st.fixed_dictionaries(
    {
        "metric": metrics,
        "bound": st.sampled_from(["upper", "lower"]),
        "limit": numbers,
        "limitText": names,
        "reason": names,
    },
    optional={
        "value": optional(numbers),
        "low": optional(numbers),
        "high": optional(numbers),
        "valueIsLowerBound": st.booleans(),
        "satisfied": optional(st.booleans()),
        "wouldBe": optional(st.booleans()),
        "unit": st.sampled_from(["msec", "1/s", "bytes", "fraction", ""]),
        "window": st.sampled_from(["", "10s"]),
        "worstWindow": optional(st.tuples(numbers, numbers)),
        "version": st.integers(min_value=0, max_value=2),
    },
)
insights = st.fixed_dictionaries(
    {"numVersions": st.integers(min_value=0, max_value=3)},
    optional={
        "metricsInfo": st.dictionaries(
            metrics, st.fixed_dictionaries({"description": names, "type": st.sampled_from(["Counter", "Summary"])})
        ),
        "nonHistMetricValues": st.lists(st.dictionaries(metrics, st.lists(numbers, max_size=2)), max_size=3),
        "versionNames": st.lists(st.dictionaries(st.sampled_from(["version", "track"]), names), max_size=2),
        "SLOs": st.fixed_dictionaries(
            {"upper": st.lists(st.fixed_dictionaries({"metric": metrics, "limit": numbers}), max_size=2)}
        ),
        "SLOsSatisfied": st.fixed_dictionaries({"upper": st.lists(st.lists(st.booleans(), max_size=3), max_size=2)}),
        "rewards": st.fixed_dictionaries({"max": st.lists(metrics, max_size=2)}),
        "rewardsWinners": st.fixed_dictionaries({"max": st.lists(st.integers(-1, 4), max_size=2)}),
    },
)
finding = st.fixed_dictionaries(
    {"code": names, "severity": st.sampled_from(["error", "warning", "info"]), "message": names}
)
results = st.fixed_dictionaries(
    {},
    optional={
        "startTime": names,
        "failure": st.booleans(),
        "interrupted": st.booleans(),
        "error": names,
        "insights": insights,
        "findings": st.lists(finding, max_size=2),
        "runs": st.lists(runs, max_size=2),
        "verdict": st.fixed_dictionaries(
            {"outcome": st.sampled_from(list(Outcome))}, optional={"slos": st.lists(slos, max_size=3)}
        ),
    },
).map(Result.model_validate)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.builds(ReportInput, names, names, st.just(samples.SPEC), st.none() | results, st.booleans()))
def test_no_result_is_too_odd_to_be_reported(document):
    for form in FORMATS:
        render(document, form).encode()
