"""The `assess` task: which limits metrics must keep, and which metrics decide between versions.

The verdict over them is `controller.assess`'s work.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from controller.experiment import fields as f
from controller.experiment import units
from controller.experiment.metrics import MetricName, limit_of, metric_name, nearest_of
from controller.experiment.mistakes import Mistakes, expected, joined


class Side(StrEnum):
    """On which side of the limit a metric must stay; being at the limit is fine on both."""

    UPPER = "upper"
    LOWER = "lower"


class Goal(StrEnum):
    """Which version a reward prefers."""

    MAX = "max"
    MIN = "min"


_METRIC_SCHEMA = WithJsonSchema(
    {
        "type": "string",
        "examples": ["http/latency-p99", "http/error-rate", "http-get/latency-mean", "http@peak/service-p99"],
        "pattern": "^[^/]+/[^/]+(/[^/]+)?$",
    }
)
LIMIT_SCHEMA = WithJsonSchema({"type": ["number", "string"], "examples": [50, "50ms", "0.1%", "500/s", "10kB"]})
MAX_WINDOW_S = 24 * 3600.0
_WINDOW_SCHEMA = {"type": "string", "pattern": r"^([0-9]*\.?[0-9]+(ns|us|µs|ms|s|m|h))+$", "examples": ["10s"]}


def _name(value: object) -> str:
    return str(metric_name(value))


Metric = Annotated[str, BeforeValidator(_name), _METRIC_SCHEMA]


def _window_s(value: object) -> int:
    """A window in seconds: what is measured is kept apart by whole ones."""
    found_s = units.seconds(1, MAX_WINDOW_S, "10s")(value)
    if found_s != int(found_s):
        raise expected("whole seconds", value)
    return int(found_s)


_Window = Annotated[int, BeforeValidator(_window_s), WithJsonSchema(_WINDOW_SCHEMA)]


class Limit(f.Model):
    """One SLO: a metric and its limit."""

    metric: Metric = Field(description="The metric, as `<provider>/<name>`.")
    limit: Annotated[int | float | str, LIMIT_SCHEMA] = Field(
        description="The limit, itself allowed. A number is in the metric's unit: milliseconds for latencies and other "
        "spans, a fraction for error-rate, requests per second for rate, bytes for bytes-in and -out. Text has a unit: "
        "a Go duration, a percentage, `500/s`, or a size such as `10kB`."
    )
    window_s: _Window | None = Field(
        None,
        alias="window",
        description="Judge the metric on its worst window of this length (a Go duration of whole seconds) rather than "
        "over the whole.",
    )

    @field_validator("limit", mode="before")
    @classmethod
    def _fits_the_metric(cls, written: object, so_far: ValidationInfo) -> object:
        name = so_far.data.get("metric")
        if name is None:  # a wrong metric is a mistake of its own
            return 0
        limit_of(metric_name(name), written)
        return written


def _or_a_map(schema: dict[str, Any]) -> None:
    """Adds the chart's form of a list of limits, which is made a list before the model reads it."""
    as_list = {key: schema.pop(key) for key in ("type", "items")}
    limit = dict(LIMIT_SCHEMA.json_schema or {})
    with_window = {
        "type": "object",
        "properties": {"limit": limit, "window": _WINDOW_SCHEMA},
        "required": ["limit"],
        "additionalProperties": False,
    }
    schema["anyOf"] = [as_list, {"type": "object", "additionalProperties": {"anyOf": [limit, with_window]}}]


class Slos(f.Model):
    """The SLOs of all versions."""

    upper: tuple[Limit, ...] = Field(
        (),
        description="Metrics that must not exceed their limit: a list, or a map from metric to limit, or to a map of "
        "limit and window.",
        json_schema_extra=_or_a_map,
    )
    lower: tuple[Limit, ...] = Field(
        (),
        description="Metrics that must not fall below their limit: a list, or a map from metric to limit, or to a map "
        "of limit and window.",
        json_schema_extra=_or_a_map,
    )


class Rewards(f.Model):
    """The metrics that decide which version is best."""

    max: tuple[Metric, ...] = Field((), description="Metrics of which more is better.")
    min: tuple[Metric, ...] = Field((), description="Metrics of which less is better.")


