"""The parameters of the http task as the document has them, by what they are about. What they come to: `http`."""

from collections.abc import Collection

from pydantic import Field

from controller.experiment import fields as f
from controller.experiment.abort import AbortOn
from controller.experiment.http_parts import (
    Auth,
    CheckSettings,
    Data,
    ErrorRange,
    Measure,
    Spike,
    Stages,
    Step,
    TlsSettings,
)

PAYLOADS = frozenset({"payloadStr", "payloadFile", "payloadURL"})
RATES = frozenset({"qps", "rate"})
COURSES = ("stages", "step", "spike")
AMOUNTS = frozenset({"duration", "numRequests"})


class RequestFields(f.Model):
    """What is sent, and what counts as a good answer."""

    url: f.TargetUrl | None = Field(
        None, description="Where requests go, over HTTP or HTTPS.", examples=["http://127.0.0.1:8000/"]
    )
    method: f.Method | None = Field(
        None,
        description="HTTP method. Default: POST when there is a payload or a contentType, else GET.",
        examples=["PUT"],
    )
    headers: f.Headers | None = Field(
        None,
        description="Headers of each request. An endpoint's headers are added to the task's, and win over them. A Host "
        "header takes the place of the URL's.",
        examples=[{"X-Tenant": "blue"}],
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
    template: f.Truth | None = Field(
        None,
        description="Whether `{{ … }}` in the URL's path and query, in header values and in the payload is filled in "
        "for each request: `row.<column>`, `number`, `uuid`, `timestamp`, `timestampMs`, `isoTime`, `random A B`, "
        "`randomText N`; after each may follow `| json`, `| url` or `| base64`. With data it is true.",
        json_schema_extra={"default": False},
    )
    data: Data | None = Field(None, description="Rows of data for the template; request k has row k.")
    auth: Auth | None = Field(None, description="A user and password, or a token, for the Authorization header.")
    timeout_s: f.Timeout | None = Field(
        None,
        alias="timeout",
        description="How long one request may take, from when it was sent, as a Go duration.",
        json_schema_extra={"default": "3s"},
    )
    redirects: f.Redirects | None = Field(
        None,
        description="How many redirects in a row are followed. One that is not followed is the answer.",
        json_schema_extra={"default": 0},
    )
    error_ranges: tuple[ErrorRange, ...] | None = Field(
        None,
        alias="errorRanges",
        description="Status codes that count as errors. Default: 400 and above. No answer is always an error.",
        examples=[[{"lower": 400, "upper": 499}, {"lower": 500}]],
        json_schema_extra={"default": [{"lower": 400}]},
    )
    checks: tuple[CheckSettings, ...] | None = Field(
        None,
        description="What each response must hold; one that does not is an error.",
        examples=[[{"contains": "in stock"}, {"jsonPath": "$.status", "equals": "ok"}]],
    )
    percentiles: f.Percentiles | None = Field(
        None,
        description="Latency percentiles to report. 50, 75, 90, 95, 99 and 99.9 are always added.",
        examples=[[99.99]],
    )
    expect: f.Expect | None = Field(
        None,
        description="What a good run is made of. `errors`: errors are what this experiment is about, so more than "
        "half of them may pass.",
        json_schema_extra={"default": "success"},
    )
    trace_share: f.Share | None = Field(
        None,
        alias="traceShare",
        description="The share of requests with a `traceparent` header of ours; none where headers has one.",
        json_schema_extra={"default": 0.01},
    )


class LoadFields(f.Model):
    """How much is sent when. In a mix, these are the task's alone."""

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
        "means no pacing: each user sends its next request when it has an answer (closed load).",
        examples=[500],
        json_schema_extra={"default": 8},
    )
    rate: f.PositiveRate | None = Field(
        None, description="Another name for qps, in requests per second; always above 0.", examples=[0.5]
    )
    stages: Stages | None = Field(
        None,
        description="A load that changes: stages of rates (open load) or of users (closed load), one after the other. "
        "They take the place of duration and numRequests, and an endpoint's take the place of the task's whole load.",
        examples=[[{"rate": 200, "duration": "1m"}, {"rate": 200, "duration": "5m"}]],
    )
    step: Step | None = Field(None, description="In place of stages: a rate that changes in equal steps.")
    spike: Spike | None = Field(None, description="In place of stages: a rate that jumps, and falls back.")
    arrival: f.Arrival | None = Field(
        None,
        description="How the requests of open load are spaced: evenly, or as those of many independent users (a "
        "Poisson process).",
        json_schema_extra={"default": "uniform"},
    )
    seed: f.Seed | None = Field(
        None,
        description="Decides Poisson arrivals, and the order of a mix: the same seed gives the same load again.",
        json_schema_extra={"default": 0},
    )
    think_time_s: f.Pause | None = Field(
        None,
        alias="thinkTime",
        description="How long each user of closed load waits between an answer and the next request.",
        examples=["500ms"],
        json_schema_extra={"default": "0s"},
    )
    connections: f.Connections | None = Field(
        None,
        description="Connections, over all agents. In closed load each is a user (with HTTP/2, each of its streams "
        "is). Default: 4; in open load that is where they begin, and they grow as needed, up to maxInFlight.",
        examples=[50],
    )
    max_in_flight: f.InFlight | None = Field(
        None,
        alias="maxInFlight",
        description="The most requests under way at once in open load, over all agents: what is due beyond it waits. "
        "Default: 1024, or what connections carry where those are given; with both, connections is where they begin.",
        examples=[5000],
    )
    streams: f.Streams | None = Field(
        None,
        description="How many requests one HTTP/2 connection carries at once. Default: 100 in open load, 1 in closed.",
        examples=[10],
    )
    measure: Measure | None = Field(
        None, description="The part of the run that counts: requests planned outside it are in no metric."
    )
    max_duration_s: f.Length | None = Field(
        None,
        alias="maxDuration",
        description="When the run ends at the latest, as a Go duration; what is left then is unsent, and an error. "
        "Default: the planned length, plus 30s or twice the timeout, whichever is longer.",
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
        None,
        alias="warmupDuration",
        description="How long to send before the measured part, as a Go duration. A warm-up has the rate of the load; "
        "with stages, the first of their rates above 0.",
    )


