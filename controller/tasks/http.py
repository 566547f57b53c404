"""The `http` task: plans the load, has it conducted over the agents, and tells what was measured."""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from secrets import token_hex

import msgspec
import structlog

from controller import findings, plan
from controller.abort import first_violated, sentence
from controller.account import Conducted, Selection, measured, selections
from controller.assess import aborted_judgement
from controller.conductor import Conductor, Order
from controller.events import OnLoss, RunEnded, Terms
from controller.experiment.assess import Slo
from controller.experiment.http import HttpEndpoint, HttpTask
from controller.experiment.metrics import LATENCY, MetricName, Unit
from controller.experiment.result import (
    Finding,
    HistBucket,
    Insights,
    MetricInfo,
    RunResult,
    Severity,
    SLOJudgement,
    TargetResult,
)
from controller.fleet import Fleet
from controller.measure import Measured
from controller.seconds import due_per_second
from controller.stages import Stage, best_stage, meets
from controller.summary import Telling, elapsed_s, grouped, length_s, run_result, scalars
from controller.tasks.crew import agents_for
from controller.tasks.http_plan import segments_of
from controller.tasks.payloads import Material
from controller.tasks.secrets import secrets_of
from controller.windows import BySecond
from protocol import __version__, subjects
from protocol.arrivals import NS_PER_S
from protocol.bus import Bus
from protocol.messages import Fate, Hello

_log = structlog.get_logger()
INLINE = 256 * 1024
LEASE_S = 60.0
LEASE_REDISTRIBUTE_S = 10.0
GRACE_S = 5.0
LOCAL_LEAD_S = 0.3
LOCAL_BUS_S = 5.0  # a private server that is gone does not come back
LEAD_S = 1.0


@dataclass(frozen=True)
class Site:
    """Where a run takes place, and who wants to know how it goes."""

    bus: Bus
    fleet: Fleet
    namespace: str
    term: int
    is_local: bool
    agents: int | None  # None: as many as it takes
    wait_s: float = 10.0
    nats_version: str = ""
    watch: Callable[[Conductor, int], None] = lambda _conductor, _task: None


@dataclass
class Harvest:
    """What a task brought in; facts, seconds and endpoints by provider, stages and a mix's total among them."""

    run: RunResult
    facts: dict[str, Measured] = field(default_factory=dict)
    seconds: dict[str, BySecond] = field(default_factory=dict)
    endpoints: dict[str, HttpEndpoint] = field(default_factory=dict)
    aborted: SLOJudgement | None = None  # the limit of abortOn that ended it
    findings: list[Finding] = field(default_factory=list)
    why: str = ""  # it failed; empty if it did not


@dataclass(frozen=True)
class Judging:
    """What the run is to be held against later: exact counts are taken for its SLOs."""

    slos: Sequence[Slo] = ()
    confidence: float | None = None


async def run(number: int, task: HttpTask, judging: Judging, material: Mapping[str, Material], site: Site) -> Harvest:
    """The task's run over free agents, measured; `CouldNotRunError` if there are no agents to run it."""
    wanted = agents_for(task, site.agents)
    run_id = f"{site.namespace}-{token_hex(6)}"
    hellos = (await site.fleet.at_least(wanted, site.wait_s))[:wanted]
    segments = segments_of(task, judging.slos, material)
    bodies = await _with_blobs(segments, run_id, site)
    order = _order(run_id, plan.split(bodies, wanted), hellos, task, judging, site)
    _log.info(
        "run_planned",
        run_id=run_id,
        agents=len(order.agents),
        requests=_sum(segment.planned for segment in bodies),
        length_s=_sum(segment.length_ns and round(segment.length_ns / NS_PER_S, 3) for segment in bodies),
    )
    conductor = Conductor(site.bus, order)
    site.watch(conductor, number)
    try:
        conducted = await conductor.conduct()
    finally:
        await _forget_blobs(bodies, site)
    # The plan's targets have no rows where those were too large for a message: the secrets in them are in these.
    whole = {(one.endpoint, one.url): one for segment in segments for one in segment.targets}
    telling = Telling(
        run_id,
        number,
        {hello.agent: hello for hello in hellos},
        percentiles_of(task.resolved(), judging.slos),
        lambda target, numbers: secrets_of(whole[target.endpoint, target.url], numbers),
    )
    harvest = _harvest(conducted, task, order, telling, judging)
    asked = site.agents or (task.agents if isinstance(task.agents, int) else 0)
    if asked > wanted:
        message = f"{wanted} of {asked} agents took part: each needs a connection and a request of its own"
        harvest.findings.append(findings.of_code("fewer-agents", message, severity=Severity.INFO))
    return harvest


