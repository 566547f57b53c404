"""Results of runs with stages, mixes, windows, timing and an abort, as real runs leave them."""

from typing import Any

from report_samples import agent, report, result, run, sample, segment, series, slo, spread, target

from controller.experiment.result import (
    Account,
    Bound,
    Finding,
    Outcome,
    SegmentResult,
    Series,
    Severity,
    StageResult,
    TargetResult,
)
from controller.report import ReportInput

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
RAMP = (("100", 100, 100), ("to 300", 100, 300), ("300", 300, 300), ("to 500", 300, 500), ("500", 500, 500))
SECONDS = 12


def detailed(of: TargetResult, middle: float, connections: int = 37, **more: Any) -> TargetResult:
    """The target with its timing split, addresses, redirects and traces."""
    count = of.account.tried
    clocks = of.clocks.model_copy(
        update={
            "ttfb": spread(count, middle * 0.85, 0.3),
            "body": spread(count, middle * 0.15, 0.5),
            "connect": spread(connections, 0.35, 0.3),
            "tls": spread(connections, 2.4, 0.3),
        }
    )
    given = {
        "clocks": clocks,
        "rate_per_s": count / (len(RAMP) * SECONDS),
        "redirects": 12,
        "remotes": ("10.0.0.11", "10.0.0.12"),
        "addresses": 3,
        "samples": (
            sample("slow", 41.5, 183.21, ttfb_ms=180.4, trace=TRACE),
            sample("slow", 52.25, 171.9, ttfb_ms=150.02, trace="", remote="10.0.0.12:443"),
            sample("status", 55.0, 91.5, ttfb_ms=91.1, trace=TRACE[::-1], status=503, error="status 503", body="busy"),
        ),
    }
    return of.model_copy(update={**given, **more})


