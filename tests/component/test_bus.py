"""The bus suite over both buses, and what each has for itself."""

import asyncio
import time

import pytest
from bus_suite import ASK, KEY, SHARDS, BusSuite, append, echo, first_of
from virtual_time import clock, in_virtual_time

from controller.leader import take_term
from controller.local import KEEP_BYTES, nats_server
from protocol.errors import BusError
from protocol.memory_bus import GIVE_UP_S, Faults, MemoryBus
from protocol.nats_bus import connect


class TestMemoryBus(BusSuite):
    @pytest.fixture
    async def bus(self):
        return MemoryBus()


class TestNatsBus(BusSuite):
    @pytest.fixture
    async def bus(self):
        async with nats_server() as server, connect(server.url, name="test") as bus:
            await bus.set_up(keep_bytes=KEEP_BYTES)
            yield bus

    async def test_setting_up_again_changes_nothing(self, bus):
        await append(bus, SHARDS, "a")

        await bus.set_up(keep_bytes=KEEP_BYTES)

        assert len(await first_of(bus, SHARDS, 1)) == 1

    async def test_a_message_of_512_kib_fits(self, bus):
        await bus.append(SHARDS, bytes(600 << 10), message_id="large", deadline_s=5)

        assert len((await first_of(bus, SHARDS, 1))[0].payload) == 600 << 10

    async def test_controllers_that_start_at_once_have_terms_of_their_own(self, bus):
        terms = await asyncio.gather(*(take_term(bus, "test") for _ in range(5)))

        assert sorted(terms) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "url", ["nats://alice:topsecret@127.0.0.1:1", "nats://topsecret@127.0.0.1:1", "topsecret@127.0.0.1:1"]
)
async def test_an_unreachable_server_is_named_without_its_credentials_within_the_deadline(url):
    began_s = time.monotonic()

    with pytest.raises(BusError) as caught:
        async with connect(url, name="test", give_up_s=0.3):
            pass

    assert time.monotonic() - began_s < 2
    assert "127.0.0.1:1" in str(caught.value)
    assert "topsecret" not in str(caught.value)
    assert "alice" not in str(caught.value)


async def test_a_wrong_password_is_told_without_it():
    async with nats_server() as server:
        address = server.url.rpartition("@")[2]

        with pytest.raises(BusError, match=r"(?i)authorization") as caught:
            async with connect(f"nats://wrongtoken@{address}", name="test", give_up_s=0.5):
                pass

    assert "wrongtoken" not in str(caught.value)


# --- the knobs of the fake -----------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_dropped_request_never_reaches_anyone():
    heard = []

    async def note(payload: bytes) -> bytes:
        heard.append(payload)
        return b""

    bus = MemoryBus(Faults(drop_requests=1))
    async with bus.serve(ASK, note):
        with pytest.raises(BusError):
            await bus.request(ASK, b"x", deadline_s=1)

    assert not heard
    assert clock().time() == pytest.approx(1001)


@in_virtual_time
async def test_a_dropped_answer_was_given_all_the_same():
    heard = []

    async def note(payload: bytes) -> bytes:
        heard.append(payload)
        return b""

    bus = MemoryBus(Faults(drop_answers=1))
    async with bus.serve(ASK, note):
        with pytest.raises(BusError):
            await bus.request(ASK, b"x", deadline_s=1)

    assert heard == [b"x"]


@in_virtual_time
async def test_a_doubled_request_is_heard_twice_and_answered_once():
    heard = []

    async def note(payload: bytes) -> bytes:
        heard.append(payload)
        return b"answer"

    bus = MemoryBus(Faults(double_requests=1))
    async with bus.serve(ASK, note):
        assert await bus.request(ASK, b"x", deadline_s=1) == b"answer"

    assert heard == [b"x", b"x"]


@in_virtual_time
async def test_a_delay_counts_each_way():
    bus = MemoryBus(Faults(delay_s=0.25))
    async with bus.serve(ASK, echo):
        await bus.request(ASK, b"x", deadline_s=1)

    assert clock().time() == pytest.approx(1000.5)


@in_virtual_time
async def test_a_dropped_append_is_not_stored_and_a_dropped_ack_is():
    bus = MemoryBus(Faults(drop_appends=1))
    with pytest.raises(BusError):
        await bus.append(SHARDS, b"lost", message_id="lost", deadline_s=1)
    bus.faults.drop_appends, bus.faults.drop_acks = 0, 1
    with pytest.raises(BusError):
        await bus.append(SHARDS, b"stored", message_id="stored", deadline_s=1)

    assert [one.payload for one in await first_of(bus, SHARDS, 1)] == [b"stored"]


@in_virtual_time
async def test_reordering_lets_a_later_message_overtake():
    bus = MemoryBus(Faults(reorder=0.5))
    names = [str(number) for number in range(20)]
    await asyncio.gather(*(append(bus, SHARDS, name) for name in names))

    found = [one.payload.decode() for one in await first_of(bus, SHARDS, 20)]

    assert sorted(found, key=int) == names
    assert found != names


@in_virtual_time
async def test_a_bus_that_is_down_fails_everything_and_works_again_when_it_is_up():
    bus = MemoryBus(Faults(is_down=True))
    assert not bus.is_connected
    async with bus.serve(ASK, echo):
        for call in (
            bus.request(ASK, b"", deadline_s=1),
            bus.append(SHARDS, b"", message_id="1", deadline_s=1),
            bus.get(KEY),
            bus.put(KEY, b"", revision=0),
            bus.put_blob("blob", b""),
            bus.get_blob("blob"),
            bus.delete_blob("blob"),
        ):
            with pytest.raises(BusError):
                await call
        assert clock().time() == pytest.approx(1002 + 5 * GIVE_UP_S)

        bus.faults.is_down = False

        assert bus.is_connected
        assert await bus.request(ASK, b"x", deadline_s=1) == b"heard x"
