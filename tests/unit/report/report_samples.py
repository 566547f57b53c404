"""Results as real runs leave them: one function per story, all deterministic."""

import math
from typing import Any

from controller.experiment.result import (
    SLO,
    Account,
    AgentResult,
    Bound,
    Clocks,
    Distribution,
    Environment,
    Finding,
    Insights,
    MetricInfo,
    Outcome,
    Result,
    Rewards,
    RewardsWinners,
    RunResult,
    Sample,
    SatisfiedSLOs,
    SegmentResult,
    Series,
    Severity,
    SLOJudgement,
    SLOs,
    TargetResult,
    Verdict,
)
from controller.report import ReportInput

SPEC: list[dict[str, Any]] = [
    {
        "task": "http",
        "with": {
            "url": "http://127.0.0.1:8000/",
            "numRequests": 3000,
            "qps": 100,
            "headers": {"Authorization": "Bearer s3cr3t-value"},
            "endpoints": {"home": {"url": "http://127.0.0.1:8000/"}, "search": {"url": "http://127.0.0.1:8000/search"}},
        },
    },
    {"task": "assess", "with": {"SLOs": {"upper": {"http-home/latency-p99": "50ms"}}}},
]
PERCENTILES = (50, 75, 90, 95, 99, 99.9)


def spread(count: int, middle: float, width: float = 0.35, *, censored: int = 0) -> Distribution:
    """A log-normal distribution around `middle` milliseconds, with a small second hump."""
    if not count:
        return Distribution(count=0)
    edges = [middle * math.exp(width * (index - 20) / 6) for index in range(61)]
    weights = [
        math.exp(-(((index - 20) / 6) ** 2) / 2) + 0.02 * math.exp(-(((index - 45) / 4) ** 2) / 2)
        for index in range(60)
    ]
    counts = [int(count * weight / sum(weights)) for weight in weights]
    counts[20] += count - sum(counts)
    buckets = tuple((edges[index], edges[index + 1], counts[index]) for index in range(60) if counts[index])
    percentiles = {}
    for percentile in PERCENTILES:
        below = 0
        for _, upper, number in buckets:
            below += number
            if below >= percentile / 100 * count:
                percentiles[f"{percentile:g}"] = round(upper, 3)
                break
    mean = sum((low + high) / 2 * number for low, high, number in buckets) / count
    return Distribution(
        count=count,
        mean=mean,
        stddev=width * middle,
        min=buckets[0][0],
        max=buckets[-1][1],
        percentiles=percentiles,
        censored=censored,
        censored_from=_slowest(buckets, censored) if censored else None,
        buckets=buckets,
        hdr="HISTFAAAABB42pNpmSzMwMBgxgABTBDKDwA=",
    )


def _slowest(buckets: tuple[tuple[float, float, int], ...], count: int) -> float:
    """The least of the slowest `count` samples."""
    seen = 0
    for low, _, number in reversed(buckets):
        seen += number
        if seen >= count:
            return low
    return buckets[0][0]


def clocks(ok: int, errors: int, middle: float, latency: str = "response", censored: int = 0) -> Clocks:
    return Clocks(
        latency=latency,
        response=spread(ok + errors, middle * 1.08, 0.4, censored=censored),
        service=spread(ok + errors, middle, 0.3, censored=censored),
        wait=spread(ok + errors, 0.06, 0.5),
        lag=spread(ok + errors, 0.12, 0.4),
        ok=spread(ok, middle),
        errors=spread(errors, middle * 3),
    )


