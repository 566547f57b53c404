"""Pure: which stages of a load met the SLOs, and the one with the most load that did."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

from controller.experiment.assess import Slo
from controller.measure import Measured
from controller.windows import BySecond, judged


class Stage(NamedTuple):
    """What was measured in one stage, by whole provider; `load` is in requests per second, or in users."""

    name: str
    load: Decimal
    facts: Mapping[str, Measured]
    seconds: Mapping[str, BySecond] = MappingProxyType({})


def meets(slos: Sequence[Slo], stage: Stage, confidence: float | None) -> bool | None:
    """Whether the SLOs on the whole hold within a stage; None if there are none, or one is undecided and none violated.

    A lower limit on what grows with a run's length or load, such as a count or a rate, says nothing about a part of it.
    """
    answers = {
        judged(slo, stage.facts, stage.seconds, confidence).satisfied
        for slo in slos
        if slo.metric.provider in stage.facts and (slo.is_upper or not _depends_on_load(slo))
    }
    if False in answers:
        return False
    return None if None in answers or not answers else True


def _depends_on_load(slo: Slo) -> bool:
    return slo.metric.grows or slo.metric.name == "rate"


def best_stage(slos: Sequence[Slo], stages: Sequence[Stage], confidence: float | None) -> str:
    """The name of the stage with the most load that met the SLOs; empty if none did."""
    met = [stage for stage in stages if meets(slos, stage, confidence)]
    return max(met, key=lambda stage: stage.load).name if met else ""
