"""Gives every field of a document its known spelling, before the models read it.

Iter8 matched field names in any case and took short forms; the models know one spelling and one form. Names that
users choose (endpoints, headers, metrics) are left alone.
"""

from collections.abc import Iterable, Mapping

from pydantic import BaseModel

from controller.experiment.assess import AssessSettings, Limit, Rewards, Slos
from controller.experiment.http import EndpointSettings, ErrorRange, HttpSettings
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
        found = self._endpoint(raw, HttpSettings, path)
        if isinstance(found, dict) and isinstance(found.get("endpoints"), dict):
            at = joined(path, "endpoints")
            found["endpoints"] = {
                name: self._endpoint({} if own is None else own, EndpointSettings, joined(at, name))
                for name, own in found["endpoints"].items()
            }
        return found

    def assess(self, raw: object, path: str) -> object:
        """The `with` of an assess task; maps from metric to limit become lists."""
        found = self._model(raw, AssessSettings, path)
        if isinstance(found, dict):
            if "SLOs" in found:
                found["SLOs"] = self._slos(found["SLOs"], joined(path, "SLOs"))
            if "rewards" in found:
                found["rewards"] = self._model(found["rewards"], Rewards, joined(path, "rewards"))
        return found

    def _endpoint(self, raw: object, model: type[EndpointSettings], path: str) -> object:
        found = self._model(raw, model, path)
        if isinstance(found, dict) and "errorRanges" in found:
            found["errorRanges"] = self._items(found["errorRanges"], ErrorRange, joined(path, "errorRanges"))
        return found

    def _slos(self, raw: object, path: str) -> object:
        found = self._model(raw, Slos, path)
        if isinstance(found, dict):
            for side, limits in found.items():
                if isinstance(limits, dict):
                    found[side] = as_list(limits)
                else:
                    found[side] = self._items(limits, Limit, joined(path, side))
        return found

    def _items(self, raw: object, model: type[BaseModel], path: str) -> object:
        if not isinstance(raw, list):
            return raw
        return [self._model(item, model, joined(path, i)) for i, item in enumerate(raw)]

    def _model(self, raw: object, model: type[BaseModel], path: str) -> object:
        return self.map(raw, words(model), path) if isinstance(raw, dict) else raw


def as_list(limits: Mapping[str, object]) -> list[object]:
    """Iter8's list of SLOs, from its chart's map of metric to limit."""
    return [{"metric": metric, "limit": limit} for metric, limit in limits.items()]
