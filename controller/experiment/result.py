"""The result of an experiment: Iter8's fields, so that what reads them goes on working, and ours beside them.

Every latency here is in milliseconds and every instant within a run in seconds since its start, unless the name says
otherwise. What is unknown is absent (`None`), never zero.
"""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

RESULT_VERSION = 1
ITER8_VERSION = "v0.14"


class Model(BaseModel):
    """A frozen value whose YAML and JSON names are camel-cased; fields that a newer version added are skipped."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")


class Outcome(StrEnum):
    """A verdict: what the SLOs came to, given all that we don't know."""

    PASS = "pass"  # noqa: S105 a verdict, not a password
    FAIL = "fail"
    INVALID = "invalid"
    INCONCLUSIVE = "inconclusive"
    NONE = "none"  # no SLOs were asked for, and the measurement is sound


class Bound(StrEnum):
    """The side of an SLO's limit on which a metric is fine; both include the limit itself."""

    UPPER = "upper"
    LOWER = "lower"


class Severity(StrEnum):
    """How much a finding matters: `error` took part in the verdict, `warning` could have, `info` is good to know."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Finding(Model):
    """Something about the measurement that the reader must know; `code` is its heading in the documentation."""

    code: str
    severity: Severity
    message: str
    taints: tuple[str, ...] = Field(default=(), description="metrics that it puts in doubt; none means all of them")


class SLOJudgement(Model):
    """One SLO held against one version's metric, over the whole range that the unknowns leave open."""

    metric: str
    bound: Bound
    limit: float
    limit_text: str = Field(description="the limit as it was written, such as 50ms")
    unit: str = Field(default="", description="msec for latencies, empty for counts and fractions")
    version: int = 0
    value: float | None = Field(default=None, description="the metric as measured; absent if it was not")
    value_is_lower_bound: bool = Field(default=False, description="requests were cut off: the true value is no smaller")
    low: float | None = Field(default=None, description="the smallest value that the unknowns allow")
    high: float | None = Field(default=None, description="the largest value that the unknowns allow; absent: unbounded")
    samples: int = Field(default=0, description="requests behind the value")
    window: str = Field(default="", description="judged on its worst window of this length, such as 10s")
    worst_window: tuple[float, float] | None = Field(
        default=None, description="from, to: the window that the value is of, in seconds of the run"
    )
    satisfied: bool | None = Field(default=None, description="absent: undecided")
    would_be: bool | None = Field(default=None, description="taking the measured value at its word")
    decided_by: tuple[str, ...] = Field(default=(), description="the unknowns on which an undecided SLO hangs")
    reason: str = Field(description="one sentence: the value, the limit, and what decides")


class Verdict(Model):
    """What the experiment came to, with its reasons."""

    outcome: Outcome
    reasons: tuple[str, ...] = ()
    slos: tuple[SLOJudgement, ...] = ()


class Account(Model):
    """Where every planned request went: planned = tried + unsent + withdrawn + unaccounted, tried = ok + errors."""

    planned: int = 0
    tried: int = 0
    ok: int = 0
    errors: int = 0
    unsent: int = Field(default=0, description="due, and still waiting when the run ended; counts as an error")
    withdrawn: int = Field(default=0, description="not yet due when the run was stopped; in no metric")
    unaccounted: int = Field(default=0, description="given to an agent that was lost before it reported them")
    closes: bool = True


class Distribution(Model):
    """One clock's distribution in milliseconds, with the HdrHistogram (V2, base64, microseconds) it was read from."""

    count: int
    mean: float | None = None
    stddev: float | None = None
    min: float | None = None
    max: float | None = None
    percentiles: dict[str, float] = Field(default={}, description="'50' -> msec; names as in latency-p50")
    censored: int = Field(default=0, description="of count: cut off at a time-out or never sent; only a lower bound")
    censored_from: float | None = Field(default=None, description="the least of those: values from here on are bounds")
    overflow: int = Field(default=0, description="of count: longer than the histogram's one hour")
    buckets: tuple[tuple[float, float, int], ...] = Field(default=(), description="lower, upper (msec), count")
    hdr: str = ""


class Clocks(Model):
    """The four spans of design: response = lag + wait + service; `latency` is the one that SLOs are judged on."""

    latency: str = Field(default="response", description="response in open load, service in closed load")
    response: Distribution
    service: Distribution
    wait: Distribution
    lag: Distribution
    ok: Distribution = Field(description="latency of the requests that went well")
    errors: Distribution = Field(description="latency of those that did not, unsent ones included")
    ttfb: Distribution = Field(default=Distribution(count=0), description="sent until the first byte of the response")
    body: Distribution = Field(default=Distribution(count=0), description="first byte of the response until done")
    connect: Distribution = Field(default=Distribution(count=0), description="TCP, of each connection made meanwhile")
    tls: Distribution = Field(default=Distribution(count=0), description="TLS handshake, of each of those")


