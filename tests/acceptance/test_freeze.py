"""A target that stands still for two seconds can't hide the requests that waited: no coordinated omission."""
# ruff: noqa: T201 figures, for `pytest -s`

import heapq
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from harness import Document, Target, count_over, ended, eventually, http_values, only_target, serving, world_in

from protocol.histogram import from_hdr

RATE = 400  # the freeze begins anywhere between two requests: 2.5 ms, beside responses of 0.4 s and more
LENGTH_S = 10
REQUESTS = RATE * LENGTH_S
AGENTS = 2
CONNECTIONS = 128
# Long, beside what a busy machine adds to each round of the drain; there are as many connections as that takes.
BASE_MS = 40
FREEZE_AFTER_S = 4.0
FREEZE_S = 2.0
PATH = "/freeze/ok"
BOUND = 0.01
# p85 lies in the drain, where what a busy machine adds to each round of it has added up, beside the least response.
BOUND_IN_DRAIN = 0.02


@dataclass(frozen=True)
class Frozen:
    """What came of the run, and what the freeze was really like."""

    result: Document
    target: Document
    freeze_s: float
    code: int
    out: str

    @property
    def base_s(self) -> float:
        """What a request takes when nothing stands still: the scripted latency, and the way there and back."""
        found: float = self.target["clocks"]["service"]["percentiles"]["50"] / 1e3
        return found


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frozen]:
    """A run of 10 s at 400/s, with the target stopped for 2 s in the middle."""
    with serving() as target, world_in(tmp_path_factory.mktemp("freeze")) as world:
        load = {"duration": f"{LENGTH_S}s", "qps": RATE, "connections": CONNECTIONS, "percentiles": "{85}"}
        launch = world.start(
            "launch",
            "--set=tasks={http,assess}",
            *http_values(f"{target.url}{PATH}?ms={BASE_MS}", **load),
            "--set=assess.SLOs.upper.http/latency-p95=500",
            f"--agents={AGENTS}",
        )
        eventually(lambda: target.seen(PATH)["requests"], 20, "the first request")
        time.sleep(FREEZE_AFTER_S)
        freeze_s = _freeze(target)
        ran = ended(launch)
        result = world.result()
        yield Frozen(result, only_target(result), freeze_s, ran.code, ran.out + ran.err)


def _freeze(target: Target) -> float:
    """Stop the target and let it go on; for how long it stood still, in seconds."""
    os.kill(target.process.pid, signal.SIGSTOP)
    began = time.perf_counter()
    time.sleep(FREEZE_S)
    os.kill(target.process.pid, signal.SIGCONT)
    return time.perf_counter() - began


def analytic(frozen: Frozen) -> tuple[list[float], list[float]]:
    """Response and wait in ms, sorted, of every request of the run, by the theory of queues alone.

    Request k is planned at k / rate. Agent a owns every request with k % agents == a and has c = connections / agents
    servers; a free server takes the next request in planned order (FIFO) and is busy for the base latency b:

        sent_k = max(planned_k, when the first of the c servers is free),   done_k = sent_k + b

    During the freeze [F, F + T) nothing is answered. What is in flight at F and would end within the freeze ends at
    F + T; what is sent within it is read by the target at F + T, and ends at F + T + b. So each server takes one
    request into the freeze, and all others planned meanwhile wait at the agent. With j requests of its agent ahead of
    it, the one planned at u is done after the freeze and ceil((j + 1) / c) rounds of b:

        response = (F + T - u) + b * ceil((j + 1) / c),   j = (u - F) * rate / agents

    After F + T the queue shrinks at c / b - rate / agents requests per second, and those that are planned before it
    is empty wait as well: that is the drain. The loop below is this recursion, request by request. Where the freeze
    begins does not matter (the phase within 1 / rate = 2.5 ms does, by at most that much); its length T is measured by
    whoever froze it, and b is the median of service: the scripted latency, and the way there and back. Of 4,000
    requests 800 are planned in the freeze: p80 and above are theirs.
    """
    begin, end = FREEZE_AFTER_S, FREEZE_AFTER_S + frozen.freeze_s
    responses, waits = [], []
    for agent in range(AGENTS):
        free = [0.0] * (CONNECTIONS // AGENTS)
        for k in range(agent, REQUESTS, AGENTS):
            planned = k / RATE
            sent = max(planned, heapq.heappop(free))
            done = sent + frozen.base_s
            if begin <= sent < end:
                done = end + frozen.base_s
            elif sent < begin <= done:
                done = max(done, end)
            heapq.heappush(free, done)
            responses.append((done - planned) * 1e3)
            waits.append((sent - planned) * 1e3)
    return sorted(responses), sorted(waits)


def _percentile(ordered: list[float], percentile: str) -> float:
    return ordered[-(-len(ordered) * int(float(percentile) * 10) // 1000) - 1]


@pytest.mark.parametrize("percentile", ["85", "90", "95", "99", "99.9"])
def test_response_percentiles_are_the_analytic_ones_within_1_percent_or_2_in_the_drain(frozen, percentile):
    responses, _waits = analytic(frozen)
    expected_ms = _percentile(responses, percentile)
    reported_ms = frozen.target["clocks"]["response"]["percentiles"][percentile]

    print(f"p{percentile}: analytic {expected_ms:.1f} ms, reported {reported_ms:.1f}: {reported_ms / expected_ms:.4f}")
    assert reported_ms == pytest.approx(expected_ms, rel=BOUND_IN_DRAIN if percentile == "85" else BOUND)


def test_the_base_latency_is_the_scripted_one(frozen):
    assert BASE_MS - 1 <= frozen.base_s * 1e3 <= BASE_MS + 3


def test_every_request_planned_in_the_freeze_is_there(frozen):
    responses, _waits = analytic(frozen)
    expected = sum(response_ms > 250 for response_ms in responses)
    reported = count_over(from_hdr(frozen.target["clocks"]["response"]["hdr"]), 250)

    print(f"above 250 ms: analytic {expected}, reported {reported}")
    assert frozen.target["clocks"]["response"]["count"] == REQUESTS
    assert reported == pytest.approx(expected, rel=BOUND)


def test_service_shows_only_the_requests_that_were_in_flight(frozen):
    """One on each connection, whatever waited behind it: 3.2 % of all, so that its p95 knows of no freeze."""
    service = frozen.target["clocks"]["service"]
    stalled = count_over(from_hdr(service["hdr"]), FREEZE_S * 500)

    print(f"stalled in service: {stalled}, service p95 {service['percentiles']['95']:.1f} ms")
    assert stalled == CONNECTIONS
    assert service["percentiles"]["95"] < BASE_MS + 100


@pytest.mark.parametrize("percentile", ["90", "95", "99"])
def test_the_wait_for_a_connection_is_told_apart_from_service(frozen, percentile):
    _responses, waits = analytic(frozen)
    expected_ms = _percentile(waits, percentile)
    reported_ms = frozen.target["clocks"]["wait"]["percentiles"][percentile]

    print(f"wait p{percentile}: analytic {expected_ms:.1f} ms, reported {reported_ms:.1f}")
    assert reported_ms == pytest.approx(expected_ms, rel=BOUND)


def test_the_verdict_is_fail_though_service_would_have_passed(frozen):
    assert frozen.code == 1, frozen.out
    assert frozen.result["verdict"]["outcome"] == "fail"
    assert frozen.target["clocks"]["service"]["percentiles"]["95"] < 500


def test_the_account_closes_without_loss(frozen):
    account = frozen.result["runs"][0]["account"]

    assert (account["planned"], account["ok"], account["closes"]) == (REQUESTS, REQUESTS, True)
