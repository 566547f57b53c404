"""Pure: what the reader of a result must know about how it was measured. Each code is a heading in docs/invalid-runs.md.

A finding explains; only `assess` decides.
"""

import math
from collections.abc import Iterator, Sequence

from controller.experiment.result import AgentResult, Finding, RunResult, SegmentResult, Severity, TargetResult

WHERE = "docs/invalid-runs.md"
MANY_ERRORS = 0.01
MOSTLY = 0.5
IN_TIME = 0.99
BAD_SECONDS = 0.01
BUSY = 0.9
IN_TIME_MS = 100.0
NEARLY = 0.9
LEAST_WAIT_MS = 1.0
STEADY = 2.0
LOOP_DELAY_MS = 10.0
LOOP_DELAY_SHARE = 0.05


def of_run(run: RunResult, tightest_ms: dict[str, float]) -> Iterator[Finding]:
    """The findings of one run; `tightest_ms` is the tightest latency limit of each provider."""
    if run.why:
        yield _finding("aborted", Severity.ERROR, f"the run was ended early, by {run.why}")
    if run.interrupted:
        yield _finding("interrupted", Severity.ERROR, "the run was interrupted: the results are partial")
    if not run.account.closes:
        yield _finding(
            "account-open",
            Severity.ERROR,
            f"the account of run {run.run_id} does not close: {run.account.planned} planned are not the sum of "
            f"{run.account.tried} tried, {run.account.unsent} unsent, {run.account.withdrawn} withdrawn and "
            f"{run.account.unaccounted} unaccounted",
        )
    for agent in run.agents:
        yield from _of_agent(agent)
    for segment in run.segments:
        if not segment.is_warmup:
            yield from _of_segment(segment, run.agents, tightest_ms)
    if any(_is_loopback(remote) for segment in run.segments for target in segment.targets for remote in target.remotes):
        yield _finding(
            "shared-machine",
            Severity.INFO,
            "target and agents share this machine and compete for its CPU: from elsewhere, latencies may be shorter",
        )


def _is_loopback(remote: str) -> bool:
    return remote.startswith("127.") or remote == "::1"


