"""The `http` task: its parameters as the document has them, and what they come to, endpoint by endpoint.

Nothing here sends or plans a request; payloads are named, not read.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Self

from pydantic import Field, model_validator

from controller.experiment import fields as f
from controller.experiment.metrics import provider_of
from controller.experiment.mistakes import Mistakes, joined, shown

DEFAULT_RATE_PER_S = Decimal(8)
DEFAULT_REQUESTS = 100
DEFAULT_CONNECTIONS = 4
DEFAULT_TIMEOUT_S = 3.0
DEFAULT_PERCENTILES = tuple(Decimal(p) for p in ("50", "75", "90", "95", "99", "99.9"))
LEAST_GRACE_S = 30.0
LONGEST_GUESS_S = 24 * 3600.0
_PAYLOADS = ("payload_str", "payload_file", "payload_url")
_RATES = ("qps", "rate")
_ENDPOINT = re.compile(r"[^\W_]([\w .~:+-]{0,98}[\w.~:+-])?")


class ErrorRange(f.Model):
    """A range of status codes that count as errors; both ends belong to it."""

    lower: f.Status | None = Field(None, description="Lowest status code of the range; absent: no lower end.")
    upper: f.Status | None = Field(None, description="Highest status code of the range; absent: no upper end.")

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.lower is None and self.upper is None:
            raise ValueError("expected lower, upper or both, got neither")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError(f"expected lower <= upper, got {self.lower} and {self.upper}")
        return self

    def __contains__(self, status: int) -> bool:
        return (self.lower is None or status >= self.lower) and (self.upper is None or status <= self.upper)


DEFAULT_ERROR_RANGES = (ErrorRange(lower=400),)


class EndpointSettings(f.Model):
    """The parameters of one endpoint. Absent ones come from the task, then from the defaults."""

    url: f.Url | None = Field(
        None, description="Where requests go, over HTTP or HTTPS.", examples=["http://127.0.0.1:8000/"]
    )
    method: f.Method | None = Field(
        None,
        description="HTTP method. Default: POST when there is a payload or a contentType, else GET.",
        examples=["PUT"],
    )
    headers: f.Headers | None = Field(
        None,
        description="Headers of each request. An endpoint's headers are added to the task's, and win over them.",
        examples=[{"Authorization": "Bearer …"}],
    )
    payload_str: f.Text | None = Field(None, alias="payloadStr", description="The body of each request, as text.")
    payload_file: f.SomeText | None = Field(
        None, alias="payloadFile", description="A file with the body of each request; wins over payloadStr."
    )
    payload_url: f.Url | None = Field(
        None, alias="payloadURL", description="A URL with the body of each request; wins over payloadFile."
    )
    content_type: f.HeaderValue | None = Field(
        None, alias="contentType", description="The Content-Type header.", examples=["application/json"]
    )
    num_requests: f.Requests | None = Field(
        None,
        alias="numRequests",
        description="Exact number of requests, over all agents. Default: 100 if there is no duration either. "
        "With numRequests, duration is ignored.",
        examples=[1000],
    )
    duration_s: f.Length | None = Field(
        None,
        alias="duration",
        description="How long to send, as a Go duration (units ns, us, ms, s, m, h).",
        examples=["30s", "1m30s"],
    )
    qps: f.Rate | None = Field(
        None,
        description="Requests per second, over all agents and connections. 0 means the default; a negative number "
        "means no pacing: each connection sends its next request when it has an answer (closed load).",
        examples=[500],
        json_schema_extra={"default": 8},
    )
    rate: f.PositiveRate | None = Field(
        None, description="Another name for qps, in requests per second; always above 0.", examples=[0.5]
    )
    connections: f.Connections | None = Field(
        None, description="Keep-alive connections, over all agents.", json_schema_extra={"default": 4}
    )
    timeout_s: f.Timeout | None = Field(
        None,
        alias="timeout",
        description="How long one request may take, from when it was sent, as a Go duration.",
        json_schema_extra={"default": "3s"},
    )
    max_duration_s: f.Length | None = Field(
        None,
        alias="maxDuration",
        description="When the run ends at the latest, as a Go duration; what is left then is unsent, and an error. "
        "Default: the planned length, plus 30s or twice the timeout, whichever is longer.",
    )
    error_ranges: tuple[ErrorRange, ...] | None = Field(
        None,
        alias="errorRanges",
        description="Status codes that count as errors. Default: 400 and above. No answer is always an error.",
        examples=[[{"lower": 400, "upper": 499}, {"lower": 500}]],
        json_schema_extra={"default": [{"lower": 400}]},
    )
    percentiles: f.Percentiles | None = Field(
        None,
        description="Latency percentiles to report. 50, 75, 90, 95, 99 and 99.9 are always added.",
        examples=[[99.99]],
    )
    allow_initial_errors: f.Truth | None = Field(
        None,
        alias="allowInitialErrors",
        description="Whether the run goes on when the first request of a connection fails (runs with a duration).",
        json_schema_extra={"default": False},
    )
    warmup_num_requests: f.Requests | None = Field(
        None,
        alias="warmupNumRequests",
        description="Requests to send before the measured ones, in no metric; wins over warmupDuration.",
    )
    warmup_duration_s: f.Length | None = Field(
        None, alias="warmupDuration", description="How long to send before the measured part, as a Go duration."
    )
    expect: f.Expect | None = Field(
        None,
        description="What a good run is made of. `errors`: errors are what this experiment is about, so more than "
        "half of them may pass.",
        json_schema_extra={"default": "success"},
    )


class HttpSettings(EndpointSettings):
    """The parameters of an http task."""

    warmup: f.Truth | None = Field(
        None,
        description="Whether the whole task only warms the target up: it gives no metrics.",
        json_schema_extra={"default": False},
    )
    endpoints: dict[str, EndpointSettings] | None = Field(
        None,
        description="Endpoints by name, loaded one after the other. Each gives its own metrics, `http-<name>/…`, and "
        "takes the parameters that it lacks from the task.",
        examples=[{"get": {"url": "http://127.0.0.1:8000/get"}, "post": {"payloadStr": "hello"}}],
    )
    on_agent_loss: f.OnAgentLoss | None = Field(
        None,
        alias="onAgentLoss",
        description="What a lost agent means: end early (fail), go on with less load (degrade), or give its part to "
        "the others (redistribute).",
        json_schema_extra={"default": "fail"},
    )
    agents: f.Agents | None = Field(
        None, description="How many agents share the load. Default, and `auto`: the fewest that carry it."
    )


class HttpTask(f.Model):
    """Sends HTTP requests and measures them."""

    task: Literal["http"] = Field(description="What this task does.")
    settings: HttpSettings = Field(alias="with", default_factory=HttpSettings, description="The task's parameters.")

    @property
    def is_warmup(self) -> bool:
        """Whether the task gives no metrics."""
        return self.settings.warmup is True

    @property
    def on_agent_loss(self) -> Literal["fail", "degrade", "redistribute"]:
        """What a lost agent means for the run."""
        return self.settings.on_agent_loss or "fail"

    @property
    def agents(self) -> int | Literal["auto"] | None:
        """How many agents were asked for; None when the experiment leaves it open."""
        return self.settings.agents

    def resolved(self) -> tuple["HttpEndpoint", ...]:
        """The endpoints in document order with every parameter in place: default < task < endpoint, one by one."""
        if not self.settings.endpoints:
            return (_endpoint("", self.settings),)
        return tuple(_endpoint(name, _over(self.settings, own)) for name, own in self.settings.endpoints.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpEndpoint:
    """One endpoint of an http task, as it will be loaded."""

    name: str
    url: str
    method: str
    headers: Mapping[str, str]
    payload_str: str | None
    payload_file: str | None
    payload_url: str | None
    content_type: str | None
    num_requests: int | None
    duration_s: float | None
    duration_ignored: bool
    rate_per_s: Decimal | None
    connections: int
    timeout_s: float
    max_duration_s: float
    error_ranges: tuple[ErrorRange, ...]
    percentiles: tuple[Decimal, ...]
    allow_initial_errors: bool
    warmup_num_requests: int | None
    warmup_duration_s: float | None
    expect: Literal["success", "errors"]

    @property
    def provider(self) -> str:
        """The first part of its metrics' names."""
        return provider_of(self.name)

    @property
    def planned_length_s(self) -> float | None:
        """How long the schedule is; None when that depends on the target (closed load with numRequests)."""
        return _planned_length_s(self.num_requests, self.duration_s, self.rate_per_s)

    @property
    def planned_requests(self) -> int | None:
        """How many requests the plan has, to within one; None when that depends on the target."""
        if self.num_requests is not None:
            return self.num_requests
        if self.rate_per_s is None or self.duration_s is None:
            return None
        return round(self.rate_per_s * Decimal(repr(self.duration_s)))


