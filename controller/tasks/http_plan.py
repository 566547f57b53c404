"""Pure: an http task -> the segments of its run."""

from collections.abc import Iterable, Mapping

from controller import assess, plan
from controller.experiment.assess import Slo
from controller.experiment.http import HttpEndpoint, HttpTask
from protocol.messages import StatusRange, Target
from protocol.schedule import NS_PER_S, Shape


def segments_of(task: HttpTask, slos: Iterable[Slo], payloads: Mapping[str, bytes]) -> list[plan.LoadSegment]:
    """The segments of a task's run: per endpoint its warm-up, if it has one, and its load."""
    limits = list(slos)
    segments: list[plan.LoadSegment] = []
    for endpoint in task.resolved():
        target = _target(endpoint, assess.limits_ns(limits, [endpoint.provider]), payloads.get(endpoint.name, b""))
        if endpoint.warmup_num_requests or endpoint.warmup_duration_s:
            segments.append(_warmup(endpoint, target))
        segments.append(_load(endpoint, target, is_warmup=task.is_warmup))
    return segments


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
