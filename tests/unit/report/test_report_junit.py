from xml.etree import ElementTree as ET

import load_samples
import pytest
import report_samples as samples

from controller.report import render

STORIES = (*samples.STORIES, *load_samples.STORIES)


def suite(document):
    return ET.fromstring(render(document, "junit"))  # noqa: S314 our own report


def outcomes(root):
    return {case.get("name"): (case[0].tag if len(case) else "ok") for case in root.iter("testcase")}


@pytest.mark.parametrize("story", [*STORIES, samples.large], ids=lambda story: story.__name__)
def test_the_counts_are_those_of_the_cases(story):
    root = suite(story())

    cases = list(root.iter("testcase"))
    assert root.tag == "testsuite"
    assert int(root.get("tests")) == len(cases)
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(root.get(attribute)) == sum(case.find(tag) is not None for case in cases)
    assert all({"name", "classname", "time"} == set(case.keys()) for case in cases)


def test_there_is_a_case_per_slo_and_assertion():
    root = suite(samples.passing())

    assert root.get("name") == "seatrial.checkout"
    assert root.get("timestamp") == "2025-07-03T09:30:00"
    assert outcomes(root) == {
        "http-home/latency-p99 (msec) <= 50": "ok",
        "http-home/error-count <= 0": "ok",
        "http-search/error-rate <= 0.01": "ok",
        "1000 <= http-home/request-count": "ok",
        "completed": "ok",
        "nofailure": "ok",
        "verdict": "ok",
    }
    assert next(case.get("classname") for case in root.iter("testcase")) == "run 1/http-home"


def test_violated_is_a_failure_with_its_reason():
    root = suite(samples.failing())

    assert outcomes(root)["http/error-rate <= 0.01"] == "failure"
    assert outcomes(root)["verdict"] == "failure"
    assert root.find("testcase/failure").get("message") == "≥ 3000.4 > 500"


def test_undecided_is_an_error():
    found = outcomes(suite(samples.invalid()))

    assert found["http/latency-p99 (msec) <= 50"] == "error"
    assert found["verdict"] == "error"
    assert found["completed"] == "failure"


def test_a_failed_task_fails_its_assertion():
    assert outcomes(suite(samples.failed_task())) == {"completed": "failure", "nofailure": "failure", "verdict": "ok"}


def test_an_experiment_that_has_not_run_never_looks_green():
    found = outcomes(suite(samples.not_run()))

    assert found == {"completed": "failure", "nofailure": "skipped", "verdict": "error"}


def test_what_xml_cannot_hold_is_left_out():
    root = suite(samples.report(None, name="a\x00b\x1bc\ufffe\ud800<&>"))

    assert root.get("name") == "seatrial.abc<&>"
