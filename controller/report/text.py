"""The report for a terminal or a log: Iter8's layout, the verdict and the account before it, no colours.

The last line is always `verdict: <outcome>`, for whoever reads it with grep or tail.
"""

from collections.abc import Iterator

from controller.report import document as said
from controller.report import lines, slos, text_load, text_requests
from controller.report.document import ReportInput
from controller.report.metrics import metric_rows


def render(document: ReportInput) -> str:
    """The whole report, ending in the line of the verdict."""
    whole = [*_verdict(document)]
    if document.result is not None:
        whole += text_load.load(document)
        whole += text_load.mixes(document)
        whole += text_load.staged(document)
        whole += _summary(document)
        whole += _slos(document)
        whole += _metrics(document)
        whole += text_requests.errors(document)
        whole += text_requests.timing(document)
        whole += text_requests.agents(document)
        whole += _findings(document)
    return "\n".join([*whole, "", f"verdict: {said.outcome(document)}", ""])


def _verdict(document: ReportInput) -> Iterator[str]:
    yield from lines.heading(f"Verdict: {said.outcome(document)}")
    if said.is_partial(document):
        yield from lines.said("PARTIAL: the experiment was interrupted; everything below covers only what had")
        yield from lines.said("been measured by then.")
        yield ""
    for sentence in said.aborts(document):
        yield from lines.said(f"ABORTED: {sentence}")
        yield ""
    yield from lines.said(said.sentence(document))
    for reason in said.reasons(document):
        yield from lines.said(reason, "- ")
    if document.result is None:
        yield from lines.said(f"Run it with: seatrial run, then ask again. Its tasks: {_task_names(document)}.")
    elif document.result.error:
        yield from lines.said(f"error: {document.result.error}", "- ")


def _task_names(document: ReportInput) -> str:
    return ", ".join(str(task.get("task") or ("run" if "run" in task else "?")) for task in document.spec) or "none"


def _summary(document: ReportInput) -> Iterator[str]:
    result = document.result
    assert result is not None
    yield from lines.heading("Experiment summary:")
    yield from lines.said(f"Experiment completed: {str(document.completed).lower()}")
    yield from lines.said(f"No task failures: {str(not result.failure).lower()}")
    yield from lines.said(f"Total number of tasks: {len(document.spec)}")
    yield from lines.said(f"Number of completed tasks: {result.num_completed_tasks}")
    yield from lines.said(f"Number of completed loops: {result.num_loops}")


def _slos(document: ReportInput) -> Iterator[str]:
    judged = said.judgements(document)
    if not judged:
        return
    yield from lines.heading("Whether or not service level objectives (SLOs) are satisfied:")
    names = _versions(document)
    header = ["SLO Conditions", "Value", "Margin", "Satisfied"]
    rows = [
        [slos.condition(slo), slos.value_text(slo), slos.margin_text(slo), slos.satisfied_word(slo)] for slo in judged
    ]
    if len(names) > 1:
        header.insert(1, "Version")
        for row, slo in zip(rows, judged, strict=True):
            row.insert(1, names[slo.version] if slo.version < len(names) else str(slo.version))
    yield from lines.table(header, rows)
    told = [(slo, words) for slo in judged if (words := slos.explained(slo))]
    if told:
        yield ""
    for slo, words in told:
        yield from lines.said(f"{slos.condition(slo)}: {words}", "- ")


def _versions(document: ReportInput) -> list[str]:
    insights = document.result.insights if document.result else None
    return said.version_names(insights) if insights else []


def _metrics(document: ReportInput) -> Iterator[str]:
    names = _versions(document)
    if not names:
        yield from lines.heading("Metrics-based Insights:")
        yield from lines.said("Insights were not found; a task that measures has not completed yet.")
        return
    yield from lines.heading("Latest observed values for metrics:")
    rows = metric_rows(document)
    if not rows:
        yield from lines.said("No metrics were observed.")
        return
    header = ["Metric", *(names if len(names) > 1 else ["value"])]
    table = [[row.name, *row.values] for row in rows]
    if any(row.best for row in rows):
        header.append("Best")
        for cells, row in zip(table, rows, strict=True):
            cells.append(row.best)
    yield from lines.table(header, table)


def _findings(document: ReportInput) -> Iterator[str]:
    found = said.findings(document)
    if not found:
        return
    yield from lines.heading("Findings:")
    for finding in found:
        taints = f" (taints {', '.join(finding.taints)})" if finding.taints else ""
        yield from lines.said(f"{finding.severity} {finding.code}: {finding.message}{taints}", "- ")
