import msgspec
import numpy as np
import pytest
from fleet_samples import LIMITS, Paper, open_shape, plan_of
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.merge import Merge
from protocol.histogram import Histogram, merged
from protocol.messages import Series, SeriesKey
from protocol.schedule import Shape
from protocol.series import split

quick = settings(deadline=None, max_examples=15)
MS = 1_000_000
tooks = st.lists(st.sampled_from([0, 1, 2, 3, 5, 6, 7, 14, 35, 900]), min_size=1, max_size=6).map(tuple)


@st.composite
def fleets(draw):
    """What one to three agents tell of two segments, each with a schedule of its own."""
    agents = draw(st.integers(1, 3))
    plan = plan_of(open_shape(draw(st.sampled_from(["7", "3.3"]))), Shape(count=20), agents=agents)
    papers = []
    for index in range(agents):
        first = Paper(plan, index, 0, draw(tooks))
        papers += [first, Paper(plan, index, 1, draw(tooks), first_seq=first.last_seq + 1)]
    return papers


def merge_of(messages):
    merge = Merge()
    for message in messages:
        merge.add(message)
    return merge


def facts(merge):
    """Everything that a merge tells."""
    found = {}
    for segment in (0, 1):
        for agent, incarnation in merge.agents(segment):
            machine = merge.machine(agent, segment)
            found[agent, incarnation, segment] = (
                merge.tally(agent, segment).series(),
                merge.tally(agent, segment, trust_manifest=False).series(),
                merge.missing(agent, segment),
                merge.manifest(agent, segment),
                merge.shards(agent, segment),
                machine,
            )
        found["live", segment] = merge.live(segment).series()
        found["seconds", segment] = {
            number: (
                second.ok,
                second.errors,
                *(merged(packed).pack() for packed in (second.latency, second.lag, second.service)),
            )
            for number, second in merge.seconds(segment).items()
        }
    return found


def told_by(papers):
    return [message for paper in papers for message in paper.told]


@quick
@given(fleets(), st.randoms(use_true_random=False))
def test_neither_order_nor_doubling_nor_both_change_anything(papers, random):
    told = told_by(papers)
    again = told + random.sample(told, random.randint(0, len(told)))
    random.shuffle(again)

    assert facts(merge_of(again)) == facts(merge_of(told))


@quick
@given(fleets())
def test_merged_is_the_histogram_of_all_raw_samples(papers):
    merge = merge_of(told_by(papers))

    for segment in (0, 1):
        raw = [ns for paper in papers if paper.segment == segment for ns in paper.responses]
        whole = Histogram()
        whole.record_many(np.array(raw, dtype=np.int64))
        live = merge.live(segment)
        total = Histogram()
        for name, one in live.histograms.items():
            if name.startswith("response."):
                total.merge(one)
        assert total == whole
        assert live.tried == len(raw)
        over = [counts[0] for name, counts in live.over.items() if name.startswith("response.")]
        assert sum(over) == sum(ns > LIMITS[0] for ns in raw)


@quick
@given(fleets())
def test_seconds_and_shards_and_manifests_tell_the_same(papers):
    merge = merge_of(told_by(papers))

    for paper in papers:
        assert merge.tally(paper.name, paper.segment).series() == msgspec.structs.replace(
            paper.total, key=SeriesKey(segment=paper.segment)
        )
        assert merge.tally(paper.name, paper.segment, trust_manifest=False).series() == paper.total
    for segment in (0, 1):
        seconds = merge.seconds(segment).values()
        assert sum(second.ok + second.errors for second in seconds) == merge.live(segment).tried


@quick
@given(fleets(), st.randoms(use_true_random=False))
def test_what_is_missing_is_known_by_number(papers, random):
    lost = {(paper.name, shard.seq) for paper in papers for shard in paper.shards if random.random() < 0.3}
    told = [one for one in told_by(papers) if (one.agent, getattr(one, "seq", None)) not in lost]
    random.shuffle(told)

    merge = merge_of(told)

    for paper in papers:
        gaps = sorted(seq for name, seq in lost if name == paper.name and seq <= paper.last_seq)
        assert merge.missing(paper.name, paper.segment) == tuple(gaps)
        assert merge.tally(paper.name, paper.segment).series() == paper.total


@quick
@given(fleets(), st.randoms(use_true_random=False))
def test_a_checkpoint_and_what_came_after_it_are_the_whole(papers, random):
    told = told_by(papers)
    random.shuffle(told)
    at = random.randint(0, len(told))
    overlap = random.randint(0, at)

    restored, sequence = Merge.restored(merge_of(told[:at]).checkpoint(at))
    for message in told[at - overlap :]:
        restored.add(message)

    assert sequence == at
    assert facts(restored) == facts(merge_of(told))


def test_a_message_that_is_here_already_is_no_news():
    paper = Paper(plan_of(open_shape()), 0)
    merge = Merge()

    assert [merge.add(one) for one in paper.told] == [True] * len(paper.told)
    assert [merge.add(one) for one in paper.told] == [False] * len(paper.told)


def in_parts(manifest, limit=600):
    groups = split(manifest.series, limit)
    assert len(groups) > 2
    return [
        msgspec.structs.replace(manifest, series=series, part=number, parts=len(groups))
        for number, series in enumerate(groups)
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_a_manifest_counts_when_all_its_parts_are_there(order):
    paper = Paper(plan_of(open_shape()), 0, took_ms=(1, 7, 35))
    parts = in_parts(paper.manifest)[::order]
    merge = merge_of([*paper.shards[:1], *parts[:-1]])

    assert merge.manifest("agent-0", 0) is None
    assert merge.missing("agent-0", 0) == ()
    assert merge.tally("agent-0", 0).tried == paper.shards[0].series[0].ok + paper.shards[0].series[0].errors

    merge.add(parts[-1])

    assert merge.manifest("agent-0", 0).part == 0
    assert merge.tally("agent-0", 0).series() == paper.total


@pytest.mark.parametrize("order", [1, -1])
def test_the_manifest_of_the_newest_epoch_stands(order):
    plan = plan_of(open_shape())
    called_off = Paper(plan, 0, stopped_ns=-1)
    real = Paper(plan, 0, epoch=1, first_seq=called_off.last_seq + 1)
    told = [*called_off.told, *real.told]

    merge = merge_of(told[::order])

    assert merge.manifest("agent-0", 0) == real.manifest
    assert merge.tally("agent-0", 0).series() == real.total
    assert merge.missing("agent-0", 0) == ()


def test_two_incarnations_of_an_agent_are_two_agents_whose_work_adds_up():
    paper = Paper(plan_of(open_shape()), 0)
    second = [msgspec.structs.replace(one, incarnation="j") for one in paper.told]

    merge = merge_of([*paper.told, *second])

    assert merge.agents(0) == [("agent-0", "i"), ("agent-0", "j")]
    assert merge.tally("agent-0", 0).tried == 2 * len(paper.responses)


def test_an_empty_merge_knows_nothing():
    merge = Merge()

    assert merge.agents(0) == []
    assert merge.manifest("a", 0) is None
    assert merge.missing("a", 0) == ()
    assert merge.live(0).series() == Series(SeriesKey())
    assert merge.seconds(0) == {}
    assert facts(Merge.restored(merge.checkpoint(0))[0]) == facts(merge)
