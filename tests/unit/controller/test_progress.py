from types import SimpleNamespace

import pytest

from controller.events import Phase as RunPhase
from controller.merge import Merge
from controller.plan import LoadSegment, Phase, Plan
from controller.progress import progress
from protocol.histogram import Histogram
from protocol.messages import Series, SeriesKey, Shard, Target
from protocol.schedule import NS_PER_S, Shape

MS = 1_000_000
PHASES = (
    Phase(0, 10 * NS_PER_S, "ramp", is_measured=False, begin=100.0, end=300.0),
    Phase(10 * NS_PER_S, 20 * NS_PER_S, "peak", begin=300.0, end=300.0),
)
TARGETS = (Target("home", "http://127.0.0.1/", weight=3), Target("search", "http://127.0.0.1/s"))


def load(**more):
    given = {
        "name": "mix",
        "providers": ("http-home", "http-search"),
        "targets": TARGETS,
        "shape": Shape(rate_per_s="300", duration_ns=20 * NS_PER_S),
        "connections": 4,
        "max_length_ns": 30 * NS_PER_S,
        "phases": PHASES,
    }
    return LoadSegment(**{**given, **more})


def shard(took_ms, key, *, errors=0):
    latency = Histogram()
    for took in took_ms:
        latency.record(took * MS)
    histograms = {"response.ok": latency.pack()}
    series = Series(key, planned=len(took_ms), ok=len(took_ms), errors=errors, histograms=histograms)
    return Shard("run", 0, "agent-1", "a", key.target, 0, 0, (series,))


def looked_at(segment, elapsed_s, *shards):
    """A look at a run whose only segment began `elapsed_s` ago."""
    merge = Merge()
    for one in shards:
        merge.add(one)
    conducted = SimpleNamespace(plan=Plan((segment,), 1), merge=merge, started_s={0: 100.0})
    run = SimpleNamespace(segment=0, phase=RunPhase.RUNNING, living=["agent-1"], lost={})
    return progress(SimpleNamespace(run=run, conducted=conducted), 100.0 + elapsed_s)


@pytest.mark.parametrize(
    ("elapsed_s", "stage", "load_now", "is_measured"),
    [(0.0, "ramp", 100.0, False), (5.0, "ramp", 200.0, False), (10.0, "peak", 300.0, True), (25.0, "", None, True)],
)
def test_a_look_names_the_stage_and_what_it_asks_for_at_that_moment(elapsed_s, stage, load_now, is_measured):
    now = looked_at(load(), elapsed_s)

    assert (now.stage, now.load_now, now.is_measured) == (stage, load_now, is_measured)


def test_a_load_without_stages_has_none():
    now = looked_at(load(phases=()), 5.0)

    assert (now.stage, now.load_now, now.is_measured) == ("", None, True)
    assert now.asked_per_s == 300


def test_the_targets_of_a_mix_are_counted_apart():
    now = looked_at(load(), 5.0, shard([10, 10, 10], SeriesKey(target=0)), shard([40], SeriesKey(target=1), errors=1))

    assert [(one.name, one.weight, one.requests, one.errors) for one in now.targets] == [
        ("home", 3, 3, 0),
        ("search", 1, 2, 1),
    ]
    assert [one.p50_ms for one in now.targets] == pytest.approx([10, 40], rel=2e-3)
    assert (now.requests, now.errors) == (5, 1)


def test_a_single_target_has_no_list_of_targets():
    assert looked_at(load(targets=TARGETS[:1], providers=("http",)), 5.0).targets == ()
