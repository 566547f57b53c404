"""Load shapes on real processes: the target's own log shows the shape that was asked for, and the result agrees."""

from itertools import pairwise
from statistics import mean, pstdev

import pytest
from harness import Document, Target, World, only_target

SLACK = 0.25  # of a second's requests: what a busy machine may move from one second into its neighbour


def by_stage(world: World) -> dict[str, int]:
    return {one["name"]: one["account"]["ok"] for one in only_target(world.result())["stages"]}


def by_second(at_s: list[float], seconds: int) -> list[int]:
    return [sum(1 for one in at_s if second <= one < second + 1) for second in range(seconds)]


@pytest.mark.parametrize("agents", ["1", "3"])
def test_each_stage_sends_its_exact_count_in_its_own_time(world: World, target: Target, agents: str):
    path = f"/stages-{agents}/ok"
    stages = [
        {"rate": 40, "from": 40, "duration": "1s", "name": "low"},
        {"rate": 120, "duration": "1s", "name": "ramp"},
        {"rate": 120, "duration": "1s"},
    ]

    ran = world.load({"url": target.url + path, "stages": stages, "allowInitialErrors": True}, (), f"--agents={agents}")

    assert ran.code == 0, ran.out + ran.err
    assert by_stage(world) == {"low": 40, "ramp": 80, "3": 120}
    at_s = target.received_s(path)
    assert len(at_s) == 240
    assert by_second(at_s, 3) == [pytest.approx(planned, abs=SLACK * 120) for planned in (40, 80, 120)]


def test_each_step_has_metrics_of_its_own_and_the_best_one_is_named(world: World, target: Target):
    url = f"{target.url}/step/ok?ms=1*100,300*200"
    limits = [{"metric": f"http{stage}/latency-p95", "limit": "150ms"} for stage in ("@100", "@200", "")]

    ran = world.load(
        {
            "url": url,
            "step": {"from": 100, "to": 200, "by": 100, "duration": "1s"},
            "connections": 100,
            "allowInitialErrors": True,
        },
        limits,
    )

    assert ran.code == 1, ran.out + ran.err
    assert target.seen("/step/ok")["requests"] == 300
    assert by_stage(world) == {"100": 100, "200": 200}
    result = world.result()
    assert [one["satisfied"] for one in result["verdict"]["slos"]] == [True, False, False]
    assert result["runs"][0]["segments"][-1]["bestStage"] == "100"
    assert "Highest stage that met the SLOs: 100 (100/s)" in " ".join(ran.out.split())


def test_a_spike_jumps_and_falls_back(world: World, target: Target):
    spike = {"base": 40, "peak": 240, "before": "1s", "duration": "1s", "after": "1s"}

    ran = world.load({"url": f"{target.url}/spike/ok", "spike": spike, "allowInitialErrors": True})

    assert ran.code == 0, ran.out + ran.err
    assert by_stage(world) == {"before": 40, "spike": 240, "after": 40}
    at_s = target.received_s("/spike/ok")
    assert len(at_s) == 320
    assert by_second(at_s, 3) == [pytest.approx(planned, abs=SLACK * 160) for planned in (40, 240, 40)]


def test_poisson_arrivals_are_decided_by_the_seed_over_any_number_of_agents(world: World, target: Target):
    for path, seed, agents in (("one", 1, "1"), ("same", 1, "2"), ("other", 2, "1")):
        http: Document = {"url": f"{target.url}/poisson-{path}/ok", "arrival": "poisson", "seed": seed}
        http |= {"rate": 300, "duration": "1s", "allowInitialErrors": True}
        ran = world.load(http, (), f"--agents={agents}")
        assert ran.code == 0, ran.out + ran.err
        assert only_target(world.result())["account"]["tried"] == target.seen(f"/poisson-{path}/ok")["requests"]
    one, same, other = (target.received_s(f"/poisson-{path}/ok") for path in ("one", "same", "other"))
    gaps = [after - before for before, after in pairwise(one)]

    assert len(one) == len(same) != len(other)
    assert 0.7 < pstdev(gaps) / mean(gaps) < 1.4  # 1 for a Poisson process, 0 for even spacing


def test_a_mix_is_counted_by_the_target_as_in_the_result(world: World, target: Target):
    weights = {"a": 5, "b": 3, "c": 2}
    endpoints = {name: {"url": f"{target.url}/mix3-{name}/ok", "weight": weight} for name, weight in weights.items()}

    ran = world.load({"mix": True, "rate": 300, "numRequests": 400, "endpoints": endpoints}, (), "--agents=2")

    assert ran.code == 0, ran.out + ran.err
    [segment] = world.result()["runs"][0]["segments"]
    counted = {one["provider"]: one["account"]["ok"] for one in segment["targets"]}
    received = {f"http-{name}": target.seen(f"/mix3-{name}/ok")["requests"] for name in weights}
    assert counted == received
    assert sum(received.values()) == segment["total"]["account"]["ok"] == 400
    for name, weight in weights.items():
        assert received[f"http-{name}"] == pytest.approx(40 * weight, abs=40)  # four standard deviations


def test_stages_of_users_that_think(world: World, target: Target):
    stages = [{"users": 2, "from": 2, "duration": "1s"}, {"users": 6, "from": 6, "duration": "1s"}]

    ran = world.load(
        {"url": f"{target.url}/users/ok", "stages": stages, "thinkTime": "100ms", "allowInitialErrors": True}
    )

    assert ran.code == 0, ran.out + ran.err
    counts = by_stage(world)
    seen = target.seen("/users/ok")
    assert sum(counts.values()) == seen["requests"]
    assert len(seen["connections"]) <= 6
    assert 12 <= counts["1"] <= 2 * 11
    assert 36 <= counts["2"] <= 6 * 11
    assert by_second(target.received_s("/users/ok"), 1) == [pytest.approx(counts["1"], abs=6)]


def test_measure_keeps_the_requests_of_its_span_alone(world: World, target: Target):
    url = f"{target.url}/measure/ok?ms=300*100,1*100,300*100"
    http = {"url": url, "rate": 100, "duration": "3s", "connections": 80, "allowInitialErrors": True}

    ran = world.load(
        {**http, "measure": {"from": "1s", "to": "2s"}}, [{"metric": "http/latency-p95", "limit": "150ms"}]
    )

    assert ran.code == 0, ran.out + ran.err
    assert target.seen("/measure/ok")["requests"] == 300
    assert only_target(world.result())["account"]["tried"] == 100
    assert world.result()["insights"]["nonHistMetricValues"][0]["http/request-count"] == [100]


def test_a_stall_fails_its_window_while_the_whole_passes(world: World, target: Target):
    stall = ",".join(str(400 - 10 * waited) for waited in range(40))
    url = f"{target.url}/stall/ok?ms=1*180,{stall},1*180"
    limit = {"metric": "http/latency-p90", "limit": "150ms"}

    ran = world.load(
        {"url": url, "rate": 100, "numRequests": 400, "connections": 80}, [limit, limit | {"window": "2s"}]
    )

    assert ran.code == 1, ran.out + ran.err
    assert target.seen("/stall/ok")["requests"] == 400
    whole, windowed = world.result()["verdict"]["slos"]
    assert (whole["satisfied"], windowed["satisfied"]) == (True, False)
    begins_s, ends_s = windowed["worstWindow"]
    assert (windowed["window"], ends_s - begins_s) == ("2s", 2)
    assert begins_s <= 2.2 <= ends_s  # when the stall was over
