"""An experiment, read from its document: as forgiving as Iter8 about case, and with every mistake told at once."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails

from controller.errors import BadInputError
from controller.experiment import abort, assess, fields, http_conflicts
from controller.experiment.assess import AssessTask, Slo
from controller.experiment.document import parse_yaml
from controller.experiment.http import HttpTask
from controller.experiment.metrics import providers_of
from controller.experiment.mistakes import Mistakes, did_you_mean, expected, joined, shown
from controller.experiment.spelling import Spelling, words

SUPPORTED = ("http", "assess")
NOT_YET = ("ready", "grpc", "custommetrics", "abnmetrics", "notify", "slack", "github", "run")
OLD_NAMES = {  # Iter8 v0.8 to v0.10
    "gen-load-and-collect-metrics-http": "http",
    "gen-load-and-collect-metrics-grpc": "grpc",
    "collect-metrics-database": "custommetrics",
    "k8s-object-ready": "ready",
    "assess-app-versions": "assess",
}
_SUPPORTED = f"supported are {' and '.join(SUPPORTED)}"
_M = TypeVar("_M", bound=fields.Model)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise expected("a name of at most 63 letters, digits, - and _, with a letter or digit at both ends", value)
    return value


Name = Annotated[str, BeforeValidator(_name)]


class Metadata(fields.Model):
    """An experiment's name, and where it belongs."""

    name: Name = Field("default", description="The experiment's name; Iter8 called it the group.")
    namespace: Name = Field("default", description="Where the experiment belongs.")


Task = HttpTask | AssessTask


class Experiment(fields.Model):
    """A list of tasks that run in order. Field names match in any case; endpoints, headers and metrics keep theirs."""

    metadata: Metadata = Field(default_factory=Metadata, description="Which experiment this is.")
    spec: tuple[Annotated[Task, Field(discriminator="task")], ...] = Field(
        description="The tasks, in the order they run.", min_length=1
    )
    result: dict[str, Any] | None = Field(None, description="What came out; written by Seatrial.")

    @property
    def slos(self) -> tuple[Slo, ...]:
        """The SLOs of all assess tasks; they agree, where there is more than one."""
        for task in self.spec:
            if isinstance(task, AssessTask) and task.slos:
                return task.slos
        return ()


def load(text: str | bytes, source: str = "experiment.yaml", *, lenient: bool = False) -> Experiment:
    """The experiment in the YAML, or a BadInputError with all its mistakes, one a line, each with its path.

    `lenient` drops unknown keys, as Iter8 did.
    """
    return from_document(parse_yaml(text, source), source, lenient=lenient)


def from_document(document: object, source: str = "experiment.yaml", *, lenient: bool = False) -> Experiment:
    """The experiment in a document that is parsed already; otherwise as `load`."""
    return _Reading(source, lenient=lenient).experiment(document)


