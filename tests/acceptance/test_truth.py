"""Reported latencies are the true ones, and merging loses nothing.

Two proofs, because an exact comparison needs raw samples, which no agent ships. End to end: a target answers after
scripted latencies with known shares, and each percentile is where the script put it. Exactly: raw samples go through
the agents' own recorder, the wire and the controller's merge, and come out as the histogram of all raw samples.
"""
# ruff: noqa: T201 figures, for `pytest -s`

import json
from fractions import Fraction
from math import ceil
from random import Random

import pytest
from harness import Document, Target, http_values, only_target, world_in

from agent.outcome import Outcome
from agent.record import Recorder
from controller.merge import Merge
from protocol import messages
from protocol.codec import decode_to_controller, encode
from protocol.histogram import Histogram, from_hdr, highest_of, index_of
from protocol.messages import Clock, Fate, Manifest, SeriesKey, Shard
from protocol.series import Tally

# Half of the requests take 10 ms, 30 % 20 ms, 10 % 50 ms and 10 % 100 ms. Each percentile lies in mid-share, so that a
# few requests more or less on either side don't move it from one latency to the next.
SCRIPT_MS = (10, 20, 10, 100, 10, 20, 10, 50, 10, 20)
SCRIPTED_MS = {"25": 10, "65": 20, "85": 50, "95": 100}
REQUESTS = 600
RATE = 400
# What a request takes beyond the target's own time, on loopback: two wake-ups, each of which may wait for a busy core.
OVERHEAD_MS = 5.0
# A request is stamped as sent when the write has returned; by then the target may have it.
STAMP_MS = 1.0
PATH = "/truth/ok"