class Series(Model):
    """Per interval, by the run time at which a request was due (planned, started) or done (the rest)."""

    interval_s: int = 1
    planned: tuple[int, ...] = ()
    started: tuple[int, ...] = Field(default=(), description="of planned: begun in time")
    ok: tuple[int, ...] = ()
    errors: tuple[int, ...] = ()
    p50: tuple[float | None, ...] = ()
    p99: tuple[float | None, ...] = ()
    max: tuple[float | None, ...] = ()
    lag_p99: tuple[float | None, ...] = ()
    service_p50: tuple[float | None, ...] = ()
    missing: tuple[int, ...] = Field(default=(), description="indices of intervals for which a shard did not arrive")


class Sample(Model):
    """One request as evidence: all its clocks, and what came back."""

    kind: str = Field(description="slow, or the class of error")
    planned_s: float
    lag_ms: float
    wait_ms: float | None = None
    service_ms: float | None = None
    response_ms: float
    status: int | None = None
    error: str = ""
    remote: str = ""
    agent: str = ""
    ttfb_ms: float | None = None
    trace: str = Field(default="", description="the trace id that was sent with it, in a traceparent header")
    body: str = Field(default="", description="at most the first 1 KB, redacted")


class StageResult(Model):
    """What was measured of one target in one stage of its segment: requests count for the stage they were planned in."""

    name: str
    provider: str = Field(description="the prefix of its metrics: http@<stage>, or http-<endpoint>@<stage>")
    starts_s: float = Field(description="in seconds of the segment")
    ends_s: float
    begins_at: float = Field(description="requests per second, or users in closed load, at its start")
    ends_at: float = Field(description="the same at its end")
    account: Account
    rate_per_s: float | None = Field(default=None, description="requests tried per second of the stage")
    latency: Distribution
    meets_slos: bool | None = Field(
        default=None, description="whether the SLOs on the whole hold within the stage; absent: none, or undecided"
    )


class TargetResult(Model):
    """All that was measured of one target: one endpoint of one version."""

    endpoint: str = ""
    provider: str = Field(default="http", description="the prefix of its metrics: http, or http-<endpoint>")
    version: int = 0
    method: str = "GET"
    url: str = ""
    account: Account
    error_classes: dict[str, int] = {}
    status_codes: dict[str, int] = {}
    clocks: Clocks
    series: Series
    samples: tuple[Sample, ...] = ()
    bytes_in: int = 0
    bytes_out: int = 0
    reconnects: int = 0
    remotes: tuple[str, ...] = ()
    redirects: int = Field(default=0, description="redirects that were followed")
    rate_per_s: float | None = Field(default=None, description="requests tried per second: http/rate")
    weight: int = Field(default=1, description="its share of a mix")
    addresses: int = Field(default=0, description="how many addresses its host's name has, as far as agents could tell")
    stages: tuple[StageResult, ...] = Field(default=(), description="where the load has stages")


class SegmentResult(Model):
    """A part of a run with one schedule: a warm-up, one endpoint, or a mix of endpoints."""

    name: str
    is_warmup: bool = False
    load: str = Field(default="open", description="open: a rate was asked for; closed: as fast as answers come")
    rate_per_s: float | None = Field(default=None, description="asked for; absent in closed load")
    achieved_per_s: float | None = Field(
        default=None,
        description="requests tried per second: of the planned length if all began in time, else of elapsedS",
    )
    connections: int = 0
    planned_length_s: float | None = None
    elapsed_s: float = 0.0
    ended: str = Field(
        default="complete", description="complete, max-duration, aborted, interrupted, agent-lost or failed"
    )
    targets: tuple[TargetResult, ...] = ()
    total: TargetResult | None = Field(default=None, description="of a mix: all its targets together")
    arrival: str = Field(default="uniform", description="how requests are spaced in open load: uniform or poisson")
    streams: int = Field(default=1, description="requests at once on a connection: above 1 with HTTP/2")
    connections_open: int = Field(
        default=0, description="the connections that the load came to use, where it could grow"
    )
    measured_from_s: float | None = Field(default=None, description="only requests planned from here on are measured")
    measured_to_s: float | None = Field(default=None, description="only requests planned before this are measured")
    best_stage: str = Field(default="", description="the stage with the most load that met all SLOs")


