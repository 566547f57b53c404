"""Pure: an http task -> the segments of its run."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise

import msgspec

from controller import assess, plan
from controller.experiment.assess import Slo
from controller.experiment.http import HttpEndpoint, HttpTask
from controller.experiment.metrics import provider_of
from controller.tasks.payloads import Material
from protocol.arrivals import NS_PER_S
from protocol.messages import Http2, StatusRange, Target, Tls
from protocol.schedule import Arrival, Shape, Stage, Timetable

LEAST_GRACE_S = 30.0


def segments_of(task: HttpTask, slos: Iterable[Slo], material: Mapping[str, Material]) -> list[plan.LoadSegment]:
    """The segments of a task's run: a mix, or each endpoint, with the warm-up before it if there is one."""
    limits = [*slos, *(one.slo for one in task.abort_on)]
    endpoints = task.resolved()
    if task.is_mix:
        return _with_warmup(task, endpoints, limits, material)
    return [segment for endpoint in endpoints for segment in _with_warmup(task, [endpoint], limits, material)]


def _with_warmup(
    task: HttpTask, endpoints: Sequence[HttpEndpoint], slos: Sequence[Slo], material: Mapping[str, Material]
) -> list[plan.LoadSegment]:
    """The segment of these endpoints, all of which have the same load, and its warm-up."""
    load = _load(task, endpoints)
    providers = [*load.providers, *([load.total] if load.total else [])]
    limits_ns = assess.limits_ns(slos, [name for one in providers for name in (one, *_of_stages(one, load))])
    targets = tuple(_target(one, limits_ns, material.get(one.name, Material())) for one in endpoints)
    load = plan.LoadSegment(**{**vars(load), "targets": targets})
    first = endpoints[0]
    if first.warmup_num_requests or first.warmup_duration_s:
        return [_warmup(load, first), load]
    return [load]


def _of_stages(provider: str, load: plan.LoadSegment) -> list[str]:
    return [f"{provider}@{stage}" for stage in load.stages]


def _load(task: HttpTask, endpoints: Sequence[HttpEndpoint]) -> plan.LoadSegment:
    """The segment, without its targets. Of a mix with HTTP/2, the streams are those of the endpoints that have any."""
    first = max(endpoints, key=lambda endpoint: endpoint.streams)
    shape = _shape(first)
    is_unbounded = first.num_requests is None
    return plan.LoadSegment(
        name="mix" if task.is_mix else first.name or "http",
        providers=tuple(endpoint.provider for endpoint in endpoints),
        targets=(),
        shape=shape,
        connections=first.connections,
        max_length_ns=int(first.max_duration_s * NS_PER_S),
        is_warmup=task.is_warmup,
        initial_calls=(
            is_unbounded
            and not first.allow_initial_errors
            and not task.is_warmup
            and all(endpoint.expect == "success" for endpoint in endpoints)
        ),
        ahead=first.ahead,
        streams=first.streams,
        phases=_phases(first, shape),
        total=provider_of("") if task.is_mix else "",
    )


def _shape(endpoint: HttpEndpoint) -> Shape:
    stages = tuple(
        Stage(_text(stage.begin), _text(stage.end), int(stage.length_s * NS_PER_S)) for stage in endpoint.stages
    )
    duration_ns = None if endpoint.duration_s is None else int(endpoint.duration_s * NS_PER_S)
    return Shape(
        rate_per_s=None if endpoint.rate_per_s is None else _text(endpoint.rate_per_s),
        count=endpoint.num_requests,
        duration_ns=duration_ns if endpoint.num_requests is None else None,
        stages=() if endpoint.is_users else stages,
        users=stages if endpoint.is_users else (),
        think_ns=int(endpoint.think_s * NS_PER_S),
        arrival=Arrival(endpoint.arrival),
        seed=endpoint.seed,
    )


def _text(number: Decimal) -> str:
    return f"{number:f}"


