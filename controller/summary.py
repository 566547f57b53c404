"""Pure: what a conducted run comes to, as the result that people and programs read."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from math import isinf, log
from urllib.parse import urlsplit

from controller.account import Conducted, Selection, account, added, agent_account, measured, selections
from controller.events import RunEnded
from controller.experiment.result import (
    Account,
    AgentResult,
    Clocks,
    Distribution,
    RunResult,
    Sample,
    SegmentResult,
    StageResult,
    TargetResult,
)
from controller.measure import Measured
from controller.merge import together
from controller.seconds import percentile_ms, series_of
from protocol.arrivals import NS_PER_S
from protocol.histogram import Histogram, merged, to_hdr
from protocol.messages import Clock, Evidence, Fate, Hello, Target

ALWAYS = ("50", "75", "90", "95", "99", "99.9", "99.99")
BINS = 40
HELD_UP_S = 0.1  # requests that waited longer for a connection were not sent at the rate asked for
HELD_UP_SHARE = 0.01
MIN_RATIO = 1.01
NS_PER_MS = 1e6
REDACTED = "***"
SHORTEST_SECRET = 4


SecretsOf = Callable[[Target, Iterable[int]], list[str]]


@dataclass(frozen=True)
class Telling:
    """How a run is told: who the agents are, which percentiles were asked for, and what must not be shown."""

    run_id: str
    task: int
    hellos: Mapping[str, Hello]
    percentiles: Sequence[Decimal]
    secrets_of: SecretsOf


def run_result(conducted: Conducted, telling: Telling) -> RunResult:
    """All of a run: its account, segments, targets and agents."""
    segments = tuple(_segment(conducted, number, telling) for number in range(len(conducted.plan.segments)))
    measured_segments = [number for number, load in enumerate(conducted.plan.segments) if not load.is_warmup]
    return RunResult(
        run_id=telling.run_id,
        task=telling.task,
        started_at=datetime.fromtimestamp((conducted.started_at_ns or conducted.begun_at_ns) / 1e9, UTC).isoformat(
            timespec="milliseconds"
        ),
        ended=str(conducted.ended),
        why=conducted.aborted,
        interrupted=conducted.ended is RunEnded.INTERRUPTED,
        account=added(account(conducted, number) for number in measured_segments),
        segments=segments,
        agents=tuple(_agent(conducted, agent, telling.hellos.get(agent)) for agent in conducted.agents),
        seed=max((load.shape.seed for load in conducted.plan.segments), default=0),
        plan_hash=conducted.plan.hash,
    )


def _segment(conducted: Conducted, number: int, telling: Telling) -> SegmentResult:
    load = conducted.plan.segments[number]
    whole = Selection(None, None)
    measured_phases = [phase for phase in load.phases if phase.is_measured]
    is_cut = len(measured_phases) < len(load.phases)
    targets = tuple(_target(conducted, number, index, telling) for index in range(len(load.targets)))
    tried = account(conducted, number).tried
    over_s = length_s(conducted, number, whole)
    return SegmentResult(
        name=load.name,
        is_warmup=load.is_warmup,
        load="open" if load.shape.is_open else "closed",
        rate_per_s=load.rate_per_s,
        achieved_per_s=tried / over_s if over_s else None,
        connections=load.connections,
        planned_length_s=None if load.length_ns is None else load.length_ns / NS_PER_S,
        elapsed_s=round(elapsed_s(conducted, number), 6),
        ended=str(conducted.ended_by_segment.get(number, conducted.ended)),
        targets=targets,
        total=_target(conducted, number, None, telling) if load.total else None,
        arrival=str(load.shape.arrival),
        streams=load.streams,
        connections_open=sum(
            conducted.merge.tally(agent, number, trust_manifest=agent not in conducted.lost).connections
            for agent in conducted.agents
        ),
        measured_from_s=measured_phases[0].starts_ns / NS_PER_S if is_cut and measured_phases else None,
        measured_to_s=measured_phases[-1].ends_ns / NS_PER_S if is_cut and measured_phases else None,
    )


def length_s(conducted: Conducted, number: int, part: Selection) -> float:
    """Over how long a part of a segment was made, for rates: the planned length if all of it began in time."""
    load = conducted.plan.segments[number]
    over_s = _made_over_s(conducted, number)
    if not load.phases or part.phases is None:
        return over_s
    last = len(load.phases) - 1
    ends_s = [max(over_s, 0.0) if n == last else phase.ends_ns / NS_PER_S for n, phase in enumerate(load.phases)]
    return sum(max(0.0, min(ends_s[n], over_s) - load.phases[n].starts_ns / NS_PER_S) for n in sorted(part.phases))


def _made_over_s(conducted: Conducted, number: int) -> float:
    load = conducted.plan.segments[number]
    elapsed = elapsed_s(conducted, number)
    if not load.shape.is_open or load.length_ns is None:
        return elapsed
    planned_s = load.length_ns / NS_PER_S
    facts = measured(conducted, number, Selection())
    wait = facts.histogram(Clock.WAIT)
    held_up_ns = max(HELD_UP_S, HELD_UP_SHARE * planned_s) * NS_PER_S
    began = sum(facts.tally.started.values())
    is_as_planned = began == facts.tally.tried == load.planned and (wait.max_ns if wait.count else 0) <= held_up_ns
    return planned_s if is_as_planned else elapsed


def elapsed_s(conducted: Conducted, number: int) -> float:
    """Until the last agent had its last answer; for a run that lost all its agents, until it was given up."""
    manifests = (conducted.merge.manifest(agent, number) for agent in conducted.agents)
    ends = [manifest.elapsed_ns / NS_PER_S for manifest in manifests if manifest is not None]
    if not ends and number in conducted.started_s and conducted.stopped_s is not None:
        ends = [max(0.0, conducted.stopped_s - conducted.started_s[number])]
    return max(ends, default=0.0)


def _target(conducted: Conducted, number: int, index: int | None, telling: Telling) -> TargetResult:
    """One target of a segment; None for all of a mix."""
    load = conducted.plan.segments[number]
    target = load.targets[index or 0]
    provider = load.total if index is None else load.providers[index]
    parts = selections(load)
    part = parts[provider]
    over_s = length_s(conducted, number, part)
    facts = measured(conducted, number, part, over_s)
    tally = facts.tally

    def sample(one: Evidence, kind: str) -> Sample:
        of = [target] if index is not None else list(load.targets)
        return _sample(one, kind, [secret for each in of for secret in telling.secrets_of(each, [one.number])])

    is_alone = index is None or len(load.targets) == 1
    return TargetResult(
        endpoint="" if index is None else target.endpoint,
        provider=provider,
        method=target.method if index is not None else "",
        url=target.url if index is not None else "",
        account=account(conducted, number, part),
        error_classes={str(name): count for name, count in sorted(tally.classes.items())},
        status_codes={str(status): count for status, count in sorted(tally.statuses.items())},
        clocks=_clocks(facts, telling.percentiles),
        series=series_of(conducted, number, index, is_whole=is_alone),
        samples=(
            *(sample(one, "slow") for one in tally.slow),
            *(sample(one, one.error) for one in tally.failed),
        ),
        bytes_in=tally.bytes_in,
        bytes_out=tally.bytes_out,
        reconnects=tally.reconnects,
        remotes=tuple(sorted({remote.rpartition(":")[0] for remote in tally.remotes})),
        redirects=tally.redirects,
        rate_per_s=tally.tried / over_s if over_s else None,
        weight=target.weight if index is not None else 1,
        addresses=_addresses(conducted, target) if index is not None else 0,
        stages=_stages(conducted, number, provider, parts, telling.percentiles),
    )


def _addresses(conducted: Conducted, target: Target) -> int:
    """How many addresses the agents found for a target's host."""
    host = f"{urlsplit(target.url).hostname} "
    return len({one for ready in conducted.ready.values() for one in ready.resolved if one.startswith(host)})


