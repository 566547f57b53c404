"""The target sees exactly what was planned, over any number of agents, and the account says so."""

from pathlib import Path

import pytest
from harness import Document, Target, http_values, only_target, world_in

REQUESTS = 601
RATE = 600
AGENTS = (1, 2, 10)


@pytest.fixture(scope="module")
def results(target: Target, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Document]:
    """The same experiment on 1, 2 and 10 agents: its result by their number."""
    return {agents: _result(target, tmp_path_factory.mktemp("counts"), agents) for agents in AGENTS}


def _result(target: Target, folder: Path, agents: int) -> Document:
    with world_in(folder) as world:
        load = {"numRequests": REQUESTS, "qps": RATE, "connections": 20, "headers.X-Trial": f"of-{agents}"}
        ran = world.run(
            "launch",
            "--set=tasks={http,assess}",
            *http_values(f"{target.url}/counts/{agents}/ok", **load),
            "--set=assess.SLOs.upper.http/latency-p99=500",
            "--set=assess.SLOs.upper.http/error-count=0",
            f"--agents={agents}",
        )
        assert ran.code == 0, ran.out + ran.err
        assert world.leftovers() == []
        return world.result()


@pytest.mark.parametrize("agents", AGENTS)
def test_the_target_sees_exactly_the_requests_asked_for(results, target, agents):
    seen = target.seen(f"/counts/{agents}/ok")

    assert seen["requests"] == REQUESTS
    assert seen["headers"][f"x-trial: of-{agents}"] == REQUESTS


@pytest.mark.parametrize("agents", AGENTS)
def test_the_account_says_where_each_request_went(results, agents):
    account = results[agents]["runs"][0]["account"]

    assert account == {
        "planned": REQUESTS,
        "tried": REQUESTS,
        "ok": REQUESTS,
        "errors": 0,
        "unsent": 0,
        "withdrawn": 0,
        "unaccounted": 0,
        "closes": True,
    }


@pytest.mark.parametrize("agents", AGENTS)
def test_every_agent_has_its_share_and_no_more(results, agents):
    shares = [agent["tried"] for agent in results[agents]["runs"][0]["agents"]]

    assert len(shares) == agents
    assert sum(shares) == REQUESTS
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize("agents", AGENTS[1:])
def test_any_number_of_agents_gives_the_same_answer(results, agents):
    one, many = _answer(results[1]), _answer(results[agents])

    assert many == one


def _answer(result: Document) -> Document:
    """What must not depend on the number of agents: the verdict, all counts, and the plan of each second."""
    found = only_target(result)
    metrics = result["insights"]["nonHistMetricValues"][0]
    return {
        "outcome": result["verdict"]["outcome"],
        "satisfied": result["insights"]["SLOsSatisfied"],
        "account": found["account"],
        "classes": found["errorClasses"],
        "statuses": found["statusCodes"],
        "samples": {name: clock["count"] for name, clock in found["clocks"].items() if isinstance(clock, dict)},
        "planned": found["series"]["planned"],
        "counts": {name: metrics[f"http/{name}"] for name in ("request-count", "error-count", "error-rate")},
    }


def test_requests_say_which_run_they_are_of(results, target):
    run = results[2]["runs"][0]["runId"]

    headers = target.seen("/counts/2/ok")["headers"]

    assert [name for name in headers if f"run={run}" in name and name.startswith("user-agent: seatrial/")]
