"""Runs that should end early do, on all agents and soon; a load that was not made never passes."""

import re
import time
from itertools import accumulate

import pytest
from harness import Document, Target, World

SOON_S = 2.0
FORMATS = ("text", "html", "json", "junit", "markdown")
GOOD = 200
RATE = 200


def violated_s(at_s: list[float], bad: list[bool], limit: float, least: int) -> float:
    """When the share of bad requests rose above a limit, among so many at least."""
    shares = (count / number for number, count in enumerate(accumulate(bad), 1))
    return next(
        clock
        for number, (clock, share) in enumerate(zip(at_s, shares, strict=True), 1)
        if share > limit and number >= least
    )


@pytest.mark.parametrize(
    ("name", "script", "limit"),
    [
        ("errors", "status=200*{good},503*5000", {"metric": "http/error-rate", "upper": "20%"}),
        ("slow", "ms=1*{good},400*5000", {"metric": "http/latency-p80", "upper": "200ms"}),
    ],
    ids=["errors", "slow"],
)
def test_a_violated_limit_ends_the_run_on_all_agents_within_two_seconds(
    world: World, target: Target, name: str, script: str, limit: Document
):
    path = f"/abort-{name}/ok"
    http = {"url": f"{target.url}{path}?{script.format(good=GOOD)}", "rate": RATE, "duration": "60s"}

    ran = world.load(
        {**http, "allowInitialErrors": True, "connections": 120, "abortOn": [limit]},
        [{"metric": "http/latency-p50", "limit": "2s"}],
        "--agents=2",
    )

    assert ran.code == 1, ran.out + ran.err
    at_s = target.received_s(path)
    bad = [number >= GOOD for number in range(len(at_s))]
    known_s = 0.4 if name == "slow" else 0.0  # a slow answer is known to be one when it is there
    assert at_s[-1] - violated_s(at_s, bad, 0.2, 100) - known_s < SOON_S
    result = world.result()
    assert result["verdict"]["outcome"] == "fail"
    assert any(limit["metric"] in reason and "abortOn" in reason for reason in result["verdict"]["reasons"])
    [run] = result["runs"]
    account = run["account"]
    assert (run["ended"], account["closes"], account["tried"]) == ("aborted", True, len(at_s))
    assert account["planned"] == RATE * 60 == account["tried"] + account["withdrawn"] + account["unsent"]
    assert all(agent["tried"] > 0.4 * len(at_s) for agent in run["agents"])
    reports = {kind: world.run("report", f"--outputFormat={kind}").out for kind in FORMATS}
    assert [kind for kind, text in reports.items() if "aborted" not in text.lower()] == []
    time.sleep(0.3)
    assert len(target.received_s(path)) == len(at_s)


def test_a_limit_that_holds_ends_nothing(world: World, target: Target):
    http = {"url": f"{target.url}/kept/ok?status=200,503*1,200*8", "rate": 100, "numRequests": 250}

    ran = world.load({**http, "abortOn": [{"metric": "http/error-rate", "upper": "20%"}]})

    assert ran.code == 0, ran.out + ran.err
    assert target.seen("/kept/ok")["requests"] == 250
    assert world.result()["runs"][0]["ended"] == "complete"


def test_a_saturated_generator_never_passes_and_says_how_many_agents_would_do(world: World, target: Target):
    ran = world.run(
        "http", f"{target.url}/flood/ok", "-r", "300000", "-d", "0.5s", "--agents", "1", "--slo", "errors<=1%"
    )

    result = world.result()
    assert (ran.code, result["verdict"]["outcome"]) == (2, "invalid"), ran.out + ran.err
    assert [one["wouldBe"] for one in result["verdict"]["slos"]] == [True]
    account = result["runs"][0]["account"]
    assert account["closes"]
    assert target.seen("/flood/ok")["requests"] == account["planned"] == 150_000
    number = re.search(r"(\d+) agents, or more cores, would do", " ".join(result["verdict"]["reasons"]))
    assert number
    assert int(number[1]) >= 2
    assert f"{number[1]} agents" in " ".join(ran.out.split())
