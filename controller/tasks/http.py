"""The `http` task: plans the load, has it conducted over the agents, and tells what was measured."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex

from controller import assess, findings, plan
from controller.account import Conducted, measured
from controller.conductor import Conductor, Order
from controller.errors import BadInputError
from controller.experiment.assess import Slo
from controller.experiment.http import HttpEndpoint, HttpTask
from controller.experiment.metrics import Unit
from controller.experiment.result import Finding, HistBucket, Insights, MetricInfo, RunResult, Severity
from controller.fetch import fetch
from controller.fleet import Fleet
from controller.measure import Measured
from controller.run import OnLoss, RunEnded, Terms
from controller.summary import run_result, scalars
from protocol import subjects
from protocol.bus import Bus
from protocol.messages import Fate, Hello, StatusRange, Target
from protocol.schedule import NS_PER_S, Shape

INLINE_BODY = 256 * 1024
LEASE_S = 60.0
LEASE_REDISTRIBUTE_S = 10.0
GRACE_S = 5.0
LOCAL_LEAD_S = 0.3
LEAD_S = 1.0
MAX_PAYLOAD = 64 * 1024 * 1024


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


def read_payloads(task: HttpTask) -> dict[str, bytes]:
    """The request body of each endpoint, by name; `BadInputError` if one can't be read."""
    return {endpoint.name: _payload(endpoint) for endpoint in task.resolved()}


def _payload(endpoint: HttpEndpoint) -> bytes:
    what = f"the payload of endpoint {endpoint.name}" if endpoint.name else "the payload"
    if endpoint.payload_url:
        return fetch(endpoint.payload_url, what=what, max_bytes=MAX_PAYLOAD)
    if endpoint.payload_file:
        try:
            body = Path(endpoint.payload_file).read_bytes()
        except OSError as error:
            raise BadInputError(f"{what}: {endpoint.payload_file} can't be read: {error.strerror or error}") from error
        if len(body) > MAX_PAYLOAD:
            raise BadInputError(f"{what}: {endpoint.payload_file} is larger than {MAX_PAYLOAD >> 20} MiB")
        return body
    return (endpoint.payload_str or "").encode("utf-8")


def segments_of(task: HttpTask, slos: Iterable[Slo], payloads: Mapping[str, bytes]) -> list[plan.LoadSegment]:
    """The segments of a task's run: per endpoint its warm-up, if it has one, and its load."""
    limits = list(slos)
    segments: list[plan.LoadSegment] = []
    for endpoint in task.resolved():
        target = _target(endpoint, assess.limits_ns(limits, endpoint.provider), payloads.get(endpoint.name, b""))
        if endpoint.warmup_num_requests or endpoint.warmup_duration_s:
            segments.append(_warmup(endpoint, target))
        segments.append(_load(endpoint, target, is_warmup=task.is_warmup))
    return segments


def agents_for(task: HttpTask, asked: int | None) -> int:
    """How many agents the task runs on, given what was asked for on the command line."""
    segments = segments_of(task, (), {})
    wanted = asked or (task.agents if isinstance(task.agents, int) else plan.agents_needed(segments))
    return min(wanted, plan.most_agents(segments))


async def run(number: int, task: HttpTask, slos: Sequence[Slo], payloads: Mapping[str, bytes], site: Site) -> Harvest:
    """The task's run over free agents, measured; `CouldNotRunError` if there are no agents to run it."""
    wanted = agents_for(task, site.agents)
    run_id = f"{site.namespace}-{token_hex(6)}"
    hellos = (await site.fleet.at_least(wanted, site.wait_s))[:wanted]
    bodies = await _with_blobs(segments_of(task, slos, payloads), run_id, site)
    conductor = Conductor(site.bus, _order(run_id, plan.split(bodies, wanted), hellos, task, site))
    site.watch(conductor, number)
    try:
        conducted = await conductor.conduct()
    finally:
        await _forget_blobs(bodies, site)
    return _harvest(conducted, run_id, number, task, hellos, slos)


def _target(endpoint: HttpEndpoint, limits_ns: tuple[int, ...], body: bytes) -> Target:
    headers = dict(endpoint.headers)
    if endpoint.content_type and "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = endpoint.content_type
    return Target(
        endpoint=endpoint.name,
        url=endpoint.url,
        method=endpoint.method,
        headers=tuple(headers.items()),
        body=body,
        timeout_ns=int(endpoint.timeout_s * NS_PER_S),
        error_ranges=tuple(
            StatusRange(0 if one.lower is None else one.lower, 999 if one.upper is None else one.upper)
            for one in endpoint.error_ranges
        ),
        limits_ns=limits_ns,
    )


def _load(endpoint: HttpEndpoint, target: Target, *, is_warmup: bool) -> plan.LoadSegment:
    duration_ns = None if endpoint.duration_s is None else int(endpoint.duration_s * NS_PER_S)
    return plan.LoadSegment(
        name=endpoint.name or "http",
        provider=endpoint.provider,
        target=target,
        shape=Shape(
            rate_per_s=None if endpoint.rate_per_s is None else f"{endpoint.rate_per_s:f}",
            count=endpoint.num_requests,
            duration_ns=duration_ns if endpoint.num_requests is None else None,
        ),
        connections=endpoint.connections,
        max_length_ns=int(endpoint.max_duration_s * NS_PER_S),
        is_warmup=is_warmup,
        initial_calls=endpoint.num_requests is None and not endpoint.allow_initial_errors and not is_warmup,
    )


def _warmup(endpoint: HttpEndpoint, target: Target) -> plan.LoadSegment:
    load = _load(endpoint, target, is_warmup=True)
    count = endpoint.warmup_num_requests
    duration_s = None if count else endpoint.warmup_duration_s
    shape = Shape(
        rate_per_s=load.shape.rate_per_s,
        count=count,
        duration_ns=None if duration_s is None else int(duration_s * NS_PER_S),
    )
    planned_s = (duration_s or 0.0) if count is None else count / float(endpoint.rate_per_s or 1)
    return plan.LoadSegment(
        name=f"warm-up of {load.name}",
        provider=load.provider,
        target=target,
        shape=shape,
        connections=load.connections,
        max_length_ns=int((planned_s + max(30.0, 2 * endpoint.timeout_s)) * NS_PER_S),
        is_warmup=True,
    )


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
        drain_s=2 * max(timeouts_s) + GRACE_S,
    )
    user_agent = f"seatrial/{version('seatrial')} run={run_id}"
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
    if len(conducted.agents) < len(hellos):
        harvest.findings.append(
            findings.of_code(
                "fewer-agents",
                f"{len(conducted.agents)} of {len(hellos)} agents took part: no agent without a connection of its own",
                severity=Severity.INFO,
            )
        )
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
                HistBucket(lower=low / 1e3, upper=high / 1e3, count=count)
                for low, high, count in histogram.buckets_us()
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
