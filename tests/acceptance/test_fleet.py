"""Agents started by hand on a NATS server: `launch --nats` uses them, and tells when there are too few."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import World, ended, eventually, http_values, world_in

ENOUGH_S = 30.0


@dataclass
class Fleet:
    """A NATS server, and the agents on it."""

    url: str
    world: World
    agents: dict[str, subprocess.Popen[str]]

    def join(self, *names: str, options: tuple[str, ...] = ()) -> None:
        """Start agents of these names."""
        for name in names:
            command = ("--nats", self.url, "--id", name, *options)
            self.agents[name] = self.world.start(*command, program="seatrial-agent")


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A plain NATS server with JetStream, and room for agents, in a world of its own beside the test's."""
    with world_in(tmp_path_factory.mktemp("fleet")) as world:
        folder = world.folder
        world.start(
            *("-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(folder), "-js", "-sd", str(folder / "store")),
            program="nats-server",
        )
        eventually(lambda: _address(folder), ENOUGH_S, "the NATS server is up")
        yield Fleet(_address(folder), world, {})


def _address(folder: Path) -> str:
    for ports in folder.glob("*.ports"):
        with suppress(ValueError):  # not fully written yet
            return str(json.loads(ports.read_text())["nats"][0])
    return ""


@pytest.fixture(scope="module", autouse=True)
def without_bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """A launch to a NATS server that is not there; it tries for 10 s, so it does while other tests run."""
    with world_in(tmp_path_factory.mktemp("without")) as world:
        values = http_values("http://127.0.0.1:9/")
        yield world.start("launch", "--set=tasks={http}", *values, "--nats", "nats://127.0.0.1:9")


def _launch(fleet: Fleet, url: str, *flags: str) -> tuple[str, ...]:
    load = http_values(url, numRequests=120, qps=400, connections=4)
    return ("launch", "--set=tasks={http}", *load, "--nats", fleet.url, *flags)


def test_launch_uses_the_agents_that_are_there_and_leaves_them_running(fleet, world, target):
    fleet.join("port", "starboard")

    ran = world.run(*_launch(fleet, f"{target.url}/fleet/ok", "--agents=2", "--wait-agents=30s"))
    again = world.run(*_launch(fleet, f"{target.url}/fleet/ok", "--agents=2", "--wait-agents=30s"))

    assert (ran.code, again.code) == (0, 0), ran.err + again.err
    assert target.seen("/fleet/ok")["requests"] == 240
    agents = world.result()["runs"][0]["agents"]
    assert {agent["agent"]: agent["pid"] for agent in agents} == {
        name: process.pid for name, process in fleet.agents.items()
    }
    assert [process.poll() for process in fleet.agents.values()] == [None, None]
    assert world.leftovers() == []


def test_too_few_agents_end_with_4_and_say_what_is_missing(fleet, world, target):
    fleet.join("lonely")

    ran = world.run(*_launch(fleet, f"{target.url}/few/ok", "--agents=2", "--wait-agents=2s"))

    assert ran.code == 4, ran.out + ran.err
    assert "2 free agents expected" in ran.out + ran.err
    assert "found lonely" in ran.out + ran.err
    assert "--wait-agents" in ran.out + ran.err
    assert "Traceback" not in ran.err
    assert target.seen("/few/ok")["requests"] == 0
    assert world.result()["failure"] is True


def test_launch_waits_for_agents_that_come_late(fleet, world, target):
    launch = world.start(*_launch(fleet, f"{target.url}/awaited/ok", "--wait-agents=30s"))
    eventually((world.folder / "experiment.yaml").exists, ENOUGH_S, "launch is under way")
    fleet.join("late")

    ran = ended(launch)

    assert ran.code == 0, ran.out + ran.err
    assert target.seen("/awaited/ok")["requests"] == 120


def test_an_agent_that_is_asked_to_leave_finishes_what_is_in_flight(fleet, world, target):
    """SIGTERM is no loss: nothing is unaccounted, and what it did not send is handed back exactly."""
    fleet.join("leaving", "staying")
    path = "/leaving/ok"
    load = http_values(f"{target.url}{path}?ms=50", duration="3s", qps=200, connections=40, allowInitialErrors="true")
    launch = world.start("launch", "--set=tasks={http}", *load, "--nats", fleet.url, "--agents=2", "--wait-agents=30s")
    eventually(lambda: target.seen(path)["requests"] > 100, ENOUGH_S, "load")
    fleet.agents["leaving"].send_signal(signal.SIGTERM)
    ended(launch)

    account = world.result()["runs"][0]["account"]
    assert account["closes"]
    assert account["unaccounted"] == 0
    assert account["withdrawn"] > 0
    assert account["tried"] == account["ok"] == target.seen(path)["requests"]
    assert fleet.agents["leaving"].wait(ENOUGH_S) == 0


def test_an_agent_by_hand_loads_private_networks_only(fleet, world):
    """Nobody's web site is hit by a fleet whose owner did not say so: 192.0.2.1 is no one's (RFC 5737)."""
    fleet.join("careful")

    ran = world.run(*_launch(fleet, "http://192.0.2.1:9/", "--wait-agents=30s"))

    assert ran.code == 4, ran.out + ran.err
    assert "192.0.2.1 must not be loaded" in ran.out + ran.err


def test_no_bus_ends_with_4(without_bus):
    ran = ended(without_bus)

    assert ran.code == 4, ran.out + ran.err
    assert "127.0.0.1:9" in ran.out + ran.err
    assert "Traceback" not in ran.err


def test_an_agent_without_a_bus_says_so(world):
    ran = ended(world.start(program="seatrial-agent"))

    assert ran.code == 4, ran.err
    assert ran.err == "Error: no NATS server: say where it is with --nats URL or $SEATRIAL_NATS\n"