def _phases(endpoint: HttpEndpoint, shape: Shape) -> tuple[plan.Phase, ...]:
    """Where what is measured is kept apart: at the bounds of stages, and where `measure` begins and ends."""
    length_ns = Timetable(shape).length_ns if shape.is_open else (shape.duration_ns or 0)
    ends = [0]
    for stage in endpoint.stages:
        ends.append(ends[-1] + int(stage.length_s * NS_PER_S))
    measure = (int(endpoint.measure_from_s * NS_PER_S), int((endpoint.measure_to_s or 0) * NS_PER_S) or plan.FOREVER_NS)
    if not endpoint.stages and measure == (0, plan.FOREVER_NS):
        return ()
    last_ns = max(ends[-1], length_ns)
    bounds = sorted({*ends, last_ns, *(one for one in measure if 0 < one < last_ns)})
    return tuple(
        _phase(endpoint, ends, start_ns, end_ns, is_measured=measure[0] <= start_ns < measure[1])
        for start_ns, end_ns in pairwise(bounds)
    )


def _phase(endpoint: HttpEndpoint, ends: Sequence[int], start_ns: int, end_ns: int, *, is_measured: bool) -> plan.Phase:
    for stage, begins_ns, ends_ns in zip(endpoint.stages, ends, ends[1:], strict=False):
        if begins_ns <= start_ns < ends_ns:
            slope = float(stage.end - stage.begin) / (ends_ns - begins_ns)
            begin, end = (float(stage.begin) + slope * (at_ns - begins_ns) for at_ns in (start_ns, end_ns))
            return plan.Phase(start_ns, end_ns, stage.name, is_measured, begin, end)
    rate = float(endpoint.rate_per_s or endpoint.connections * endpoint.streams)
    return plan.Phase(start_ns, end_ns, "", is_measured, rate, rate)


def _target(endpoint: HttpEndpoint, limits_ns: tuple[int, ...], material: Material) -> Target:
    headers = dict(endpoint.headers)
    if endpoint.content_type and "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = endpoint.content_type
    if material.authorization:
        headers["Authorization"] = _escaped(material.authorization, is_template=endpoint.is_template)
    return Target(
        endpoint=endpoint.name,
        url=endpoint.url,
        method=endpoint.method,
        headers=tuple(headers.items()),
        body=material.body,
        timeout_ns=int(endpoint.timeout_s * NS_PER_S),
        error_ranges=tuple(
            StatusRange(0 if one.lower is None else one.lower, 999 if one.upper is None else one.upper)
            for one in endpoint.error_ranges
        ),
        limits_ns=limits_ns,
        weight=endpoint.weight,
        is_template=endpoint.is_template,
        rows=material.rows,
        checks=tuple(one.as_message() for one in endpoint.checks),
        trace_period=endpoint.trace_period,
        redirects=endpoint.redirects,
        keep_alive=endpoint.keep_alive,
        requests_per_connection=endpoint.requests_per_connection,
        tls=material.tls or Tls(),
        http2=Http2(endpoint.http2),
    )


def _escaped(text: str, *, is_template: bool) -> str:
    from protocol.template import escaped  # noqa: PLC0415 few experiments have templates

    return escaped(text) if is_template else text


def _warmup(load: plan.LoadSegment, endpoint: HttpEndpoint) -> plan.LoadSegment:
    """The same targets and connections at the load's first rate, in no metric."""
    count = endpoint.warmup_num_requests
    duration_s = None if count else endpoint.warmup_duration_s
    rate = endpoint.warmup_rate_per_s
    shape = msgspec.structs.replace(
        load.shape,
        rate_per_s=None if rate is None else _text(rate),
        count=count,
        duration_ns=None if duration_s is None else int(duration_s * NS_PER_S),
        stages=(),
        users=(),
    )
    planned_s = (duration_s or 0.0) if count is None else count / float(rate or 1)
    changed = {
        "name": f"warm-up of {load.name}",
        "shape": shape,
        "max_length_ns": int((planned_s + max(LEAST_GRACE_S, 2 * endpoint.timeout_s)) * NS_PER_S),
        "is_warmup": True,
        "initial_calls": False,
        "phases": (),
        "total": "",
    }
    return plan.LoadSegment(**{**vars(load), **changed})
