"""The JUnit report's properties on what was measured: CI servers show them beside the test cases."""

from collections.abc import Iterator

from controller.report import document as said
from controller.report import stages, traffic
from controller.report.document import Place, ReportInput
from controller.report.metrics import part_text
from controller.report.numbers import figure

MET = {True: "met", False: "not met", None: "undecided"}
Pairs = Iterator[tuple[str, str]]


def properties(document: ReportInput) -> Pairs:
    """Name and value: the shape of the load, stages, where the time went, traffic, traces and agents."""
    for place in said.places(document, warmups=False, totals=True):
        yield from _load(place)
        yield from _stages(place)
        if traffic.has_new_facts(place):
            yield from _requests(place)
    for run in document.result.runs if document.result else ():
        for agent in traffic.busiest(run.agents):
            yield f"agent {agent.agent}", traffic.machine_text(agent)


def _load(place: Place) -> Pairs:
    is_mix = stages.is_mix(place.segment)
    if not is_mix or place.is_total:
        if facts := stages.shape_facts(place.run, place.segment):
            yield f"load {place.segment.name}", "; ".join(facts)
    elif place.target.rate_per_s is not None:
        words = f"weight {place.target.weight}, {figure(place.target.rate_per_s)}/s"
        yield f"mix {said.short_name(place)}", words


def _stages(place: Place) -> Pairs:
    is_judged = stages.are_judged(place.target.stages)
    for row in stages.stage_rows(place):
        words = (
            row.load,
            f"{row.requests} requests",
            f"{row.rate}/s",
            f"p50 {row.p50} ms",
            f"p99 {row.p99} ms",
            f"errors {row.errors}",
            *([f"SLOs {MET[row.met]}"] if is_judged else []),
        )
        yield f"stage {said.short_name(place)} {row.name}", ", ".join(words)


def _requests(place: Place) -> Pairs:
    name = said.short_name(place)
    for phase in traffic.phases(place):
        parts = (f"{part} {part_text(phase.spread, part)} ms" for part in traffic.TIMING_PARTS)
        yield f"timing {name} {phase.name}", ", ".join(parts)
    for fact, value in traffic.facts(place):
        yield f"traffic {name} {fact.lower()}", value
    for sample in traffic.traced(place.target):
        yield f"trace {name}", traffic.sample_line(sample)
