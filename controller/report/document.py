"""What every format says alike: the sentence of a verdict, the words of an SLO, the rows of the metrics.

Which characters surround them (padding, tags, pipes) is each format's own business.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from controller.experiment.result import (
    Account,
    Bound,
    Distribution,
    Finding,
    Insights,
    Outcome,
    Result,
    RunResult,
    SegmentResult,
    Severity,
    SLOJudgement,
    TargetResult,
)
from controller.report.numbers import ABSENT, figure, figure_beside, printable, share

SEVERITIES = tuple(Severity)
LISTED_TYPES = ("counter", "gauge")
SUMMARY_PARTS = ("count", "max", "mean", "min", "stddev")


@dataclass(frozen=True)
class ReportInput:
    """One experiment to report on; no result means that it has not run."""

    name: str
    namespace: str
    spec: list[dict[str, Any]]
    result: Result | None
    completed: bool


@dataclass(frozen=True)
class MetricRow:
    """One metric's latest value per version, as text."""

    name: str
    values: tuple[str, ...]
    description: str = ""
    best: str = ""


@dataclass(frozen=True)
class Place:
    """A target, and the run and segment it was measured in; runs are counted from 1."""

    number: int
    run: RunResult = field(repr=False)
    segment: SegmentResult = field(repr=False)
    target: TargetResult = field(repr=False)


def outcome(document: ReportInput) -> Outcome:
    """The verdict; `none` where there is none yet."""
    if document.result is None or document.result.verdict is None:
        return Outcome.NONE
    return document.result.verdict.outcome


def is_partial(document: ReportInput) -> bool:
    """Whether somebody stopped the experiment before its end."""
    result = document.result
    return result is not None and (result.interrupted or any(run.interrupted for run in result.runs))


def sentence(document: ReportInput) -> str:
    """The verdict in one plain sentence."""
    if document.result is None:
        return "The experiment has not run yet."
    judged = judgements(document)
    violated = sum(slo.satisfied is False for slo in judged)
    undecided = sum(slo.satisfied is None for slo in judged)
    match outcome(document):
        case Outcome.PASS:
            return f"{_slos(len(judged))} {'is' if len(judged) == 1 else 'are'} satisfied, whatever we assume about what is not known."
        case Outcome.FAIL:
            verb = "is" if violated == 1 else "are"
            return f"{violated} of {_slos(len(judged))} {verb} violated, whatever we assume about what is not known."
        case Outcome.INVALID:
            return "The measurement can't carry a verdict: what is not known about it decides."
        case Outcome.INCONCLUSIVE if undecided == 0:
            return "There is not enough evidence for a verdict."
        case Outcome.INCONCLUSIVE:
            return f"There is not enough evidence to decide {undecided} of {_slos(len(judged))}."
        case Outcome.NONE if document.result.error or document.result.failure:
            return "A task failed before there was a verdict."
        case Outcome.NONE if document.result.verdict is None:
            return "There is no verdict: nothing was assessed."
        case Outcome.NONE:
            return "No SLOs were asked for; the measurement itself is sound."


def _slos(count: int) -> str:
    return "1 SLO" if count == 1 else f"{count} SLOs"


def reasons(document: ReportInput) -> tuple[str, ...]:
    """Why the verdict is what it is."""
    if document.result is None or document.result.verdict is None:
        return ()
    return document.result.verdict.reasons


def findings(document: ReportInput) -> list[Finding]:
    """The findings, gravest first."""
    if document.result is None:
        return []
    return sorted(document.result.findings, key=lambda finding: SEVERITIES.index(finding.severity))


def places(document: ReportInput, *, warmups: bool = True) -> Iterator[Place]:
    """Every target in the order of the runs."""
    for number, run in enumerate(document.result.runs if document.result else (), 1):
        for segment in run.segments:
            if segment.is_warmup and not warmups:
                continue
            for target in segment.targets:
                yield Place(number, run, segment, target)


def place_of(document: ReportInput, slo: SLOJudgement) -> Place | None:
    """Where an SLO's metric was measured last; none for metrics that no run made."""
    provider = slo.metric.split("/")[0]
    found = [
        place
        for place in places(document, warmups=False)
        if place.target.provider == provider and place.target.version == slo.version
    ]
    return found[-1] if found else None


def account_of(segment: SegmentResult) -> Account:
    """The account of all of a segment's targets together."""
    parts = [target.account for target in segment.targets]
    names = ("planned", "tried", "ok", "errors", "unsent", "withdrawn", "unaccounted")
    sums = {name: sum(getattr(part, name) for part in parts) for name in names}
    return Account(**sums, closes=all(part.closes for part in parts))


def judgements(document: ReportInput) -> tuple[SLOJudgement, ...]:
    """Every SLO with its judgement; for a result that only holds Iter8's matrix, what that tells."""
    result = document.result
    if result is None:
        return ()
    if result.verdict is not None and result.verdict.slos:
        return result.verdict.slos
    return tuple(_from_matrix(result.insights)) if result.insights else ()


