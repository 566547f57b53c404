"""The load engine as a whole, on real processes: what the target saw is what was asked for, and what is reported."""

import re
from pathlib import Path

import pytest
import yaml
from harness import Document, Target, World, only_target
from http2_servers import nginx


def run(world: World, http: Document, upper: dict[str, object] | None = None, *flags: str):
    """The experiment with these settings, run to its end."""
    spec: list[Document] = [{"task": "http", "with": http}]
    if upper:
        limits = [{"metric": name, **(one if isinstance(one, dict) else {"limit": one})} for name, one in upper.items()]
        spec.append({"task": "assess", "with": {"SLOs": {"upper": limits}}})
    (world.folder / "experiment.yaml").write_text(yaml.safe_dump({"spec": spec}))
    return world.run("run", *flags)


def received_s(target: Target, path: str) -> list[float]:
    return [received_ns / 1e9 for received_ns, _scripted, _answered in target.seen(path)["log"]]


def test_stages_are_sent_as_planned_and_measured_one_by_one(world: World, target: Target):
    stages = [
        {"rate": 50, "from": 50, "duration": "1s", "name": "low"},
        {"rate": 150, "duration": "1s", "name": "ramp"},
        {"rate": 120, "from": 120, "duration": "1s", "name": "high"},
    ]
    limits = {"http@high/latency-p95": "200ms", "http/latency-p95": "200ms"}

    ran = run(
        world, {"url": f"{target.url}/stages/ok", "stages": stages, "allowInitialErrors": True}, limits, "--agents", "2"
    )

    assert ran.code == 0, ran.out + ran.err
    found = only_target(world.result())
    assert {one["name"]: one["account"]["ok"] for one in found["stages"]} == {"low": 50, "ramp": 100, "high": 120}
    assert target.seen("/stages/ok")["requests"] == found["account"]["ok"] == 270
    assert [one["meetsSlos"] for one in found["stages"]] == [True, True, True]
    assert "Highest stage that met the SLOs: high" in " ".join(ran.out.split())


def test_poisson_arrivals_are_decided_by_the_seed(world: World, target: Target):
    counts = []
    for path, seed in (("one", 1), ("same", 1), ("other", 2)):
        http = {"url": f"{target.url}/{path}/ok", "rate": 200, "duration": "2s", "arrival": "poisson", "seed": seed}
        assert run(world, http).code == 0
        counts.append(target.seen(f"/{path}/ok")["requests"])

    assert counts[0] == counts[1] != counts[2]


def test_a_mix_is_counted_by_the_target_as_by_us(world: World, target: Target):
    endpoints = {
        "a": {"url": f"{target.url}/mix-a/ok", "weight": 3},
        "b": {"url": f"{target.url}/mix-b/ok", "weight": 1},
    }

    ran = run(world, {"mix": True, "rate": 200, "numRequests": 400, "endpoints": endpoints}, {"http/error-rate": 0})

    assert ran.code == 0, ran.out + ran.err
    [segment] = world.result()["runs"][0]["segments"]
    tried = {one["provider"]: one["account"]["tried"] for one in segment["targets"]}
    assert tried == {f"http-{name}": target.seen(f"/mix-{name}/ok")["requests"] for name in "ab"}
    assert sum(tried.values()) == segment["total"]["account"]["tried"] == 400
    assert 250 < tried["http-a"] < 350


def test_each_row_of_data_is_used_once_over_all_agents(world: World, target: Target):
    (world.folder / "rows.csv").write_text("name\n" + "".join(f"row-{n}\n" for n in range(60)))
    http = {
        "url": f"{target.url}/rows/ok",
        "data": {"file": "rows.csv"},
        "payloadStr": "hello {{ row.name }}",
        "numRequests": 60,
        "rate": 100,
        "connections": 4,
    }

    ran = run(world, http, None, "--agents", "2")

    assert ran.code == 0, ran.out + ran.err
    assert target.seen("/rows/ok")["bodies"] == {f"hello row-{n}": 1 for n in range(60)}


def test_abort_on_ends_the_run_soon_and_fails(world: World, target: Target):
    http = {
        "url": f"{target.url}/abort/status/503",
        "rate": 100,
        "duration": "30s",
        "allowInitialErrors": True,
        "abortOn": [{"metric": "http/error-rate", "upper": 0.5}],
    }

    ran = run(world, http)

    assert ran.code == 1, ran.out + ran.err
    result = world.result()
    assert (result["verdict"]["outcome"], result["runs"][0]["ended"]) == ("fail", "aborted")
    assert "abortOn: http/error-rate is 1, above 0.5" in ran.out
    at_s = received_s(target, "/abort/status/503")
    violated_s = at_s[100]  # minRequests
    assert at_s[-1] - violated_s < 2
    assert result["runs"][0]["account"]["tried"] == len(at_s)


