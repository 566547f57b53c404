import json

import jsonschema
import load_samples
import pytest
import report_samples as samples

from controller.experiment.result import Result
from controller.report import render
from controller.report.json_ import json_schema

STORIES = (*samples.STORIES, *load_samples.STORIES)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_every_report_fits_the_published_schema(story):
    schema = json_schema()

    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(render(story(), "json")))


def test_the_schema_refuses_what_is_no_report():
    body = json.loads(render(samples.passing(), "json"))

    for broken in ({**body, "reportVersion": 2}, {key: body[key] for key in body if key != "result"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, json_schema())


def test_the_result_can_be_read_back_whole():
    document = samples.failing()

    body = json.loads(render(document, "json"))
    assert Result.model_validate(body["result"]) == document.result
    assert (body["name"], body["namespace"], body["completed"]) == ("api", "default", True)
    assert [task["task"] for task in body["spec"]] == [task["task"] for task in document.spec]


def test_secrets_in_headers_stay_out():
    text = render(samples.failing(), "json")

    assert "s3cr3t-value" not in text
    assert "(redacted)" in text


def test_an_experiment_that_has_not_run_has_no_result():
    assert json.loads(render(samples.not_run(), "json"))["result"] is None