class AgentResult(Model):
    """One agent's part in a run, and how well the machine under it kept up."""

    agent: str
    host: str = ""
    pid: int = 0
    state: str = Field(default="complete", description="complete, or lost")
    planned: int = 0
    tried: int = 0
    ok: int = 0
    errors: int = 0
    cpu_share: float | None = Field(default=None, description="of one core, over the run")
    lag_p50_ms: float | None = None
    lag_p99_ms: float | None = None
    loop_delay_p99_ms: float | None = None
    clock_offset_ms: float | None = None
    clock_error_ms: float | None = Field(default=None, description="half the round trip that the offset was read by")
    pacer: str = ""
    throttled: int = Field(default=0, description="how often the container's CPU quota held the agent up")
    throttled_ms: float = 0.0
    files: int = Field(default=0, description="the most open descriptors")
    files_limit: int = 0
    ports: int = Field(default=0, description="the most local ports in use")
    ports_limit: int = 0
    cpu_quota: float | None = Field(default=None, description="cores that its container may use; absent: no quota")
    rss_mib: float | None = Field(default=None, description="resident memory at the end")
    shards: int = 0
    shards_missing: int = 0


class RunResult(Model):
    """One execution of one load task over the agents."""

    run_id: str
    task: int = Field(description="index in spec")
    started_at: str = Field(description="RFC 3339, UTC")
    ended: str = "complete"
    interrupted: bool = False
    account: Account
    segments: tuple[SegmentResult, ...] = ()
    agents: tuple[AgentResult, ...] = ()
    seed: int = 0
    plan_hash: str = ""
    why: str = Field(default="", description="why it was aborted")


class SLO(Model):
    """Iter8's form of an SLO."""

    metric: str
    limit: float


class SLOs(Model):
    """Iter8's lists of SLOs."""

    upper: tuple[SLO, ...] = ()
    lower: tuple[SLO, ...] = ()


class SatisfiedSLOs(Model):
    """Iter8's matrix [slo][version]; true only where an SLO is satisfied and decided."""

    upper: tuple[tuple[bool, ...], ...] = ()
    lower: tuple[tuple[bool, ...], ...] = ()


class Rewards(Model):
    """Metrics of which more, or less, is better."""

    max: tuple[str, ...] = ()
    min: tuple[str, ...] = ()


class RewardsWinners(Model):
    """Per reward the index of the winning version, -1 where no version has a value."""

    max: tuple[int, ...] = ()
    min: tuple[int, ...] = ()


class MetricInfo(Model):
    """What Iter8 tells of a metric."""

    description: str
    units: str | None = None
    type: str


class HistBucket(Model):
    """Iter8's bucket, in msec."""

    lower: float
    upper: float
    count: int


class Insights(Model):
    """Metrics of all versions, as Iter8 has them."""

    num_versions: int = 1
    version_names: tuple[dict[str, str], ...] = ()
    metrics_info: dict[str, MetricInfo] = {}
    non_hist_metric_values: tuple[dict[str, tuple[float, ...]], ...] = ()
    hist_metric_values: tuple[dict[str, tuple[HistBucket, ...]], ...] = ()
    slos: SLOs | None = Field(default=None, alias="SLOs")
    slos_satisfied: SatisfiedSLOs | None = Field(default=None, alias="SLOsSatisfied")
    rewards: Rewards | None = None
    rewards_winners: RewardsWinners | None = None

    def value(self, metric: str, version: int = 0) -> float | None:
        """The latest value of a Counter or Gauge."""
        if version >= len(self.non_hist_metric_values):
            return None
        values = self.non_hist_metric_values[version].get(metric, ())
        return values[-1] if values else None


class Environment(Model):
    """What it takes to run the same thing again."""

    seatrial: str = ""
    python: str = ""
    platform: str = ""
    cores: int = 0
    nats_server: str = ""
    agents: int = 0


class Result(Model):
    """All that is known of one experiment."""

    result_version: int = RESULT_VERSION
    start_time: str = ""
    num_loops: int = 0
    num_completed_tasks: int = 0
    failure: bool = False
    iter8_version: str = ITER8_VERSION
    insights: Insights | None = None
    verdict: Verdict | None = None
    findings: tuple[Finding, ...] = ()
    runs: tuple[RunResult, ...] = ()
    environment: Environment = Environment()
    error: str = Field(default="", description="why a task failed")
    interrupted: bool = False

    def to_document(self) -> dict[str, Any]:
        """Plain values for YAML and JSON; fields without a value are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
