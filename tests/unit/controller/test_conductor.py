"""What the conductor notes down while it performs commands; a run over a bus is for the component tests."""

import pytest

from controller.conductor import Conductor, Order
from controller.plan import LoadSegment, split
from controller.run import SendRestripe, SendStart, SendStop, SignedOff, Terms
from protocol.memory_bus import MemoryBus
from protocol.messages import Manifest, Series, SeriesKey, Target
from protocol.schedule import Shape

AGENTS = ("a", "b", "c")


class Silent(Conductor):
    """A conductor whose orders go nowhere."""

    def _spawn(self, coroutine, name):
        coroutine.close()


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def conductor_of(clock):
    def make(shape):
        target = Target(endpoint="", url="http://127.0.0.1/")
        segment = LoadSegment("http", "http", target, shape, connections=6, max_length_ns=10**11)
        order = Order("run", "default", 1, split([segment], 3), AGENTS, Terms(AGENTS, (60.0,)), "seatrial")
        return Silent(MemoryBus(), order, now_s=clock)

    return make


OPEN = Shape(rate_per_s="10", duration_ns=20 * 10**9)


def owners(conductor):
    """Which requests belong to whom."""
    parts = {agent: conductor.conducted.parts[0, agent] for agent in AGENTS}
    return {agent: {part.request(j) for j in range(part.planned)} for agent, part in parts.items()}


def test_after_each_loss_every_request_still_belongs_to_one_agent(conductor_of):
    conductor = conductor_of(OPEN)

    conductor._perform(SendRestripe(("a", "b"), 0, 1, 5.0))
    conductor._perform(SendRestripe(("a",), 0, 2, 10.0))

    found = owners(conductor)
    assert sum(map(len, found.values())) == 200
    assert set().union(*found.values()) == set(range(200))
    assert max(found["c"]) < 51
    assert max(found["b"]) < 101


def test_closed_load_is_not_redistributed(conductor_of):
    conductor = conductor_of(Shape(count=100))

    conductor._perform(SendRestripe(("a", "b"), 0, 1, 5.0))

    assert conductor.conducted.parts == {}


def test_a_start_that_was_called_off_does_not_count_as_the_stop_of_the_next(conductor_of, clock):
    conductor = conductor_of(OPEN)
    conductor._perform(SendStart(AGENTS, 0, 0, 1.0))
    clock.now_s += 0.9

    for command in (SendStop(AGENTS, "start called off"), SendStart(AGENTS, 0, 1, 1.0)):
        conductor._perform(command)

    assert conductor.conducted.stopped_s is None
    assert conductor.conducted.started_s == {0: 101.9}


async def test_signing_off_is_told_for_each_epoch(conductor_of):
    conductor = conductor_of(OPEN)
    for epoch, ended, ok in ((0, "stopped", 0), (1, "complete", 5), (1, "complete", 5)):
        series = (Series(SeriesKey(), planned=ok, ok=ok),)
        conductor.conducted.merge.add(Manifest("run", epoch, "a", "i", 0, -1, ended, 0, series))
        await conductor._note_manifest("a", 0)

    told = [conductor._events.get_nowait() for _ in range(conductor._events.qsize())]

    assert told == [SignedOff("a", 0, 0, "stopped", 0), SignedOff("a", 0, 1, "complete", 5)]
