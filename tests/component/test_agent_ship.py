"""Ship: whatever happens on the way, every count arrives once, under a number without gaps."""

import asyncio
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import clock, in_virtual_time

from agent.ship import MAX_MESSAGE, Shipper
from controller.merge import Merge
from protocol import subjects
from protocol.codec import decode_to_controller, encode
from protocol.histogram import Histogram, Packed
from protocol.memory_bus import Faults, MemoryBus
from protocol.messages import Machine, Manifest, Series, SeriesKey, Shard

SHARDS = subjects.shards("test", "run-1")


def shard_of(
    second: int, ok: int = 1, *, segment: int = 0, histograms: dict[str, Packed] | None = None, epoch: int = 0
) -> Shard:
    series = Series(SeriesKey(segment=segment), ok=ok, planned=ok, histograms=histograms or {})
    machine = Machine(cpu_ns=10, wall_ns=100, pacer="timer")
    return Shard("run-1", epoch, "agent-1", "first", -1, segment, second, (series,), machine)


def manifest_of(segment: int = 0, histograms: dict[str, Packed] | None = None) -> Manifest:
    series = Series(SeriesKey(segment=segment), ok=1, histograms=histograms or {})
    return Manifest("run-1", 0, "agent-1", "first", segment, -1, "complete", 1, (series,))


def wide(seed: int) -> Packed:
    """About 200 KB: nearly every bucket is in use."""
    histogram = Histogram()
    exponents = np.random.default_rng(seed).uniform(6, 12.55, 400_000)
    histogram.record_many((10**exponents).astype(np.int64))
    return histogram.pack()


