"""Iter8's chart: turns values (`tasks={http,assess}`, `http.url=…`) into an experiment's document.

It knows where values go, not what they mean: that is checked when the document is read.
"""

from collections.abc import Mapping

from controller.experiment.mistakes import Mistakes, expected, joined, matched_keys, shown
from controller.experiment.spec import NOT_YET, SUPPORTED, unsupported
from controller.experiment.spelling import as_list

# What Iter8's chart takes besides tasks. All but the first three only matter on Kubernetes.
CHART_WORDS = (
    "name",
    "namespace",
    "runner",
    "logLevel",
    "iter8Image",
    "majorMinor",
    "cronjobSchedule",
    "serviceAccountName",
    "resources",
    "metricsServerURL",
    "resourceTypes",
)
TASK_WORDS = (*SUPPORTED, *(word for word in NOT_YET if word not in {"notify", "run"}))


def from_values(values: Mapping[str, object], *, lenient: bool = False) -> dict[str, object]:
    """The experiment's document, ready for `from_document` and `dump_yaml`; or a BadInputError with every mistake."""
    mistakes = Mistakes("values")
    found = matched_keys(values, ("tasks", *CHART_WORDS, *TASK_WORDS), "", mistakes, lenient=lenient)
    _check_runner(found.get("runner", "none"), mistakes)
    tasks = _tasks(found.get("tasks"), mistakes)
    for word in TASK_WORDS:
        if word in found and word not in tasks and tasks:
            mistakes.add(word, f'has values, but tasks does not name it: add "{word}" to tasks, or take them out')
    spec = [{"task": word, "with": _settings(word, found.get(word, {}), mistakes)} for word in tasks]
    mistakes.raise_if_any()
    metadata = {word: found[word] for word in ("name", "namespace") if word in found}
    return ({"metadata": metadata} if metadata else {}) | {"spec": spec}


def _check_runner(runner: object, mistakes: Mistakes) -> None:
    if runner == "none":
        return
    if runner in ("job", "cronjob"):
        mistakes.add("runner", f"{shown(runner)} needs Kubernetes: launch runs the experiment here, with runner=none")
    else:
        mistakes.add("runner", str(expected("none", runner)))


def _tasks(raw: object, mistakes: Mistakes) -> list[str]:
    """The supported tasks, in order."""
    if raw is None or raw in ([], ""):
        mistakes.add("", "tasks is empty: expected a list such as {http,assess}")
        return []
    if not isinstance(raw, list):
        mistakes.add("tasks", str(expected("a list such as {http,assess}", raw)))
        return []
    for i, word in enumerate(raw):
        if word not in SUPPORTED:
            mistakes.add(joined("tasks", i), unsupported(word))
    return [word for word in raw if word in SUPPORTED]


def _settings(word: str, raw: object, mistakes: Mistakes) -> object:
    """What the task gets as its `with`; the chart's map of limits becomes Iter8's list."""
    if not isinstance(raw, dict):
        mistakes.add(word, str(expected("a map of the task's values", raw)))
        return {}
    if word != "assess":
        return raw
    return {key: _slos(value) if key.lower() == "slos" else value for key, value in raw.items()}


def _slos(raw: object) -> object:
    if not isinstance(raw, dict):
        return raw
    return {side: as_list(limits) if isinstance(limits, dict) else limits for side, limits in raw.items()}
