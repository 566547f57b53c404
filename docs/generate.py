"""Writes docs/reference/experiment.md from the schema of experiment.yaml, so that the two can't differ: `make docs`."""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from controller.experiment.fields import Model
from controller.experiment.http_fields import ConnectionFields, LoadFields, Parameters, RequestFields
from controller.experiment.schema import json_schema
from controller.experiment.spelling import words

PAGE = Path(__file__).parent / "reference" / "experiment.md"
Schema = Mapping[str, Any]
HEAD = """\
# experiment.yaml

<!-- Made by docs/generate.py from the schema: change the descriptions in controller/experiment/, then run `make docs`. -->

An experiment is one YAML document. `seatrial gen` and `seatrial launch` write it, `seatrial run` reads it and writes its
result into it. `seatrial schema` prints the JSON Schema that this page is made from.

Field names match in any case; names of endpoints and headers keep theirs. An unknown field is an error that names the
nearest known one (`--lenient` drops it instead), and so is a field that is given twice. At most 4 MiB; no YAML anchors,
aliases or tags. A *duration* is a Go duration: numbers with the units `ns`, `us`, `ms`, `s`, `m`, `h`, such as `1m30s`.
Numbers are totals over all agents.

```yaml
metadata:
  name: checkout
spec:
- task: http
  with:
    duration: 30s
    qps: 100
    connections: 16
    endpoints:
      catalogue:
        url: http://127.0.0.1:8000/catalogue
      checkout:
        url: http://127.0.0.1:8000/checkout
        payloadStr: '{"cart": 7}'
        contentType: application/json
- task: assess
  with:
    SLOs:
      upper:
      - metric: http-catalogue/latency-p99
        limit: 60ms
      - metric: http-checkout/error-rate
        limit: 0.1%
```

A load that grows until the limits are no longer met, over endpoints in a mix, with rows of data:

```yaml
spec:
- task: http
  with:
    mix: true
    step: {from: 100, to: 400, by: 100, duration: 30s}
    arrival: poisson
    data:
      rows: [{id: 7}, {id: 8}]
    abortOn:
    - {metric: http/error-rate, upper: 20%}
    endpoints:
      item:
        url: http://127.0.0.1:8000/items/{{ row.id }}
        weight: 9
        checks:
        - {jsonPath: $.status, equals: ok}
      checkout:
        url: http://127.0.0.1:8000/checkout
        payloadStr: '{"item": {{ row.id }}, "order": "{{ uuid }}"}'
- task: assess
  with:
    SLOs:
      upper:
      - {metric: http@400/latency-p99, limit: 80ms}
      - {metric: http-checkout/error-rate, limit: 0.1%}
```
"""


def page() -> str:
    """The page, as it should lie in docs/reference/."""
    schema = json_schema()
    parts: Schema = schema["$defs"]  # type: ignore[assignment]
    endpoint, task = parts["EndpointSettings"]["properties"], parts["HttpSettings"]["properties"]
    common = words(Parameters)

    def part(heading: str, name: str) -> Iterator[str]:
        return _section(heading, parts[name]["description"], parts[name]["properties"])

    def topic(heading: str, text: str, of: type[Model]) -> Iterator[str]:
        return _section(heading, text, {name: task[name] for name in words(of)})

    return "\n".join(
        [
            HEAD,
            *_section("## The document", "", schema["properties"]),
            *part("## metadata", "Metadata"),
            *part("## Task http", "HttpTask"),
            "### Parameters of the http task and of its endpoints",
            "",
            _BOTH,
            "",
            *topic("#### Requests", _doc(RequestFields), RequestFields),
            *topic("#### Load", f"{_doc(LoadFields)}\n\n{_LOAD}", LoadFields),
            *topic("#### Connections", _doc(ConnectionFields), ConnectionFields),
            *_section("### Parameters of the http task alone", "", _without(task, common)),
            *_section("### Parameters of an endpoint alone", "", _without(endpoint, common)),
            *(line for name, heading in _HTTP_PARTS.items() for line in part(f"### {heading}", name)),
            *part("## Task assess", "AssessTask"),
            *_section("### Parameters of the assess task", "", parts["AssessSettings"]["properties"]),
            *(line for name, heading in _ASSESS_PARTS.items() for line in part(f"### {heading}", name)),
        ]
    )