class ConnectionFields(f.Model):
    """What requests travel on."""

    keep_alive: f.Truth | None = Field(
        None,
        alias="keepAlive",
        description="Whether connections are used again; if not, each request has a connection of its own.",
        json_schema_extra={"default": True},
    )
    requests_per_connection: f.Requests | None = Field(
        None,
        alias="requestsPerConnection",
        description="After how many requests a connection is replaced. Default: as many as the server allows.",
        examples=[100],
    )
    tls: TlsSettings | None = Field(None, description="How TLS is done, for a URL with https.")
    http2: f.Http2 | None = Field(
        None,
        description="Whether requests go over HTTP/2: true means agreed on in the TLS handshake, and over plain HTTP "
        "without asking; `prior-knowledge` means without asking, over TLS as well.",
        json_schema_extra={"default": False},
    )


class Parameters(ConnectionFields, LoadFields, RequestFields):
    """The parameters that a task and its endpoints have."""


class EndpointSettings(Parameters):
    """The parameters of one endpoint. Absent ones come from the task, then from the defaults."""

    weight: f.Weight | None = Field(
        None,
        description="In a mix: how many of the requests are this endpoint's, against the weights of the others.",
        json_schema_extra={"default": 1},
    )


class HttpSettings(Parameters):
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
    mix: f.Truth | None = Field(
        None,
        description="Whether the endpoints are loaded together, in one load, each with its weight. The task's load is "
        "that of all of them, and `http/…` are the metrics of all their requests.",
        json_schema_extra={"default": False},
    )
    abort_on: tuple[AbortOn, ...] | None = Field(
        None,
        alias="abortOn",
        description="Limits that end the run early, on all agents, once what was measured so far violates one of them.",
        examples=[[{"metric": "http/error-rate", "upper": "50%"}]],
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


def replaced(own: Collection[str]) -> frozenset[str]:
    """The task's parameters that an endpoint's own put out of force, by their names in the document.

    A payload is one thing with several ways to give it, and so is a rate; stages are a whole load.
    """
    gone: frozenset[str] = frozenset()
    for group in (PAYLOADS, RATES):
        if not group.isdisjoint(own):
            gone |= group
    if any(course in own for course in COURSES):
        return gone | RATES | AMOUNTS | frozenset(COURSES)
    if not (RATES | AMOUNTS).isdisjoint(own):
        return gone | frozenset(COURSES)
    return gone


def merged_headers(base: dict[str, str], own: dict[str, str]) -> dict[str, str]:
    """The endpoint's headers over the task's; names match in any case."""
    overridden = {name.lower() for name in own}
    return {name: value for name, value in base.items() if name.lower() not in overridden} | own
