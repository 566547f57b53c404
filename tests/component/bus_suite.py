"""What every bus promises: one suite that each implementation runs, the fake as well as the real one."""

import asyncio

import pytest

from protocol import subjects
from protocol.bus import Bus, Stored
from protocol.errors import BusError, ConflictError, NobodyThereError

ASK = subjects.agent("test", "agent-1")
ORDERS = subjects.agent("test", "agent-2")
SHARDS = subjects.shards("test", "run-1")
OTHER_SHARDS = subjects.shards("test", "run-2")
KEY = subjects.term_key("test")
BLOB = subjects.payload_blob("test", "run-1", 0)


async def echo(payload: bytes) -> bytes:
    return b"heard " + payload


async def first_of(bus: Bus, subject: str, count: int, from_sequence: int = 1) -> list[Stored]:
    found = []
    stream = bus.read(subject, from_sequence)
    async with asyncio.timeout(5):
        async for stored in stream:
            found.append(stored)
            if len(found) == count:
                break
    await stream.aclose()
    return found


async def append(bus: Bus, subject: str, *texts: str) -> list[int]:
    return [await bus.append(subject, text.encode(), message_id=text, deadline_s=5) for text in texts]


class BusSuite:
    """Subclass it, and have a fixture `bus` give the bus."""

    async def test_a_connected_bus_says_so(self, bus):
        assert bus.is_connected

    async def test_a_request_gets_its_answer(self, bus):
        async with bus.serve(ASK, echo):
            assert await bus.request(ASK, b"me", deadline_s=5) == b"heard me"

    async def test_a_request_that_nobody_answers_fails_at_once(self, bus):
        with pytest.raises(NobodyThereError, match="agent-1"):
            await asyncio.wait_for(bus.request(ASK, b"", deadline_s=60), 5)

    async def test_nobody_answers_any_more_after_the_block(self, bus):
        async with bus.serve(ASK, echo):
            pass

        with pytest.raises(NobodyThereError):
            await bus.request(ASK, b"", deadline_s=60)

    async def test_a_request_fails_at_its_deadline(self, bus):
        is_over = asyncio.Event()

        async def slow(_payload: bytes) -> bytes:
            await is_over.wait()
            return b""

        async with bus.serve(ASK, slow):
            with pytest.raises(BusError, match=r"within 0\.05 s"):
                await bus.request(ASK, b"", deadline_s=0.05)
            is_over.set()

    async def test_an_answer_goes_on_when_the_one_who_asked_has_given_up(self, bus):
        may_go_on, has_ended = asyncio.Event(), asyncio.Event()

        async def slow(_payload: bytes) -> bytes:
            await may_go_on.wait()
            has_ended.set()
            return b""

        async with bus.serve(ASK, slow):
            with pytest.raises(BusError):
                await bus.request(ASK, b"", deadline_s=0.05)
            may_go_on.set()

            await asyncio.wait_for(has_ended.wait(), 5)

    async def test_answers_are_given_side_by_side(self, bus):
        everybody_is_here = asyncio.Barrier(3)

        async def together(payload: bytes) -> bytes:
            await everybody_is_here.wait()
            return payload

        async with bus.serve(ASK, together):
            asked = (bus.request(ASK, bytes([number]), deadline_s=5) for number in range(3))

            assert await asyncio.gather(*asked) == [b"\0", b"\1", b"\2"]

    async def test_each_subject_has_its_own_answers(self, bus):
        async def other(_payload: bytes) -> bytes:
            return b"other"

        async with bus.serve(ASK, echo), bus.serve(ORDERS, other):
            assert await bus.request(ASK, b"1", deadline_s=5) == b"heard 1"
            assert await bus.request(ORDERS, b"1", deadline_s=5) == b"other"

    async def test_appended_messages_are_read_in_order(self, bus):
        sequences = await append(bus, SHARDS, "a", "b", "c")

        assert sequences == sorted(set(sequences))
        assert await first_of(bus, SHARDS, 3) == [
            Stored(sequence, text) for sequence, text in zip(sequences, (b"a", b"b", b"c"), strict=True)
        ]

    async def test_a_message_appended_twice_is_stored_once(self, bus):
        first, again = await append(bus, SHARDS, "a", "a")
        await append(bus, SHARDS, "b")

        assert first == again
        assert [stored.payload for stored in await first_of(bus, SHARDS, 2)] == [b"a", b"b"]

    async def test_the_message_id_decides_what_is_the_same(self, bus):
        one = await bus.append(SHARDS, b"same", message_id="1", deadline_s=5)
        other = await bus.append(SHARDS, b"same", message_id="2", deadline_s=5)

        assert one != other

    async def test_reading_starts_at_a_sequence(self, bus):
        _first, second, third = await append(bus, SHARDS, "a", "b", "c")

        assert await first_of(bus, SHARDS, 2, second) == [Stored(second, b"b"), Stored(third, b"c")]
        assert await first_of(bus, SHARDS, 1, second + 1) == [Stored(third, b"c")]

    async def test_reading_waits_for_more(self, bus):
        (stored,) = await append(bus, SHARDS, "early")
        reading = asyncio.create_task(first_of(bus, SHARDS, 2))
        await asyncio.sleep(0.02)
        assert not reading.done()

        (late,) = await append(bus, SHARDS, "late")

        assert await reading == [Stored(stored, b"early"), Stored(late, b"late")]

    async def test_subjects_do_not_mix(self, bus):
        await append(bus, SHARDS, "1a")
        await append(bus, OTHER_SHARDS, "2a")
        await append(bus, SHARDS, "1b")
        await append(bus, OTHER_SHARDS, "2b")

        assert [one.payload for one in await first_of(bus, SHARDS, 2)] == [b"1a", b"1b"]
        assert [one.payload for one in await first_of(bus, OTHER_SHARDS, 2)] == [b"2a", b"2b"]

    async def test_two_readers_each_get_everything(self, bus):
        await append(bus, SHARDS, "a", "b")

        one, other = await asyncio.gather(first_of(bus, SHARDS, 2), first_of(bus, SHARDS, 2))

        assert one == other

    async def test_a_record_that_does_not_exist_is_none(self, bus):
        assert await bus.get(KEY) is None

    async def test_a_record_is_made_at_revision_0_and_replaced_at_its_own(self, bus):
        made = await bus.put(KEY, b"1", revision=0)
        replaced = await bus.put(KEY, b"2", revision=made)

        record = await bus.get(KEY)
        assert record is not None
        assert (record.value, record.revision) == (b"2", replaced)

    async def test_a_record_that_exists_is_not_made_again(self, bus):
        await bus.put(KEY, b"1", revision=0)

        with pytest.raises(ConflictError, match="revision 0"):
            await bus.put(KEY, b"2", revision=0)

    async def test_a_record_is_not_replaced_at_an_old_revision(self, bus):
        made = await bus.put(KEY, b"1", revision=0)
        await bus.put(KEY, b"2", revision=made)

        with pytest.raises(ConflictError):
            await bus.put(KEY, b"3", revision=made)

        record = await bus.get(KEY)
        assert record is not None
        assert record.value == b"2"

    async def test_a_record_that_does_not_exist_is_not_replaced(self, bus):
        with pytest.raises(ConflictError):
            await asyncio.wait_for(bus.put(KEY, b"1", revision=7), 5)

    async def test_of_two_who_write_the_same_value_only_one_succeeds(self, bus):
        """Else two controllers that take the same term would both believe that they lead."""
        made = await bus.put(KEY, b"1", revision=0)
        await bus.put(KEY, b"2", revision=made)

        with pytest.raises(ConflictError):
            await bus.put(KEY, b"2", revision=made)

    async def test_a_blob_of_several_megabytes_comes_back_whole(self, bus):
        blob = bytes(range(256)) * (5 << 12)

        await bus.put_blob(BLOB, blob)

        assert await bus.get_blob(BLOB) == blob

    async def test_a_blob_is_replaced(self, bus):
        await bus.put_blob(BLOB, b"a long one")
        await bus.put_blob(BLOB, b"short")

        assert await bus.get_blob(BLOB) == b"short"

    async def test_a_blob_may_be_empty(self, bus):
        await bus.put_blob(BLOB, b"")

        assert await bus.get_blob(BLOB) == b""

    async def test_a_blob_that_is_deleted_or_never_was_is_none(self, bus):
        await bus.put_blob(BLOB, b"here")
        await bus.delete_blob(BLOB)
        await bus.delete_blob(BLOB)

        assert await bus.get_blob(BLOB) is None
