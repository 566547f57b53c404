"""A target that stands still for three seconds can't hide the requests that waited: no coordinated omission."""
# ruff: noqa: T201 figures, for `pytest -s`

import heapq
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from statistics import mean, median

import pytest
from harness import Document, Target, count_over, ended, eventually, http_values, only_target, serving, world_in

from protocol.histogram import from_hdr

RATE = 100
LENGTH_S = 10
REQUESTS = RATE * LENGTH_S
AGENTS = 2
CONNECTIONS = 32
MOST_CONNECTIONS = 1024  # where no number is given
# Long, beside the millisecond that a timer may add to each round of the drain.
BASE_MS = 100
FREEZE_AFTER_S = 4.0
FREEZE_S = 3.0
PATH = "/freeze/ok"
BOUND = 0.01
# The machine is shared: where neighbours kept the agents from their work, and the result says so, it is run again. Were
# that said without them, it would be said each time, and the last run is the one that is looked at.
RUNS = 3


@dataclass(frozen=True)
class Freeze:
    """What the freeze was like by the target's own log, in seconds from when the first request was planned.

    `read_s` is from when it read one of those that had been sent to it meanwhile until it read the next. `more_s` is by
    how much longer it took for a request of those that came all at once.
    """

    begin_s: float
    end_s: float
    read_s: float
    more_s: float


@dataclass(frozen=True)
class Frozen:
    """What came of the run, over how many connections at most, and what the freeze was really like."""

    result: Document
    connections: int
    freeze: Freeze
    code: int
    out: str

    @property
    def target(self) -> Document:
        return only_target(self.result)

    @property
    def base_s(self) -> float:
        """What a request takes when nothing stands still: the scripted latency, and the way there and back."""
        return self.percentile("service", "50") / 1e3

    def percentile(self, clock: str, percentile: str) -> float:
        found: float = self.target["clocks"][clock]["percentiles"][percentile]
        return found

    def count_over(self, clock: str, ms: float) -> int:
        return count_over(from_hdr(self.target["clocks"][clock]["hdr"]), ms)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    """A run of 10 s at 100/s over 32 connections, with the target stopped for 3 s in the middle."""
    return _run(tmp_path_factory.mktemp("freeze"), CONNECTIONS, connections=CONNECTIONS)


