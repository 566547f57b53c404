"""The `http` task: what its parameters come to, endpoint by endpoint.

Nothing here sends or plans a request; payloads, data, certificates and secrets are named, not read.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from pydantic import Field

from controller.experiment import fields as f
from controller.experiment import shape
from controller.experiment.abort import AbortOn
from controller.experiment.http_fields import HttpSettings, Parameters, merged_headers, replaced
from controller.experiment.http_parts import Auth, CheckSettings, Data, ErrorRange, TlsSettings
from controller.experiment.metrics import provider_of

DEFAULT_RATE_PER_S = Decimal(8)
DEFAULT_REQUESTS = 100
DEFAULT_CONNECTIONS = 4
DEFAULT_IN_FLIGHT = 1024
DEFAULT_STREAMS = 100
DEFAULT_TIMEOUT_S = 3.0
DEFAULT_PERCENTILES = tuple(Decimal(p) for p in ("50", "75", "90", "95", "99", "99.9"))
DEFAULT_ERROR_RANGES = (ErrorRange(lower=400),)
DEFAULT_TRACE_SHARE = Decimal("0.01")
LEAST_GRACE_S = 30.0
LONGEST_GUESS_S = 24 * 3600.0

Http2 = Literal["", "alpn", "prior-knowledge"]  # the values of protocol.messages.Http2, which is slow to import


class HttpTask(f.Model):
    """Sends HTTP requests and measures them."""

    task: Literal["http"] = Field(description="What this task does.")
    settings: HttpSettings = Field(alias="with", default_factory=HttpSettings, description="The task's parameters.")

    @property
    def is_warmup(self) -> bool:
        """Whether the task gives no metrics."""
        return self.settings.warmup is True

    @property
    def is_mix(self) -> bool:
        """Whether its endpoints share one load, by weight."""
        return self.settings.mix is True

    @property
    def abort_on(self) -> tuple[AbortOn, ...]:
        """The limits that end the run."""
        return self.settings.abort_on or ()

    @property
    def on_agent_loss(self) -> Literal["fail", "degrade", "redistribute"]:
        """What a lost agent means for the run."""
        return self.settings.on_agent_loss or "fail"

    @property
    def agents(self) -> int | Literal["auto"] | None:
        """How many agents were asked for; None when the experiment leaves it open."""
        return self.settings.agents

    def resolved(self) -> tuple["HttpEndpoint", ...]:
        """The endpoints in document order with every parameter in place: default < task < endpoint, one by one.

        In a mix, each has the load of the whole mix, and its share of it.
        """
        endpoints = self.settings.endpoints
        if not endpoints:
            return (_endpoint("", self.settings),)
        total = sum(own.weight or 1 for own in endpoints.values())
        return tuple(
            _endpoint(name, _over(self.settings, own), own.weight or 1, total if self.is_mix else None)
            for name, own in endpoints.items()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpEndpoint(shape.Load):
    """One endpoint of an http task, as it will be loaded. `share` is its part of a mix; of no mix, 1."""

    name: str
    weight: int
    share: Fraction
    url: str
    method: str
    headers: Mapping[str, str]
    payload_str: str | None
    payload_file: str | None
    payload_url: str | None
    content_type: str | None
    is_template: bool
    data: Data | None
    auth: Auth | None
    timeout_s: float
    redirects: int
    error_ranges: tuple[ErrorRange, ...]
    checks: tuple[CheckSettings, ...]
    percentiles: tuple[Decimal, ...]
    expect: Literal["success", "errors"]
    trace_period: int
    keep_alive: bool
    requests_per_connection: int
    tls: TlsSettings | None
    http2: Http2

    @property
    def provider(self) -> str:
        """The first part of its metrics' names."""
        return provider_of(self.name)

    def own_requests(self, stage: str = "") -> int | None:
        """How many measured requests, of a stage or of all, are this endpoint's; None when the target decides."""
        measured = self.measured_requests(stage)
        return None if measured is None else int(measured * self.share)


def _over(base: HttpSettings, own: Parameters) -> Parameters:
    """The endpoint's parameters over the task's."""
    aliases = {name: field.alias or name for name, field in Parameters.model_fields.items()}
    given = {name: value for name in aliases if (value := getattr(own, name)) is not None}
    gone = replaced([aliases[name] for name in given])
    none = {name: None for name, alias in aliases.items() if alias in gone}
    headers = merged_headers(base.headers or {}, own.headers or {})
    return base.model_copy(update={**none, **given, "headers": headers})


def _endpoint(name: str, given: Parameters, weight: int = 1, total: int | None = None) -> HttpEndpoint:
    assert given.url is not None  # `conflicts` refuses an endpoint without one
    payload_str, payload_file, payload_url = _one_payload(given)
    has_body = not (payload_str is None and payload_file is None and payload_url is None)
    content_type = given.content_type or None
    headers = given.headers or {}
    if content_type is not None:
        headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
    return HttpEndpoint(
        **_load(given),
        name=name,
        weight=weight,
        share=Fraction(weight, total or weight),
        url=given.url,
        method=given.method or ("GET" if content_type is None and not has_body else "POST"),
        headers=headers,
        payload_str=payload_str,
        payload_file=payload_file,
        payload_url=payload_url,
        content_type=content_type,
        is_template=given.template or given.data is not None,
        data=given.data,
        auth=given.auth,
        timeout_s=given.timeout_s or DEFAULT_TIMEOUT_S,
        redirects=given.redirects or 0,
        error_ranges=DEFAULT_ERROR_RANGES if given.error_ranges is None else given.error_ranges,
        checks=given.checks or (),
        percentiles=tuple(dict.fromkeys((*(given.percentiles or ()), *DEFAULT_PERCENTILES))),
        expect=given.expect or "success",
        trace_period=_trace_period(given.trace_share, headers),
        keep_alive=given.keep_alive is not False,
        requests_per_connection=given.requests_per_connection or 0,
        tls=given.tls if _is_https(given) else None,
        http2=_http2(given),
    )


