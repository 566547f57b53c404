"""What is said of stages, mixes and the shape of a segment's load, the same in every format."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from controller.experiment.result import Distribution, RunResult, SegmentResult, StageResult, TargetResult
from controller.report.document import Place, ReportInput
from controller.report.metrics import judged_clock, part_text
from controller.report.numbers import figure, share
from controller.report.slos import span_text

ABSENT = "-"
MARKS = {True: "✓", False: "✗", None: "?"}


@dataclass(frozen=True)
class StageRow:
    """One stage of one target, as text; `met` is absent where it is undecided or nothing was asked."""

    name: str
    span: str
    load: str
    requests: str
    rate: str
    p50: str
    p99: str
    errors: str
    met: bool | None

    @property
    def mark(self) -> str:
        """Whether the stage met the SLOs, in one character."""
        return MARKS[self.met]


@dataclass(frozen=True)
class MixRow:
    """One target of a mix, or all of them, as text."""

    name: str
    weight: str
    planned_share: str
    requests: str
    share: str
    rate: str
    errors: str
    latency: Distribution
    is_total: bool = False


def stage_rows(place: Place, *, group: bool = False) -> list[StageRow]:
    """The stages of a target in the order of their time."""
    rows = []
    for stage in place.target.stages:
        part = stage.account
        sought, failed = part.tried + part.unsent, part.errors + part.unsent
        rows.append(
            StageRow(
                name=stage.name,
                span=span_text(stage.starts_s, stage.ends_s),
                load=load_text(place.segment, stage),
                requests=figure(sought, group=group),
                rate=figure(stage.rate_per_s, group=group, absent=ABSENT),
                p50=part_text(stage.latency, "p50", group=group, absent=ABSENT),
                p99=part_text(stage.latency, "p99", group=group, absent=ABSENT),
                errors=f"{figure(failed, group=group)} ({share(failed, sought)})" if failed else "0",
                met=stage.meets_slos,
            )
        )
    return rows


def are_judged(stages: Sequence[StageResult]) -> bool:
    """Whether anything is known of how stages stand to the SLOs."""
    return any(stage.meets_slos is not None for stage in stages)


def load_text(segment: SegmentResult, stage: StageResult) -> str:
    """The load of a stage: `300/s`, `100→300/s`, `20 users`."""
    unit = "/s" if segment.load == "open" else " users"
    begins, ends = figure(stage.begins_at), figure(stage.ends_at)
    return f"{ends}{unit}" if stage.begins_at == stage.ends_at else f"{begins}→{ends}{unit}"


def best_stage(segment: SegmentResult) -> str:
    """The highest stage that met the SLOs, as a sentence; nothing where no stage was held against any."""
    stages = [stage for target in _all(segment) for stage in target.stages]
    if segment.best_stage:
        loads = (load_text(segment, stage) for stage in stages if stage.name == segment.best_stage)
        load = next(loads, "")
        return f"Highest stage that met the SLOs: {segment.best_stage}{f' ({load})' if load else ''}."
    if not are_judged(stages):
        return ""
    return (
        "No stage met the SLOs."
        if all(stage.meets_slos is False for stage in stages)
        else "No stage surely met the SLOs."
    )


def best_stages(document: ReportInput) -> list[str]:
    """The same for every segment that is no warm-up, named where there are several."""
    runs = document.result.runs if document.result else ()
    segments = [segment for run in runs for segment in run.segments if not segment.is_warmup]
    found = [(segment, sentence) for segment in segments if (sentence := best_stage(segment))]
    return [sentence if len(found) == 1 else f"{segment.name}: {sentence}" for segment, sentence in found]


def _all(segment: SegmentResult) -> tuple[TargetResult, ...]:
    return (*((segment.total,) if segment.total else ()), *segment.targets)


def asked_text(segment: SegmentResult, *, group: bool = False, absent: str = ABSENT) -> str:
    """The rate that was asked for; with stages its average, then what it was between."""
    text = figure(segment.rate_per_s, group=group, absent="")
    ends = [end for target in _all(segment) for stage in target.stages for end in (stage.begins_at, stage.ends_at)]
    if segment.load != "open" or not ends or min(ends) == max(ends):
        return text or absent
    between = f"{figure(min(ends), group=group)}–{figure(max(ends), group=group)}"
    return f"{text} ({between})" if text else between


def is_mix(segment: SegmentResult) -> bool:
    """Whether several targets share the segment's schedule."""
    return segment.total is not None or len(segment.targets) > 1


def mix_rows(segment: SegmentResult, *, group: bool = False) -> list[MixRow]:
    """The targets of a mix with their weights, and the total of all."""
    weights = sum(target.weight for target in segment.targets)
    whole = sum(target.account.tried + target.account.unsent for target in segment.targets)
    rows = [_mix_row(target, weights, whole, group=group) for target in segment.targets]
    if segment.total is not None:
        row = _mix_row(segment.total, weights, whole, group=group)
        rows.append(replace(row, name="total", weight=figure(weights), is_total=True))
    return rows


def _mix_row(target: TargetResult, weights: int, whole: int, *, group: bool) -> MixRow:
    sought = target.account.tried + target.account.unsent
    failed = target.account.errors + target.account.unsent
    return MixRow(
        name=target.endpoint or target.provider,
        weight=figure(target.weight),
        planned_share=share(target.weight, weights),
        requests=figure(sought, group=group),
        share=share(sought, whole),
        rate=figure(target.rate_per_s, group=group, absent=ABSENT),
        errors=f"{figure(failed, group=group)} ({share(failed, sought)})" if failed else "0",
        latency=judged_clock(target),
    )


def shape_facts(run: RunResult, segment: SegmentResult) -> list[str]:
    """What the numbers of a segment do not say of its load: arrivals, streams, connections, the part that counts."""
    facts = []
    if segment.load == "open" and segment.arrival == "poisson":
        facts.append(f"Poisson arrivals from seed {run.seed}")
    if could_grow(segment):
        facts.append(f"{connections_text(segment)} connections came to be used")
    if segment.streams > 1:
        facts.append(f"up to {figure(segment.streams)} requests at once on each connection (HTTP/2 streams)")
    if window := measured_text(segment):
        facts.append(f"only requests planned {window} are measured")
    return facts


def could_grow(segment: SegmentResult) -> bool:
    """Whether the load came to use fewer connections than it was allowed."""
    return 0 < segment.connections_open < segment.connections


def connections_text(segment: SegmentResult) -> str:
    """How many connections were used, and at most, where that differs."""
    most = figure(segment.connections, group=True)
    return f"{figure(segment.connections_open, group=True)} of at most {most}" if could_grow(segment) else most


def measured_text(segment: SegmentResult) -> str:
    """The part of a segment that is measured, in words; nothing where that is all of it."""
    begin, end = segment.measured_from_s, segment.measured_to_s
    if begin is not None and end is not None:
        return f"from {figure(begin)} to {figure(end)} s"
    if begin is not None:
        return f"from {figure(begin)} s on"
    return f"before {figure(end)} s" if end is not None else ""


def measured_length_s(segment: SegmentResult) -> float:
    """How long the segment was measured."""
    begin = segment.measured_from_s or 0.0
    end = segment.elapsed_s if segment.measured_to_s is None else min(segment.measured_to_s, segment.elapsed_s)
    return max(0.0, end - begin)
