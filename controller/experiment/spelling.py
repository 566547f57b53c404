"""Gives every field of a document its known spelling, before the models read it.

Iter8 matched field names in any case and took short forms; the models know one spelling and one form. Names that
users choose (endpoints, headers, metrics) are left alone.
"""

import builtins
import types
import typing
from collections.abc import Iterable, Mapping
from typing import get_args, get_origin

from pydantic import BaseModel

from controller.experiment.assess import AssessSettings, Limit
from controller.experiment.http_fields import HttpSettings
from controller.experiment.mistakes import Mistakes, joined, matched_keys


def words(model: type[BaseModel]) -> list[str]:
    """The names that a document has for the model's fields."""
    return [field.alias or name for name, field in model.model_fields.items()]


class Spelling:
    """Corrects spelling, and notes unknown keys and fields given twice; what has the wrong type passes as it is."""

    def __init__(self, mistakes: Mistakes, *, lenient: bool) -> None:
        self._mistakes = mistakes
        self._lenient = lenient

    def map(self, raw: Mapping[str, object], known: Iterable[str], path: str) -> dict[str, object]:
        """The map in known spelling, without what is null."""
        return matched_keys(raw, known, path, self._mistakes, lenient=self._lenient)

    def http(self, raw: object, path: str) -> object:
        """The `with` of an http task."""
        return self._spelled(raw, HttpSettings, path)

    def assess(self, raw: object, path: str) -> object:
        """The `with` of an assess task; maps from metric to limit become lists."""
        found = self._spelled(raw, AssessSettings, path)
        slos = found.get("SLOs") if isinstance(found, dict) else None
        if isinstance(slos, dict):
            at = joined(path, "SLOs")
            slos.update(
                {
                    side: as_list(self._limits(limits, joined(at, side)))
                    for side, limits in slos.items()
                    if isinstance(limits, dict)
                }
            )
        return found

    def _limits(self, limits: Mapping[str, object], path: str) -> dict[str, object]:
        """A map from metric to limit, or to a map of limit and window in known spelling."""
        known = [word for word in words(Limit) if word != "metric"]
        return {
            metric: self.map(limit, known, joined(path, metric)) if isinstance(limit, dict) else limit
            for metric, limit in limits.items()
        }

    def _spelled(self, raw: object, kind: object, path: str) -> object:
        """What is to become a value of that kind, models within it at any depth included."""
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return self._model(raw, kind, path)
        inner = get_args(kind)
        match get_origin(kind):
            case builtins.tuple if isinstance(raw, list):
                return [self._spelled(item, inner[0], joined(path, i)) for i, item in enumerate(raw)]
            case builtins.dict if isinstance(raw, dict):
                blank: object = {} if isinstance(inner[1], type) and issubclass(inner[1], BaseModel) else None
                return {
                    name: self._spelled(blank if item is None else item, inner[1], joined(path, name))
                    for name, item in raw.items()
                }
            case typing.Union | types.UnionType | typing.Annotated:
                for one in inner:
                    raw = self._spelled(raw, one, path)  # at most one of them holds models
        return raw

    def _model(self, raw: object, model: type[BaseModel], path: str) -> object:
        if not isinstance(raw, dict):
            return raw
        found = self.map(raw, words(model), path)
        for name, field in model.model_fields.items():
            word = field.alias or name
            if word in found:
                found[word] = self._spelled(found[word], field.annotation, joined(path, word))
        return found


def as_list(limits: Mapping[str, object]) -> list[object]:
    """Iter8's list of SLOs, from its chart's map of metric to limit, or to a map of limit and window."""
    return [
        {"metric": metric, **(limit if isinstance(limit, Mapping) and "metric" not in limit else {"limit": limit})}
        for metric, limit in limits.items()
    ]
