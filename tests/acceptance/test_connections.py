"""Connections on real processes: how many the target saw is what was asked for, or what the load needs."""

import re
import socket
from contextlib import suppress

import pytest
from harness import Document, Ran, Target, World, only_target, serving

RATE = 100
SLOW_MS = 150  # so 15 requests are under way at once


def segment(world: World) -> Document:
    found: Document = world.result()["runs"][0]["segments"][-1]
    return found


def limited(world: World) -> list[str]:
    return [one["message"] for one in world.result()["findings"] if one["code"] == "connection-limited"]


def slow(world: World, target: Target, name: str, **settings: object) -> Ran:
    ran = world.load({"url": f"{target.url}/{name}/ok?ms={SLOW_MS}", "rate": RATE, "numRequests": 110, **settings})
    assert ran.code == 0, ran.out + ran.err
    return ran


def has_ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6) as one:
        one.bind(("::1", 0))
        return True
    return False


def test_unset_connections_stay_few_while_answers_are_fast(world: World, target: Target):
    ran = world.load({"url": f"{target.url}/fast/ok", "rate": RATE, "numRequests": 150})

    assert ran.code == 0, ran.out + ran.err
    used = len(target.seen("/fast/ok")["connections"])
    assert used <= segment(world)["connectionsOpen"] <= 8
    assert segment(world)["connectionsOpen"] >= 4
    assert limited(world) == []


def test_unset_connections_grow_to_what_slow_answers_need(world: World, target: Target):
    slow(world, target, "grown")

    used = len(target.seen("/grown/ok")["connections"])
    assert 14 <= used <= 40
    assert segment(world)["connectionsOpen"] == used
    assert limited(world) == []


@pytest.mark.parametrize("cap", ["connections", "maxInFlight"])
def test_a_cap_that_binds_is_told_with_a_number_that_does(world: World, target: Target, cap: str):
    slow(world, target, f"capped-{cap}", **{cap: 4})
    assert len(target.seen(f"/capped-{cap}/ok")["connections"]) == 4
    [told] = limited(world)
    found = re.search(r"(\d+) would carry the load", told)
    assert found
    needed = int(found[1])
    assert 14 <= needed <= 30

    slow(world, target, f"enough-{cap}", **{cap: needed})

    assert len(target.seen(f"/enough-{cap}/ok")["connections"]) <= needed
    assert limited(world) == []


def test_without_keep_alive_each_request_has_a_connection_of_its_own(world: World, target: Target):
    ran = world.load({"url": f"{target.url}/once-only/ok", "rate": 60, "numRequests": 60, "keepAlive": False})

    assert ran.code == 0, ran.out + ran.err
    seen = target.seen("/once-only/ok")
    assert list(seen["connections"].values()) == [1] * 60
    assert only_target(world.result())["account"]["ok"] == 60


def test_a_connection_is_replaced_after_its_number_of_requests(world: World, target: Target):
    http = {"url": f"{target.url}/five/ok", "rate": 100, "numRequests": 100, "connections": 2}

    ran = world.load({**http, "requestsPerConnection": 5})

    assert ran.code == 0, ran.out + ran.err
    seen = target.seen("/five/ok")
    assert max(seen["connections"].values()) == 5
    assert 20 <= len(seen["connections"]) <= 21
    assert only_target(world.result())["account"]["ok"] == 100


def test_closed_load_uses_as_many_connections_as_it_has_users(world: World, target: Target):
    ran = world.load(
        {"url": f"{target.url}/closed/ok?ms=20", "qps": -1, "numRequests": 210, "connections": 7}, (), "--agents=2"
    )

    assert ran.code == 0, ran.out + ran.err
    seen = target.seen("/closed/ok")
    assert seen["requests"] == 210
    assert len(seen["connections"]) == 7


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_ipv6_addresses_are_loaded_and_reported(world: World):
    with serving("--host=::1") as target:
        ran = world.run("http", f"{target.url}/six/ok", "-r", "80", "-n", "80", "--slo", "errors<=0%")

        seen = target.seen("/six/ok")
    assert ran.code == 0, ran.out + ran.err
    assert seen["addresses"] == {"::1": 80}
    assert seen["headers"][f"host: {target.url.removeprefix('http://')}"] == 80
    [remote] = only_target(world.result())["remotes"]
    assert "::1" in remote
    assert "::1" in ran.out


def test_the_address_that_answered_is_reported(world: World, target: Target):
    port = target.url.rpartition(":")[2]

    ran = world.run("http", f"http://localhost:{port}/named/ok", "-r", "60", "-n", "60")

    assert ran.code == 0, ran.out + ran.err
    assert target.seen("/named/ok")["addresses"] == {"127.0.0.1": 60}
    found = only_target(world.result())
    assert found["remotes"] == ["127.0.0.1"]
    assert found["addresses"] == len({one[4][0] for one in socket.getaddrinfo("localhost", port, proto=6)})
    assert "127.0.0.1" in ran.out