def _over(base: EndpointSettings, own: EndpointSettings) -> EndpointSettings:
    """The endpoint's parameters over the task's. A payload, or a rate, is one thing with several ways to give it."""
    given = {name: value for name in EndpointSettings.model_fields if (value := getattr(own, name)) is not None}
    for group in (_PAYLOADS, _RATES):
        if any(name in given for name in group):
            given = dict.fromkeys(group) | given
    return base.model_copy(update={**given, "headers": _merged_headers(base.headers or {}, own.headers or {})})


def _merged_headers(base: dict[str, str], own: dict[str, str]) -> dict[str, str]:
    overridden = {name.lower() for name in own}
    return {name: value for name, value in base.items() if name.lower() not in overridden} | own


def _endpoint(name: str, given: EndpointSettings) -> HttpEndpoint:
    assert given.url is not None  # `conflicts` refuses an endpoint without one
    payload_str, payload_file, payload_url = _one_payload(given)
    has_body = not (payload_str is None and payload_file is None and payload_url is None)
    num_requests = given.num_requests
    if num_requests is None and given.duration_s is None:
        num_requests = DEFAULT_REQUESTS
    duration_s = given.duration_s if num_requests is None else None
    rate_per_s = _rate_per_s(given)
    connections = given.connections or DEFAULT_CONNECTIONS
    timeout_s = given.timeout_s or DEFAULT_TIMEOUT_S
    length_s = _planned_length_s(num_requests, duration_s, rate_per_s)
    if length_s is None:
        length_s = _longest_length_s(num_requests or 0, connections, timeout_s)
    content_type = given.content_type or None
    headers = given.headers or {}
    if content_type is not None:
        headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
    ranges = DEFAULT_ERROR_RANGES if given.error_ranges is None else given.error_ranges
    return HttpEndpoint(
        name=name,
        url=given.url,
        method=given.method or ("GET" if content_type is None and not has_body else "POST"),
        headers=headers,
        payload_str=payload_str,
        payload_file=payload_file,
        payload_url=payload_url,
        content_type=content_type,
        num_requests=num_requests,
        duration_s=duration_s,
        duration_ignored=given.num_requests is not None and given.duration_s is not None,
        rate_per_s=rate_per_s,
        connections=connections,
        timeout_s=timeout_s,
        max_duration_s=given.max_duration_s or length_s + max(LEAST_GRACE_S, 2 * timeout_s),
        error_ranges=ranges,
        percentiles=tuple(dict.fromkeys((*(given.percentiles or ()), *DEFAULT_PERCENTILES))),
        allow_initial_errors=given.allow_initial_errors or False,
        warmup_num_requests=given.warmup_num_requests,
        warmup_duration_s=None if given.warmup_num_requests else given.warmup_duration_s,
        expect=given.expect or "success",
    )