def load_not_made(segment: SegmentResult, agents: Sequence[AgentResult], tightest_ms: float | None) -> str:
    """A sentence if the load that was asked for was not made for reasons of the agents' own; empty if it was.

    Open load: more than 1 % of the seconds began less than 99 % of their plan in time. Closed load: the event loop
    was late by more than 10 ms, or 5 % of the tightest latency limit, in 1 % of its turns.
    """
    if segment.load == "closed":
        return _late_loop(agents, tightest_ms)
    for target in (segment.total,) if segment.total else segment.targets:
        seconds = list(zip(target.series.planned, target.series.started, strict=False))
        due = [(planned, started) for planned, started in seconds if planned]
        bad = [1 for planned, started in due if started < IN_TIME * planned]
        if due and len(bad) > BAD_SECONDS * len(due):
            planned, started = sum(one for one, _ in due), sum(one for _, one in due)
            lost = [agent.agent for agent in agents if agent.state == "lost"]
            would_do = max(len(agents) + 1, -(-len(agents) * planned // max(started, 1)))
            advice = (
                f"{', '.join(lost)} was lost"
                if lost
                else f"{_strain(agents)}{would_do} agents, or more cores, would do"
            )
            return (
                f"in {len(bad)} of {len(due)} seconds the agents began less than 99 % of the plan in time "
                f"({started:,} of {planned:,} requests{_named(target)}): {advice}"
            )
        strain = _own_strain(agents)
        waited_ms = target.clocks.wait.percentiles.get("99", 0.0)
        if strain and waited_ms > IN_TIME_MS and segment.achieved_per_s:
            asked = segment.rate_per_s or segment.achieved_per_s
            would_do = max(len(agents) + 1, math.ceil(len(agents) * asked / segment.achieved_per_s))
            return (
                f"1 % of the requests{_named(target)} waited {waited_ms:.0f} ms or more to be sent while {strain}, so it "
                f"may have been the agent that they waited for, and not the target: {would_do} agents, or more cores, "
                "would do"
            )
        local = target.error_classes.get("local", 0)
        if local > MANY_ERRORS * max(target.account.tried, 1):
            return (
                f"{local:,} requests{_named(target)} failed for want of files, ports or memory on the agents' side: "
                f"raise their limits (ulimit -n, ip_local_port_range), or use {len(agents) + 1} agents"
            )
    return ""


def _own_strain(agents: Sequence[AgentResult]) -> str:
    """What says that an agent had as much to do as it could, or its machine had; empty if nothing does."""
    busiest = max((agent.cpu_share or 0.0 for agent in agents), default=0.0)
    latest_ms = max((agent.loop_delay_p99_ms or 0.0 for agent in agents), default=0.0)
    if busiest > BUSY:
        return f"an agent's CPU was {busiest:.0%} busy"
    return f"an agent ran its own work {latest_ms:.0f} ms late" if latest_ms > LOOP_DELAY_MS else ""


def _strain(agents: Sequence[AgentResult]) -> str:
    """What the agents' own figures say about it: these explain, and decide nothing."""
    signs = []
    busiest = max((agent.cpu_share or 0.0 for agent in agents), default=0.0)
    if busiest > BUSY:
        signs.append(f"an agent's CPU was {busiest:.0%} busy")
    throttled_ms = sum(agent.throttled_ms for agent in agents)
    if throttled_ms:
        signs.append(f"the CPU quota held agents up for {throttled_ms:.0f} ms")
    return f"{' and '.join(signs)}; " if signs else ""


def _late_loop(agents: Sequence[AgentResult], tightest_ms: float | None) -> str:
    bound = max(LOOP_DELAY_MS, LOOP_DELAY_SHARE * (tightest_ms or 0))
    late = [agent for agent in agents if (agent.loop_delay_p99_ms or 0) > bound]
    if not late:
        return ""
    worst = max(agent.loop_delay_p99_ms or 0 for agent in late)
    return (
        f"{', '.join(agent.agent for agent in late)} ran its own work up to {worst:.1f} ms late (p99; {bound:g} ms is "
        f"the bound): its latencies are not the target's alone. {len(agents) + 1} agents, or more cores, would do"
    )


def _of_agent(agent: AgentResult) -> Iterator[Finding]:
    if agent.state == "lost":
        yield _finding("agent-lost", Severity.ERROR, f"{agent.agent} was lost in mid-run: nothing was heard from it")
    if agent.shards_missing:
        yield _finding(
            "missing-shards",
            Severity.WARNING,
            f"{agent.shards_missing} shards of {agent.agent} are missing: the charts have gaps, the totals do not",
        )
    if agent.throttled:
        yield _finding(
            "throttled",
            Severity.WARNING,
            f"the CPU quota of {agent.agent}'s container held it up {agent.throttled} times, for "
            f"{agent.throttled_ms:.0f} ms in all: give it more CPU, or use more agents",
        )
    if agent.files_limit and agent.files > NEARLY * agent.files_limit:
        yield _finding(
            "few-files",
            Severity.WARNING,
            f"{agent.agent} had {agent.files} of {agent.files_limit} descriptors open: raise its limit (ulimit -n)",
        )
    if agent.ports_limit and agent.ports > NEARLY * agent.ports_limit:
        yield _finding(
            "few-ports",
            Severity.WARNING,
            f"{agent.agent} used {agent.ports} of {agent.ports_limit} local ports: widen ip_local_port_range",
        )
    if agent.pacer == "timer":
        yield _finding(
            "coarse-pacer", Severity.WARNING, f"{agent.agent} paces by the event loop's timer, in steps of 1 ms"
        )


def _of_segment(
    segment: SegmentResult, agents: Sequence[AgentResult], tightest_ms: dict[str, float]
) -> Iterator[Finding]:
    if segment.load == "closed":
        yield _finding(
            "closed-load",
            Severity.INFO,
            f"{segment.name}: no rate was given, so latency is service time and the rate is what {segment.connections} "
            "connections reached: a target that stalls slows the load down with it",
        )
    limited = connection_limited(segment)
    if limited and not load_not_made(segment, agents, None):
        yield _finding("connection-limited", Severity.WARNING, limited)
    for target in segment.targets:
        not_made = load_not_made(segment, agents, tightest_ms.get(target.provider))
        if not_made:
            code = "loop-delay" if segment.load == "closed" else "load-not-made"
            yield _finding(code, Severity.WARNING, not_made, target)
        yield from _of_target(segment, target)
        if target.addresses > segment.connections:
            yield _finding(
                "few-connections",
                Severity.WARNING,
                f"{_name(target)}: its host has {target.addresses} addresses, and {segment.connections} connections "
                f"reach no more than {segment.connections} of them: give at least {target.addresses}",
                target,
            )


def connection_limited(segment: SegmentResult) -> str:
    """A sentence if requests waited for a connection while answers came as fast as ever: the cap was the experiment's.

    The number needed is Little's law with the service time that 99 % of the requests did not exceed.
    """
    whole = segment.total or next(iter(segment.targets), None)
    if whole is not None and segment.load == "closed":
        return _users_waited(segment, whole)
    if whole is None or segment.connections_open < segment.connections:
        return ""
    wait, service = whole.clocks.wait, whole.clocks.service
    if not wait.count or not service.count:
        return ""
    waited_ms, served_ms = wait.percentiles.get("99", 0.0), service.percentiles.get("50", 0.0)
    if waited_ms < max(LEAST_WAIT_MS, served_ms / 10) or not _is_steady(whole):
        return ""
    rate = max(whole.series.planned, default=0) / whole.series.interval_s or segment.rate_per_s or 0.0
    at_once = math.ceil(rate * service.percentiles.get("99", served_ms) / 1e3)
    needed = max(segment.connections + 1, math.ceil(at_once / segment.streams))
    return (
        f"{segment.name}: 1 % of the requests waited {waited_ms:.1f} ms or more for one of {segment.connections} "
        f"connections, while the service took no longer than before: {needed} would carry the load "
        "(connections, or maxInFlight)"
    )


def _users_waited(segment: SegmentResult, whole: TargetResult) -> str:
    """A sentence if users of closed load had nothing to send on for half as long as the service took."""
    waited_ms = whole.clocks.wait.percentiles.get("50", 0.0)
    served_ms = whole.clocks.service.percentiles.get("50", 0.0)
    if waited_ms < max(LEAST_WAIT_MS, served_ms / 2):
        return ""
    return (
        f"{segment.name}: half of the requests waited {waited_ms:.1f} ms or more for a free connection or stream: fewer "
        "users were at work than were asked for. The server may allow fewer streams on a connection: give more connections"
    )


def _is_steady(target: TargetResult) -> bool:
    """Whether answers came all the time, took about as long in each second, and hardly any was an error."""
    account = target.account
    if account.errors + account.unsent > MANY_ERRORS * (account.tried + account.unsent):
        return False
    seconds = target.series.service_p50
    known = [one for one in seconds if one is not None]
    return len(known) == len(seconds) > 0 and max(known) <= STEADY * sorted(known)[len(known) // 2]


def _of_target(segment: SegmentResult, target: TargetResult) -> Iterator[Finding]:
    account, clocks = target.account, target.clocks
    requests = account.tried + account.unsent
    errors = account.errors + account.unsent
    if segment.ended == "max-duration":
        yield _finding(
            "max-duration",
            Severity.WARNING,
            f"{_name(target)}: the run reached maxDuration with {account.unsent:,} requests still unsent",
            target,
        )
    elif account.unsent:
        yield _finding(
            "unsent", Severity.WARNING, f"{_name(target)}: {account.unsent:,} requests were due and never sent", target
        )
    if account.unaccounted:
        yield _finding(
            "unaccounted",
            Severity.WARNING,
            f"{_name(target)}: what became of up to {account.unaccounted:,} requests of a lost agent is not known",
            target,
        )
    if requests and errors > MOSTLY * requests:
        yield _finding(
            "mostly-errors", Severity.WARNING, f"{_name(target)}: {errors:,} of {requests:,} requests failed", target
        )
    elif requests and not any(status.startswith("2") for status in target.status_codes):
        yield _finding("mostly-errors", Severity.WARNING, f"{_name(target)}: no request got a 2xx status", target)
    cut = clocks.response.censored
    if cut:
        yield _finding(
            "cut-off",
            Severity.WARNING,
            f"{_name(target)}: {cut:,} requests timed out or were never sent; their true latency is longer than shown",
            target,
        )
    if clocks.response.overflow:
        yield _finding(
            "overflow",
            Severity.WARNING,
            f"{_name(target)}: {clocks.response.overflow} requests took over an hour",
            target,
        )


def no_success(target: TargetResult) -> str:
    """A sentence if more than half went wrong, or nothing got a 2xx; empty otherwise."""
    account = target.account
    requests = account.tried + account.unsent
    errors = account.errors + account.unsent
    good = sum(count for status, count in target.status_codes.items() if status.startswith("2"))
    if requests and errors > MOSTLY * requests:
        return (
            f"{errors:,} of {requests:,} requests{_named(target)} failed: that passes only if the experiment "
            "says expect: errors"
        )
    if requests and not good:
        return f"no request{_named(target)} got a 2xx status: that passes only if the experiment says expect: errors"
    return ""


def errors_hide_latency(target: TargetResult) -> Finding | None:
    """Fast failures make latencies look good: worth knowing where a latency SLO passed."""
    account = target.account
    requests = account.tried + account.unsent
    errors = account.errors + account.unsent
    if requests and errors > MANY_ERRORS * requests:
        return _finding(
            "errors-hide-latency",
            Severity.WARNING,
            f"{_name(target)}: {errors / requests:.1%} of the requests failed, and failures count in its latency: "
            "see the latency of the good ones beside it",
            target,
        )
    return None


def of_code(code: str, message: str, *, severity: Severity = Severity.WARNING, taints: tuple[str, ...] = ()) -> Finding:
    """A finding whose sentence was made elsewhere."""
    return Finding(code=code, severity=severity, message=f"{message} ({WHERE}#{code})", taints=taints)


def _finding(code: str, severity: Severity, message: str, target: TargetResult | None = None) -> Finding:
    return of_code(code, message, severity=severity, taints=(f"{target.provider}/*",) if target else ())


def _name(target: TargetResult) -> str:
    return target.provider


def _named(target: TargetResult) -> str:
    return f" of {target.provider}" if target.endpoint else ""
