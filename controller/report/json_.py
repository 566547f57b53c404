"""The whole result for machines: a versioned document with a JSON Schema (2020-12)."""

import json
from typing import Any, Literal

from pydantic import Field

from controller.experiment.result import Model, Result
from controller.report.document import ReportInput
from controller.report.numbers import finite
from controller.report.secrets import redacted

REPORT_VERSION = 1


class Report(Model):
    """An experiment and its result; `reportVersion` changes when a field changes its meaning."""

    report_version: Literal[1] = 1
    name: str
    namespace: str
    completed: bool
    spec: tuple[dict[str, Any], ...] = Field(description="the tasks as they were written, but for secrets")
    result: Result | None = Field(description="absent values are left out; null: the experiment has not run")


def render(document: ReportInput) -> str:
    """The report as JSON, in ASCII so that no byte of a response can break it."""
    body = {
        "reportVersion": REPORT_VERSION,
        "name": document.name,
        "namespace": document.namespace,
        "completed": document.completed,
        "spec": redacted(document.spec),
        "result": None if document.result is None else document.result.to_document(),
    }
    return json.dumps(finite(body), indent=2, allow_nan=False, default=str) + "\n"


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of what `render` gives."""
    schema = Report.model_json_schema(by_alias=True, mode="validation")
    required = ["reportVersion", "name", "namespace", "completed", "spec", "result"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "required": required}
