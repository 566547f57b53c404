"""The report for a pull request: the verdict, the SLOs and the key figures, short."""

import re
from collections.abc import Iterator, Sequence

from controller.experiment.result import Outcome, SLOJudgement, TargetResult
from controller.report import document as said
from controller.report.document import ReportInput
from controller.report.numbers import figure, printable, share

MARKS = {
    Outcome.PASS: "✅",
    Outcome.FAIL: "❌",
    Outcome.INVALID: "⚠️",
    Outcome.INCONCLUSIVE: "⚠️",
    Outcome.NONE: "⚪",
}
# A zero-width space keeps a name from calling people or linking issues; a backslash the rest from being markup.
MENTION = re.compile(r"([@#])(?=\w)")
MARKUP = re.compile(r"([\\`*_\[\]~|])")
ABSENT = "—"
MOST_ENDPOINTS = 30


def render(document: ReportInput) -> str:
    """Markdown as GitHub and GitLab read it."""
    outcome = said.outcome(document)
    blocks = [f"## {MARKS[outcome]} {_text(document.name)}: {outcome}"]
    if said.is_partial(document):
        blocks.append("**Partial: the experiment was interrupted.**")
    blocks.append(_text(said.sentence(document)))
    if said.reasons(document):
        blocks.append("\n".join(f"- {_text(reason)}" for reason in said.reasons(document)))
    blocks += [block for block in (_what_was_run(document), _slos(document), _targets(document)) if block]
    if found := said.findings(document):
        lines = [f"- **{finding.severity}** `{_code(finding.code)}`: {_text(finding.message)}" for finding in found]
        blocks.append("\n".join(["**Findings**", "", *lines]))
    return "\n\n".join(blocks) + "\n"


def _text(text: str) -> str:
    """The text, meaning nothing but itself."""
    text = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return MENTION.sub("\\1\u200b", MARKUP.sub(r"\\\1", text))


def _code(text: str) -> str:
    return printable(text).replace("`", "'").replace("|", "\\|")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int) -> str:
    rule = ["---" if column < numbers_from else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


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
    return _text("; ".join(parts) + version + ".")


def _slos(document: ReportInput) -> str:
    judged = said.judgements(document)
    if not judged:
        return ""
    names = said.version_names(document.result.insights) if document.result and document.result.insights else []
    rows = [_slo_row(slo, names) for slo in judged]
    return _table(("", "SLO", "Value", "Margin", "Samples"), rows, 2)


def _slo_row(slo: SLOJudgement, names: Sequence[str]) -> Sequence[str]:
    mark = {True: "✅", False: "❌ violated", None: "⚠️ undecided"}[slo.satisfied]
    version = f" [{names[slo.version]}]" if len(names) > 1 and slo.version < len(names) else ""
    return (
        mark,
        _text(said.condition(slo) + version),
        said.value_text(slo, group=True, absent=ABSENT),
        said.margin_text(slo, group=True, absent=ABSENT),
        figure(slo.samples, group=True) if slo.samples else ABSENT,
    )


def _targets(document: ReportInput) -> str:
    rows = list(_target_rows(document))
    if not rows:
        return ""
    header = ("Endpoint", "Requests", "Errors", "Rate/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms")
    table = _table(header, rows[:MOST_ENDPOINTS], 1)
    left = len(rows) - MOST_ENDPOINTS
    return f"{table}\n\n… and {left} more." if left > 0 else table


def _target_rows(document: ReportInput) -> Iterator[Sequence[str]]:
    for place in said.places(document, warmups=False):
        target = place.target
        sought = target.account.tried + target.account.unsent
        failed = target.account.errors + target.account.unsent
        spread = said.judged_clock(target)
        latencies = [said.part_text(spread, part, absent=ABSENT) for part in ("p50", "p99", "p99.9", "max")]
        rate = figure(place.segment.achieved_per_s, group=True, absent=ABSENT)
        asked = f" of {figure(place.segment.rate_per_s, group=True)}" if place.segment.rate_per_s is not None else ""
        errors = f"{figure(failed, group=True)} ({share(failed, sought)})" if failed else "0"
        yield (_name(target), figure(sought, group=True), errors, rate + asked, *latencies)


def _name(target: TargetResult) -> str:
    version = f" v{target.version}" if target.version else ""
    return _text((target.endpoint or target.provider) + version)