def _sum(numbers: Iterable[float | None]) -> float | None:
    """The sum; None if one is not known beforehand."""
    known = list(numbers)
    return None if None in known else sum(number for number in known if number is not None)


async def _with_blobs(segments: list[plan.LoadSegment], run_id: str, site: Site) -> list[plan.LoadSegment]:
    """The segments with bodies and rows that are too large for a message put into the object store."""
    stored: dict[bytes, str] = {}

    async def name_of(content: bytes) -> str:
        if content not in stored:
            stored[content] = subjects.payload_blob(site.namespace, run_id, len(stored))
            await site.bus.put_blob(stored[content], content)
        return stored[content]

    found = []
    for segment in segments:
        targets = []
        for target in segment.targets:
            changed: dict[str, object] = {}
            if len(target.body) > INLINE:
                changed |= {"body": b"", "body_blob": await name_of(target.body)}
            if len(target.rows) > INLINE:
                changed |= {"rows": b"", "rows_blob": await name_of(target.rows)}
            targets.append(msgspec.structs.replace(target, **changed) if changed else target)
        found.append(replace(segment, targets=tuple(targets)))
    return found


async def _forget_blobs(segments: Iterable[plan.LoadSegment], site: Site) -> None:
    names = {
        name for one in segments for target in one.targets for name in (target.body_blob, target.rows_blob) if name
    }
    for name in names:
        await asyncio.shield(site.bus.delete_blob(name))


def _order(
    run_id: str, split: plan.Plan, hellos: Sequence[Hello], task: HttpTask, judging: Judging, site: Site
) -> Order:
    agents = tuple(hello.agent for hello in hellos[: split.agents])
    on_loss = OnLoss(task.on_agent_loss)
    timeouts_s = [max(target.timeout_ns for target in one.targets) / NS_PER_S for one in split.segments]
    terms = Terms(
        agents=agents,
        segments_s=tuple(
            segment.max_length_ns / NS_PER_S + 2 * timeout_s + GRACE_S
            for segment, timeout_s in zip(split.segments, timeouts_s, strict=True)
        ),
        lead_s=LOCAL_LEAD_S if site.is_local else LEAD_S,
        on_loss=on_loss,
        lease_s=LEASE_REDISTRIBUTE_S if on_loss is OnLoss.REDISTRIBUTE else LEASE_S,
        bus_patience_s=LOCAL_BUS_S if site.is_local else LEASE_S,
        drain_s=2 * max(timeouts_s) + GRACE_S,
    )
    windowed = {slo.metric.provider for slo in judging.slos if slo.window_s}
    return Order(
        run_id,
        site.namespace,
        site.term,
        split,
        agents,
        terms,
        user_agent=f"seatrial/{__version__} run={run_id}",
        abort_on=task.abort_on,
        whole_seconds=frozenset(
            number for number, segment in enumerate(split.segments) if windowed & selections(segment).keys()
        ),
    )


