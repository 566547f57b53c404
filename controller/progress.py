"""Pure: how a run under way is doing, from what has been merged so far."""

from dataclasses import dataclass
from functools import partial

from controller.conductor import Conductor
from controller.events import (
    Phase,
)
from controller.measure import NS_PER_MS
from controller.merge import Merge
from controller.plan import LoadSegment
from protocol.histogram import Histogram
from protocol.messages import Clock, Fate, SeriesKey
from protocol.series import Tally

RECENT_S = 3
MOST_TARGETS = 12


@dataclass(frozen=True)
class TargetProgress:
    """One target of a mix so far."""

    name: str
    weight: int
    requests: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True)
class Progress:
    """One look at a run. Latencies are so far in this segment, in msec; the rate is of the last few seconds.

    `load_now` is the rate, or in closed load the number of users, that a load with stages asks for at this moment.
    """

    phase: str
    segment: str
    number: int
    segments: int
    elapsed_s: float
    length_s: float | None
    planned: int | None
    requests: int
    errors: int
    rate_per_s: float
    asked_per_s: float | None
    p50_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    agents: int
    lost: int
    is_open: bool = True
    stage: str = ""
    load_now: float | None = None
    is_measured: bool = True
    targets: tuple[TargetProgress, ...] = ()

    @property
    def left_s(self) -> float | None:
        """Until the planned end of the segment."""
        return None if self.length_s is None else max(0.0, self.length_s - self.elapsed_s)

    @property
    def share(self) -> float | None:
        """How much of the segment is done, from 0 to 1."""
        if self.length_s:
            return min(1.0, self.elapsed_s / self.length_s)
        return min(1.0, self.requests / self.planned) if self.planned else None


def progress(conductor: Conductor, now_s: float) -> Progress:
    """How the run is doing now."""
    run, conducted = conductor.run, conductor.conducted
    number = max(run.segment, 0)
    load = conducted.plan.segments[number]
    tally = conducted.merge.live(number)
    latency = _latency(load, tally)
    elapsed_s = max(0.0, now_s - conducted.started_s.get(number, now_s))
    seconds = conducted.merge.seconds(number)
    whole = [second for index, second in seconds.items() if index < int(elapsed_s) - 1][-RECENT_S:]
    recent = sum(second.ok + second.errors for second in whole) / len(whole) if whole else 0.0

    stage, load_now, is_measured = _phase(load, elapsed_s)
    return Progress(
        phase="starting" if run.phase in (Phase.IDLE, Phase.PREPARING, Phase.STARTING) else str(run.phase),
        segment=load.name,
        number=number + 1,
        segments=len(conducted.plan.segments),
        elapsed_s=elapsed_s,
        length_s=None if load.length_ns is None else load.length_ns / 1e9,
        planned=load.planned,
        requests=tally.tried,
        errors=tally.errors,
        rate_per_s=recent,
        asked_per_s=load.rate_per_s,
        p50_ms=_percentile_ms(latency, "50"),
        p99_ms=_percentile_ms(latency, "99"),
        p999_ms=_percentile_ms(latency, "99.9"),
        agents=len(run.living),
        lost=len(run.lost),
        is_open=load.shape.is_open,
        stage=stage,
        load_now=load_now,
        is_measured=is_measured,
        targets=_targets(load, conducted.merge, number),
    )


def _latency(load: LoadSegment, tally: Tally) -> Histogram:
    latency = Histogram()
    clock = Clock.RESPONSE if load.shape.is_open else Clock.SERVICE
    for fate in Fate:
        latency.merge(tally.histograms.get(f"{clock}.{fate}") or Histogram())
    return latency


def _percentile_ms(latency: Histogram, percent: str) -> float | None:
    return latency.percentile_ns(percent) / NS_PER_MS if latency.count else None


def _phase(load: LoadSegment, elapsed_s: float) -> tuple[str, float | None, bool]:
    """The stage that is under way, what it asks for now, and whether what is planned now is measured."""
    now_ns = elapsed_s * 1e9
    for phase in load.phases:
        if phase.starts_ns <= now_ns < phase.ends_ns:
            part = (now_ns - phase.starts_ns) / (phase.ends_ns - phase.starts_ns)
            asked = phase.begin + (phase.end - phase.begin) * part if phase.stage else None
            return phase.stage, asked, phase.is_measured
    return "", None, True


def _is_of(target: int, key: SeriesKey) -> bool:
    return key.target == target


def _targets(load: LoadSegment, merge: Merge, segment: int) -> tuple[TargetProgress, ...]:
    """The targets of a mix apart, if they are not too many to look at."""
    if not 1 < len(load.targets) <= MOST_TARGETS:
        return ()
    found = []
    for number, target in enumerate(load.targets):
        tally = merge.live(segment, partial(_is_of, number))
        latency = _latency(load, tally)
        found.append(
            TargetProgress(
                name=target.endpoint or load.providers[number],
                weight=target.weight,
                requests=tally.tried,
                errors=tally.errors,
                p50_ms=_percentile_ms(latency, "50"),
                p99_ms=_percentile_ms(latency, "99"),
            )
        )
    return tuple(found)
