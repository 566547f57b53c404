"""The `abortOn` of an http task: limits on the running measurement that end the run as soon as one is violated.

Whether one is violated is `controller.abort`'s work.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from controller.experiment import fields as f
from controller.experiment.assess import LIMIT_SCHEMA, Metric, Side, Slo
from controller.experiment.metrics import limit_of, metric_name, nearest_of
from controller.experiment.mistakes import Mistakes, joined
from controller.experiment.units import whole

DEFAULT_MIN_REQUESTS = 100
_LimitText = Annotated[int | float | str, LIMIT_SCHEMA]
_MinRequests = Annotated[
    int,
    BeforeValidator(whole(1, f.MAX_REQUESTS)),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": f.MAX_REQUESTS}),
]


class AbortOn(f.Model):
    """One limit that ends the run, on all agents, once what was measured so far violates it."""

    metric: Metric = Field(description="The metric, as `<provider>/<name>`, of what this task loads.")
    upper: _LimitText | None = Field(None, description="The run ends when the metric exceeds this.", examples=["50%"])
    lower: _LimitText | None = Field(None, description="The run ends when the metric falls below this.")
    min_requests: _MinRequests = Field(
        DEFAULT_MIN_REQUESTS,
        alias="minRequests",
        description="So many requests must have been measured before the limit counts.",
    )

    @field_validator("upper", "lower", mode="before")
    @classmethod
    def _fits_the_metric(cls, written: object, so_far: ValidationInfo) -> object:
        name = so_far.data.get("metric")
        if name is None or written is None:  # a wrong metric is a mistake of its own
            return None if written is None else 0
        metric = metric_name(name)
        limit_of(metric, written)
        if so_far.field_name == Side.LOWER and metric.grows:
            raise ValueError(f"{metric} starts at 0 and grows, so a lower limit would end every run: give upper")
        return written

    @model_validator(mode="after")
    def _has_one_limit(self) -> Self:
        if (self.upper is None) == (self.lower is None):
            raise ValueError(f"expected upper or lower, got {'neither' if self.upper is None else 'both'}")
        return self

    @property
    def slo(self) -> Slo:
        """The same as an SLO: the run goes on for as long as it is not violated."""
        side = Side.LOWER if self.upper is None else Side.UPPER
        written = self.lower if self.upper is None else self.upper
        assert written is not None  # one of them is there
        metric = metric_name(self.metric)
        return Slo(side, 0, metric, limit_of(metric, written), written)


def conflicts(raw: object, path: str, providers: Iterable[str], mistakes: Mistakes) -> None:
    """Notes limits on metrics that the task itself does not give; `raw` is the document's list of them."""
    known = list(providers)
    for i, entry in enumerate(raw if isinstance(raw, list) else ()):
        if not isinstance(entry, Mapping):
            continue
        try:
            metric = metric_name(entry.get("metric"))
        except ValueError:  # the model says so
            continue
        if known and metric.provider not in known:
            at = joined(joined(path, i), "metric")
            mistakes.add(at, f'this task does not give "{metric}"{nearest_of(metric, known)}')