def _stages(
    conducted: Conducted,
    number: int,
    provider: str,
    parts: Mapping[str, Selection],
    percentiles: Sequence[Decimal],
) -> tuple[StageResult, ...]:
    load = conducted.plan.segments[number]
    found = []
    for name, phases in load.stages.items():
        own = [load.phases[phase] for phase in sorted(phases)]
        part = parts[f"{provider}@{name}"]
        over_s = length_s(conducted, number, part)
        facts = measured(conducted, number, part, over_s)
        found.append(
            StageResult(
                name=name,
                provider=f"{provider}@{name}",
                starts_s=own[0].starts_ns / NS_PER_S,
                ends_s=own[-1].ends_ns / NS_PER_S,
                begins_at=own[0].begin,
                ends_at=own[-1].end,
                account=account(conducted, number, part),
                rate_per_s=facts.tally.tried / over_s if over_s else None,
                latency=distribution(
                    facts.histogram(facts.clock), facts.fate(facts.clock, Fate.CUT), (), _names(percentiles)
                ),
            )
        )
    return tuple(found)


def _names(percentiles: Sequence[Decimal]) -> list[str]:
    names = list(dict.fromkeys([*ALWAYS, *(f"{one.normalize():f}" for one in percentiles)]))
    return sorted(names, key=Decimal)


