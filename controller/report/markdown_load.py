"""The Markdown report's part on stages, and what folds away: where the time went, traffic, traces and agents."""

from collections.abc import Iterator, Sequence

from controller.report import document as said
from controller.report import stages, traffic
from controller.report.document import Place, ReportInput
from controller.report.marks import ABSENT, table, text
from controller.report.metrics import part_text
from controller.report.numbers import figure

MOST_ROWS = 30
MOST_AGENTS = 10
MET = {True: "✅", False: "❌", None: "?"}


def staged(document: ReportInput) -> str:
    """One table of all stages, and the highest that met the SLOs; nothing without stages."""
    found = [place for place in said.places(document, warmups=False, totals=True) if place.target.stages]
    if not found:
        return ""
    judged = any(stages.are_judged(place.target.stages) for place in found)
    header = ["Stage", "Load", "Requests", "Rate/s", "p50 ms", "p99 ms", "Errors", *(["SLOs"] if judged else [])]
    if len(found) > 1:
        header.insert(0, "Endpoint")
    rows = [_stage_cells(place, row, several=len(found) > 1, judged=judged) for place, row in _stages(found)]
    best = [f"**{text(sentence)}**" for sentence in stages.best_stages(document)]
    # The numbers begin behind the load.
    return "\n\n".join([*best, _cut(table(header, rows[:MOST_ROWS], header.index("Load") + 1), len(rows))])


def _stages(found: Sequence[Place]) -> Iterator[tuple[Place, stages.StageRow]]:
    for place in found:
        for row in stages.stage_rows(place, group=True):
            yield place, row


def _stage_cells(place: Place, row: stages.StageRow, *, several: bool, judged: bool) -> list[str]:
    name = [text(said.short_name(place))] if several else []
    cells = [text(row.name), row.load, row.requests, row.rate, row.p50, row.p99, row.errors]
    return [*name, *cells, *([MET[row.met]] if judged else [])]


def _cut(rows: str, count: int, most: int = MOST_ROWS) -> str:
    return f"{rows}\n\n… and {count - most} more." if count > most else rows


def details(document: ReportInput) -> str:
    """What only some readers want, folded; nothing where it is not known."""
    parts = [part for part in (_timing(document), _traffic(document), _traces(document), _agents(document)) if part]
    if not parts:
        return ""
    head = "<details><summary>Where the time went, connections, traces, agents</summary>"
    return "\n\n".join([head, *parts, "</details>"])


def _places(document: ReportInput) -> list[Place]:
    return [place for place in said.places(document, warmups=False, totals=True) if traffic.has_new_facts(place)]


def _timing(document: ReportInput) -> str:
    rows = [
        (
            text(said.short_name(place)),
            phase.name,
            figure(phase.spread.count, group=True),
            *(part_text(phase.spread, part, group=True, absent=ABSENT) for part in traffic.TIMING_PARTS),
        )
        for place in _places(document)
        for phase in traffic.phases(place)
    ]
    header = ("Endpoint", "Phase", "Count", *(f"{part} ms" for part in traffic.TIMING_PARTS))
    return _cut(table(header, rows[:MOST_ROWS], 2), len(rows)) if rows else ""


def _traffic(document: ReportInput) -> str:
    lines = []
    for place in _places(document):
        facts = ", ".join(f"{name.lower()} {value}" for name, value in traffic.facts(place))
        lines.append(f"- {text(f'{said.short_name(place)}: {facts}')}")
    return _cut("\n".join(lines[:MOST_ROWS]), len(lines))


def _traces(document: ReportInput) -> str:
    lines = [
        f"- {text(f'{said.short_name(place)}: {traffic.sample_line(sample)}')}"
        for place in _places(document)
        for sample in traffic.traced(place.target)
    ]
    return _cut("\n".join(lines[:MOST_ROWS]), len(lines))


def _agents(document: ReportInput) -> str:
    agents = [agent for run in (document.result.runs if document.result else ()) for agent in run.agents]
    told = traffic.busiest(agents)
    rows = [
        (
            text(agent.agent),
            traffic.cpu_text(agent, ABSENT),
            traffic.throttled_text(agent, "no"),
            traffic.used_text(agent.files, agent.files_limit, ABSENT),
            traffic.used_text(agent.ports, agent.ports_limit, ABSENT),
            traffic.memory_text(agent, ABSENT),
        )
        for agent in told[:MOST_AGENTS]
    ]
    header = ("Agent", "CPU", "Throttled", "Files", "Ports", "Memory")
    return _cut(table(header, rows, 1), len(told), MOST_AGENTS) if rows else ""
