"""wrk and Seatrial on the same idle target say the same. Opt-in (`make soak`): other work on the machine moves both."""
# ruff: noqa: T201 figures, for `pytest -s`

import re
import subprocess
from pathlib import Path
from statistics import median

import pytest
from harness import World, only_target
from http2_servers import nginx, program

ROUNDS = 5
MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def by_wrk(url: str) -> dict[str, float]:
    """p50 and p99 in ms."""
    command = [program("wrk", "wrk"), "-t1", "-c10", "-d2", "--latency", url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^ +(50|99)% +([0-9.]+)(us|ms|s)$", said, flags=re.MULTILINE)
    return {percent: float(value) * MS[unit] for percent, value, unit in found}


def by_us(world: World, url: str) -> dict[str, float]:
    ran = world.run("http", url, "-c", "10", "-d", "2s", "--agents", "1")
    assert ran.code == 0, ran.out + ran.err
    percentiles = only_target(world.result())["clocks"]["service"]["percentiles"]
    return {percent: percentiles[percent] for percent in ("50", "99")}


@pytest.mark.soak
def test_p50_and_p99_are_those_of_wrk_within_10_percent_or_100_microseconds(world: World, tmp_path: Path):
    (tmp_path / "nginx").mkdir()
    with nginx(tmp_path / "nginx") as server:
        url = server.url("upload", "")
        pairs = [(by_wrk(url), by_us(world, url)) for _ in range(ROUNDS)]

    for percent in ("50", "99"):
        theirs = median(wrk[percent] for wrk, _ours in pairs)
        ours = median(seatrial[percent] for _wrk, seatrial in pairs)
        print(f"p{percent}: wrk {theirs:.3f} ms, Seatrial {ours:.3f} ms")
        assert abs(ours - theirs) <= max(0.1, 0.1 * theirs)
