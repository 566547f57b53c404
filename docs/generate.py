"""Writes docs/reference/experiment.md from the schema of experiment.yaml, so that the two can't differ: `make docs`."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from controller.experiment.schema import json_schema

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
"""


def page() -> str:
    """The page, as it should lie in docs/reference/."""
    schema = json_schema()
    parts: Schema = schema["$defs"]  # type: ignore[assignment]
    endpoint = parts["EndpointSettings"]["properties"]
    task = {name: field for name, field in parts["HttpSettings"]["properties"].items() if name not in endpoint}
    return "\n".join(
        [
            HEAD,
            *_section("## The document", "", schema["properties"]),
            *_section("## metadata", parts["Metadata"]["description"], parts["Metadata"]["properties"]),
            *_section("## Task http", parts["HttpTask"]["description"], parts["HttpTask"]["properties"]),
            *_section("### Parameters of the http task and of its endpoints", _BOTH, endpoint),
            *_section("### Parameters of the http task alone", "", task),
            *_section("### Error range", parts["ErrorRange"]["description"], parts["ErrorRange"]["properties"]),
            *_section("## Task assess", parts["AssessTask"]["description"], parts["AssessTask"]["properties"]),
            *_section("### Parameters of the assess task", "", parts["AssessSettings"]["properties"]),
            *_section("### SLOs", parts["Slos"]["description"], parts["Slos"]["properties"]),
            *_section("### Limit", parts["Limit"]["description"], parts["Limit"]["properties"]),
            *_section("### Rewards", parts["Rewards"]["description"], parts["Rewards"]["properties"]),
        ]
    )


_BOTH = "An endpoint takes what it lacks from its task, field by field, and the task from the defaults."
_PLACES = {  # where a part of the schema is described
    "Metadata": "[map](#metadata)",
    "HttpTask": "[http](#task-http)",
    "HttpSettings": "[map](#parameters-of-the-http-task-and-of-its-endpoints)",
    "EndpointSettings": "[endpoint](#parameters-of-the-http-task-and-of-its-endpoints)",
    "ErrorRange": "[error range](#error-range)",
    "AssessTask": "[assess](#task-assess)",
    "AssessSettings": "[map](#parameters-of-the-assess-task)",
    "Slos": "[map](#slos)",
    "Limit": "[limit](#limit)",
    "Rewards": "[map](#rewards)",
}


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
        return " or ".join(map(_shown, field["enum"]))
    if "const" in field:
        return _shown(field["const"])
    kind = field.get("type")
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