def series(seconds: int, rate: int, middle: float, error_rate: float = 0.0, missing: tuple[int, ...] = ()) -> Series:
    wave = [1 + 0.25 * math.sin(second / 3) + (1.4 if second == seconds // 2 else 0) for second in range(seconds)]
    errors = [int(rate * error_rate * size) for size in wave]
    gone = set(missing)
    return Series(
        planned=(rate,) * seconds,
        started=tuple(0 if second in gone else rate for second in range(seconds)),
        ok=tuple(0 if second in gone else rate - errors[second] for second in range(seconds)),
        errors=tuple(0 if second in gone else errors[second] for second in range(seconds)),
        p50=tuple(None if second in gone else middle * size**0.3 for second, size in enumerate(wave)),
        p99=tuple(None if second in gone else middle * 2.4 * size for second, size in enumerate(wave)),
        max=tuple(None if second in gone else middle * 3.5 * size for second, size in enumerate(wave)),
        lag_p99=tuple(None if second in gone else 0.3 * size for second, size in enumerate(wave)),
        missing=missing,
    )


def sample(kind: str, at: float, response: float, **more: Any) -> Sample:
    given = {"status": 200, "remote": "127.0.0.1:8000", "agent": "agent-1", "body": "", "service_ms": response - 0.3}
    return Sample(kind=kind, planned_s=at, lag_ms=0.12, wait_ms=0.18, response_ms=response, **{**given, **more})


def target(
    endpoint: str,
    ok: int,
    *,
    errors: int = 0,
    middle: float = 8.0,
    seconds: int = 30,
    classes: dict[str, int] | None = None,
    latency: str = "response",
    censored: int = 0,
    missing: tuple[int, ...] = (),
    **more: Any,
) -> TargetResult:
    total = ok + errors
    given: dict[str, Any] = {
        "account": Account(planned=total, tried=total, ok=ok, errors=errors),
        "url": f"http://127.0.0.1:8000/{endpoint}",
        "samples": tuple(sample("slow", index * 2.5, middle * 6 - index) for index in range(4)),
        "status_codes": {"200": ok, **({"503": errors} if errors else {})},
    }
    return TargetResult(
        **{
            **given,
            "endpoint": endpoint,
            "provider": f"http-{endpoint}" if endpoint else "http",
            "error_classes": classes or {},
            "clocks": clocks(ok, errors, middle, latency, censored),
            "series": series(seconds, max(1, total // max(1, seconds)), middle, errors / max(1, total), missing),
            "bytes_in": total * 1234,
            "bytes_out": total * 180,
            "reconnects": 2,
            "remotes": ("127.0.0.1:8000",),
            **more,
        }
    )


def segment(one: TargetResult, *, seconds: float = 30.0, **more: Any) -> SegmentResult:
    given = {
        "name": one.endpoint or "http",
        "rate_per_s": one.account.planned / seconds,
        "achieved_per_s": (one.account.tried + one.account.unsent) / seconds,
        "connections": 8,
        "planned_length_s": seconds,
        "elapsed_s": seconds + 0.012,
    }
    return SegmentResult(**{**given, **more, "targets": (one,)})


def agent(number: int, planned: int = 1500, **more: Any) -> AgentResult:
    given = {
        "host": "laptop",
        "pid": 4200 + number,
        "planned": planned,
        "tried": planned,
        "ok": planned,
        "cpu_share": 0.31,
        "lag_p50_ms": 0.06,
        "lag_p99_ms": 0.41,
        "loop_delay_p99_ms": 1.2,
        "clock_offset_ms": 0.02,
        "clock_error_ms": 0.05,
        "pacer": "epoll 0.5 ms",
        "shards": 31,
    }
    return AgentResult(agent=f"agent-{number}", **{**given, **more})


def run(*segments: SegmentResult, agents: int = 2, **more: Any) -> RunResult:
    accounts = [one.account for part in segments for one in part.targets]
    names = ("planned", "tried", "ok", "errors", "unsent", "withdrawn", "unaccounted")
    given = {
        "account": Account(**{name: sum(getattr(part, name) for part in accounts) for name in names}),
        "agents": tuple(agent(number) for number in range(1, agents + 1)),
    }
    return RunResult(
        run_id="01JZ8Q6W3T5V7X9YABCDEFGHJK",
        task=0,
        started_at="2025-07-03T09:30:01Z",
        segments=segments,
        seed=7,
        plan_hash="9f2c41d0",
        **{**given, **more},
    )


def slo(metric: str, limit: float, value: float | None, **more: Any) -> SLOJudgement:
    is_latency = "latency" in metric
    satisfied = more.setdefault("satisfied", True)
    given = {
        "limit_text": f"{limit:g}ms" if is_latency else f"{limit:g}",
        "unit": "msec" if is_latency else "",
        "bound": Bound.UPPER,
        "low": value,
        "high": value,
        "samples": 3000,
        "would_be": satisfied,
        "reason": f"{value} against the limit {limit:g}: it holds whatever we assume",
    }
    return SLOJudgement(metric=metric, limit=limit, value=value, **{**given, **more})


def insights(*targets: TargetResult, judged: tuple[SLOJudgement, ...] = ()) -> Insights:
    info: dict[str, MetricInfo] = {}
    values: dict[str, tuple[float, ...]] = {}
    for one in targets:
        latency = one.clocks.response
        failed = one.account.errors + one.account.unsent
        count = one.account.tried + one.account.unsent
        for name, value, kind in (
            ("request-count", float(count), "Counter"),
            ("error-count", float(failed), "Counter"),
            ("error-rate", failed / count if count else None, "Gauge"),
            ("latency-mean", latency.mean, "Gauge"),
            ("latency-max", latency.max, "Gauge"),
            *((f"latency-p{key}", number, "Gauge") for key, number in latency.percentiles.items()),
        ):
            metric = f"{one.provider}/{name}"
            units = "msec" if "latency" in name else None
            info[metric] = MetricInfo(description=f"{name} of requests", units=units, type=kind)
            if value is not None:
                values[metric] = (value,)
    upper = [one for one in judged if one.bound is Bound.UPPER]
    return Insights(
        metrics_info=info,
        non_hist_metric_values=(values,),
        slos=SLOs(upper=tuple(SLO(metric=one.metric, limit=one.limit) for one in upper)) if judged else None,
        slos_satisfied=SatisfiedSLOs(upper=tuple((one.satisfied is True,) for one in upper)) if judged else None,
    )


def result(*runs: RunResult, outcome: Outcome, judged: tuple[SLOJudgement, ...] = (), **more: Any) -> Result:
    targets = [one for part in runs for piece in part.segments for one in piece.targets]
    given = {
        "verdict": Verdict(outcome=outcome, slos=judged, reasons=more.pop("reasons", ())),
        "insights": insights(*targets, judged=judged),
        "start_time": "2025-07-03T09:30:00Z",
        "num_loops": 1,
        "num_completed_tasks": 2,
        "environment": Environment(
            seatrial="0.1.0",
            python="3.11.7",
            platform="Linux-6.1-x86_64",
            cores=8,
            nats_server="2.15.1",
            agents=len(runs[0].agents) if runs else 0,
        ),
    }
    return Result(**{**given, **more, "runs": runs})


def report(of: Result | None, *, completed: bool = True, name: str = "checkout") -> ReportInput:
    return ReportInput(name=name, namespace="default", spec=SPEC, result=of, completed=completed)


def passing() -> ReportInput:
    """Two endpoints, all well, with a warm-up before."""
    warmup = segment(target("home", 200, seconds=2), seconds=2, name="warm-up", is_warmup=True)
    home, search = target("home", 3000), target("search", 2988, errors=12, middle=21.0, classes={"status": 12})
    judged = (
        slo("http-home/latency-p99", 50, home.clocks.response.percentiles["99"]),
        slo("http-home/error-count", 0, 0.0),
        slo("http-search/error-rate", 0.01, 0.004),
        slo("http-home/request-count", 1000, 3000.0, bound=Bound.LOWER, limit_text="1000"),
    )
    findings = (
        Finding(code="same-machine", severity=Severity.INFO, message="The target and the agents share this machine."),
        Finding(
            code="one-remote-address",
            severity=Severity.WARNING,
            message="All 8 connections went to one address; replicas behind it may not share the load evenly.",
            taints=("http-home/latency-p99",),
        ),
    )
    reasons = ("4 of 4 SLOs hold over the whole range that the unknowns leave open.",)
    return report(
        result(
            run(warmup, segment(home), segment(search)),
            outcome=Outcome.PASS,
            judged=judged,
            findings=findings,
            reasons=reasons,
        )
    )


def failing() -> ReportInput:
    """One endpoint with errors, time-outs and requests that never got out."""
    bodies = ("<html><script>alert('boo')</script>service unavailable</html>", "\x1b[31mred\x00 bytes\ufffe")
    one = target(
        "",
        2600,
        errors=380,
        middle=120.0,
        censored=60,
        classes={"status": 310, "first-byte-timeout": 60, "reset": 10},
        account=Account(planned=3000, tried=2980, ok=2600, errors=380, unsent=20),
        status_codes={"200": 2600, "503": 310},
        samples=(
            sample("status", 3.25, 121.5, status=503, error="status 503 is not expected", body=bodies[0]),
            sample("reset", 9.5, 80.2, status=None, error="Connection reset by peer", body=bodies[1], service_ms=None),
            sample("first-byte-timeout", 12.0, 3000.4, status=None, error="no first byte within 3 s"),
            sample("slow", 14.0, 2890.0),
        ),
    )
    judged = (
        slo(
            "http/latency-p99.9",
            500,
            3000.4,
            satisfied=False,
            value_is_lower_bound=True,
            high=None,
            reason="≥ 3000.4 > 500",
        ),
        slo("http/error-rate", 0.01, 0.1333, satisfied=False, reason="0.1333 is above 0.01 even without the unknowns"),
        slo("http/latency-mean", 150, 138.2),
    )
    findings = (
        Finding(
            code="errors-and-latency", severity=Severity.WARNING, message="13% errors: fast failures pull latency down."
        ),
    )
    reasons = ("http/latency-p99.9 is at least 3000.4 ms, its limit is 500 ms", "http/error-rate 0.1333 > 0.01")
    return report(
        result(run(segment(one)), outcome=Outcome.FAIL, judged=judged, findings=findings, reasons=reasons), name="api"
    )


def invalid() -> ReportInput:
    """An agent was lost, and what it did would decide."""
    account = Account(planned=3000, tried=2400, ok=2398, errors=2, unaccounted=350, withdrawn=250)
    one = target("", 2398, errors=2, classes={"reset": 2}, account=account, missing=(17, 18, 19))
    judged = (
        slo(
            "http/latency-p99",
            50,
            31.2,
            satisfied=None,
            high=None,
            would_be=True,
            decided_by=("unaccounted",),
            reason="undecided: 350 requests are unaccounted for",
        ),
        slo("http/latency-p50", 50, 8.4, high=9.2),
    )
    lost = agent(2, state="lost", tried=900, shards=16, shards_missing=3, cpu_share=None, lag_p99_ms=None)
    findings = (
        Finding(
            code="agent-lost",
            severity=Severity.ERROR,
            message="agent-2 was silent for 5 s from second 17 on; 350 of its requests are unaccounted for.",
        ),
    )
    return report(
        result(
            run(segment(one, ended="agent-lost"), ended="agent-lost").model_copy(update={"agents": (agent(1), lost)}),
            outcome=Outcome.INVALID,
            judged=judged,
            findings=findings,
            reasons=("350 unaccounted requests decide http/latency-p99",),
        ),
        completed=False,
    )


def interrupted() -> ReportInput:
    """Somebody pressed Ctrl-C in the middle."""
    account = Account(planned=3000, tried=1100, ok=1100, withdrawn=1900)
    one = target("", 1100, seconds=11, account=account)
    part = segment(one, ended="interrupted", elapsed_s=11.2)
    return report(
        result(
            run(part, interrupted=True, ended="interrupted"),
            outcome=Outcome.NONE,
            verdict=None,
            interrupted=True,
            num_completed_tasks=0,
            num_loops=0,
        ),
        completed=False,
    )


def closed() -> ReportInput:
    """No rate was asked for; latency is the service time."""
    one = target("", 41234, middle=1.4, latency="service")
    part = segment(one, load="closed", rate_per_s=None, planned_length_s=30.0)
    judged = (slo("http/latency-p99", 50, 3.9),)
    return report(result(run(part), outcome=Outcome.PASS, judged=judged))


def without_slos() -> ReportInput:
    """Only measured."""
    return report(result(run(segment(target("", 3000))), outcome=Outcome.NONE))


def empty() -> ReportInput:
    """A run in which not one request was planned."""
    one = TargetResult(account=Account(), clocks=clocks(0, 0, 1.0), series=Series())
    return report(result(run(SegmentResult(name="http", targets=(one,)), agents=0), outcome=Outcome.INCONCLUSIVE))


def failed_task() -> ReportInput:
    """A task failed before anything was measured."""
    return report(
        Result(failure=True, error="ready: nothing answered at http://127.0.0.1:1/ within 60 s"), completed=False
    )


def two_versions() -> ReportInput:
    """An A/B experiment with a reward."""
    known = Insights(
        num_versions=2,
        version_names=({"version": "v1"}, {"version": "v2", "track": "candidate"}),
        metrics_info={"http/latency-mean": MetricInfo(description="mean latency", units="msec", type="Gauge")},
        non_hist_metric_values=({"http/latency-mean": (9.0,)}, {"http/latency-mean": (7.0,)}),
        rewards=Rewards(min=("http/latency-mean",)),
        rewards_winners=RewardsWinners(min=(1,)),
    )
    judged = (slo("http/latency-mean", 8, 9.0, satisfied=False), slo("http/latency-mean", 8, 7.0, version=1))
    return report(result(outcome=Outcome.FAIL, judged=judged, insights=known))


def large() -> ReportInput:
    """Twenty endpoints with unkind names over half an hour, from fifty agents."""
    names = [f"endpoint-{number}" for number in range(18)] + ["<script>alert(1)</script>", "x" * 300]
    parts = [
        segment(
            target(name, 180_000, seconds=1800, url=f"http://127.0.0.1/{'very-long/' * 60}?q=</script><b>&{name}"),
            seconds=1800,
        )
        for name in names
    ]
    judged = tuple(slo(f"http-{name}/latency-p99", 50, 24.3) for name in names)
    return report(
        result(run(*parts, agents=50), outcome=Outcome.PASS, judged=judged), name="</title><script>alert(2)</script>"
    )


def not_run() -> ReportInput:
    """Written, not yet run."""
    return report(None, completed=False)


STORIES = (
    passing,
    failing,
    invalid,
    interrupted,
    closed,
    without_slos,
    empty,
    failed_task,
    not_run,
    two_versions,
)
