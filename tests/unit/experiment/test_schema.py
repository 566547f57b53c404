import jsonschema
import pytest

from controller.experiment.schema import json_schema

URL = "http://127.0.0.1:8000/"


def validate(document):
    jsonschema.Draft202012Validator(json_schema()).validate(document)


def objects(part):
    if isinstance(part, dict):
        yield from (part,) if "properties" in part else ()
        for inner in part.values():
            yield from objects(inner)


def test_the_schema_is_valid_draft_2020_12():
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_every_field_has_a_title_and_a_description():
    bare = [
        (part["title"], name)
        for part in objects(json_schema())
        for name, field in part["properties"].items()
        if not field.get("title") or not field.get("description")
    ]

    assert bare == []


def test_experiments_as_iter8_writes_them_are_valid():
    http = {"url": URL, "numRequests": 10, "duration": "1m30s", "qps": 0.5, "endpoints": {"a": {"percentiles": [99]}}}
    upper = [{"metric": "http-a/latency-mean", "limit": 50}, {"metric": "http-a/error-rate", "limit": "0.1%"}]
    for limits in (upper, {"http-a/latency-mean": 50}):
        validate({"spec": [{"task": "http", "with": http}, {"task": "assess", "with": {"SLOs": {"upper": limits}}}]})


@pytest.mark.parametrize(
    "settings", [{"numRequest": 1}, {"numRequests": "1"}, {"duration": "fast"}, {"connections": 0}, {"agents": "all"}]
)
def test_mistakes_are_seen_by_editors_too(settings):
    with pytest.raises(jsonschema.ValidationError):
        validate({"spec": [{"task": "http", "with": {"url": URL} | settings}]})


def test_defaults_are_those_of_the_task():
    endpoint = json_schema()["$defs"]["EndpointSettings"]["properties"]

    assert {name: field["default"] for name, field in endpoint.items() if "default" in field} == {
        "template": False,
        "timeout": "3s",
        "redirects": 0,
        "errorRanges": [{"lower": 400}],
        "expect": "success",
        "traceShare": 0.01,
        "qps": 8,
        "arrival": "uniform",
        "seed": 0,
        "thinkTime": "0s",
        "allowInitialErrors": False,
        "keepAlive": True,
        "http2": False,
        "weight": 1,
    }