class Recording(MemoryBus):
    """A memory bus that notes every try."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tries: list[tuple[str, bytes]] = []

    async def append(self, subject: str, payload: bytes, *, message_id: str, deadline_s: float) -> int:
        self.tries.append((message_id, payload))
        return await super().append(subject, payload, message_id=message_id, deadline_s=deadline_s)

    def stored(self) -> list[Shard | Manifest]:
        return [decode_to_controller(payload) for _subject, payload in self._log]


@asynccontextmanager
async def shipping(bus, **options):
    shipper = Shipper(bus, SHARDS, **options)
    task = asyncio.create_task(shipper.run())
    try:
        yield shipper
    finally:
        task.cancel()
        await asyncio.wait([task])


def counted(messages) -> int:
    return sum(series.ok for message in messages if isinstance(message, Shard) for series in message.series)


@in_virtual_time
async def test_shards_are_numbered_without_gaps_and_stored_in_order():
    bus = Recording()
    async with shipping(bus) as shipper:
        for second in range(5):
            await shipper.put(shard_of(second))
        await shipper.sign_off(manifest_of())
        await shipper.flushed()

    *shards, manifest = bus.stored()
    assert [(shard.seq, shard.second) for shard in shards] == [(number, number) for number in range(5)]
    assert isinstance(manifest, Manifest)
    assert manifest.last_seq == 4
    assert shipper.spooled_bytes == 0


@in_virtual_time
async def test_a_shard_is_sent_until_it_is_acknowledged_under_the_same_id():
    bus = Recording(Faults(drop_acks=1))
    async with shipping(bus) as shipper:
        await shipper.put(shard_of(0))
        await asyncio.sleep(35)
        bus.faults.drop_acks = 0
        await shipper.flushed()

    assert len(bus.tries) >= 4
    assert len(set(bus.tries)) == 1
    assert len(bus.stored()) == 1


@in_virtual_time
async def test_a_bus_that_is_down_costs_nothing_but_time():
    bus = Recording(Faults(is_down=True))
    async with shipping(bus) as shipper:
        for second in range(10):
            await shipper.put(shard_of(second, ok=second))
            await asyncio.sleep(1)
        assert shipper.spooled_bytes > 0
        bus.faults.is_down = False
        await shipper.flushed()

    assert [shard.seq for shard in bus.stored()] == list(range(10))
    assert counted(bus.stored()) == sum(range(10))
    assert clock().time() < 1031


@in_virtual_time
async def test_a_full_spool_joins_shards_that_were_never_tried_and_loses_no_count():
    bus = Recording(Faults(is_down=True))
    limit = 10 * len(encode(shard_of(0)))
    async with shipping(bus, max_spool=limit) as shipper:
        for second in range(200):
            await shipper.put(shard_of(second, ok=second))
            await asyncio.sleep(0.1)
            assert shipper.spooled_bytes <= limit + len(encode(shard_of(0))) + 100
        bus.faults.is_down = False
        await shipper.sign_off(manifest_of())
        await shipper.flushed()

    *shards, manifest = bus.stored()
    assert counted(shards) == sum(range(200))
    assert [shard.seq for shard in shards] == list(range(manifest.last_seq + 1))
    assert sum(shard.machine.cpu_ns for shard in shards) == 200 * 10
    assert shards[0].seconds == 1  # it had been tried: joined to another it would be counted twice
    covered = [second for shard in shards for second in range(shard.second, shard.second + shard.seconds)]
    assert covered == list(range(200))


@in_virtual_time
async def test_a_full_spool_keeps_segments_and_epochs_apart():
    bus = Recording(Faults(is_down=True))
    async with shipping(bus, max_spool=1) as shipper:
        await shipper.put(shard_of(0))
        await asyncio.sleep(0)
        for segment, epoch in ((0, 0), (0, 0), (1, 0), (1, 0), (1, 1), (1, 1)):
            await shipper.put(shard_of(1, segment=segment, epoch=epoch))
        bus.faults.is_down = False
        await shipper.flushed()

    stored = [(shard.segment, shard.epoch, shard.series[0].ok) for shard in bus.stored()]
    assert stored == [(0, 0, 1), (0, 0, 2), (1, 0, 2), (1, 1, 2)]
    assert all(series.key.segment == shard.segment for shard in bus.stored() for series in shard.series)


@in_virtual_time
async def test_a_full_spool_keeps_manifests_after_their_shards():
    bus = Recording(Faults(is_down=True))
    async with shipping(bus, max_spool=1) as shipper:
        await shipper.put(shard_of(0))
        await shipper.put(shard_of(1))
        await shipper.sign_off(manifest_of(0))
        await shipper.put(shard_of(0, segment=1))
        await shipper.put(shard_of(1, segment=1))
        await shipper.sign_off(manifest_of(1))
        bus.faults.is_down = False
        await shipper.flushed()

    merge = Merge()
    for message in bus.stored():
        merge.add(message)
    assert [merge.missing("agent-1", segment) for segment in (0, 1)] == [(), ()]
    assert [merge.tally("agent-1", segment, trust_manifest=False).ok for segment in (0, 1)] == [2, 2]


@in_virtual_time
async def test_a_shard_that_is_too_large_for_a_message_goes_in_pieces_that_add_up():
    bus = Recording()
    histograms = {f"response.{name}": wide(seed) for seed, name in enumerate(("ok", "error", "cut"))}
    async with shipping(bus) as shipper:
        await shipper.put(shard_of(3, ok=7, histograms=histograms))
        await shipper.flushed()

    pieces = bus.stored()
    assert len(pieces) > 1
    assert all(len(payload) <= MAX_MESSAGE + 1000 for _identity, payload in bus.tries)
    assert [piece.seq for piece in pieces] == list(range(len(pieces)))
    assert {piece.second for piece in pieces} == {3}
    assert sum(piece.machine.cpu_ns for piece in pieces) == 10
    merge = Merge()
    for piece in pieces:
        merge.add(piece)
    tally = merge.tally("agent-1", 0)
    assert tally.ok == 7
    assert {name: one.pack() for name, one in tally.histograms.items()} == histograms


@in_virtual_time
async def test_a_manifest_that_is_too_large_for_a_message_is_whole_only_with_all_its_parts():
    bus = Recording()
    histograms = {f"response.{name}": wide(seed) for seed, name in enumerate(("ok", "error", "cut"))}
    async with shipping(bus) as shipper:
        await shipper.sign_off(manifest_of(histograms=histograms))
        await shipper.flushed()

    parts = bus.stored()
    merge = Merge()
    for part in reversed(parts):
        assert merge.manifest("agent-1", 0) is None
        merge.add(part)
    assert len(parts) > 1
    assert merge.manifest("agent-1", 0) is not None
    assert {name: one.pack() for name, one in merge.tally("agent-1", 0).histograms.items()} == histograms


@in_virtual_time
async def test_what_is_asked_for_again_comes_again_under_the_same_numbers():
    bus = Recording()
    async with shipping(bus) as shipper:
        for second in range(3):
            await shipper.put(shard_of(second))
        await shipper.sign_off(manifest_of())
        await shipper.flushed()
        before = len(bus.stored())

        await shipper.again(0, (1, 2, 99))
        await shipper.flushed()

    one, two, manifest = bus.stored()[before:]
    assert [(shard.seq, shard.second) for shard in (one, two)] == [(1, 1), (2, 2)]
    assert isinstance(manifest, Manifest)
    assert manifest.last_seq == 2
    merge = Merge()
    for message in bus.stored():
        merge.add(message)
    assert merge.tally("agent-1", 0, trust_manifest=False).ok == 3


@in_virtual_time
async def test_asking_again_without_end_neither_grows_nor_breaks_anything():
    bus = Recording()
    limit = 4 * len(encode(shard_of(0)))
    async with shipping(bus, max_spool=limit) as shipper:
        await shipper.put(shard_of(0))
        await shipper.flushed()
        for _ in range(20):
            await shipper.again(0, (0,))
            await shipper.flushed()

    assert len(bus.stored()) == 21


@in_virtual_time
async def test_what_comes_again_is_not_joined_to_what_comes_first():
    bus = Recording()
    async with shipping(bus, max_spool=3 * len(encode(shard_of(0)))) as shipper:
        await shipper.put(shard_of(0))
        await shipper.put(shard_of(1))
        await shipper.flushed()
        bus.faults.is_down = True
        await shipper.again(0, (0, 1))
        for second in range(2, 10):
            await shipper.put(shard_of(second))
        bus.faults.is_down = False
        await shipper.flushed()

    merge = Merge()
    for message in bus.stored():
        merge.add(message)
    assert merge.tally("agent-1", 0).ok == 10
    assert {shard.seq: shard.series[0].ok for shard in bus.stored()}[0] == 1


@pytest.mark.parametrize("kept", [1, 5])
@in_virtual_time
async def test_of_what_was_sent_the_newest_are_kept_within_the_limit(kept):
    bus = Recording()
    limit = kept * (len(encode(shard_of(0))) + 2)
    async with shipping(bus, max_spool=limit) as shipper:
        for second in range(20):
            await shipper.put(shard_of(second))
            await shipper.flushed()
        before = len(bus.stored())
        await shipper.again(0, tuple(range(20)))
        await shipper.flushed()

    assert [shard.seq for shard in bus.stored()[before:]] == list(range(20 - kept, 20))


@settings(max_examples=60, deadline=None)
@given(
    oks=st.lists(st.integers(0, 1000), min_size=1, max_size=30),
    drop_appends=st.sampled_from([0, 0.3, 0.7]),
    drop_acks=st.sampled_from([0, 0.3, 0.7]),
    reorder=st.sampled_from([0, 0.5]),
    max_shards=st.integers(1, 10),
    seed=st.integers(0, 1000),
)
def test_every_count_arrives_once_whatever_the_bus_does(oks, drop_appends, drop_acks, reorder, max_shards, seed):
    @in_virtual_time
    async def run() -> None:
        bus = Recording(Faults(drop_appends=drop_appends, drop_acks=drop_acks, reorder=reorder, seed=seed))
        async with shipping(bus, max_spool=max_shards * len(encode(shard_of(0)))) as shipper:
            for second, ok in enumerate(oks):
                await shipper.put(shard_of(second, ok))
                await asyncio.sleep(1)
            await shipper.sign_off(manifest_of())
            await shipper.flushed()

        *shards, manifest = bus.stored()
        assert counted(shards) == sum(oks)
        assert [shard.seq for shard in shards] == list(range(manifest.last_seq + 1))

    run()