def _harvest(conducted: Conducted, task: HttpTask, order: Order, telling: Telling, judging: Judging) -> Harvest:
    endpoints = {endpoint.provider: endpoint for endpoint in task.resolved()}
    harvest = Harvest(run_result(conducted, telling))
    if conducted.ended is RunEnded.FAILED:
        harvest.why = conducted.why
        return harvest
    first = next(iter(endpoints.values()))
    for index, segment in enumerate(conducted.plan.segments):
        if segment.is_warmup or index not in conducted.started_s:
            continue
        for provider, part in selections(segment).items():
            harvest.facts[provider] = measured(conducted, index, part, length_s(conducted, index, part))
            harvest.endpoints[provider] = endpoints.get(provider.partition("@")[0], first)
            if index in order.whole_seconds:
                harvest.seconds[provider] = by_second(conducted, index, part)
    harvest.run = with_best_stages(harvest, conducted, judging)
    harvest.aborted = _aborted(conducted, task, harvest)
    tightest = {
        provider: min(
            (
                float(slo.limit)
                for slo in judging.slos
                if slo.metric.provider == provider and slo.metric.unit is Unit.MSEC
            ),
            default=0.0,
        )
        for provider in harvest.facts
    }
    harvest.findings += findings.of_run(harvest.run, tightest)
    return harvest


def _aborted(conducted: Conducted, task: HttpTask, harvest: Harvest) -> SLOJudgement | None:
    """The judgement of the limit that ended the run, by what was known then, or would have ended it."""
    found, why = conducted.aborted_by, conducted.aborted
    if found is None:
        found = first_violated(task.abort_on, harvest.facts)
        if found is None:
            return None
        why = f"{sentence(found, harvest.facts[found.slo.metric.provider])}; the run was over before that could end it"
    return aborted_judgement(why, found.slo, harvest.facts.get(found.slo.metric.provider))


def with_best_stages(harvest: Harvest, conducted: Conducted, judging: Judging) -> RunResult:
    """The run with what the SLOs on the whole say of each stage."""
    segments = []
    for load, segment in zip(conducted.plan.segments, harvest.run.segments, strict=True):
        whole = [*load.providers, *([load.total] if load.total else [])]
        stages = []
        for name, phases in load.stages.items():
            own_phases = [load.phases[phase] for phase in phases]
            mean = sum((phase.begin + phase.end) / 2 for phase in own_phases) / len(own_phases)
            facts = {one: harvest.facts[f"{one}@{name}"] for one in whole if f"{one}@{name}" in harvest.facts}
            seconds = {one: harvest.seconds[f"{one}@{name}"] for one in whole if f"{one}@{name}" in harvest.seconds}
            stages.append(Stage(name, Decimal(repr(mean)), facts, seconds))
        if not stages or segment.is_warmup or not judging.slos:
            segments.append(segment)
            continue
        own = [slo for slo in judging.slos if slo.metric.provider in whole]
        met = {stage.name: meets(own, stage, judging.confidence) for stage in stages}
        targets = tuple(_with_met(target, own, stages, judging) for target in segment.targets)
        total = segment.total and _with_met(segment.total, own, stages, judging)
        best = best_stage(own, stages, judging.confidence) if any(met.values()) else ""
        segments.append(segment.model_copy(update={"targets": targets, "total": total, "best_stage": best}))
    return harvest.run.model_copy(update={"segments": tuple(segments)})


def _with_met(target: TargetResult, slos: Sequence[Slo], stages: Sequence[Stage], judging: Judging) -> TargetResult:
    """A target's stages, each with whether the SLOs on this target hold in it."""
    own = [slo for slo in slos if slo.metric.provider == target.provider]
    met = {stage.name: meets(own, stage, judging.confidence) for stage in stages}
    told = tuple(one.model_copy(update={"meets_slos": met.get(one.name)}) for one in target.stages)
    return target.model_copy(update={"stages": told})