@pytest.fixture(scope="module")
def report(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Document:
    """The JSON report of a run of two agents against the script."""
    with world_in(tmp_path_factory.mktemp("truth")) as world:
        script = ",".join(map(str, SCRIPT_MS)).replace(",", "\\,")
        load = {"numRequests": REQUESTS, "qps": RATE, "connections": 80, "percentiles": "{25,65,85}"}
        ran = world.run(
            "launch", "--set=tasks={http}", *http_values(f"{target.url}{PATH}?ms={script}", **load), "--agents=2"
        )
        assert ran.code == 0, ran.out + ran.err
        found: Document = json.loads(world.run("report", "-o", "json").out)
        return found


@pytest.fixture(scope="module")
def took_ms(report, target) -> list[float]:
    """How long the target itself took for each request, in order."""
    return sorted((answered - received) / 1e6 for received, _scripted, answered in target.seen(PATH)["log"])


def test_the_target_kept_to_its_script(report, target):
    scripted = sorted(ms for _received, ms, _answered in target.seen(PATH)["log"])

    assert scripted == sorted(SCRIPT_MS * (REQUESTS // len(SCRIPT_MS)))


@pytest.mark.parametrize("percentile", SCRIPTED_MS)
@pytest.mark.parametrize("clock", ["service", "response"])
def test_each_percentile_is_where_the_script_put_it(report, took_ms, clock, percentile):
    reported = only_target(report["result"])["clocks"][clock]["percentiles"][percentile]
    of_target = _percentile(took_ms, percentile)

    print(f"{clock} p{percentile}: scripted {SCRIPTED_MS[percentile]} ms, target {of_target:.2f}, run {reported:.2f}")
    assert SCRIPTED_MS[percentile] - STAMP_MS <= reported <= SCRIPTED_MS[percentile] + OVERHEAD_MS
    assert of_target - STAMP_MS <= reported <= of_target + OVERHEAD_MS


def test_the_mean_is_the_scripts(report, took_ms):
    reported = only_target(report["result"])["clocks"]["service"]["mean"]

    of_target = sum(took_ms) / REQUESTS
    assert of_target - STAMP_MS <= reported <= of_target + OVERHEAD_MS


@pytest.mark.parametrize("clock", ["response", "service", "wait", "lag", "ok"])
def test_the_histogram_holds_every_request(report, clock):
    found = only_target(report["result"])["clocks"][clock]

    assert found["count"] == REQUESTS
    assert sum(count for _us, count in from_hdr(found["hdr"])) == REQUESTS


def test_percentiles_are_those_of_the_histogram_beside_them(report):
    found = only_target(report["result"])["clocks"]["service"]
    samples = [us for us, count in from_hdr(found["hdr"]) for _ in range(count)]

    for percentile, reported in found["percentiles"].items():
        in_histogram = min(_percentile(samples, percentile) / 1e3, found["max"])
        assert reported == pytest.approx(in_histogram, rel=1e-12)


def test_merged_measurements_equal_those_of_all_raw_samples(report):
    """Samples of 7 agents, each second a shard, doubled and shuffled: not one bucket differs from the raw samples'."""
    random = Random(7)  # noqa: S311 repeatable, not secret
    raw = [_raw(random, agent) for agent in range(7)]
    messages = [encode(message) for agent, outcomes in enumerate(raw) for message in _told(agent, outcomes)] * 2
    random.shuffle(messages)
    merge = Merge()
    for message in messages:
        merge.add(decode_to_controller(message))
    by_manifests, by_shards = Tally(SeriesKey()), Tally(SeriesKey())
    for agent in range(len(raw)):
        by_manifests.add(merge.tally(f"agent-{agent}", 0).series())
        by_shards.add(merge.tally(f"agent-{agent}", 0, trust_manifest=False).series())

    spans = [
        (Clock.RESPONSE, [done - planned for outcomes in raw for planned, _sent, done in outcomes]),
        (Clock.SERVICE, [done - sent for outcomes in raw for _planned, sent, done in outcomes]),
    ]
    for clock, samples in spans:
        expected = Histogram()
        for sample in samples:
            expected.record(sample)
        assert by_manifests.histograms[f"{clock}.{Fate.OK}"] == expected
        assert by_shards.histograms[f"{clock}.{Fate.OK}"] == expected
        for percentile in ("0.1", "50", "90", "99", "99.9", "100"):
            true_us = -(-_percentile(sorted(samples), percentile) // 1000)
            bucket_us = highest_of(index_of(true_us))
            assert expected.percentile_ns(percentile) == min(bucket_us * 1000, max(samples))
            assert bucket_us <= true_us * 1.001


def _raw(random: Random, agent: int) -> list[tuple[int, int, int]]:
    """Planned, sent and done, in ns, of one agent's requests, in the order in which they were done."""
    found = []
    for number in range(400 + agent):
        planned = number * 7_000_000
        sent = planned + random.randrange(1, 2_000_000)
        found.append((planned, sent, sent + int(1_000_000 * random.lognormvariate(2, 1.5))))
    return sorted(found, key=lambda clocks: clocks[2])


def _told(agent: int, outcomes: list[tuple[int, int, int]]) -> list[Shard | Manifest]:
    """What an agent ships of these: a shard each second, and its manifest."""
    recorder = Recorder(0, [messages.Target(endpoint="", url="http://127.0.0.1/")])
    told: list[Shard | Manifest] = []
    name = f"agent-{agent}"
    second = 0

    def cut(until_ns: int) -> None:
        told.append(Shard("run", 0, name, "only", len(told), 0, second, recorder.cut(until_ns)))

    for planned, sent, done in outcomes:
        while done >= (second + 1) * 1_000_000_000:
            cut((second + 1) * 1_000_000_000)
            second += 1
        recorder.done(Outcome(0, planned, sent, done, status=200))
    cut(1 << 62)
    total = recorder.totals[SeriesKey()].series()
    return [*told, Manifest("run", 0, name, "only", 0, len(told) - 1, "complete", outcomes[-1][2], (total,))]


def _percentile(ordered, percentile):
    """The smallest of the samples that at least so many of them do not exceed."""
    return ordered[max(1, ceil(Fraction(percentile) * len(ordered) / 100)) - 1]