class AssessSettings(f.Model):
    """The parameters of an assess task."""

    slos: Slos = Field(alias="SLOs", default_factory=Slos, description="Limits that metrics must keep.")
    rewards: Rewards = Field(default_factory=Rewards, description="Metrics that decide between versions.")
    confidence: f.Confidence | None = Field(
        None,
        description="With which confidence a percentile or a rate must be known before its SLO is satisfied. Absent: "
        "too few requests for 0.95 are a finding only.",
        examples=[0.95],
    )


@dataclass(frozen=True, slots=True)
class Slo:
    """One limit on one metric, exact and in the metric's unit; `written` is the limit as the user gave it.

    It is judged on its worst window of `window_s`, if that is above 0, else over the whole.
    """

    side: Side
    index: int
    metric: MetricName
    limit: Decimal
    written: int | float | str
    window_s: int = 0

    @property
    def is_upper(self) -> bool:
        """Whether the metric must not exceed the limit."""
        return self.side is Side.UPPER


@dataclass(frozen=True, slots=True)
class Reward:
    """One metric that decides between versions."""

    goal: Goal
    index: int
    metric: MetricName


class AssessTask(f.Model):
    """Judges what was measured so far."""

    task: Literal["assess"] = Field(description="What this task does.")
    settings: AssessSettings = Field(alias="with", default_factory=AssessSettings, description="The task's parameters.")

    @property
    def slos(self) -> tuple[Slo, ...]:
        """Upper limits, then lower ones, each in document order."""
        sides = ((Side.UPPER, self.settings.slos.upper), (Side.LOWER, self.settings.slos.lower))
        return tuple(_slo(side, i, entry) for side, entries in sides for i, entry in enumerate(entries))

    @property
    def rewards(self) -> tuple[Reward, ...]:
        """Metrics to maximise, then those to minimise, each in document order."""
        goals = ((Goal.MAX, self.settings.rewards.max), (Goal.MIN, self.settings.rewards.min))
        return tuple(Reward(goal, i, metric_name(name)) for goal, names in goals for i, name in enumerate(names))

    @property
    def confidence(self) -> float | None:
        """How sure a percentile or a rate must be; None when too little evidence is a finding only."""
        return self.settings.confidence


def _slo(side: Side, index: int, entry: Limit) -> Slo:
    metric = metric_name(entry.metric)
    return Slo(side, index, metric, limit_of(metric, entry.limit), entry.limit, entry.window_s or 0)


def conflicts(raw: Mapping[str, object], path: str, providers: Iterable[str], mistakes: Mistakes) -> None:
    """Notes metrics that no task before this one gives, and metrics that stand twice on one side.

    It looks at what the document gives, so that it also speaks about a task with other mistakes.
    """
    known = list(providers)
    for section, sides in (("SLOs", Side), ("rewards", Goal)):
        inside = raw.get(section)
        if not isinstance(inside, dict):
            continue
        for side in sides:
            entries = inside.get(side)
            if isinstance(entries, list):
                _names(entries, joined(joined(path, section), side), known, mistakes)


def _names(entries: list[object], path: str, providers: list[str], mistakes: Mistakes) -> None:
    seen: dict[tuple[MetricName, object], int] = {}
    for i, entry in enumerate(entries):
        at, name, window = joined(path, i), entry, None
        if isinstance(entry, dict):
            at, name, window = joined(at, "metric"), entry.get("metric"), _same_window(entry.get("window"))
        try:
            metric = metric_name(name)
        except ValueError:  # the model says so
            continue
        if (metric, window) in seen:
            mistakes.add(at, f"{metric} already stands at {joined(path, seen[metric, window])}: give it once")
        seen.setdefault((metric, window), i)
        if providers and metric.provider not in providers:
            hint = nearest_of(metric, providers)
            mistakes.add(at, f'no http task before this one gives "{metric}"{hint}')


def _same_window(written: object) -> int | None:
    """The same for windows of the same length, and for all that are none (of which the model speaks)."""
    try:
        return _window_s(written)
    except ValueError:
        return None