def ramped(weight: float = 1.0) -> Series:
    """What a stepped ramp looks like, second by second."""
    rates = []
    for _, begin, end in RAMP:
        rates += [round(weight * (begin + (end - begin) * second / SECONDS)) for second in range(SECONDS)]
    plain = series(len(rates), 100, 8.0)
    errors = [rate // 60 if index >= 48 else 0 for index, rate in enumerate(rates)]
    slower = [1 + 6 * max(0, index - 40) / 20 for index in range(len(rates))]
    return plain.model_copy(
        update={
            "planned": tuple(rates),
            "started": tuple(rates),
            "errors": tuple(errors),
            "ok": tuple(rate - bad for rate, bad in zip(rates, errors, strict=True)),
            "p50": tuple(6.0 * slow for slow in slower),
            "p99": tuple(14.0 * slow for slow in slower),
            "max": tuple(31.0 * slow for slow in slower),
        }
    )


def stages(
    of: TargetResult, weight: float = 1.0, met: tuple[bool | None, ...] = (True, True, True, None, False)
) -> Any:
    """One result per stage of RAMP."""
    made = []
    for index, (name, begin, end) in enumerate(RAMP):
        count = round(weight * SECONDS * (begin + end) / 2)
        errors = count // 60 if index == 4 else 0
        made.append(
            StageResult(
                name=name,
                provider=f"{of.provider}@{name}",
                starts_s=index * SECONDS,
                ends_s=(index + 1) * SECONDS,
                begins_at=begin,
                ends_at=end,
                account=Account(planned=count, tried=count, ok=count - errors, errors=errors),
                rate_per_s=count / SECONDS,
                latency=spread(count, 6.0 + 4 * index, 0.3),
                meets_slos=met[index],
            )
        )
    return tuple(made)


def staged_target(endpoint: str, weight: int, weights: int, middle: float) -> TargetResult:
    share = weight / weights
    count = round(share * SECONDS * sum((begin + end) / 2 for _, begin, end in RAMP))
    errors = round(share * 100)
    one = target(endpoint, count - errors, errors=errors, middle=middle, classes={"status": errors}, weight=weight)
    return detailed(one, middle, series=ramped(share), stages=stages(one, share))


def staged() -> ReportInput:
    """One endpoint under a stepped ramp; the last stage is too much for it."""
    one = staged_target("", 1, 1, 9.0)
    part = segment(
        one, seconds=60.0, rate_per_s=300.0, connections=1024, connections_open=37, best_stage="300", arrival="poisson"
    )
    judged = (
        slo("http/latency-p99", 50, 24.2),
        slo(
            "http/latency-p99",
            50,
            85.4,
            satisfied=False,
            window="10s",
            worst_window=(50.0, 60.0),
            reason="85.4 in the worst 10s window is above 50",
        ),
        slo("http@300/latency-p99", 50, 31.7),
        slo("http/rate", 290, 300.0, bound=Bound.LOWER, unit="1/s"),
        slo("http/bytes-in", 30e6, 22_212_000, unit="bytes", limit_text="30MB"),
        slo("http/error-rate", 0.01, 0.0056, window="10s", worst_window=(30.0, 40.0)),
    )
    machine = {"files": 71, "files_limit": 1024, "ports": 37, "ports_limit": 28232, "rss_mib": 61.4, "cpu_quota": 0.5}
    agents = (agent(1, **machine, throttled=4, throttled_ms=183.2), agent(2, **machine))
    return report(
        result(
            run(part).model_copy(update={"agents": agents}),
            outcome=Outcome.FAIL,
            judged=judged,
            reasons=("http/latency-p99: 85.4 in the worst 10s window is above 50",),
        )
    )


def total(targets: tuple[TargetResult, ...], met: tuple[bool | None, ...]) -> TargetResult:
    """All targets of a mix together."""
    sums = {
        name: sum(getattr(one.account, name) for one in targets)
        for name in ("planned", "tried", "ok", "errors", "unsent", "withdrawn")
    }
    one = target("", sums["ok"], errors=sums["errors"], middle=12.0, classes={"status": sums["errors"]})
    made = detailed(one, 12.0, series=ramped(), stages=stages(one, met=met), account=Account(**sums), samples=())
    return made.model_copy(update={"url": "", "method": ""})


def mixed() -> ReportInput:
    """Three endpoints by weight over HTTP/2, with stages and a measured part; `abortOn` ended it."""
    weights = {"home": 6, "search": 3, "checkout": 1}
    parts = tuple(
        staged_target(name, weight, 10, middle)
        for (name, weight), middle in zip(weights.items(), (6.0, 21.0, 48.0), strict=True)
    )
    part = SegmentResult(
        name="mix",
        rate_per_s=300.0,
        achieved_per_s=298.4,
        connections=8,
        streams=16,
        planned_length_s=90.0,
        elapsed_s=60.3,
        ended="aborted",
        targets=parts,
        total=total(parts, (True, True, False, False, False)),
        measured_from_s=6.0,
        measured_to_s=60.0,
        best_stage="to 300",
    )
    judged = (
        slo(
            "http-search/latency-p99",
            80,
            121.4,
            satisfied=False,
            window="5s",
            worst_window=(55.0, 60.0),
            reason="121.4 is above 80",
        ),
        slo("http-home/latency-p99", 50, 17.3),
        slo("http/connect-p99", 5, 0.8, unit="msec"),
    )
    warmup = segment(target("home", 200, seconds=2), seconds=2, name="warm-up", is_warmup=True)
    made = run(warmup, part, ended="aborted", why="http-search/latency-p99 was 121.4 ms, abortOn allows 100 ms")
    agents = tuple(agent(number, files=40, files_limit=1024, rss_mib=58.0 + number) for number in range(1, 13))
    findings = (
        Finding(
            code="addresses-not-used",
            severity=Severity.WARNING,
            message="2 of the 3 addresses of shop.example were loaded.",
        ),
    )
    return report(
        result(
            made.model_copy(update={"agents": agents}),
            outcome=Outcome.FAIL,
            judged=judged,
            findings=findings,
            reasons=("http-search/latency-p99: 121.4 is above 80",),
        ),
        name="shop",
    )


def users() -> ReportInput:
    """Closed load in stages of users, before any SLO."""
    one = target("", 9000, middle=4.0, latency="service")
    steps = stages(one, met=(None,) * 5)
    part = segment(one.model_copy(update={"stages": steps}), load="closed", rate_per_s=None)
    return report(result(run(part), outcome=Outcome.NONE))


STORIES = (staged, mixed, users)