def _from_matrix(insights: Insights) -> Iterator[SLOJudgement]:
    for bound in Bound:
        slos = getattr(insights.slos, bound, ())
        matrix = getattr(insights.slos_satisfied, bound, ())
        for index, slo in enumerate(slos):
            for version, satisfied in enumerate(matrix[index] if index < len(matrix) else ()):
                info = insights.metrics_info.get(slo.metric)
                yield SLOJudgement(
                    metric=slo.metric,
                    bound=bound,
                    limit=slo.limit,
                    limit_text=figure(slo.limit),
                    unit=(info.units or "") if info else "",
                    version=version,
                    value=insights.value(slo.metric, version),
                    satisfied=satisfied,
                    reason="satisfied" if satisfied else "not satisfied, or not decided",
                )


def condition(slo: SLOJudgement) -> str:
    """The SLO as Iter8 writes it: `http/latency-mean (msec) <= 50`, `5 <= http/request-count`."""
    name = named(slo.metric, slo.unit)
    limit = figure(slo.limit, digits=15)
    return f"{name} <= {limit}" if slo.bound is Bound.UPPER else f"{limit} <= {name}"


def named(metric: str, unit: str | None) -> str:
    """A metric with its unit, on one line."""
    return printable(f"{metric} ({unit})" if unit else metric)


def range_text(slo: SLOJudgement, *, absent: str) -> str:
    """All values that the unknowns leave possible; one where they leave no choice."""
    if slo.low is None and slo.high is None:
        return absent
    low = figure(slo.low, group=True, absent="?")
    high = figure(slo.high, group=True, absent="unbounded")
    return low if low == high else f"{low} – {high}"


def satisfied_word(slo: SLOJudgement) -> str:
    """Iter8's `true` and `false`, and what it never said: `undecided`."""
    if slo.satisfied is None:
        return "undecided"
    return "true" if slo.satisfied else "false"


def value_text(slo: SLOJudgement, *, group: bool = False, absent: str = ABSENT) -> str:
    """The measured value, marked where it is only a lower bound."""
    text = figure_beside(slo.value, slo.limit, group=group, absent=absent)
    return f"≥ {text}" if slo.value is not None and slo.value_is_lower_bound else text


def margin(slo: SLOJudgement) -> float | None:
    """How far the value is on the good side of its limit; negative beyond it."""
    if slo.value is None or not (math.isfinite(slo.value) and math.isfinite(slo.limit)):
        return None
    return slo.limit - slo.value if slo.bound is Bound.UPPER else slo.value - slo.limit


def margin_text(slo: SLOJudgement, *, group: bool = False, absent: str = "") -> str:
    """The margin with its sign, and as a part of the limit; nothing where the value is only a lower bound."""
    room = margin(slo)
    if room is None or (slo.value_is_lower_bound and room > 0):
        return absent
    sign = "+" if room > 0 else ""
    text = sign + figure(room, digits=3, group=group)
    return f"{text} ({share(room, abs(slo.limit))})" if slo.limit else text


def version_names(insights: Insights) -> list[str]:
    """What to call each version."""
    names = []
    for index in range(insights.num_versions):
        known = insights.version_names[index] if index < len(insights.version_names) else {}
        name = known.get("version") or known.get("name") or f"version {index}"
        names.append(f"{name} ({known['track']})" if known.get("track") else name)
    return names


def metric_rows(document: ReportInput) -> list[MetricRow]:
    """The latest value of every counter and gauge, and of every metric that an SLO names, sorted by name."""
    insights = document.result.insights if document.result else None
    if insights is None:
        return []
    names = {slo.metric for slo in judgements(document)}
    for metric, info in insights.metrics_info.items():
        if info.type.lower() in LISTED_TYPES:
            names.add(metric)
        elif info.type.lower() == "summary":
            names.update(f"{metric}/{part}" for part in SUMMARY_PARTS)
    return [_metric_row(document, insights, metric) for metric in sorted(names)]


def _metric_row(document: ReportInput, insights: Insights, metric: str) -> MetricRow:
    info = insights.metrics_info.get(metric) or insights.metrics_info.get(metric.rpartition("/")[0])
    values = []
    for version in range(insights.num_versions):
        value = insights.value(metric, version)
        judged = [slo for slo in judgements(document) if slo.metric == metric and slo.version == version]
        value = judged[0].value if value is None and judged else value
        text = figure(value)
        values.append(f"≥ {text}" if value is not None and _is_lower_bound(document, metric, version) else text)
    return MetricRow(
        named(metric, info.units if info else None),
        tuple(values),
        info.description if info else "",
        _best(insights, metric),
    )


def _is_lower_bound(document: ReportInput, metric: str, version: int) -> bool:
    for slo in judgements(document):
        if slo.metric == metric and slo.version == version:
            return slo.value_is_lower_bound
    provider, _, part = metric.partition("/latency-")
    for place in places(document, warmups=False):
        if part and place.target.provider == provider and place.target.version == version:
            return is_lower_bound(judged_clock(place.target), part)
    return False


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
    value: float | None = getattr(spread, part)
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
