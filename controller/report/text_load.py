"""The text report's part on the load: what was asked for and made, its stages, and its mix."""

from collections.abc import Iterator, Sequence

from controller.experiment.result import RunResult, SegmentResult
from controller.report import document as said
from controller.report import lines, stages
from controller.report.document import Place, ReportInput
from controller.report.metrics import part_text
from controller.report.numbers import figure

COMPLETE = "complete"


def load(document: ReportInput) -> Iterator[str]:
    """Every run with its segments: rates, accounts, and what else there is to say of them."""
    runs = document.result.runs if document.result else ()
    for number, run in enumerate(runs, 1):
        yield from lines.heading(
            "Load asked for and made:" if len(runs) == 1 else f"Run {number}: load asked for and made:"
        )
        yield from lines.said(f"Run {run.run_id}, started {run.started_at}.")
        yield from lines.said(_made_by(run))
        if run.ended != COMPLETE:
            yield from lines.said(f"The run did not reach its planned end: {run.ended}.")
        yield ""
        yield from lines.table(("Segment", "Load", "Asked/s", "Achieved/s", "Length (s)", "Ended"), _rates(run))
        yield ""
        yield from lines.table(
            ("Segment", "Planned", "Ok", "Errors", "Unsent", "Withdrawn", "Unaccounted"), _accounts(run)
        )
        if not run.account.closes:
            yield ""
            yield from lines.said("The account does not close: requests are missing from it.")
        yield from _shapes(run)


def _shapes(run: RunResult) -> Iterator[str]:
    told = [(segment, stages.shape_facts(run, segment)) for segment in run.segments]
    if any(facts for _, facts in told):
        yield ""
    for segment, facts in told:
        if facts:
            yield from lines.said(f"{_segment_name(segment)}: {'; '.join(facts)}.", "- ")


def mixes(document: ReportInput) -> Iterator[str]:
    """The targets of every mix side by side, and all of them together."""
    mixed = [
        (run, segment)
        for run in (document.result.runs if document.result else ())
        for segment in run.segments
        if stages.is_mix(segment) and not segment.is_warmup
    ]
    if not mixed:
        return
    yield from lines.heading("Mix of endpoints:")
    for index, (_, segment) in enumerate(mixed):
        if index:
            yield ""
        if len(mixed) > 1:
            yield from lines.said(f"{segment.name}:")
        header = ("Endpoint", "Weight", "Requests", "Rate/s", "Errors", "p50 ms", "p99 ms")
        yield from lines.table(header, (_mix_cells(row) for row in stages.mix_rows(segment)))


def _mix_cells(row: stages.MixRow) -> Sequence[str]:
    latencies = [part_text(row.latency, part, absent=stages.ABSENT) for part in ("p50", "p99")]
    return (
        row.name,
        row.weight,
        f"{row.requests} ({row.share})" if row.share else row.requests,
        row.rate,
        row.errors,
        *latencies,
    )


def staged(document: ReportInput) -> Iterator[str]:
    """A table per target that was measured in stages, and the highest stage that met the SLOs."""
    found = [place for place in said.places(document, warmups=False, totals=True) if place.target.stages]
    if not found:
        return
    yield from lines.heading("Stages:")
    for index, place in enumerate(found):
        if index:
            yield ""
        if len(found) > 1:
            yield from lines.said(f"{said.short_name(place)}:")
        yield from _stage_table(place)
    best = stages.best_stages(document)
    if best:
        yield ""
    for sentence in best:
        yield from lines.said(sentence)


def _stage_table(place: Place) -> list[str]:
    header = ["Stage", "Load", "Requests", "Rate/s", "p50 ms", "p99 ms", "Errors"]
    rows = stages.stage_rows(place)
    table = [[row.name, row.load, row.requests, row.rate, row.p50, row.p99, row.errors] for row in rows]
    if stages.are_judged(place.target.stages):
        header.append("SLOs")
        for cells, row in zip(table, rows, strict=True):
            cells.append(row.mark)
    return lines.table(header, table)


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
            stages.asked_text(segment),
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