def by_second(conducted: Conducted, number: int, part: Selection) -> BySecond:
    """What was measured of a part of a segment in each of its seconds."""
    load = conducted.plan.segments[number]
    facts = measured(conducted, number, part)
    over_s = length_s(conducted, number, Selection())
    own = [load.phases[phase] for phase in sorted(part.phases or ()) if load.phases]
    starts_s = own[0].starts_ns / NS_PER_S if own else 0.0
    ends_s = min(own[-1].ends_ns / NS_PER_S, over_s) if own else over_s
    length = max(1, math.ceil(elapsed_s(conducted, number)))
    unclear = {one for agent in conducted.agents for one in conducted.merge.unclear(agent, number, length)}
    is_last = not own or own[-1] is load.phases[-1]
    seconds = {one for one in unclear if starts_s - 1 < one and (is_last or one < ends_s)}
    idle = {second for second, due in enumerate(due_per_second(conducted, number)) if not due}
    return BySecond(
        conducted.merge.whole_seconds(number, part.holds),
        load.shape.is_open,
        facts.limits_ns,
        starts_s,
        ends_s,
        frozenset(seconds),
        facts.unaccounted,
        frozenset(idle),
    )


def percentiles_of(endpoints: Iterable[HttpEndpoint], slos: Iterable[Slo]) -> list[Decimal]:
    """The percentiles that the endpoints ask for, and those that an SLO names."""
    asked = [percentile for endpoint in endpoints for percentile in endpoint.percentiles]
    named = [slo.metric.percentile for slo in slos if slo.metric.percentile is not None and slo.metric.clock == LATENCY]
    return list(dict.fromkeys([*asked, *named]))


def with_insights(
    insights: Insights, harvest: Harvest, slos: Sequence[Slo], also: Sequence[MetricName] = ()
) -> Insights:
    """Iter8's insights with this run's metrics added; an observation joins those of the same metric before it.

    `also` are the metrics besides Iter8's that SLOs and rewards name.
    """
    infos = dict(insights.metrics_info)
    values = dict(insights.non_hist_metric_values[0]) if insights.non_hist_metric_values else {}
    buckets = dict(insights.hist_metric_values[0]) if insights.hist_metric_values else {}
    for provider, facts in harvest.facts.items():
        own = [metric for metric in also if metric.provider == provider]
        if "@" in provider and not own:
            continue  # a stage's own metrics stand in the result's runs
        percentiles = percentiles_of(
            [harvest.endpoints[provider]], [slo for slo in slos if slo.metric.provider == provider]
        )
        for name, value in scalars(facts, percentiles, [metric.name for metric in own]).items():
            values[f"{provider}/{name}"] = (*values.get(f"{provider}/{name}", ()), value)
            infos[f"{provider}/{name}"] = _info(name)
        histogram = facts.histogram(facts.clock, tuple(Fate))
        if histogram.count:
            buckets[f"{provider}/latency"] = tuple(
                HistBucket(lower=low / 1e3, upper=high / 1e3, count=count) for low, high, count in grouped(histogram)
            )
            infos[f"{provider}/latency"] = MetricInfo(description="latency histogram", units="msec", type="Histogram")
    return insights.model_copy(
        update={"metrics_info": infos, "non_hist_metric_values": (values,), "hist_metric_values": (buckets,)}
    )


def _info(name: str) -> MetricInfo:
    match name:
        case "request-count":
            return MetricInfo(description="number of requests sent, or due and never sent", type="Counter")
        case "error-count":
            return MetricInfo(description="number of requests that went wrong", type="Counter")
        case "error-rate":
            return MetricInfo(description="fraction of requests that went wrong", type="Gauge")
        case "rate":
            return MetricInfo(description="requests tried per second", units="1/s", type="Gauge")
        case "bytes-in" | "bytes-out":
            return MetricInfo(description=f"{name.replace('-', ' ')} of requests", units="bytes", type="Counter")
        case "unsent-count":
            return MetricInfo(description="number of requests that were due and never sent", type="Counter")
        case _:
            clock, _, statistic = name.partition("-")
            words = f"{statistic[1:]}-th percentile" if statistic.startswith("p") else statistic
            return MetricInfo(description=f"{words} of observed {clock} values", units="msec", type="Gauge")
