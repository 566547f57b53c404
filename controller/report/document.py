"""What every format says alike: the sentence of a verdict, why a run was aborted, and where things were measured.

Which characters surround them (padding, tags, pipes) is each format's own business.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from controller.experiment.result import (
    Account,
    Bound,
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
from controller.report.numbers import figure

SEVERITIES = tuple(Severity)
ABORTED = "aborted"


@dataclass(frozen=True)
class ReportInput:
    """One experiment to report on; no result means that it has not run."""

    name: str
    namespace: str
    spec: list[dict[str, Any]]
    result: Result | None
    completed: bool


@dataclass(frozen=True)
class Place:
    """A target, or all of a mix, and the run and segment it was measured in; runs are counted from 1."""

    number: int
    run: RunResult = field(repr=False)
    segment: SegmentResult = field(repr=False)
    target: TargetResult = field(repr=False)
    is_total: bool = False

    @property
    def is_part(self) -> bool:
        """Whether it is one of the targets of a mix that is told of as a whole, too."""
        return self.segment.total is not None and not self.is_total


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
            return f"No SLOs were asked for; {_worth(document.result)}."


def _worth(result: Result) -> str:
    is_sound = all(one.severity is Severity.INFO for one in result.findings)
    return "the measurement itself is sound" if is_sound else "what the measurement is worth, the findings tell"


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


def places(document: ReportInput, *, warmups: bool = True, totals: bool = False) -> Iterator[Place]:
    """Every target in the order of the runs; `totals`: before those of a mix, all of them together."""
    for number, run in enumerate(document.result.runs if document.result else (), 1):
        for segment in run.segments:
            if segment.is_warmup and not warmups:
                continue
            if totals and segment.total is not None:
                yield Place(number, run, segment, segment.total, is_total=True)
            for target in segment.targets:
                yield Place(number, run, segment, target)


def place_of(document: ReportInput, provider: str, version: int) -> Place | None:
    """Where the metrics of a provider were measured last; none for metrics that no run made."""
    found = [
        place
        for place in places(document, warmups=False, totals=True)
        if place.target.version == version and provider in providers(place.target)
    ]
    return found[-1] if found else None


def providers(target: TargetResult) -> set[str]:
    """The prefixes of a target's metrics: its own, and those of its stages."""
    return {target.provider, *(stage.provider for stage in target.stages)}


def aborts(document: ReportInput) -> list[str]:
    """A sentence for each run that was aborted: which, when and why."""
    runs = document.result.runs if document.result else ()
    found = []
    for number, run in enumerate(runs, 1):
        cut = [segment for segment in run.segments if segment.ended == ABORTED]
        if run.ended != ABORTED and not cut:
            continue
        name = "The run" if len(runs) == 1 else f"Run {number}"
        why = f": {run.why}" if run.why else ""
        found.append(f"{name} was aborted{_when(cut[0]) if cut else ''}{why}.")  # those after it never began
    return found


def _when(segment: SegmentResult) -> str:
    planned = f" of {figure(segment.planned_length_s, digits=3)}" if segment.planned_length_s else ""
    return f" after {figure(segment.elapsed_s, digits=3)}{planned} s of {segment.name}"


def short_name(place: Place) -> str:
    """What to call a target in a row: its endpoint, and what else tells it from the others."""
    if place.is_total:
        return f"{place.segment.name} (total)"
    name = place.target.endpoint or place.target.provider
    return f"{name} v{place.target.version}" if place.target.version else name


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


def version_names(insights: Insights) -> list[str]:
    """What to call each version."""
    names = []
    for index in range(insights.num_versions):
        known = insights.version_names[index] if index < len(insights.version_names) else {}
        name = known.get("version") or known.get("name") or f"version {index}"
        names.append(f"{name} ({known['track']})" if known.get("track") else name)
    return names
