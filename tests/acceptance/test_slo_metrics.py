"""Metrics beyond latency and errors, in SLOs on real processes: their values are what the target's own log says."""

from statistics import median

import pytest
from harness import Document, Target, World, only_target

WAY_MS = 8.0  # there and back over the loopback, on a busy machine
CAP = 2


def judged(world: World) -> dict[str, bool | None]:
    """Whether each SLO was satisfied, by its metric."""
    return {one["metric"]: one["satisfied"] for one in world.result()["verdict"]["slos"]}


def values(world: World) -> dict[str, float]:
    """The last value of each metric in the insights that is no histogram."""
    found: dict[str, list[float]] = world.result()["insights"]["nonHistMetricValues"][0]
    return {name: series[-1] for name, series in found.items()}


def took_ms(target: Target, path: str) -> list[float]:
    """How long the target itself took for each request."""
    return [(answered - received) / 1e6 for received, _scripted, answered in target.seen(path)["log"]]


def test_each_part_of_a_spike_has_limits_of_its_own(world: World, target: Target):
    http: Document = {
        "url": f"{target.url}/spiked/ok?ms=1*50,300*150,1*50",
        "spike": {"base": 50, "peak": 150, "before": "1s", "duration": "1s", "after": "1s"},
        "connections": 100,
        "allowInitialErrors": True,
    }
    limits = [{"metric": f"http@{part}/latency-p90", "limit": "200ms"} for part in ("before", "spike", "after")]

    ran = world.load(http, limits, "--agents=2")

    assert ran.code == 1, ran.out + ran.err
    assert target.seen("/spiked/ok")["requests"] == 250
    assert judged(world) == {
        "http@before/latency-p90": True,
        "http@spike/latency-p90": False,
        "http@after/latency-p90": True,
    }


def test_the_time_to_first_byte_is_the_targets_and_decides(world: World, target: Target):
    http: Document = {"url": f"{target.url}/first-byte/ok?ms=60", "rate": 80, "numRequests": 120, "connections": 20}

    ran = world.load(http, [{"metric": "http/ttfb-p50", "limit": "50ms"}, {"metric": "http/body-p50", "limit": "50ms"}])

    assert ran.code == 1, ran.out + ran.err
    assert judged(world) == {"http/ttfb-p50": False, "http/body-p50": True}
    of_target = median(took_ms(target, "/first-byte/ok"))
    clocks = only_target(world.result())["clocks"]
    assert of_target - 1 <= clocks["ttfb"]["percentiles"]["50"] <= of_target + WAY_MS
    assert values(world)["http/ttfb-p50"] == clocks["ttfb"]["percentiles"]["50"]
    assert clocks["ttfb"]["count"] == 120


def test_connecting_counts_each_connection_that_the_target_saw(world: World, target: Target):
    http: Document = {"url": f"{target.url}/connected/ok", "rate": 80, "numRequests": 80, "keepAlive": False}

    ran = world.load(http, [{"metric": "http/connect-p90", "limit": "500ms"}])

    assert ran.code == 0, ran.out + ran.err
    clocks = only_target(world.result())["clocks"]
    assert clocks["connect"]["count"] == len(target.seen("/connected/ok")["connections"]) == 80
    assert values(world)["http/connect-p90"] == clocks["connect"]["percentiles"]["90"]
    impossible = world.load(http, [{"metric": "http/connect-p90", "limit": "0.001ms"}])
    assert impossible.code == 1, impossible.out


def test_what_was_not_sent_is_counted_and_decides(world: World, target: Target):
    """Two connections carry four requests a second, of 30: what waits when the run has to end is unsent."""
    http: Document = {"url": f"{target.url}/unsent/ok?ms=500", "rate": 30, "duration": "2s", "maxDuration": "3s"}

    ran = world.load(
        {**http, "connections": CAP, "allowInitialErrors": True},
        [{"metric": "http/unsent-count", "limit": 0}],
    )

    assert ran.code == 1, ran.out + ran.err
    received = target.seen("/unsent/ok")["requests"]
    assert judged(world)["http/unsent-count"] is False
    account = only_target(world.result())["account"]
    assert (account["planned"], account["tried"], account["closes"]) == (60, received, True)
    assert values(world)["http/unsent-count"] == account["unsent"] == 60 - received > 40
    assert values(world)["http/error-count"] >= account["unsent"]


def test_a_lower_limit_on_the_rate_fails_what_did_not_reach_it(world: World, target: Target):
    load = ("http", f"{target.url}/rated/ok", "-r", "100", "-n", "150")

    enough = world.run(*load, "--slo", "rate>90")
    too_slow = world.run(*load, "--slo", "rate>120")

    assert (enough.code, too_slow.code) == (0, 1), enough.out + too_slow.out


def test_one_request_in_a_hundred_is_traced_when_nothing_is_said(world: World, target: Target):
    ran = world.load({"url": f"{target.url}/traced-by-default/ok", "rate": 400, "numRequests": 800}, (), "--agents=2")

    assert ran.code == 0, ran.out + ran.err
    headers = target.seen("/traced-by-default/ok")["headers"]
    ids = [name.split("-")[1] for name in headers if name.startswith("traceparent: 00-")]
    assert len(ids) == len(set(ids)) == pytest.approx(8, abs=1)