def test_a_limit_that_is_crossed_too_late_to_end_the_run_fails_it_all_the_same(world: World, target: Target):
    http = {
        "url": f"{target.url}/late/status/503",
        "rate": 200,
        "duration": "800ms",
        "allowInitialErrors": True,
        "abortOn": [{"metric": "http/error-rate", "upper": 0.1}],
    }

    ran = run(world, http)

    assert ran.code == 1, ran.out + ran.err
    assert world.result()["runs"][0]["ended"] == "complete"
    assert "the run was over before that could end it" in " ".join(ran.out.split())


def test_a_stall_fails_the_worst_window_and_not_the_whole(world: World, target: Target):
    script = ",".join(["1"] * 290 + ["300"] * 20 + ["1"] * 290)
    http = {"url": f"{target.url}/window/ok?ms={script}", "rate": 100, "duration": "6s", "connections": 64}
    limits = {"http/latency-p90": "150ms"}

    whole = run(world, http, limits)
    windowed = run(
        world,
        {**http, "url": http["url"].replace("window", "windowed")},
        {"http/latency-p90": {"limit": "150ms", "window": "1s"}},
    )

    assert (whole.code, windowed.code) == (0, 1), whole.out + windowed.out
    [judged] = world.result()["verdict"]["slos"]
    assert judged["window"] == "1s"
    assert 1 <= judged["worstWindow"][0] <= 3.5


def test_a_generator_that_cannot_make_the_load_never_passes(world: World, tmp_path: Path):
    (tmp_path / "nginx").mkdir()
    with nginx(tmp_path / "nginx") as server:
        ran = world.run(
            "http", server.url("upload", ""), "-r", "300000", "-d", "2s", "--agents", "1", "--slo", "errors<100%"
        )

    assert ran.code == 2, ran.out
    assert re.search(r"\d+ agents, or more cores, would do", ran.out)
    assert world.result()["verdict"]["outcome"] == "invalid"


def test_connections_grow_with_the_load_and_a_cap_that_binds_is_told(world: World, target: Target):
    http = {"url": f"{target.url}/grow/ok?ms=100", "rate": 100, "duration": "3s"}

    assert run(world, http).code == 0
    grown = world.result()["runs"][0]["segments"][-1]
    assert run(world, {**http, "connections": 4}).code == 0
    capped = world.result()

    assert 8 <= grown["connectionsOpen"] <= 40
    [told] = [one["message"] for one in capped["findings"] if one["code"] == "connection-limited"]
    needed = int(re.search(r": (\d+) would carry the load", told)[1])
    assert 8 <= needed <= 40


def test_a_secret_is_sent_and_shown_nowhere(world: World, target: Target):
    secret = "s3cr3t-0f-the-house"  # noqa: S105 of this test
    world.environment["TOKEN"] = secret
    http = {"url": f"{target.url}/auth/ok", "numRequests": 5, "rate": 50, "auth": {"bearer": {"tokenEnv": "TOKEN"}}}

    ran = run(world, http)

    assert ran.code == 0, ran.out + ran.err
    assert target.seen("/auth/ok")["headers"][f"authorization: Bearer {secret}"] == 5
    shown = [ran.out, ran.err, *(world.run("report", "-o", kind).out for kind in ("html", "json", "junit", "markdown"))]
    assert all(secret not in text for text in shown)
    assert secret.encode() not in Path(world.folder / "experiment.yaml").read_bytes()


def test_the_secret_that_is_not_there_is_named(world: World, target: Target):
    ran = run(world, {"url": f"{target.url}/ok", "auth": {"bearer": {"tokenEnv": "NO_SUCH_TOKEN"}}})

    assert ran.code == 3
    assert "NO_SUCH_TOKEN" in ran.err


@pytest.mark.parametrize(
    ("check", "words"),
    [({"contains": "nowhere"}, "nowhere"), ({"jsonPath": "$.a", "equals": 1}, "JSON"), ({"maxBytes": 1}, "1")],
    ids=["contains", "json-path", "max-bytes"],
)
def test_a_check_that_fails_is_an_error_of_its_class(world: World, target: Target, check: Document, words: str):
    http = {"url": f"{target.url}/check/ok", "numRequests": 20, "rate": 100, "checks": [check]}

    ran = run(world, http, {"http/error-rate": 0})

    assert ran.code == 1, ran.out + ran.err
    found = only_target(world.result())
    assert found["errorClasses"] == {"check": 20}
    assert words in next(one["error"] for one in found["samples"] if one["kind"] == "check")


def test_one_connection_a_request_is_that(world: World, target: Target):
    http = {"url": f"{target.url}/once/ok", "numRequests": 30, "rate": 50, "keepAlive": False}

    assert run(world, http).code == 0

    found = only_target(world.result())
    assert found["clocks"]["connect"]["count"] >= 26  # but for those that were opened ahead
    assert target.seen("/once/ok")["headers"]["connection: close"] == 30
