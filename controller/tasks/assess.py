"""The `assess` task: holds what was measured against SLOs, and picks winners for rewards."""

from collections.abc import Mapping
from types import MappingProxyType

from controller import assess
from controller.experiment.assess import AssessTask, Goal
from controller.experiment.result import SLO, Insights, Rewards, RewardsWinners, SatisfiedSLOs, SLOJudgement, SLOs
from controller.measure import Measured
from controller.windows import BySecond, judged

_NONE: Mapping[str, BySecond] = MappingProxyType({})


def run(
    task: AssessTask, insights: Insights, facts: Mapping[str, Measured], seconds: Mapping[str, BySecond] = _NONE
) -> tuple[Insights, tuple[SLOJudgement, ...]]:
    """The insights with Iter8's fields filled in, and each SLO's judgement. Nothing here can fail a task.

    What was measured is by provider, stages included; `seconds` is for SLOs with a window.
    """
    judgements = tuple(judged(slo, facts, seconds, task.confidence) for slo in task.slos)
    upper = [one for slo, one in zip(task.slos, judgements, strict=True) if slo.is_upper]
    lower = [one for slo, one in zip(task.slos, judgements, strict=True) if not slo.is_upper]
    update: dict[str, object] = {}
    if judgements:
        update["slos"] = SLOs(upper=tuple(map(_slo, upper)), lower=tuple(map(_slo, lower)))
        update["slos_satisfied"] = SatisfiedSLOs(
            upper=tuple((one.satisfied is True,) for one in upper),
            lower=tuple((one.satisfied is True,) for one in lower),
        )
    if task.rewards:
        update |= _rewards(task, insights)
    return insights.model_copy(update=update), judgements


def _slo(judgement: SLOJudgement) -> SLO:
    return SLO(metric=judgement.metric, limit=judgement.limit)


def _rewards(task: AssessTask, insights: Insights) -> dict[str, object]:
    largest = tuple(str(reward.metric) for reward in task.rewards if reward.goal is Goal.MAX)
    smallest = tuple(str(reward.metric) for reward in task.rewards if reward.goal is Goal.MIN)
    values = [
        {name: found[-1] for name, found in version.items() if found} for version in insights.non_hist_metric_values
    ]
    return {
        "rewards": Rewards(max=largest, min=smallest),
        "rewards_winners": RewardsWinners(
            max=assess.winners(largest, values, largest=True), min=assess.winners(smallest, values, largest=False)
        ),
    }
