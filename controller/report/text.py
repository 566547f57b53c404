"""The report for a terminal or a log: Iter8's layout, the verdict and the account before it, no colours.

The last line is always `verdict: <outcome>`, for whoever reads it with grep or tail.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from controller.experiment.result import RunResult, SegmentResult, TargetResult
from controller.report import document as said
from controller.report.document import ReportInput
from controller.report.numbers import figure, printable, share

WIDTH = 80
INDENT = "  "
COMPLETE = "complete"
Rows = Iterable[Sequence[str]]


def render(document: ReportInput) -> str:
    """The whole report, ending in the line of the verdict."""
    lines = [*_verdict(document)]
    if document.result is not None:
        lines += _load(document)
        lines += _summary(document)
        lines += _slos(document)
        lines += _metrics(document)
        lines += _errors(document)
        lines += _findings(document)
    return "\n".join([*lines, "", f"verdict: {said.outcome(document)}", ""])


def _heading(title: str) -> list[str]:
    return ["", title, "*" * len(title), ""]


def _said(text: str, bullet: str = "") -> list[str]:
    indent = INDENT + " " * len(bullet)
    return textwrap.wrap(
        printable(text), WIDTH, initial_indent=INDENT + bullet, subsequent_indent=indent, break_on_hyphens=False
    )


def _table(header: Sequence[str], rows: Rows) -> list[str]:
    cells = [header, ["-" * len(title) for title in header], *rows]
    cells = [[printable(cell) for cell in row] for row in cells]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return [
        (INDENT + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in cells
    ]


def _verdict(document: ReportInput) -> Iterator[str]:
    yield from _heading(f"Verdict: {said.outcome(document)}")
    if said.is_partial(document):
        yield from _said("PARTIAL: the experiment was interrupted; everything below covers only what had")
        yield from _said("been measured by then.")
        yield ""
    yield from _said(said.sentence(document))
    for reason in said.reasons(document):
        yield from _said(reason, "- ")
    if document.result is None:
        yield from _said(f"Run it with: seatrial run, then ask again. Its tasks: {_task_names(document)}.")
    elif document.result.error:
        yield from _said(f"error: {document.result.error}", "- ")


def _task_names(document: ReportInput) -> str:
    return ", ".join(str(task.get("task") or ("run" if "run" in task else "?")) for task in document.spec) or "none"


def _load(document: ReportInput) -> Iterator[str]:
    runs = document.result.runs if document.result else ()
    for number, run in enumerate(runs, 1):
        yield from _heading("Load asked for and made:" if len(runs) == 1 else f"Run {number}: load asked for and made:")
        yield from _said(f"Run {run.run_id}, started {run.started_at}.")
        yield from _said(_made_by(run))
        if run.ended != COMPLETE:
            yield from _said(f"The run did not reach its planned end: {run.ended}.")
        yield ""
        yield from _table(("Segment", "Load", "Asked/s", "Achieved/s", "Length (s)", "Ended"), _rates(run))
        yield ""
        yield from _table(("Segment", "Planned", "Ok", "Errors", "Unsent", "Withdrawn", "Unaccounted"), _accounts(run))
        if not run.account.closes:
            yield ""
            yield from _said("The account does not close: requests are missing from it.")


def _made_by(run: RunResult) -> str:
    agents = "1 agent" if len(run.agents) == 1 else f"{len(run.agents)} agents"
    lost = sum(agent.state != COMPLETE for agent in run.agents)
    return f"{agents}{f' ({lost} lost)' if lost else ''}, seed {run.seed}."


def _segment_name(segment: SegmentResult) -> str:
    return f"{segment.name} (warm-up)" if segment.is_warmup and segment.name != "warm-up" else segment.name


def _rates(run: RunResult) -> Iterator[Sequence[str]]:
    for segment in run.segments:
        at_least = "≥ " if segment.load == "closed" and segment.achieved_per_s is not None else ""
        yield (
            _segment_name(segment),
            segment.load,
            figure(segment.rate_per_s, absent="-"),
            at_least + figure(segment.achieved_per_s, absent="-"),
            figure(segment.elapsed_s),
            segment.ended,
        )


def _accounts(run: RunResult) -> Iterator[Sequence[str]]:
    for segment in run.segments:
        part = said.account_of(segment)
        counts = (part.planned, part.ok, part.errors, part.unsent, part.withdrawn, part.unaccounted)
        yield (_segment_name(segment), *map(str, counts))
    if len(run.segments) != 1:
        part = run.account
        counts = (part.planned, part.ok, part.errors, part.unsent, part.withdrawn, part.unaccounted)
        yield ("total", *map(str, counts))


def _summary(document: ReportInput) -> Iterator[str]:
    result = document.result
    assert result is not None
    yield from _heading("Experiment summary:")
    yield from _said(f"Experiment completed: {str(document.completed).lower()}")
    yield from _said(f"No task failures: {str(not result.failure).lower()}")
    yield from _said(f"Total number of tasks: {len(document.spec)}")
    yield from _said(f"Number of completed tasks: {result.num_completed_tasks}")
    yield from _said(f"Number of completed loops: {result.num_loops}")


def _slos(document: ReportInput) -> Iterator[str]:
    judged = said.judgements(document)
    if not judged:
        return
    yield from _heading("Whether or not service level objectives (SLOs) are satisfied:")
    names = _versions(document)
    header = ["SLO Conditions", "Value", "Margin", "Satisfied"]
    rows = [
        [said.condition(slo), said.value_text(slo), said.margin_text(slo), said.satisfied_word(slo)] for slo in judged
    ]
    if len(names) > 1:
        header.insert(1, "Version")
        for row, slo in zip(rows, judged, strict=True):
            row.insert(1, names[slo.version] if slo.version < len(names) else str(slo.version))
    yield from _table(header, rows)
    unsettled = [slo for slo in judged if slo.satisfied is not True]
    if unsettled:
        yield ""
    for slo in unsettled:
        yield from _said(f"{said.condition(slo)}: {slo.reason}", "- ")


def _versions(document: ReportInput) -> list[str]:
    insights = document.result.insights if document.result else None
    return said.version_names(insights) if insights else []


def _metrics(document: ReportInput) -> Iterator[str]:
    names = _versions(document)
    if not names:
        yield from _heading("Metrics-based Insights:")
        yield from _said("Insights were not found; a task that measures has not completed yet.")
        return
    yield from _heading("Latest observed values for metrics:")
    rows = said.metric_rows(document)
    if not rows:
        yield from _said("No metrics were observed.")
        return
    header = ["Metric", *(names if len(names) > 1 else ["value"])]
    table = [[row.name, *row.values] for row in rows]
    if any(row.best for row in rows):
        header.append("Best")
        for cells, row in zip(table, rows, strict=True):
            cells.append(row.best)
    yield from _table(header, table)


def _errors(document: ReportInput) -> Iterator[str]:
    troubled = [place for place in said.places(document) if place.target.account.errors or place.target.account.unsent]
    if not troubled:
        return
    yield from _heading("Errors:")
    for index, place in enumerate(troubled):
        if index:
            yield ""
        target = place.target
        part = target.account
        failed = part.errors + part.unsent
        sought = part.tried + part.unsent
        yield from _said(
            f"{_target_name(target, place.segment)}: {failed} of {sought} requests ({share(failed, sought)})"
        )
        rows = [(f"class {name}", str(count), share(count, sought)) for name, count in _counted(target.error_classes)]
        rows += [("unsent", str(part.unsent), share(part.unsent, sought))] if part.unsent else []
        rows += [(f"status {code}", str(count), share(count, sought)) for code, count in _counted(target.status_codes)]
        yield from _table(("Outcome", "Requests", "Share"), rows)


def _counted(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(((name, count) for name, count in counts.items() if count), key=lambda pair: (-pair[1], pair[0]))


def _target_name(target: TargetResult, segment: SegmentResult) -> str:
    name = f"{target.provider} {target.method} {target.url}".strip()
    return f"{name} (warm-up)" if segment.is_warmup else name


def _findings(document: ReportInput) -> Iterator[str]:
    found = said.findings(document)
    if not found:
        return
    yield from _heading("Findings:")
    for finding in found:
        taints = f" (taints {', '.join(finding.taints)})" if finding.taints else ""
        yield from _said(f"{finding.severity} {finding.code}: {finding.message}{taints}", "- ")
