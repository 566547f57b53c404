"""The `http` task: plans the load, has it conducted over the agents, and tells what was measured."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from secrets import token_hex

import structlog

from controller import findings, plan
from controller.account import Conducted, measured
from controller.conductor import Conductor, Order
from controller.events import (
    OnLoss,
    RunEnded,
    Terms,
)
from controller.experiment.assess import Slo
from controller.experiment.http import HttpEndpoint, HttpTask
from controller.experiment.metrics import Unit
from controller.experiment.result import Finding, HistBucket, Insights, MetricInfo, RunResult, Severity
from controller.fleet import Fleet
from controller.measure import Measured
from controller.summary import grouped, run_result, scalars
from controller.tasks.crew import agents_for
from controller.tasks.http_plan import segments_of
from protocol import __version__, subjects
from protocol.bus import Bus
from protocol.messages import Fate, Hello
from protocol.schedule import NS_PER_S

_log = structlog.get_logger()
INLINE_BODY = 256 * 1024
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
    """What a task brought in."""

    run: RunResult
    facts: dict[str, Measured] = field(default_factory=dict)
    endpoints: dict[str, HttpEndpoint] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    why: str = ""  # it failed; empty if it did not


async def run(number: int, task: HttpTask, slos: Sequence[Slo], payloads: Mapping[str, bytes], site: Site) -> Harvest:
    """The task's run over free agents, measured; `CouldNotRunError` if there are no agents to run it."""
    wanted = agents_for(task, site.agents)
    run_id = f"{site.namespace}-{token_hex(6)}"
    hellos = (await site.fleet.at_least(wanted, site.wait_s))[:wanted]
    bodies = await _with_blobs(segments_of(task, slos, payloads), run_id, site)
    order = _order(run_id, plan.split(bodies, wanted), hellos, task, site)
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
    harvest = _harvest(conducted, run_id, number, task, hellos, slos)
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
    """The segments with bodies that are too large for a message put into the object store."""
    import msgspec  # noqa: PLC0415 this one field change, and nothing else of it

    stored: dict[bytes, str] = {}
    found = []
    for segment in segments:
        body = segment.target.body
        if len(body) <= INLINE_BODY:
            found.append(segment)
            continue
        if body not in stored:
            stored[body] = subjects.payload_blob(site.namespace, run_id, len(stored))
            await site.bus.put_blob(stored[body], body)
        target = msgspec.structs.replace(segment.target, body=b"", body_blob=stored[body])
        found.append(plan.LoadSegment(**{**vars(segment), "target": target}))
    return found


async def _forget_blobs(segments: Iterable[plan.LoadSegment], site: Site) -> None:
    for name in {segment.target.body_blob for segment in segments if segment.target.body_blob}:
        await asyncio.shield(site.bus.delete_blob(name))


def _order(run_id: str, split: plan.Plan, hellos: Sequence[Hello], task: HttpTask, site: Site) -> Order:
    agents = tuple(hello.agent for hello in hellos[: split.agents])
    on_loss = OnLoss(task.on_agent_loss)
    timeouts_s = [segment.target.timeout_ns / NS_PER_S for segment in split.segments]
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
    user_agent = f"seatrial/{__version__} run={run_id}"
    return Order(run_id, site.namespace, site.term, split, agents, terms, user_agent)


def _harvest(
    conducted: Conducted, run_id: str, number: int, task: HttpTask, hellos: Sequence[Hello], slos: Sequence[Slo]
) -> Harvest:
    endpoints = {endpoint.provider: endpoint for endpoint in task.resolved()}
    percentiles = percentiles_of(endpoints.values(), slos)
    result = run_result(conducted, run_id, number, {hello.agent: hello for hello in hellos}, percentiles)
    harvest = Harvest(result)
    if conducted.ended is RunEnded.FAILED:
        harvest.why = conducted.why
        return harvest
    for index, segment in enumerate(conducted.plan.segments):
        if not segment.is_warmup and index in conducted.started_s:
            harvest.facts[segment.provider] = measured(conducted, index)
            harvest.endpoints[segment.provider] = endpoints[segment.provider]
    tightest = {
        provider: min(
            (float(slo.limit) for slo in slos if slo.metric.provider == provider and slo.metric.unit is Unit.MSEC),
            default=0.0,
        )
        for provider in endpoints
    }
    harvest.findings += findings.of_run(result, tightest)
    return harvest


def percentiles_of(endpoints: Iterable[HttpEndpoint], slos: Iterable[Slo]) -> list[Decimal]:
    """The percentiles that the endpoints ask for, and those that an SLO names."""
    asked = [percentile for endpoint in endpoints for percentile in endpoint.percentiles]
    named = [slo.metric.percentile for slo in slos if slo.metric.percentile is not None]
    return list(dict.fromkeys([*asked, *named]))


def with_insights(insights: Insights, harvest: Harvest, slos: Sequence[Slo]) -> Insights:
    """Iter8's insights with this run's metrics added; an observation joins those of the same metric before it."""
    infos = dict(insights.metrics_info)
    values = dict(insights.non_hist_metric_values[0]) if insights.non_hist_metric_values else {}
    buckets = dict(insights.hist_metric_values[0]) if insights.hist_metric_values else {}
    for provider, facts in harvest.facts.items():
        percentiles = percentiles_of(
            [harvest.endpoints[provider]], [slo for slo in slos if slo.metric.provider == provider]
        )
        for name, value in scalars(facts, percentiles).items():
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
        case _:
            statistic = name.removeprefix("latency-")
            words = f"{statistic[1:]}-th percentile" if statistic.startswith("p") else statistic
            return MetricInfo(description=f"{words} of observed latency values", units="msec", type="Gauge")