@pytest.fixture(scope="module")
def frozen_unset(tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    """The same without a number of connections: they grow as requests need them."""
    return _run(tmp_path_factory.mktemp("unset"), MOST_CONNECTIONS)


def _run(folder: Path, most: int, **load: int) -> Frozen:
    for number in range(RUNS):
        frozen = _run_once(folder / str(number), most, **load)
        if "load-not-made" not in [finding["code"] for finding in frozen.result["findings"]]:
            break
        print(f"run {number}: neighbours kept the agents from their work")
    return frozen


def _run_once(folder: Path, most: int, **load: int) -> Frozen:
    with serving() as target, world_in(folder) as world:
        settings = {"duration": f"{LENGTH_S}s", "qps": RATE, "percentiles": "{70,85}", "timeout": "10s", **load}
        launch = world.start(
            "launch",
            "--set=tasks={http,assess}",
            *http_values(f"{target.url}{PATH}?ms={BASE_MS}", **settings),
            "--set=assess.SLOs.upper.http/latency-p95=500",
            f"--agents={AGENTS}",
        )
        eventually(lambda: target.seen(PATH)["requests"], 20, "the first request")
        time.sleep(FREEZE_AFTER_S)
        stopped_s = _freeze(target)
        ran = ended(launch)
        return Frozen(world.result(), most, _seen(target.seen(PATH)["log"], stopped_s), ran.code, ran.out + ran.err)


def _freeze(target: Target) -> float:
    """Stop the target and let it go on; when it was stopped, on the clock of its log.

    It receives and answers at the beat of the rate. Amid two beats, a millisecond sooner or later is the same: none more
    is in the freeze, and none less.
    """
    last_s = max(received_ns for received_ns, _scripted, _answered in target.seen(PATH)["log"]) / 1e9
    beats = (time.perf_counter() - last_s) * RATE
    time.sleep((0.5 - beats) % 1 / RATE)
    stopped_s = time.perf_counter()
    os.kill(target.process.pid, signal.SIGSTOP)
    time.sleep(FREEZE_S)
    os.kill(target.process.pid, signal.SIGCONT)
    return stopped_s


def _seen(log: Sequence[tuple[int, float, int]], stopped_s: float) -> Freeze:
    """The freeze by the target's log, whose first requests are those with which agents try their connections."""
    pairs = sorted((received_ns / 1e9, answered_ns / 1e9) for received_ns, _scripted, answered_ns in log)[-REQUESTS:]
    before = [pair for pair in pairs if pair[1] < stopped_s]
    zero_s = median(received_s - k / RATE for k, (received_s, _answered) in enumerate(before))
    clocks = sorted(clock for pair in pairs for clock in pair)
    _longest, again_s = max((later - earlier, later) for earlier, later in pairwise(clocks))
    after = [(received_s, answered_s) for received_s, answered_s in pairs if 0 <= received_s - again_s < FREEZE_S / 4]
    reads = [received_s - again_s for received_s, _answered in after if received_s - again_s < BASE_MS / 2e3]
    more_s = mean(answered_s - received_s for received_s, answered_s in after) - median(
        answered_s - received_s for received_s, answered_s in before
    )
    return Freeze(stopped_s - zero_s, again_s - zero_s, 2 * mean(reads) / len(reads), more_s)


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
    is empty wait as well: that is the drain. The loop below is this recursion, request by request. With more
    connections than requests in the freeze there is one round, and no drain: response = (F + T - u) + b, and no wait.

    F and T are by the target's own log: k / rate is put to when it received the requests before the freeze, so that
    nothing is left to guess of where between two of them it began (10 ms: 1 % at p70). b is the median of service: the
    scripted latency, and the way there and back; in the drain, where many requests come at once, it is longer by as
    much as the target says, which also reads what was sent within the freeze one after another. Of 1,000 requests 300
    are planned in the freeze: p70 and above are theirs. The one at p70 is planned at its end, and waits for the whole
    drain.
    """
    begin, end = frozen.freeze.begin_s, frozen.freeze.end_s
    drain_s = frozen.base_s + frozen.freeze.more_s
    responses, waits = [], []
    for agent in range(AGENTS):
        free = [0.0] * (frozen.connections // AGENTS)
        unread = 0
        for k in range(agent, REQUESTS, AGENTS):
            planned = k / RATE
            sent = max(planned, heapq.heappop(free))
            done = sent + (drain_s if sent > planned else frozen.base_s)
            if begin <= sent < end:
                done = end + unread * frozen.freeze.read_s + drain_s
                unread += AGENTS
            elif sent < begin <= done:
                done = max(done, end)
            heapq.heappush(free, done)
            responses.append((done - planned) * 1e3)
            waits.append((sent - planned) * 1e3)
    return sorted(responses), sorted(waits)


def _percentile(ordered: list[float], percentile: str) -> float:
    return ordered[-(-len(ordered) * int(float(percentile) * 10) // 1000) - 1]


@pytest.mark.parametrize(
    ("run", "percentile"),
    [("frozen", "70"), *product(("frozen", "frozen_unset"), ("85", "90", "95", "99", "99.9"))],
)
def test_response_percentiles_are_the_analytic_ones_within_1_percent(request, run, percentile):
    frozen = request.getfixturevalue(run)
    responses, _waits = analytic(frozen)
    expected_ms = _percentile(responses, percentile)
    reported_ms = frozen.percentile("response", percentile)

    print(f"{run} p{percentile}: analytic {expected_ms:.1f} ms, off by {reported_ms / expected_ms - 1:+.2%}")
    assert reported_ms == pytest.approx(expected_ms, rel=BOUND)


@pytest.mark.parametrize("run", ["frozen", "frozen_unset"])
def test_the_base_latency_is_the_scripted_one(request, run):
    frozen = request.getfixturevalue(run)

    assert BASE_MS - 1 <= frozen.base_s * 1e3 <= BASE_MS + 3


@pytest.mark.parametrize("run", ["frozen", "frozen_unset"])
def test_the_freeze_was_as_long_as_the_target_was_stopped(request, run):
    """What the analytic answer takes from the target's log is no excuse for anything of ours."""
    freeze = request.getfixturevalue(run).freeze

    print(f"{run}: {freeze}")
    assert freeze.end_s - freeze.begin_s == pytest.approx(FREEZE_S, abs=0.1)
    assert -0.001 <= freeze.more_s <= 0.02


@pytest.mark.parametrize("run", ["frozen", "frozen_unset"])
def test_every_request_planned_in_the_freeze_is_there(request, run):
    """So is every one of the drain, until a response takes no more than twice the base latency."""
    frozen = request.getfixturevalue(run)
    responses, _waits = analytic(frozen)
    expected = sum(response_ms > 2 * BASE_MS for response_ms in responses)
    reported = frozen.count_over("response", 2 * BASE_MS)

    print(f"{run} above {2 * BASE_MS} ms: analytic {expected}, reported {reported}")
    assert frozen.target["clocks"]["response"]["count"] == REQUESTS
    assert reported == pytest.approx(expected, rel=BOUND)


def test_service_shows_only_the_requests_that_were_in_flight(frozen):
    """One on each connection, whatever waited behind it: 3.2 % of all, so that its p95 knows of no freeze."""
    stalled = frozen.count_over("service", FREEZE_S * 500)

    print(f"stalled in service: {stalled}, service p95 {frozen.percentile('service', '95'):.1f} ms")
    assert stalled == CONNECTIONS
    assert frozen.percentile("service", "95") < BASE_MS + 100


@pytest.mark.parametrize("percentile", ["90", "95", "99"])
def test_the_wait_for_a_connection_is_told_apart_from_service(frozen, percentile):
    _responses, waits = analytic(frozen)
    expected_ms = _percentile(waits, percentile)
    reported_ms = frozen.percentile("wait", percentile)

    print(f"wait p{percentile}: analytic {expected_ms:.1f} ms, reported {reported_ms:.1f}")
    assert reported_ms == pytest.approx(expected_ms, rel=BOUND)


def test_where_connections_grow_next_to_nothing_waits_for_one_and_service_shows_the_freeze(frozen_unset):
    _responses, waits = analytic(frozen_unset)

    print(f"wait p95 {frozen_unset.percentile('wait', '95'):.2f} ms, p99 {frozen_unset.percentile('wait', '99'):.2f}")
    assert max(waits) == 0
    assert frozen_unset.percentile("wait", "95") < BASE_MS / 10
    assert frozen_unset.percentile("service", "95") == pytest.approx(
        frozen_unset.percentile("response", "95"), rel=BOUND
    )


def test_the_verdict_is_fail_though_service_would_have_passed(frozen):
    assert frozen.code == 1, frozen.out
    assert frozen.result["verdict"]["outcome"] == "fail"
    assert frozen.percentile("service", "95") < 500


@pytest.mark.parametrize("run", ["frozen", "frozen_unset"])
def test_the_account_closes_without_loss(request, run):
    account = request.getfixturevalue(run).result["runs"][0]["account"]

    assert (account["planned"], account["ok"], account["closes"]) == (REQUESTS, REQUESTS, True)