class _Reading:
    """One document on its way to an experiment, and the mistakes met so far."""

    def __init__(self, source: str, *, lenient: bool) -> None:
        self._source = source
        self._mistakes = Mistakes(source)
        self._spelling = Spelling(self._mistakes, lenient=lenient)
        self._lenient = lenient

    def experiment(self, document: object) -> Experiment:
        if not isinstance(document, dict):
            got = "nothing" if document is None else shown(document)
            raise BadInputError(f"{self._source}: expected a map with the key spec, got {got}")
        top = self._spelling.map(document, words(Experiment), "")
        metadata = self._metadata(top.get("metadata", {}))
        tasks = self._tasks(top.get("spec"))
        result = self._result(top.get("result"))
        self._mistakes.raise_if_any()
        return Experiment.model_construct(metadata=metadata, spec=tuple(tasks), result=result)

    def _metadata(self, raw: object) -> Metadata:
        if isinstance(raw, dict):
            raw = self._spelling.map(raw, words(Metadata), "metadata")
        return self._valid(Metadata, raw, "metadata") or Metadata()

    def _result(self, raw: object) -> dict[str, Any] | None:
        if raw is None or isinstance(raw, dict):
            return raw
        self._mistakes.add("result", str(expected("a map", raw)))
        return None

    def _tasks(self, raw: object) -> list[Task]:
        if not isinstance(raw, list) or not raw:
            got = "nothing" if raw is None else shown(raw)
            self._mistakes.add("spec", f"expected a list of tasks, got {got}")
            return []
        found: list[Task] = []
        providers: list[str] = []
        slos: tuple[str, AssessTask] | None = None
        for i, entry in enumerate(raw):
            path = joined("spec", i)
            task = self._task(entry, path, providers)
            if task is not None:
                found.append(task)
            if isinstance(task, AssessTask) and task.slos:
                if slos is not None and slos[1].settings.slos != task.settings.slos:
                    self._mistakes.add(f"{path}.with.SLOs", f"expected the SLOs of {slos[0]}, got others")
                slos = slos or (path, task)
        return found

    def _task(self, entry: object, path: str, providers: list[str]) -> Task | None:
        """One task; an http task adds its providers, as those after it may refer to its metrics."""
        if not isinstance(entry, dict):
            self._mistakes.add(path, f"expected a task such as {{task: http, with: …}}, got {shown(entry)}")
            return None
        keys = self._spelling.map(entry, ("task", "run", "if", "with"), path)
        self._refuse_script_and_condition(keys, path)
        name = self._task_name(keys, path)
        settings = keys.get("with", {})
        at = joined(path, "with")
        if name == "http":
            settings = self._spelling.http(settings, at)
            providers.extend(_providers(settings))
            return self._http(settings, path)
        if name == "assess":
            settings = self._spelling.assess(settings, at)
            if not providers:
                self._mistakes.add(path, "expected an http task before this one: there is nothing to assess yet")
            if isinstance(settings, dict):
                assess.conflicts(settings, at, providers, self._mistakes)
            return self._valid(AssessTask, {"task": name, "with": settings}, path)
        return None

    def _http(self, settings: object, path: str) -> HttpTask | None:
        before, at = len(self._mistakes.lines), joined(path, "with")
        if isinstance(settings, dict):
            http_conflicts.conflicts(settings, at, self._mistakes)
            abort.conflicts(settings.get("abortOn"), joined(at, "abortOn"), providers_of(settings), self._mistakes)
        task = self._valid(HttpTask, {"task": "http", "with": settings}, path)
        if task is not None and len(self._mistakes.lines) == before:
            http_conflicts.check(task, at, self._mistakes)
        return task

    def _refuse_script_and_condition(self, keys: Mapping[str, object], path: str) -> None:
        if "run" in keys:
            self._mistakes.add(joined(path, "run"), f"scripts are not supported by this version; {_SUPPORTED}")
        if "if" in keys:
            self._mistakes.add(
                joined(path, "if"), "conditions are not supported by this version: without it, the task always runs"
            )

    def _task_name(self, keys: Mapping[str, object], path: str) -> str | None:
        """The supported task that was asked for."""
        if "task" not in keys:
            if "run" not in keys:
                self._mistakes.add(joined(path, "task"), "is missing: expected http or assess")
            return None
        asked = keys["task"]
        name = OLD_NAMES.get(asked, asked) if isinstance(asked, str) else asked
        if isinstance(name, str) and name in SUPPORTED:
            return name
        self._mistakes.add(joined(path, "task"), unsupported(asked))
        return None

    def _valid(self, model: type[_M], raw: object, path: str) -> _M | None:
        """The model, or None after its errors became mistakes."""
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            for details in error.errors(include_url=False):
                at = path
                for step in details["loc"]:
                    at = joined(at, step)
                self._mistakes.add(at, _wording(details))
            return None


def _wording(details: ErrorDetails) -> str:
    """A pydantic error in our words."""
    match details["type"]:
        case "value_error":
            return str(details["ctx"]["error"])
        case "missing":
            return "is missing"
        case "tuple_type" | "list_type":
            return str(expected("a list", details["input"]))
        case "model_type" | "dict_type" | "model_attributes_type":
            return str(expected("a map", details["input"]))
        case _:
            return str(expected("another kind of value", details["input"]))


def _providers(settings: object) -> list[str]:
    """The providers of the metrics that an http task gives, also when something else is wrong with it."""
    if not isinstance(settings, dict):
        return ["http"]
    return [] if settings.get("warmup") is True else providers_of(settings)


def unsupported(asked: object) -> str:
    """The sentence for a task that this version can't run, or that nobody knows."""
    if not isinstance(asked, str):
        return str(expected("http or assess", asked))
    if OLD_NAMES.get(asked, asked) in NOT_YET:
        return f"{shown(asked)} is not supported by this version; {_SUPPORTED}"
    return did_you_mean(f"unknown task {shown(asked)}", asked, SUPPORTED)