def _one_payload(given: EndpointSettings) -> tuple[str | None, str | None, str | None]:
    """The payload that wins, as Iter8 has it: a URL over a file over text."""
    if given.payload_url is not None:
        return None, None, given.payload_url
    if given.payload_file is not None:
        return None, given.payload_file, None
    return given.payload_str or None, None, None  # Iter8 took empty text for none


def _rate_per_s(given: EndpointSettings) -> Decimal | None:
    asked = given.rate if given.rate is not None else given.qps
    if asked is None or asked == 0:  # 0 is Fortio's word for its default
        return DEFAULT_RATE_PER_S
    return asked if asked > 0 else None


def _planned_length_s(num_requests: int | None, duration_s: float | None, rate_per_s: Decimal | None) -> float | None:
    if num_requests is None:
        return duration_s
    return None if rate_per_s is None else float(num_requests / rate_per_s)


def _longest_length_s(num_requests: int, connections: int, timeout_s: float) -> float:
    """The longest that a closed run can take, every request running into the time-out; at most a day."""
    return min(math.ceil(num_requests / connections) * timeout_s, LONGEST_GUESS_S)


def conflicts(raw: Mapping[str, object], path: str, mistakes: Mistakes) -> None:
    """Notes what is wrong between the parameters of an http task, each of which may be fine by itself.

    It looks at what the document gives, so that it also speaks about a task with other mistakes.
    """
    _two_rates(raw, path, mistakes)
    endpoints = raw.get("endpoints")
    if endpoints is None:
        if "url" not in raw:
            mistakes.add(joined(path, "url"), "is missing: expected a URL such as http://host:8080/path, or endpoints")
        return
    if not isinstance(endpoints, dict):
        return
    at = joined(path, "endpoints")
    if not endpoints:
        mistakes.add(at, "expected at least one endpoint, got an empty map")
    for name, own in endpoints.items():
        here = joined(at, name)
        if not _ENDPOINT.fullmatch(name):
            words = "letters, digits, spaces and . _ - ~ : + only, and at most 100 of them, because it names metrics"
            mistakes.add(here, f"expected an endpoint name of {words}, got {shown(name)}")
        if isinstance(own, dict):
            _two_rates(own, here, mistakes)
            if "url" not in own and "url" not in raw:
                mistakes.add(joined(here, "url"), "is missing: give the endpoint or the task a URL")


def _two_rates(raw: Mapping[str, object], path: str, mistakes: Mistakes) -> None:
    if "qps" in raw and "rate" in raw:
        mistakes.add(joined(path, "rate"), "means the same as qps: give one of them")
