"""An agent that is killed, or stands still, in mid-run: the run ends soon, and its verdict is never `pass`."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from harness import Document, Target, World, count_over, ended, eventually, http_values, only_target, world_in

from protocol.histogram import from_hdr

RATE = 200
LENGTH_S = 30
SILENCE_S = 5.0
# Beside the silence: finding the agent, what is in flight, its last words, and the end of everything, frozen agents too.
REST_S = 15.0
FAULTS = {"killed": signal.SIGKILL, "frozen": signal.SIGSTOP}


@dataclass(frozen=True)
class Lost:
    """How a run ended that lost one of its two agents."""

    result: Document
    code: int
    out: str
    took_s: float
    victim: int
    leftovers: list[str]


@pytest.fixture(scope="module")
def runs(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Lost]]:
    """Two runs of 30 s side by side: in one an agent gets SIGKILL after about a second, in the other SIGSTOP."""
    with ExitStack() as stack:
        worlds = {name: stack.enter_context(world_in(tmp_path_factory.mktemp(name))) for name in FAULTS}
        launches = {name: world.start(*_command(target, name)) for name, world in worlds.items()}
        victims, began = {}, {}
        for name, world in worlds.items():
            eventually(lambda name=name: target.seen(_path(name))["requests"] > RATE, 30, "a second of load")
            victims[name] = _agent(world)
            os.kill(victims[name], FAULTS[name])
            began[name] = time.monotonic()
        yield {name: _lost(worlds[name], launches[name], victims[name], began[name]) for name in FAULTS}


def _command(target: Target, name: str) -> list[str]:
    load = {"duration": f"{LENGTH_S}s", "qps": RATE, "connections": 8, "allowInitialErrors": "true"}
    return [
        "launch",
        "--set=tasks={http,assess}",
        *http_values(f"{target.url}{_path(name)}", **load),
        "--set=assess.SLOs.upper.http/latency-p99=2s",
        "--set=assess.SLOs.upper.http/error-rate=0.01",
        "--agents=2",
    ]


def _path(name: str) -> str:
    return f"/lost/{name}/ok"


def _agent(world: World) -> int:
    return world.processes("seatrial-agent")[0].pid


def _lost(world: World, launch, victim: int, began: float) -> Lost:
    ran = ended(launch)
    took_s = time.monotonic() - began
    return Lost(world.result(), ran.code, ran.out + ran.err, took_s, victim, world.leftovers())


@pytest.fixture(params=FAULTS)
def lost(request: pytest.FixtureRequest, runs: dict[str, Lost]) -> Lost:
    """Each of the runs in turn."""
    return runs[request.param]


def test_the_run_ends_soon_after_the_silence(lost):
    assert lost.took_s < SILENCE_S + REST_S < LENGTH_S
    assert lost.result["runs"][0]["ended"] == "agent-lost"


def test_the_verdict_is_never_pass(lost):
    assert lost.result["verdict"]["outcome"] == "invalid", lost.out
    assert lost.code == 2, lost.out
    assert not any(satisfied for [satisfied] in lost.result["insights"]["SLOsSatisfied"]["upper"])
    assert "verdict: invalid" in lost.out


def test_the_finding_names_the_agent(lost):
    [agent] = [agent for agent in lost.result["runs"][0]["agents"] if agent["state"] == "lost"]

    assert agent["pid"] == lost.victim
    assert [one for one in lost.result["findings"] if one["code"] == "agent-lost" and agent["agent"] in one["message"]]


def test_the_account_closes_with_what_is_unaccounted(lost):
    account = lost.result["runs"][0]["account"]

    assert account["closes"]
    assert account["planned"] == RATE * LENGTH_S
    assert account["unaccounted"] > 0
    assert account["withdrawn"] > 0
    assert account["tried"] == account["ok"] + account["errors"]
    total = account["tried"] + account["unsent"] + account["withdrawn"] + account["unaccounted"]
    assert account["planned"] == total


def test_what_was_counted_was_really_sent(lost, runs, target):
    """Neither invented nor counted twice: what the target saw lies between what is known and what may have been."""
    [name] = [name for name, one in runs.items() if one is lost]
    account = lost.result["runs"][0]["account"]
    seen = target.seen(_path(name))["requests"]

    assert account["tried"] <= seen <= account["tried"] + account["unaccounted"]


def test_the_histogram_holds_what_was_tried(lost):
    found = only_target(lost.result)

    account = found["account"]
    assert count_over(from_hdr(found["clocks"]["response"]["hdr"]), -1) == account["tried"] + account["unsent"]


def test_nothing_is_left(lost):
    assert lost.leftovers == []