def _load(given: Parameters) -> dict[str, Any]:
    """The members of the load. What only open or only closed load has is left out of the other."""
    stages, is_users = _stages(given)
    rate_per_s = None if stages else _rate_per_s(given)
    is_open = rate_per_s is not None or (bool(stages) and not is_users)
    num_requests = given.num_requests
    if num_requests is None and given.duration_s is None and not stages:
        num_requests = DEFAULT_REQUESTS
    duration_s = given.duration_s if num_requests is None else None
    think_s = 0.0 if is_open else given.think_time_s or 0.0
    timeout_s = given.timeout_s or DEFAULT_TIMEOUT_S
    connections, ahead, streams = _open_room(given) if is_open else _closed_room(given, stages)
    length_s = shape.planned_length_s(stages, num_requests, duration_s, rate_per_s)
    if length_s is None:
        length_s = _longest_length_s(num_requests or 0, connections * streams, timeout_s + think_s)
    load = shape.Load(
        num_requests=num_requests,
        duration_s=duration_s,
        duration_ignored=given.num_requests is not None and given.duration_s is not None,
        rate_per_s=rate_per_s,
        stages=stages,
        is_users=is_users,
        arrival=(given.arrival or "uniform") if is_open else "uniform",
        seed=given.seed or 0,
        think_s=think_s,
        connections=connections,
        ahead=ahead,
        streams=streams,
        measure_from_s=0.0 if given.measure is None else given.measure.from_s or 0.0,
        measure_to_s=None if given.measure is None else given.measure.to_s,
        max_duration_s=given.max_duration_s or length_s + max(LEAST_GRACE_S, 2 * timeout_s),
        warmup_num_requests=given.warmup_num_requests,
        warmup_duration_s=None if given.warmup_num_requests else given.warmup_duration_s,
        allow_initial_errors=given.allow_initial_errors or False,
    )
    return {field.name: getattr(load, field.name) for field in fields(load)}


def _stages(given: Parameters) -> tuple[tuple[shape.Stage, ...], bool]:
    """The stages, and whether they are of users."""
    if given.step is not None:
        return shape.steps(given.step), False
    if given.spike is not None:
        return shape.spike(given.spike), False
    if not given.stages:
        return (), False
    if given.stages[0].users is not None:
        _most, first_users, streams = _closed_room(given, ())
        return shape.ramps(given.stages, Decimal(first_users * streams if given.connections else 1)), True
    first = given.rate if given.rate is not None else given.qps
    return shape.ramps(given.stages, first or Decimal(0)), False


def _open_room(given: Parameters) -> tuple[int, int, int]:
    """The connections of open load, those opened ahead, and the streams of each: no more than maxInFlight together."""
    streams = (given.streams or DEFAULT_STREAMS) if _http2(given) else 1
    if given.connections is not None and given.max_in_flight is None:
        return given.connections, given.connections, streams
    in_flight = given.max_in_flight or DEFAULT_IN_FLIGHT
    connections = max(given.connections or 1, in_flight // streams)
    ahead = min(given.connections or DEFAULT_CONNECTIONS, connections)
    return connections, ahead, max(1, min(streams, in_flight // connections))


def _closed_room(given: Parameters, stages: tuple[shape.Stage, ...]) -> tuple[int, int, int]:
    """The connections of closed load, those opened ahead, and the streams of each: one stream for each user."""
    streams = (given.streams or 1) if _http2(given) else 1
    if not stages:
        connections = given.connections or DEFAULT_CONNECTIONS
        return connections, connections, streams
    most, first = (max(1, math.ceil(users / streams)) for users in (shape.peak(stages), stages[0].begin))
    return most, first, streams


def _http2(given: Parameters) -> Http2:
    if given.http2 is True and _is_https(given):
        return "alpn"
    return "prior-knowledge" if given.http2 else ""


def _is_https(given: Parameters) -> bool:
    return (given.url or "").lower().startswith("https:")


def _trace_period(share: Decimal | None, headers: Mapping[str, str]) -> int:
    wanted = DEFAULT_TRACE_SHARE if share is None else share
    if not wanted or any(name.lower() == "traceparent" for name in headers):
        return 0
    return round(1 / wanted)


def _one_payload(given: Parameters) -> tuple[str | None, str | None, str | None]:
    """The payload that wins, as Iter8 has it: a URL over a file over text."""
    if given.payload_url is not None:
        return None, None, given.payload_url
    if given.payload_file is not None:
        return None, given.payload_file, None
    return given.payload_str or None, None, None  # Iter8 took empty text for none


def _rate_per_s(given: Parameters) -> Decimal | None:
    asked = given.rate if given.rate is not None else given.qps
    if asked is None or asked == 0:  # 0 is Fortio's word for its default
        return DEFAULT_RATE_PER_S
    return asked if asked > 0 else None


def _longest_length_s(num_requests: int, users: int, each_s: float) -> float:
    """The longest that a closed run can take, every request running into the time-out; at most a day."""
    return min(math.ceil(num_requests / users) * each_s, LONGEST_GUESS_S)
