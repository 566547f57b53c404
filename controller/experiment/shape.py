"""How much load there is when: stages, what `step` and `spike` stand for, and how many requests that comes to.

Which instant each request has is the schedule's; here are totals, before anything is planned.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from controller.experiment.http_parts import Spike, StageSettings, Step
from controller.experiment.units import plain


@dataclass(frozen=True, slots=True)
class Stage:
    """A linear ramp of requests per second, or of users; a hold where both ends are equal."""

    name: str
    begin: Decimal
    end: Decimal
    duration_s: float

    @property
    def length_s(self) -> Decimal:
        """Its duration, exactly as it was written."""
        return Decimal(repr(self.duration_s))

    def planned_until(self, elapsed_s: Decimal) -> Decimal:
        """How many requests a stage of rates has, from its beginning to an instant within it."""
        at_then = self.begin + (self.end - self.begin) * elapsed_s / self.length_s
        return (self.begin + at_then) / 2 * elapsed_s


def ramps(stages: Iterable[StageSettings], first: Decimal) -> tuple[Stage, ...]:
    """The stages, each from where the one before ends, the first from `first`; without a name, named by number."""
    return tuple(_ramps(stages, first))


def _ramps(stages: Iterable[StageSettings], first: Decimal) -> Iterator[Stage]:
    begin = first
    for number, stage in enumerate(stages, 1):
        end = Decimal(stage.rate if stage.rate is not None else stage.users or 0)
        yield Stage(stage.name or str(number), begin if stage.begin is None else stage.begin, end, stage.duration_s)
        begin = end


def steps(step: Step) -> tuple[Stage, ...]:
    """One hold for each step, named by its rate."""
    rates = [step.begin + number * step.by for number in range(step.steps)]
    return tuple(Stage(plain(rate), rate, rate, step.duration_s) for rate in rates)


def spike(of: Spike) -> tuple[Stage, ...]:
    """A hold before, the spike, and a hold after."""
    return (
        Stage("before", of.base, of.base, of.before_s),
        Stage("spike", of.peak, of.peak, of.duration_s),
        Stage("after", of.base, of.base, of.after_s),
    )


def length_s(stages: Iterable[Stage]) -> float:
    """How long the stages are together."""
    return float(sum((stage.length_s for stage in stages), Decimal(0)))


def planned_until(stages: Sequence[Stage], elapsed_s: Decimal) -> Decimal:
    """How many requests stages of rates have, from their beginning to an instant."""
    planned, left_s = Decimal(0), elapsed_s
    for stage in stages:
        planned += stage.planned_until(min(left_s, stage.length_s))
        left_s -= stage.length_s
        if left_s <= 0:
            break
    return planned


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The load of an endpoint, or of a mix, over all agents, with every parameter in place.

    Open load has a rate or stages of rates; closed load has users, as many as fit on the connections or as its stages
    say. `connections` is the most that are open at once, of which `ahead` are opened before the start; each carries
    up to `streams` requests at once. Only requests planned from `measure_from_s` on, and before `measure_to_s`, count.
    """

    num_requests: int | None
    duration_s: float | None
    duration_ignored: bool
    rate_per_s: Decimal | None
    stages: tuple[Stage, ...]
    is_users: bool
    arrival: Literal["uniform", "poisson"]
    seed: int
    think_s: float
    connections: int
    ahead: int
    streams: int
    measure_from_s: float
    measure_to_s: float | None
    max_duration_s: float
    warmup_num_requests: int | None
    warmup_duration_s: float | None
    allow_initial_errors: bool

    @property
    def is_open(self) -> bool:
        """Whether requests go by schedule, and not as answers come."""
        return self.rate_per_s is not None or (bool(self.stages) and not self.is_users)

    @property
    def planned_length_s(self) -> float | None:
        """How long the schedule is; None when that depends on the target (closed load with numRequests)."""
        return planned_length_s(self.stages, self.num_requests, self.duration_s, self.rate_per_s)

    @property
    def planned_requests(self) -> int | None:
        """How many requests the plan has, to within one; None when that depends on the target.

        Of Poisson arrivals within a duration, how many are to be expected.
        """
        if self.num_requests is not None:
            return self.num_requests
        length = self.planned_length_s
        if not self.is_open or length is None:
            return None
        return self._planned_before(length)

    def measured_requests(self, stage: str = "") -> int | None:
        """How many of them count, by `measure`, in a stage or in all; None when that depends on the target."""
        planned, length = self.planned_requests, self.planned_length_s
        if not self.is_open or planned is None or length is None:
            return None if stage or self.measure_from_s or self.measure_to_s is not None else planned
        first_s, last_s = self._span_of(stage) if stage else (0.0, length)
        first_s = max(first_s, self.measure_from_s)
        last_s = last_s if self.measure_to_s is None else min(last_s, self.measure_to_s)
        before_last = planned if last_s >= length else min(planned, self._planned_before(last_s))
        return max(0, before_last - self._planned_before(first_s))

    @property
    def peak_rate_per_s(self) -> Decimal | None:
        """The highest rate; None in closed load."""
        if not self.is_open:
            return None
        return self.rate_per_s if self.rate_per_s is not None else peak(self.stages)

    @property
    def warmup_rate_per_s(self) -> Decimal | None:
        """The rate of a warm-up: that of the load, or with stages the first of theirs above 0; None in closed load."""
        if not self.is_open or self.rate_per_s is not None:
            return self.rate_per_s
        return next(rate for stage in self.stages for rate in (stage.begin, stage.end) if rate > 0)

    def _span_of(self, stage: str) -> tuple[float, float]:
        """When a stage begins and ends."""
        at = [one.name for one in self.stages].index(stage)
        return length_s(self.stages[:at]), length_s(self.stages[: at + 1])

    def _planned_before(self, instant_s: float) -> int:
        elapsed_s = Decimal(repr(instant_s))
        if self.rate_per_s is not None:
            return math.ceil(self.rate_per_s * elapsed_s)
        return math.ceil(planned_until(self.stages, elapsed_s))


def peak(stages: Iterable[Stage]) -> Decimal:
    """The highest rate, or number of users, of all stages."""
    return max(max(stage.begin, stage.end) for stage in stages)


def planned_length_s(
    stages: Sequence[Stage], num_requests: int | None, duration_s: float | None, rate_per_s: Decimal | None
) -> float | None:
    """How long the schedule is; None when that depends on the target (closed load with a number of requests)."""
    if stages:
        return length_s(stages)
    if num_requests is None:
        return duration_s
    return None if rate_per_s is None else float(num_requests / rate_per_s)
