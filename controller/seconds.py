"""Pure: a run second by second, as charts show it."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from controller.account import Conducted
from controller.experiment.result import Series
from controller.merge import Second
from protocol.arrivals import NS_PER_S
from protocol.histogram import Histogram, merged
from protocol.schedule import Timetable

NS_PER_MS = 1e6
SERIES_POINTS = 1800


def series_of(conducted: Conducted, number: int, target: int | None, *, is_whole: bool) -> Series:
    """Per second; what was planned and begun is known of all targets of a segment together."""
    seconds = conducted.merge.seconds(number, target)
    due = due_per_second(conducted, number) if is_whole else []
    length = max((len(due), *(second + 1 for second in seconds)), default=0)
    if not length:
        return Series()
    step = max(1, -(-length // SERIES_POINTS))
    bins = [range(first, min(first + step, length)) for first in range(0, length, step)]
    began = _started(conducted, number)
    whole = [one for one in bins if one.start < len(due)]
    joined = [_joined([seconds[second] for second in one if second in seconds]) for one in bins]
    return Series(
        interval_s=step,
        planned=tuple(sum(due[second] for second in one if second < len(due)) for one in whole),
        started=tuple(sum(began.get(second, 0) for second in one) for one in whole),
        ok=tuple(second.ok for second, _ in joined),
        errors=tuple(second.errors for second, _ in joined),
        p50=tuple(percentile_ms(latency, "50") for _, latency in joined),
        p99=tuple(percentile_ms(latency, "99") for _, latency in joined),
        max=tuple(latency.max_ns / NS_PER_MS if latency.count else None for _, latency in joined),
        lag_p99=tuple(percentile_ms(merged(second.lag), "99") for second, _ in joined),
        service_p50=tuple(percentile_ms(merged(second.service), "50") for second, _ in joined),
        missing=_missing(conducted, number, step),
    )


def due_per_second(conducted: Conducted, number: int) -> list[int]:
    """What was to begin in each whole second, by the plan as it was made; a second that was cut short is left out.

    Closed load has no such plan.
    """
    if number not in conducted.started_s or not conducted.plan.segments[number].shape.is_open:
        return []
    timetable = Timetable(conducted.plan.segments[number].shape)
    seconds = -(-timetable.length_ns // NS_PER_S)
    if conducted.stopped_s is not None:
        seconds = min(seconds, int(max(0.0, conducted.stopped_s - conducted.started_s[number])))
    due = [timetable.due_count(second * NS_PER_S - 1) for second in range(seconds + 1)]
    return [later - earlier for earlier, later in pairwise(due)]


def _started(conducted: Conducted, number: int) -> dict[int, int]:
    """What began in time, by the second in which it was due."""
    started: Counter[int] = Counter()
    for agent in conducted.agents:
        started.update(conducted.merge.tally(agent, number, trust_manifest=agent not in conducted.lost).started)
    return started


def _joined(seconds: Sequence[Second]) -> tuple[Second, Histogram]:
    total = Second()
    for second in seconds:
        total.add(second)
    return total, merged(total.latency)


def _missing(conducted: Conducted, number: int, step: int) -> tuple[int, ...]:
    """The intervals for which no agent's shard is here, though later ones are."""
    seconds = conducted.merge.seconds(number)
    return tuple(sorted({second // step for second in range(max(seconds, default=0)) if second not in seconds}))


def percentile_ms(histogram: Histogram, percentile: str) -> float | None:
    """A percentile in milliseconds to the microsecond; None of no samples."""
    return round(histogram.percentile_ns(percentile) / NS_PER_MS, 3) if histogram.count else None
