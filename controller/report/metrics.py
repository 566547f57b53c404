"""The rows of the metrics, and the parts of distributions, with what is only a lower bound marked as such."""

from dataclasses import dataclass

from controller.experiment.result import Distribution, Insights, SLOJudgement, TargetResult
from controller.report.document import ReportInput, judgements, place_of, places, version_names
from controller.report.numbers import ABSENT, figure, quantity
from controller.report.slos import named

LISTED_TYPES = ("counter", "gauge")
SUMMARY_PARTS = ("count", "max", "mean", "min", "stddev")
STATISTICS = ("mean", "stddev", "min", "max")
CLOCKS = ("service", "wait", "lag", "ttfb", "body", "connect", "tls")


@dataclass(frozen=True)
class MetricRow:
    """One metric's latest value per version, as text."""

    name: str
    values: tuple[str, ...]
    description: str = ""
    best: str = ""


def metric_rows(document: ReportInput, *, sizes: bool = False, of_stages: bool = False) -> list[MetricRow]:
    """The latest value of every counter and gauge, and of every metric that an SLO names, sorted by name.

    Bytes are plain numbers, for programs that read the table, unless `sizes` are asked for; the metrics of stages stand
    in a table of their own, unless they are asked for `of_stages` too.
    """
    insights = document.result.insights if document.result else None
    if insights is None:
        return []
    names = {slo.metric for slo in judgements(document)}
    left_out = set() if of_stages else _stage_providers(document)
    for metric, info in insights.metrics_info.items():
        if metric.partition("/")[0] in left_out:
            continue
        if info.type.lower() in LISTED_TYPES:
            names.add(metric)
        elif info.type.lower() == "summary":
            names.update(f"{metric}/{part}" for part in SUMMARY_PARTS)
    return [_metric_row(document, insights, metric, sizes=sizes) for metric in sorted(names)]


def _stage_providers(document: ReportInput) -> set[str]:
    return {stage.provider for place in places(document, totals=True) for stage in place.target.stages}


def _metric_row(document: ReportInput, insights: Insights, metric: str, *, sizes: bool) -> MetricRow:
    info = insights.metrics_info.get(metric) or insights.metrics_info.get(metric.rpartition("/")[0])
    unit = (info.units or "") if info else ""
    values = []
    for version in range(insights.num_versions):
        value = insights.value(metric, version)
        judged = _judged_whole(document, metric, version)
        value = judged.value if value is None and judged else value
        text = quantity(value, unit if sizes else "")
        values.append(f"≥ {text}" if value is not None and _is_lower_bound(document, metric, version) else text)
    return MetricRow(
        named(metric, unit),
        tuple(values),
        info.description if info else "",
        _best(insights, metric),
    )


def _judged_whole(document: ReportInput, metric: str, version: int) -> SLOJudgement | None:
    """The judgement that has the metric's value over the whole run: one on windows has that of its worst window."""
    for slo in judgements(document):
        if slo.metric == metric and slo.version == version and not slo.window:
            return slo
    return None


def _is_lower_bound(document: ReportInput, metric: str, version: int) -> bool:
    judged = _judged_whole(document, metric, version)
    if judged is not None:
        return judged.value_is_lower_bound
    provider, _, name = metric.partition("/")
    clock, _, part = name.partition("-")
    place = place_of(document, provider, version)
    spread = _spread(place.target, provider, clock) if place else None
    return spread is not None and is_lower_bound(spread, part)


def _spread(target: TargetResult, provider: str, clock: str) -> Distribution | None:
    """What the metrics `<provider>/<clock>-…` are read from."""
    if provider != target.provider:
        stages = (stage.latency for stage in target.stages if stage.provider == provider)
        return next(stages, None) if clock == "latency" else None
    if clock == "latency":
        return judged_clock(target)
    return getattr(target.clocks, clock) if clock in CLOCKS else None


def judged_clock(target: TargetResult) -> Distribution:
    """The distribution that latency metrics and SLOs are read from."""
    return target.clocks.service if target.clocks.latency == "service" else target.clocks.response


def is_lower_bound(spread: Distribution, part: str) -> bool:
    """Whether requests that were cut off reach into this part (`mean`, `max`, `p99`) of a distribution."""
    if spread.censored_from is None:
        return False
    if part in ("mean", "stddev", "max"):
        return True
    value = part_of(spread, part)
    return value is not None and value >= spread.censored_from


def part_of(spread: Distribution, part: str) -> float | None:
    """A distribution's `mean`, `min`, `max`, `stddev` or `p<percentile>`."""
    if part.startswith("p"):
        return spread.percentiles.get(part[1:])
    value: float | None = getattr(spread, part) if part in STATISTICS else None
    return value


def part_text(spread: Distribution, part: str, *, group: bool = False, absent: str = ABSENT) -> str:
    """A part of a distribution as text, marked where it is only a lower bound."""
    value = part_of(spread, part)
    text = figure(value, group=group, absent=absent)
    return f"≥ {text}" if value is not None and is_lower_bound(spread, part) else text


def _best(insights: Insights, metric: str) -> str:
    if insights.num_versions < 2 or insights.rewards is None:
        return ""
    for side in ("max", "min"):
        rewards: tuple[str, ...] = getattr(insights.rewards, side)
        winners: tuple[int, ...] = getattr(insights.rewards_winners, side, ())
        if metric in rewards and rewards.index(metric) < len(winners):
            winner = winners[rewards.index(metric)]
            return version_names(insights)[winner] if 0 <= winner < insights.num_versions else "insufficient data"
    return "n/a"
