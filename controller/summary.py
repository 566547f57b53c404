"""Pure: what a conducted run comes to, as the result that people and programs read."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from math import isinf, log

from controller.account import Conducted, account, added, agent_account, measured
from controller.events import (
    RunEnded,
)
from controller.experiment.result import (
    Account,
    AgentResult,
    Clocks,
    Distribution,
    RunResult,
    Sample,
    SegmentResult,
    Series,
    TargetResult,
)
from controller.measure import Measured
from controller.merge import Second
from protocol.histogram import Histogram, merged, to_hdr
from protocol.messages import Clock, Evidence, Fate, Hello
from protocol.schedule import NS_PER_S, Timetable

ALWAYS = ("50", "75", "90", "95", "99", "99.9", "99.99")
SERIES_POINTS = 1800
BINS = 40
HELD_UP_S = 0.1  # requests that waited longer for a connection were not sent at the rate asked for
HELD_UP_SHARE = 0.01
MIN_RATIO = 1.01
NS_PER_MS = 1e6
REDACTED = "***"
_SECRET_HEADERS = re.compile(r"authorization|cookie|token|secret|password|api-?key", re.IGNORECASE)


def run_result(
    conducted: Conducted, run_id: str, task: int, hellos: Mapping[str, Hello], percentiles: Sequence[Decimal]
) -> RunResult:
    """All of a run: its account, segments, targets and agents."""
    segments = tuple(_segment(conducted, number, percentiles) for number in range(len(conducted.plan.segments)))
    measured_segments = [number for number, load in enumerate(conducted.plan.segments) if not load.is_warmup]
    return RunResult(
        run_id=run_id,
        task=task,
        started_at=datetime.fromtimestamp((conducted.started_at_ns or conducted.begun_at_ns) / 1e9, UTC).isoformat(
            timespec="milliseconds"
        ),
        ended=str(conducted.ended),
        interrupted=conducted.ended is RunEnded.INTERRUPTED,
        account=added(account(conducted, number) for number in measured_segments),
        segments=segments,
        agents=tuple(_agent(conducted, agent, hellos.get(agent)) for agent in conducted.agents),
        plan_hash=conducted.plan.hash,
    )


def _segment(conducted: Conducted, number: int, percentiles: Sequence[Decimal]) -> SegmentResult:
    load = conducted.plan.segments[number]
    target = _target(conducted, number, percentiles)
    length_s = None if load.length_ns is None else load.length_ns / NS_PER_S
    elapsed_s = _elapsed_s(conducted, number)
    held_up_ms = max(HELD_UP_S, HELD_UP_SHARE * (length_s or 0.0)) * 1e3
    is_as_planned = (
        load.shape.is_open
        and sum(target.series.started) == target.account.tried == load.planned
        and (target.clocks.wait.max or 0.0) <= held_up_ms
    )
    over_s = length_s if is_as_planned else elapsed_s
    return SegmentResult(
        name=load.name,
        is_warmup=load.is_warmup,
        load="open" if load.shape.is_open else "closed",
        rate_per_s=load.rate_per_s,
        achieved_per_s=target.account.tried / over_s if over_s else None,
        connections=load.connections,
        planned_length_s=length_s,
        elapsed_s=round(elapsed_s, 6),
        ended=str(conducted.ended_by_segment.get(number, conducted.ended)),
        targets=(target,),
    )


def _elapsed_s(conducted: Conducted, number: int) -> float:
    """Until the last agent had its last answer; for a run that lost all its agents, until it was given up."""
    manifests = (conducted.merge.manifest(agent, number) for agent in conducted.agents)
    ends = [manifest.elapsed_ns / NS_PER_S for manifest in manifests if manifest is not None]
    if not ends and number in conducted.started_s and conducted.stopped_s is not None:
        ends = [max(0.0, conducted.stopped_s - conducted.started_s[number])]
    return max(ends, default=0.0)


def _target(conducted: Conducted, number: int, percentiles: Sequence[Decimal]) -> TargetResult:
    load = conducted.plan.segments[number]
    facts = measured(conducted, number)
    tally = facts.tally
    secrets = [value for name, value in load.target.headers if _SECRET_HEADERS.search(name)]
    return TargetResult(
        endpoint=load.target.endpoint,
        provider=load.provider,
        method=load.target.method,
        url=load.target.url,
        account=account(conducted, number),
        error_classes={str(name): count for name, count in sorted(tally.classes.items())},
        status_codes={str(status): count for status, count in sorted(tally.statuses.items())},
        clocks=_clocks(facts, percentiles),
        series=_series(conducted, number),
        samples=(
            *(_sample(one, "slow", secrets) for one in tally.slow),
            *(_sample(one, one.error, secrets) for one in tally.failed),
        ),
        bytes_in=tally.bytes_in,
        bytes_out=tally.bytes_out,
        reconnects=tally.reconnects,
        remotes=tuple(sorted({remote.rpartition(":")[0] for remote in tally.remotes})),
    )


def _clocks(facts: Measured, percentiles: Sequence[Decimal]) -> Clocks:
    names = list(dict.fromkeys([*ALWAYS, *(f"{one.normalize():f}" for one in percentiles)]))
    names.sort(key=Decimal)
    latency = facts.clock

    def of(clock: Clock, *fates: Fate) -> Distribution:
        return distribution(facts.histogram(clock, fates or tuple(Fate)), facts.fate(clock, Fate.CUT), fates, names)

    return Clocks(
        latency=str(latency),
        response=of(Clock.RESPONSE),
        service=of(Clock.SERVICE),
        wait=of(Clock.WAIT),
        lag=of(Clock.LAG),
        ok=of(latency, Fate.OK),
        errors=of(latency, Fate.ERROR, Fate.CUT),
    )


def distribution(
    histogram: Histogram, cut: Histogram, fates: Sequence[Fate], percentiles: Sequence[str]
) -> Distribution:
    """A histogram in milliseconds."""
    if not histogram.count:
        return Distribution(count=0)
    has_cut = not fates or Fate.CUT in fates
    return Distribution(
        count=histogram.count,
        mean=histogram.mean_ns / NS_PER_MS,
        stddev=histogram.stddev_ns / NS_PER_MS,
        min=histogram.min_ns / NS_PER_MS,
        max=histogram.max_ns / NS_PER_MS,
        percentiles={name: histogram.percentile_ns(name) / NS_PER_MS for name in percentiles},
        censored=cut.count if has_cut else 0,
        censored_from=cut.min_ns / NS_PER_MS if has_cut and cut.count else None,
        overflow=histogram.overflow,
        buckets=tuple((low / 1e3, high / 1e3, count) for low, high, count in grouped(histogram)),
        hdr=to_hdr(histogram),
    )


def grouped(histogram: Histogram) -> list[tuple[int, int, int]]:
    """The counts in µs over at most `BINS` bins of the same width on a logarithmic scale, empty ones left out."""
    buckets = histogram.buckets_us()
    first, last = max(1, buckets[0][0]), max(2, buckets[-1][1])
    ratio = max((last / first) ** (1 / BINS), MIN_RATIO)
    counts: Counter[int] = Counter()
    for low, _high, count in buckets:
        counts[int(log(max(1, low) / first) / log(ratio))] += count
    return [
        (round(first * ratio**number), round(first * ratio ** (number + 1)), count)
        for number, count in sorted(counts.items())
    ]


def _series(conducted: Conducted, number: int) -> Series:
    load = conducted.plan.segments[number]
    seconds = conducted.merge.seconds(number)
    due = _due_per_second(conducted, number) if load.shape.is_open else []
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
        ok=tuple(second.ok for second, _, _ in joined),
        errors=tuple(second.errors for second, _, _ in joined),
        p50=tuple(_percentile_ms(latency, "50") for _, latency, _ in joined),
        p99=tuple(_percentile_ms(latency, "99") for _, latency, _ in joined),
        max=tuple(latency.max_ns / NS_PER_MS if latency.count else None for _, latency, _ in joined),
        lag_p99=tuple(_percentile_ms(lag, "99") for _, _, lag in joined),
        missing=_missing(conducted, number, step),
    )


def _due_per_second(conducted: Conducted, number: int) -> list[int]:
    """What was to begin in each whole second, by the plan as it was made; a second that was cut short is left out."""
    if number not in conducted.started_s:
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


def _joined(seconds: Sequence[Second]) -> tuple[Second, Histogram, Histogram]:
    latency = merged(packed for second in seconds for packed in second.latency)
    lag = merged(packed for second in seconds for packed in second.lag)
    return Second(sum(one.ok for one in seconds), sum(one.errors for one in seconds)), latency, lag


def _missing(conducted: Conducted, number: int, step: int) -> tuple[int, ...]:
    """The intervals for which no agent's shard is here, though later ones are."""
    seconds = conducted.merge.seconds(number)
    return tuple(sorted({second // step for second in range(max(seconds, default=0)) if second not in seconds}))


def _percentile_ms(histogram: Histogram, percentile: str) -> float | None:
    return round(histogram.percentile_ns(percentile) / NS_PER_MS, 3) if histogram.count else None


def _sample(evidence: Evidence, kind: str, secrets: Sequence[str]) -> Sample:
    was_sent = evidence.sent_ns > 0
    return Sample(
        kind=kind,
        planned_s=evidence.planned_ns / NS_PER_S,
        lag_ms=(evidence.started_ns - evidence.planned_ns) / NS_PER_MS,
        wait_ms=(evidence.sent_ns - evidence.started_ns) / NS_PER_MS if was_sent else None,
        service_ms=(evidence.done_ns - evidence.sent_ns) / NS_PER_MS if was_sent else None,
        response_ms=(evidence.done_ns - evidence.planned_ns) / NS_PER_MS,
        status=evidence.status or None,
        error=f"{evidence.error}: {evidence.text}" if evidence.text else evidence.error,
        remote=evidence.remote,
        agent=evidence.agent,
        body=redacted(evidence.body.decode("utf-8", "replace"), secrets),
    )


def redacted(text: str, secrets: Sequence[str]) -> str:
    """The text without the values of headers that are nobody's business, should the target echo them."""
    for secret in secrets:
        for part in {secret, secret.rpartition(" ")[2]}:
            if len(part) >= 4:
                text = text.replace(part, REDACTED)
    return text


def _agent(conducted: Conducted, agent: str, hello: Hello | None) -> AgentResult:
    numbers = range(len(conducted.plan.segments))
    accounts = [agent_account(conducted, number, agent) for number in numbers]
    total: Account = added(accounts)
    machines = [conducted.merge.machine(agent, number) for number in numbers]
    lag = Histogram()
    for number in numbers:
        tally = conducted.merge.tally(agent, number, trust_manifest=agent not in conducted.lost)
        for fate in Fate:
            lag.merge(tally.histograms.get(f"{Clock.LAG}.{fate}") or Histogram())
    delay = merged(machine.loop_delay for machine in machines)
    wall_ns = sum(machine.wall_ns for machine in machines)
    ready = conducted.ready.get(agent)
    return AgentResult(
        agent=agent,
        host=hello.host if hello else "",
        pid=hello.pid if hello else 0,
        state="lost" if agent in conducted.lost else "complete",
        planned=total.planned,
        tried=total.tried,
        ok=total.ok,
        errors=total.errors,
        cpu_share=round(sum(machine.cpu_ns for machine in machines) / wall_ns, 3) if wall_ns else None,
        lag_p50_ms=_percentile_ms(lag, "50"),
        lag_p99_ms=_percentile_ms(lag, "99"),
        loop_delay_p99_ms=_percentile_ms(delay, "99"),
        clock_offset_ms=ready.clock_offset_ns / NS_PER_MS if ready else None,
        clock_error_ms=ready.clock_error_ns / NS_PER_MS if ready else None,
        pacer=next((machine.pacer for machine in machines if machine.pacer), ""),
        shards=sum(conducted.merge.shards(agent, number) for number in numbers),
        shards_missing=len(conducted.merge.missing(agent, max(numbers))),
    )


def scalars(facts: Measured, percentiles: Sequence[Decimal]) -> dict[str, float]:
    """Iter8's metrics of a target, without the provider: name -> value, those that have one."""
    values = {"request-count": facts.request_count(), "error-count": facts.error_count()}
    found: dict[str, float] = {name: float(value) for name, value in values.items()}
    rate = facts.error_rate()
    if rate is not None:
        found["error-rate"] = float(rate)
    for statistic in ("mean", "stddev", "min", "max", *(f"p{one.normalize():f}" for one in percentiles)):
        value = facts.latency(statistic)
        if value is not None and not isinf(value):
            found[f"latency-{statistic}"] = float(value)
    return found
