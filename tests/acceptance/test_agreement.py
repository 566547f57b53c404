"""wrk and Seatrial say the same of the same target, one after the other.

Both share the machine with the target, so whatever else it does moves the one that is under way: these tests run by
themselves (`alone`), rounds of both are interleaved, and their medians compared. A neighbour that stays for a whole
comparison is met by comparing again, twice at most; a tool that measures something else disagrees each time.

Before wrk prints percentiles, it adds requests that it never sent: for each latency of at least twice the mean time between
two requests of a connection, those that would have been sent meanwhile, had it kept to that time. One stall of 3 ms at
100,000/s adds hundreds, of which its p99 is made. Seatrial counts what was sent; so a script has wrk tell all its
counts, and what was added is taken away again.
"""
# ruff: noqa: T201 figures, for `pytest -s`

import os
import re
import subprocess
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from statistics import median

import pytest
from harness import Target, World, only_target
from http2_servers import free_ports, program, running

CONNECTIONS = 4
LENGTH_S = 1
ROUNDS = 5
COMPARISONS = 3
PERCENTS = ("50", "99")
BODY_BYTES = 128
CONFIG = """\
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; {user}
events {{ worker_connections 256; }}
http {{
  access_log off; default_type text/plain; keepalive_requests 1000000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{body}"; }} }}
}}
"""
TELL = """\
done = function(summary, latency, requests)
  io.write("interval ", math.floor(summary.duration / math.floor(summary.requests / %d)), "\\n")
  for i = 1, #latency do io.write("latency ", table.concat({latency(i)}, " "), "\\n") end
end
"""
# Of a hundred answers 96 take 5 ms and four take 50 ms: p50 lies amid the ones, p99 amid the others.
SCRIPT = "ms=5*24,50*1"


@pytest.fixture
def nginx_url(tmp_path: Path) -> Iterator[str]:
    """An nginx that has nothing else to do than to answer with 128 bytes."""
    folder = tmp_path / "nginx"
    folder.mkdir()
    ports = free_ports("port")
    user = "user root;" if os.getuid() == 0 else ""  # the folder is its owner's alone
    (folder / "nginx.conf").write_text(CONFIG.format(folder=folder, user=user, body="x" * BODY_BYTES, **ports))
    command = [program("nginx", "nginx-light"), "-p", str(folder), "-e", f"{folder}/error.log"]
    with running([*command, "-c", f"{folder}/nginx.conf"], ports, b""):
        yield f"http://127.0.0.1:{ports['port']}/"


def by_wrk(world: World, url: str) -> dict[str, float]:
    """Percentiles in ms of the requests that wrk sent."""
    script = world.folder / "tell.lua"
    script.write_text(TELL % CONNECTIONS)
    command = [program("wrk", "wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{LENGTH_S}s", "-s", str(script), url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    interval_us = int(re.search(r"^interval ([0-9]+)", said, flags=re.MULTILINE)[1])
    told = re.findall(r"^latency ([0-9]+) ([0-9]+)$", said, flags=re.MULTILINE)
    sent = only_sent({int(us): int(count) for us, count in told}, interval_us)
    assert sum(sent.values()) == int(re.search(r"([0-9]+) requests in", said)[1])
    return percentiles_ms(sent)


def by_seatrial(world: World, url: str) -> dict[str, float]:
    """Percentiles in ms."""
    ran = world.run("http", url, "-c", f"{CONNECTIONS}", "-d", f"{LENGTH_S}s", "--agents", "1")
    assert ran.code == 0, ran.out + ran.err
    measured = only_target(world.result())
    assert measured["statusCodes"].keys() == {"200"}
    return {percent: measured["clocks"]["service"]["percentiles"][percent] for percent in PERCENTS}


def only_sent(told: dict[int, int], interval_us: int) -> dict[int, int]:
    """Counts by latency without those that wrk added: from the greatest latency down, as nothing is added to that."""
    sent = dict(told)
    for latency_us in sorted(told, reverse=True):
        for waited_us in range(latency_us - interval_us, interval_us, -interval_us):
            sent[waited_us] -= sent[latency_us]
    return sent


def percentiles_ms(counts: dict[int, int]) -> dict[str, float]:
    """The least latency that so many do not exceed."""
    ordered = sorted(counts.items())
    upto = list(accumulate(count for _us, count in ordered))
    return {percent: ordered[bisect_left(upto, upto[-1] * int(percent) / 100)][0] / 1e3 for percent in PERCENTS}


def compared(world: World, url: str) -> dict[str, tuple[float, float]]:
    """For each percentile, wrk's and Seatrial's median over interleaved rounds, in ms."""
    rounds = [(by_wrk(world, url), by_seatrial(world, url)) for _ in range(ROUNDS)]
    sides = list(zip(*rounds, strict=True))
    found = {percent: tuple(median(one[percent] for one in side) for side in sides) for percent in PERCENTS}
    for percent, (theirs, ours) in found.items():
        print(f"p{percent}: wrk {theirs:.3f} ms, Seatrial {ours:.3f} ms")
    return found


def agree(theirs: float, ours: float) -> bool:
    """Within 10 %, or 100 µs."""
    return abs(ours - theirs) <= max(0.1, 0.1 * theirs)


def assert_agreement(world: World, url: str) -> None:
    found = []
    for _ in range(COMPARISONS):
        found.append(compared(world, url))
        if all(agree(*pair) for pair in found[-1].values()):
            return
    pytest.fail(f"wrk and Seatrial disagree by more than 10 % and 100 µs in each of {COMPARISONS} comparisons: {found}")


@pytest.mark.alone
def test_p50_and_p99_of_an_idle_nginx_are_those_of_wrk(world: World, nginx_url: str):
    assert_agreement(world, nginx_url)


@pytest.mark.alone
def test_p50_and_p99_of_scripted_answers_are_those_of_wrk(world: World, target: Target):
    assert_agreement(world, f"{target.url}/agreed/ok?{SCRIPT}")