def _clocks(facts: Measured, percentiles: Sequence[Decimal]) -> Clocks:
    names = _names(percentiles)
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
        ttfb=of(Clock.TTFB),
        body=of(Clock.BODY),
        connect=of(Clock.CONNECT),
        tls=of(Clock.TLS),
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


def _sample(evidence: Evidence, kind: str, secrets: Sequence[str]) -> Sample:
    was_sent = evidence.sent_ns > 0
    has_first = was_sent and evidence.first_ns > 0
    return Sample(
        kind=kind,
        planned_s=evidence.planned_ns / NS_PER_S,
        lag_ms=(evidence.started_ns - evidence.planned_ns) / NS_PER_MS,
        wait_ms=(evidence.sent_ns - evidence.started_ns) / NS_PER_MS if was_sent else None,
        service_ms=(evidence.done_ns - evidence.sent_ns) / NS_PER_MS if was_sent else None,
        response_ms=(evidence.done_ns - evidence.planned_ns) / NS_PER_MS,
        status=evidence.status or None,
        error=redacted(f"{evidence.error}: {evidence.text}" if evidence.text else evidence.error, secrets),
        remote=evidence.remote,
        agent=evidence.agent,
        ttfb_ms=(evidence.first_ns - evidence.sent_ns) / NS_PER_MS if has_first else None,
        trace=evidence.trace,
        body=redacted(evidence.body.decode("utf-8", "replace"), secrets),
    )


def redacted(text: str, secrets: Sequence[str]) -> str:
    """The text without the values of headers that are nobody's business, should the target echo them."""
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, REDACTED)
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
    machine = together(machines)
    delay = merged([machine.loop_delay])
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
        cpu_share=round(machine.cpu_ns / machine.wall_ns, 3) if machine.wall_ns else None,
        lag_p50_ms=percentile_ms(lag, "50"),
        lag_p99_ms=percentile_ms(lag, "99"),
        loop_delay_p99_ms=percentile_ms(delay, "99"),
        clock_offset_ms=ready.clock_offset_ns / NS_PER_MS if ready else None,
        clock_error_ms=ready.clock_error_ns / NS_PER_MS if ready else None,
        pacer=machine.pacer,
        throttled=machine.throttled,
        throttled_ms=machine.throttled_ns / NS_PER_MS,
        files=machine.files,
        files_limit=machine.files_limit,
        ports=machine.ports,
        ports_limit=machine.ports_limit,
        cpu_quota=machine.cpu_quota or None,
        rss_mib=round(machine.rss / (1 << 20), 1) if machine.rss else None,
        shards=sum(conducted.merge.shards(agent, number) for number in numbers),
        shards_missing=len(conducted.merge.missing(agent, max(numbers))),
    )


def scalars(facts: Measured, percentiles: Sequence[Decimal], also: Iterable[str] = ()) -> dict[str, float]:
    """Iter8's metrics of a target, the rate, and what else was asked for, without the provider: name -> value."""
    names = ["request-count", "error-count", "error-rate", "rate"]
    names += [f"latency-{statistic}" for statistic in ("mean", "stddev", "min", "max")]
    names += [f"latency-p{one.normalize():f}" for one in percentiles]
    names += [name for name in also if name not in names]
    found: dict[str, float] = {}
    for name in names:
        value = facts.value(name)
        if value is not None and not isinf(value):
            found[name] = float(value)
    return found