_BOTH = """\
An endpoint takes what it lacks from its task, field by field, and the task from the defaults. A payload, and a rate, is
one thing with several ways to give it: an endpoint's takes the place of the task's."""
_LOAD = """\
The load is one of: a `rate` (or `qps`) with a `duration` or `numRequests`; `stages`; `step`; `spike`. What needs open
load, or closed load, is a mistake where no endpoint has it."""
_HTTP_PARTS = {  # in the order of the page, with the headings
    "ErrorRange": "Error range",
    "CheckSettings": "Check",
    "Data": "Data",
    "Auth": "Auth",
    "Basic": "Basic authentication",
    "Bearer": "Bearer token",
    "StageSettings": "Stage",
    "Step": "Step",
    "Spike": "Spike",
    "Measure": "Measure",
    "TlsSettings": "TLS",
    "AbortOn": "Abort condition",
}
_ASSESS_PARTS = {"Slos": "SLOs", "Limit": "Limit", "Rewards": "Rewards"}
_IN_LISTS = ("ErrorRange", "CheckSettings", "StageSettings", "AbortOn", "Limit")  # called by name, not "map"
_PLACES = {  # where a part of the schema is described
    "Metadata": "[map](#metadata)",
    "HttpTask": "[http](#task-http)",
    "HttpSettings": "[map](#parameters-of-the-http-task-and-of-its-endpoints)",
    "EndpointSettings": "[endpoint](#parameters-of-the-http-task-and-of-its-endpoints)",
    "AssessTask": "[assess](#task-assess)",
    "AssessSettings": "[map](#parameters-of-the-assess-task)",
} | {
    name: f"[{heading.lower() if name in _IN_LISTS else 'map'}](#{heading.lower().replace(' ', '-')})"
    for name, heading in (_HTTP_PARTS | _ASSESS_PARTS).items()
}


def _doc(model: type[Model]) -> str:
    return " ".join((model.__doc__ or "").split())


def _without(fields: Schema, names: Collection[str]) -> Schema:
    return {name: field for name, field in fields.items() if name not in names}


def _section(heading: str, text: str, fields: object) -> Iterator[str]:
    assert isinstance(fields, dict)
    yield from (heading, "")
    if text:
        yield from (text, "")
    yield from ("| Field | Type | Default | Meaning |", "|---|---|---|---|")
    for name, field in fields.items():
        default = _shown(field["default"]) if field.get("default") not in (None, []) else ""
        yield f"| `{name}` | {_type(field)} | {default} | {_meaning(field)} |"
    yield ""


def _meaning(field: Schema) -> str:
    examples = ", ".join(map(_shown, field.get("examples", [])))
    text = str(field.get("description", "")).replace("|", "\\|")
    return f"{text} Example: {examples}" if examples else text


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{text}`"


def _type(field: Schema) -> str:
    if "$ref" in field:
        return _PLACES[field["$ref"].rpartition("/")[2]]
    for key in ("anyOf", "oneOf"):
        if key in field:
            return " or ".join(map(_type, field[key]))
    if "enum" in field:
        return " or ".join(dict.fromkeys(_shown(str(word)) for word in field["enum"]))
    if "const" in field:
        return _shown(field["const"])
    kind = field.get("type")
    if kind is None:
        return "any value"
    if isinstance(kind, list):
        return " or ".join(_words({"type": one}) for one in kind)
    if kind == "array":
        return f"list of {_type(field['items'])}"
    if kind == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"map of name to {_type(field['additionalProperties'])}"
    return _words(field)


def _words(field: Schema) -> str:
    if str(field.get("pattern", "")).endswith("(ns|us|µs|ms|s|m|h))+$"):
        return "duration"
    if field.get("format") == "uri":
        return "URL"
    kinds = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return kinds.get(field.get("type", ""), "map") + _range(field)


def _range(field: Schema) -> str:
    if "minimum" in field and "maximum" in field:
        return f" from {field['minimum']:,} to {field['maximum']:,}"
    bounds = (("above", "exclusiveMinimum"), ("below", "exclusiveMaximum"), ("at most", "maximum"))
    words = [f"{word} {field[key]:,}" for word, key in bounds if key in field]
    return f" {' and '.join(words)}" if words else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
