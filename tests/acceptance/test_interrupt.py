"""Whoever ends a run early gets what was measured, marked as partial; and nothing stays behind, however it ended."""

import asyncio
import os
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from harness import Target, World, ended, eventually, http_values

from controller.local import _WARDEN, nats_server

RATE = 200
LENGTH_S = 30
END_S = 15.0  # an upper bound against hangs, and half of what the slowest request here takes
GONE_S = 5.0  # after kill -9
FORMATS = ("text", "html", "json", "junit", "markdown")


@pytest.fixture
def launch(request, world: World, target: Target) -> subprocess.Popen[str]:
    """A run of 30 s with an SLO, in mid-run; by parameter, one whose requests take as many ms."""
    path = f"/interrupt/{request.node.name}/ok"
    latency_ms = getattr(request, "param", 1)
    load = {"duration": f"{LENGTH_S}s", "qps": RATE, "connections": 4, "timeout": "40s", "allowInitialErrors": "true"}
    started = world.start(
        "launch",
        "--set=tasks={http,assess}",
        *http_values(f"{target.url}{path}?ms={latency_ms}", **load),
        "--set=assess.SLOs.upper.http/latency-p99=2s",
        "--agents=2",
    )
    enough = RATE if latency_ms < 1000 else 4
    eventually(lambda: target.seen(path)["requests"] >= enough, 30, "load")
    return started


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_interrupted_run_gives_a_partial_report(launch, world, number):
    launch.send_signal(number)
    ran = ended(launch, END_S)

    assert ran.code == 130, ran.out + ran.err
    assert "PARTIAL: the experiment was interrupted" in ran.out
    assert "verdict: pass" not in ran.out
    result = world.result()
    assert result["interrupted"] is True
    assert result["runs"][0]["ended"] == "interrupted"
    account = result["runs"][0]["account"]
    assert account["closes"]
    assert account["planned"] == RATE * LENGTH_S == account["tried"] + account["withdrawn"] + account["unsent"]
    assert account["ok"] > RATE / 2
    assert "interrupted" in [finding["code"] for finding in result["findings"]]
    assert world.leftovers() == []
    reports = {form: world.run("report", "-o", form) for form in FORMATS}
    assert {form: report.code for form, report in reports.items()} == dict.fromkeys(FORMATS, 0)
    assert reports["text"].out == ran.out
    assert world.run("assert", "-c", "slos").code == 2


@pytest.mark.parametrize("launch", [30_000], indirect=True, ids=["requests-of-30-s"])
def test_a_second_ctrl_c_ends_at_once(launch, world):
    launch.send_signal(signal.SIGINT)
    time.sleep(0.3)
    launch.send_signal(signal.SIGINT)
    ran = ended(launch, END_S)

    assert ran.code == 130, ran.out + ran.err
    assert "Traceback" not in ran.err
    assert world.result()["interrupted"] is True
    assert world.leftovers() == []


def test_ctrl_c_before_the_first_request_ends_too(world, target):
    launch = world.start("launch", "--set=tasks={http}", *http_values(f"{target.url}/early/ok", duration="30s"))
    eventually(lambda: world.processes("seatrial-agent"), 20, "an agent")
    launch.send_signal(signal.SIGINT)
    ran = ended(launch, END_S)

    assert ran.code == 130, ran.out + ran.err
    assert "Traceback" not in ran.err
    assert world.result()["interrupted"] is True
    assert world.leftovers() == []


def test_nothing_is_left_after_kill_9_of_launch(launch, world, target):
    names = {one.name for one in world.processes()}
    assert names >= {"seatrial", "seatrial-agent", "seatrial-warden", "nats-server"}
    [folder] = world.tmp.iterdir()
    assert folder.name.startswith("seatrial-")

    os.kill(launch.pid, signal.SIGKILL)
    launch.wait()

    eventually(lambda: world.leftovers() == [], GONE_S, f"nothing left of {names}")
    assert world.document()["result"]["numCompletedTasks"] == 0


async def test_there_is_never_a_folder_without_a_shell_to_remove_it(tmp_path, monkeypatch):
    """Else a kill -9 between the two would leave it behind for ever."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    start = asyncio.create_subprocess_exec
    before: list[Path] = []

    async def watched(*command, **options):
        before.extend(tmp_path.iterdir())
        return await start(*command, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", watched)
    async with nats_server():
        during = [stat.filemode(path.stat().st_mode) for path in tmp_path.iterdir()]

    assert before == []
    assert during == ["drwx------"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("told", ["", "server_name: half", "server_name: half\n"])
def test_a_warden_that_is_not_told_all_starts_nothing(tmp_path, told):
    """Its launcher was killed in mid-sentence: a server without its configuration would be open to the world."""
    folder = tmp_path / "folder"
    ran = subprocess.run(
        ["/bin/sh", "-c", _WARDEN, "seatrial-warden", str(folder), "touch", str(tmp_path / "started")],
        input=told,
        text=True,
        timeout=END_S,
        check=False,
    )

    assert ran.returncode == 0
    assert list(tmp_path.iterdir()) == []
