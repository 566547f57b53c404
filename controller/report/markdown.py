"""The report for a pull request: the verdict, the SLOs and the key figures, short."""

from collections.abc import Iterator, Sequence

from controller.experiment.result import Outcome, RunResult, SLOJudgement
from controller.report import document as said
from controller.report import markdown_load, slos, stages
from controller.report.document import Place, ReportInput
from controller.report.marks import ABSENT, code, table, text
from controller.report.metrics import judged_clock, part_text
from controller.report.numbers import figure, share

MARKS = {
    Outcome.PASS: "✅",
    Outcome.FAIL: "❌",
    Outcome.INVALID: "⚠️",
    Outcome.INCONCLUSIVE: "⚠️",
    Outcome.NONE: "⚪",
}
MOST_ENDPOINTS = 30


def render(document: ReportInput) -> str:
    """Markdown as GitHub and GitLab read it."""
    outcome = said.outcome(document)
    blocks = [f"## {MARKS[outcome]} {text(document.name)}: {outcome}"]
    if said.is_partial(document):
        blocks.append("**Partial: the experiment was interrupted.**")
    blocks += [f"**Aborted: {text(sentence)}**" for sentence in said.aborts(document)]
    blocks.append(text(said.sentence(document)))
    if said.reasons(document):
        blocks.append("\n".join(f"- {text(reason)}" for reason in said.reasons(document)))
    parts = (
        _what_was_run(document),
        _slos(document),
        _targets(document),
        markdown_load.staged(document),
        markdown_load.details(document),
    )
    blocks += [block for block in parts if block]
    if found := said.findings(document):
        lines = [f"- **{finding.severity}** `{code(finding.code)}`: {text(finding.message)}" for finding in found]
        blocks.append("\n".join(["**Findings**", "", *lines]))
    return "\n\n".join(blocks) + "\n"


def _what_was_run(document: ReportInput) -> str:
    result = document.result
    if result is None or not result.runs:
        return ""
    parts = []
    for run in result.runs:
        segments = [segment for segment in run.segments if not segment.is_warmup]
        agents = "1 agent" if len(run.agents) == 1 else f"{len(run.agents)} agents"
        length = figure(sum(segment.elapsed_s for segment in segments), digits=3)
        endpoints = sum(len(segment.targets) for segment in segments)
        targets = "1 endpoint" if endpoints == 1 else f"{endpoints} endpoints"
        accounts = [said.account_of(segment) for segment in segments]
        requests = figure(sum(part.tried + part.unsent for part in accounts), group=True)
        parts.append(f"{requests} requests to {targets} in {length} s from {agents}, seed {run.seed}")
    version = f" (seatrial {result.environment.seatrial})" if result.environment.seatrial else ""
    facts = [fact for run in result.runs for fact in _shapes(run)]
    return text("; ".join(parts) + version + "." + "".join(f" {fact}." for fact in facts))


def _shapes(run: RunResult) -> Iterator[str]:
    for segment in run.segments:
        facts = [] if segment.is_warmup else stages.shape_facts(run, segment)
        if facts:
            yield f"{segment.name}: {'; '.join(facts)}"


def _slos(document: ReportInput) -> str:
    judged = said.judgements(document)
    if not judged:
        return ""
    names = said.version_names(document.result.insights) if document.result and document.result.insights else []
    rows = [_slo_row(slo, names) for slo in judged]
    return table(("", "SLO", "Value", "Margin", "Samples"), rows, 2)


def _slo_row(slo: SLOJudgement, names: Sequence[str]) -> Sequence[str]:
    mark = {True: "✅", False: "❌ violated", None: "⚠️ undecided"}[slo.satisfied]
    version = f" [{names[slo.version]}]" if len(names) > 1 and slo.version < len(names) else ""
    return (
        mark,
        text(slos.condition(slo) + version + (f"; {window}" if (window := slos.window_text(slo)) else "")),
        slos.value_text(slo, group=True, absent=ABSENT),
        slos.margin_text(slo, group=True, absent=ABSENT),
        figure(slo.samples, group=True) if slo.samples else ABSENT,
    )


def _targets(document: ReportInput) -> str:
    rows = list(_target_rows(document))
    if not rows:
        return ""
    header = ("Endpoint", "Requests", "Errors", "Rate/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms")
    listed = table(header, rows[:MOST_ENDPOINTS], 1)
    left = len(rows) - MOST_ENDPOINTS
    return f"{listed}\n\n… and {left} more." if left > 0 else listed


def _target_rows(document: ReportInput) -> Iterator[Sequence[str]]:
    for place in said.places(document, warmups=False, totals=True):
        target = place.target
        sought = target.account.tried + target.account.unsent
        failed = target.account.errors + target.account.unsent
        spread = judged_clock(target)
        latencies = [part_text(spread, part, absent=ABSENT) for part in ("p50", "p99", "p99.9", "max")]
        errors = f"{figure(failed, group=True)} ({share(failed, sought)})" if failed else "0"
        yield (_name(place), figure(sought, group=True), errors, _rate(place), *latencies)


def _rate(place: Place) -> str:
    if stages.is_mix(place.segment) and not place.is_total:
        return figure(place.target.rate_per_s, group=True, absent=ABSENT)
    rate = figure(place.segment.achieved_per_s, group=True, absent=ABSENT)
    asked = stages.asked_text(place.segment, group=True, absent="")
    return f"{rate} of {asked}" if asked else rate


def _name(place: Place) -> str:
    weight = f", weight {place.target.weight}" if stages.is_mix(place.segment) and not place.is_total else ""
    return text(said.short_name(place) + weight)
