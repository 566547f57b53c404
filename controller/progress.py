"""Pure: how a run under way is doing, from what has been merged so far."""

from dataclasses import dataclass

from controller.conductor import Conductor
from controller.events import (
    Phase,
)
from controller.measure import NS_PER_MS
from protocol.histogram import Histogram
from protocol.messages import Clock, Fate

RECENT_S = 3


@dataclass(frozen=True)
class Progress:
    """One look at a run. Latencies are so far in this segment, in msec; the rate is of the last few seconds."""

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
    latency = Histogram()
    clock = Clock.RESPONSE if load.shape.is_open else Clock.SERVICE
    for fate in Fate:
        latency.merge(tally.histograms.get(f"{clock}.{fate}") or Histogram())
    elapsed_s = max(0.0, now_s - conducted.started_s.get(number, now_s))
    seconds = conducted.merge.seconds(number)
    whole = [second for index, second in seconds.items() if index < int(elapsed_s) - 1][-RECENT_S:]
    recent = sum(second.ok + second.errors for second in whole) / len(whole) if whole else 0.0

    def at(percent: str) -> float | None:
        return latency.percentile_ns(percent) / NS_PER_MS if latency.count else None

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
        p50_ms=at("50"),
        p99_ms=at("99"),
        p999_ms=at("99.9"),
        agents=len(run.living),
        lost=len(run.lost),
    )
