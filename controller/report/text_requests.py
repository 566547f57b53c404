"""The text report's part on requests: errors, where the time went, what went over the wire, and who sent them."""

from collections.abc import Iterator

from controller.experiment.result import AgentResult, SegmentResult, TargetResult
from controller.report import document as said
from controller.report import lines, traffic
from controller.report.document import Place, ReportInput
from controller.report.metrics import part_text
from controller.report.numbers import figure, share

MOST_AGENTS = 10


def errors(document: ReportInput) -> Iterator[str]:
    """The errors of each target by class and status."""
    troubled = [place for place in said.places(document) if place.target.account.errors or place.target.account.unsent]
    if not troubled:
        return
    yield from lines.heading("Errors:")
    for index, place in enumerate(troubled):
        if index:
            yield ""
        target = place.target
        part = target.account
        failed = part.errors + part.unsent
        sought = part.tried + part.unsent
        yield from lines.said(
            f"{_target_name(target, place.segment)}: {failed} of {sought} requests ({share(failed, sought)})"
        )
        rows = [(f"class {name}", str(count), share(count, sought)) for name, count in _counted(target.error_classes)]
        rows += [("unsent", str(part.unsent), share(part.unsent, sought))] if part.unsent else []
        rows += [(f"status {code}", str(count), share(count, sought)) for code, count in _counted(target.status_codes)]
        yield from lines.table(("Outcome", "Requests", "Share"), rows)
        for reason in _reasons(target):
            yield from lines.said(reason, "- ")


def _reasons(target: TargetResult) -> list[str]:
    """What the first request of each class said of itself, where that is more than the class."""
    first = {one.kind: one.error for one in reversed(target.samples) if one.kind in target.error_classes}
    return [first[name] for name, _count in _counted(target.error_classes) if ": " in first.get(name, "")]


def _counted(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(((name, count) for name, count in counts.items() if count), key=lambda pair: (-pair[1], pair[0]))


def _target_name(target: TargetResult, segment: SegmentResult) -> str:
    name = f"{target.provider} {target.method} {target.url}".strip()
    return f"{name} (warm-up)" if segment.is_warmup else name


def timing(document: ReportInput) -> Iterator[str]:
    """Where the time of each target's requests went, their bytes, connections and addresses, and some traces."""
    found = [place for place in said.places(document, warmups=False, totals=True) if traffic.has_new_facts(place)]
    if not found:
        return
    yield from lines.heading("Where the time went, and over which connections:")
    rows = [_timing_row(place, phase) for place in found for phase in traffic.phases(place)]
    if rows:
        header = ("Phase", "Count", *(f"{part} ms" for part in traffic.TIMING_PARTS))
        several = len(found) > 1
        yield from lines.table(
            (*(("Endpoint",) if several else ()), *header), (row if several else row[1:] for row in rows)
        )
    for place in found:
        yield ""
        facts = ", ".join(f"{name.lower()} {value}" for name, value in traffic.facts(place))
        yield from lines.said(f"{said.short_name(place)}: {facts}.", "- ")
        for sample in traffic.traced(place.target):
            yield from lines.said(traffic.sample_line(sample), "  · ")


def _timing_row(place: Place, phase: traffic.Phase) -> list[str]:
    parts = [part_text(phase.spread, part, absent="-") for part in traffic.TIMING_PARTS]
    return [said.short_name(place), phase.name, str(phase.spread.count), *parts]


def agents(document: ReportInput) -> Iterator[str]:
    """How the machines under the agents kept up; of many agents the busiest ones."""
    for number, run in enumerate(document.result.runs if document.result else (), 1):
        told = traffic.busiest(run.agents)
        if not told:
            continue
        yield from lines.heading(
            "Agents:" if document.result and len(document.result.runs) == 1 else f"Agents of run {number}:"
        )
        header = ("Agent", "CPU", "Lag p99", "Throttled", "Files", "Ports", "Memory")
        yield from lines.table(header, (_agent_row(agent) for agent in told[:MOST_AGENTS]))
        if len(told) > MOST_AGENTS:
            yield from lines.said(f"… and {len(told) - MOST_AGENTS} more, less busy.")


def _agent_row(agent: AgentResult) -> list[str]:
    return [
        agent.agent if agent.state == "complete" else f"{agent.agent} ({agent.state})",
        traffic.cpu_text(agent, "-"),
        "-" if agent.lag_p99_ms is None else f"{figure(agent.lag_p99_ms)} ms",
        traffic.throttled_text(agent, "no"),
        _used(agent.files, agent.files_limit),
        _used(agent.ports, agent.ports_limit),
        traffic.memory_text(agent, "-"),
    ]


def _used(used: int, limit: int) -> str:
    return f"{used}/{limit}" if limit else str(used or "-")
