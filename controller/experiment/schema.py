"""The JSON Schema of experiment.yaml, made from the models; the reference documentation is made from it in turn."""

from controller.experiment.spec import Experiment

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, object]:
    """The schema of an experiment, for editors and for documentation.

    It is stricter than `load` where a schema can't say better: `load` takes field names in any case, null for an
    absent field, and the task names of Iter8 v0.8 to v0.10.
    """
    schema = _without_null(Experiment.model_json_schema(by_alias=True, mode="validation"))
    assert isinstance(schema, dict)
    return {"$schema": DIALECT, **schema, "title": "Seatrial experiment"}


def _without_null(part: object) -> object:
    """The schema without "or null" and "null by default": in an experiment, what is absent is left out."""
    if isinstance(part, list):
        return [_without_null(item) for item in part]
    if not isinstance(part, dict):
        return part
    kept = {key: _without_null(value) for key, value in part.items() if not (key == "default" and value is None)}
    kinds = kept.get("anyOf")
    if not isinstance(kinds, list) or {"type": "null"} not in kinds:
        return kept
    left = [kind for kind in kinds if kind != {"type": "null"}]
    if len(left) > 1:
        return kept | {"anyOf": left}
    return left[0] | {key: value for key, value in kept.items() if key != "anyOf"}
