"""A controller and agents on one memory bus, in virtual time, against a target that counts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from fake_driver import Behaviour, FakeDriver, always
from virtual_time import clock

from agent.duty import Tools
from agent.outcome import Room
from agent.service import Service
from agent.settings import Settings
from agent.wake import LoopTimer
from controller.account import Account, Conducted, account
from controller.conductor import Conductor, Order
from controller.experiment.abort import AbortOn
from controller.fleet import Fleet
from controller.leader import take_term
from controller.plan import LoadSegment, split
from controller.run import OnLoss, Terms
from protocol.bus import Answer, Stored
from protocol.errors import BusError
from protocol.memory_bus import Faults, MemoryBus
from protocol.messages import Target
from protocol.schedule import NS_PER_S, Shape

NAMESPACE = "test"
WALL_NS = 1_800_000_000 * NS_PER_S
URL = "http://127.0.0.1:1/"


@dataclass
class Line:
    """One party's connection to the bus, which can be cut."""

    bus: MemoryBus
    is_cut: bool = False

    @property
    def is_connected(self) -> bool:
        return self.bus.is_connected and not self.is_cut

    async def _pass(self, wait_s: float = 10) -> None:
        if self.is_cut:
            await asyncio.sleep(wait_s)
            raise BusError("the line is cut")

    async def request(self, subject: str, payload: bytes, *, deadline_s: float) -> bytes:
        await self._pass(deadline_s)
        return await self.bus.request(subject, payload, deadline_s=deadline_s)

    @asynccontextmanager
    async def serve(self, subject: str, answer: Answer) -> AsyncIterator[None]:
        async def reached(payload: bytes) -> bytes:
            await self._pass(30)
            return await answer(payload)

        async with self.bus.serve(subject, reached):
            yield

    async def append(self, subject: str, payload: bytes, *, message_id: str, deadline_s: float) -> int:
        await self._pass(deadline_s)
        return await self.bus.append(subject, payload, message_id=message_id, deadline_s=deadline_s)

    def read(self, subject: str, from_sequence: int) -> AsyncIterator[Stored]:
        return self.bus.read(subject, from_sequence)

    async def get_blob(self, name: str) -> bytes | None:
        await self._pass()
        return await self.bus.get_blob(name)


@dataclass
class Agent:
    """One agent, and what it sent."""

    name: str
    bus: MemoryBus
    behave: Behaviour
    skew_ns: int = 0
    admit: Callable[[str], None] = lambda _url: None  # raises PermissionError for what must not be loaded
    drivers: list[tuple[str, FakeDriver]] = field(default_factory=list)
    room_for: int = 1 << 30  # requests at once, whatever the driver was given
    behave_of: dict[str, Behaviour] = field(default_factory=dict)  # by URL, where it is not the same for all
    is_dead: bool = False

    def __post_init__(self) -> None:
        loop = clock()
        self.line = Line(self.bus)
        tools = Tools(
            make_driver=self._make_driver,
            make_waker=lambda wake: LoopTimer(loop, wake, loop.now_ns),
            now_ns=loop.now_ns,
            wall_ns=lambda: WALL_NS + loop.now_ns() + self.skew_ns,
            cpu_ns=loop.now_ns,
        )
        settings = Settings("", NAMESPACE, self.name, f"{self.name}-first", host="here")
        self.service = Service(self.line, settings, tools)
        self.task = asyncio.create_task(self.service.run(), name=self.name)

    def kill(self) -> None:
        """What kill -9 does: nothing more is said or sent."""
        self.is_dead = True
        self.line.is_cut = True
        for _url, driver in self.drivers:
            driver.is_dead = True
        self.task.cancel()

    def sent(self, url: str = URL) -> list[tuple[int, int]]:
        """When each request was due and when it was sent."""
        return [one for found, driver in self.drivers for one in driver.sent if found == url]

    def _start_ns(self) -> int:
        duty = self.service._duty
        return getattr(duty, "_start_ns", 0) if duty else 0

    def _make_driver(self, targets: tuple[Target, ...], home: int, room: Room, _user_agent: str) -> FakeDriver:
        url = targets[home].url
        behave = self.behave_of.get(url, self.behave)
        driver = FakeDriver(
            min(self.room_for, room.connections * room.streams), behave, lambda: self.admit(url), self._start_ns
        )
        driver.is_dead = self.is_dead
        self.drivers.append((url, driver))
        return driver


@dataclass
class World:
    """Everything on one bus."""

    bus: MemoryBus
    fleet: Fleet
    term: int
    agents: list[Agent]

    def __getitem__(self, number: int) -> Agent:
        return self.agents[number]

    def sent(self, url: str = URL) -> list[tuple[int, int]]:
        return [one for agent in self.agents for one in agent.sent(url)]

    def planned(self, url: str = URL) -> list[int]:
        return sorted(planned_ns for planned_ns, _sent_ns in self.sent(url))

    async def conductor(
        self,
        *segments: LoadSegment,
        run_id: str = "run-1",
        on_loss: OnLoss = OnLoss.FAIL,
        lease_s: float | None = None,
        lead_s: float = 1.0,
        agents: Sequence[str] | None = None,
        abort_on: tuple[AbortOn, ...] = (),
    ) -> Conductor:
        names = agents or [hello.agent for hello in await self.fleet.at_least(len(self.agents), 60)]
        plan = split(segments, len(names))
        timeout_s = max(target.timeout_ns for segment in segments for target in segment.targets) / NS_PER_S
        terms = Terms(
            agents=tuple(names[: plan.agents]),
            segments_s=tuple(segment.max_length_ns / NS_PER_S + 2 * timeout_s + 5 for segment in segments),
            lead_s=lead_s,
            on_loss=on_loss,
            lease_s=lease_s or (10.0 if on_loss is OnLoss.REDISTRIBUTE else 60.0),
            drain_s=2 * timeout_s + 5,
        )
        order = Order(run_id, NAMESPACE, self.term, plan, terms.agents, terms, "test", abort_on)
        loop = clock()
        return Conductor(self.bus, order, now_s=loop.time, wall_ns=lambda: WALL_NS + loop.now_ns())

    async def conduct(self, *segments: LoadSegment, **options: object) -> Conducted:
        return await (await self.conductor(*segments, **options)).conduct()


@asynccontextmanager
async def a_world(
    agents: int = 2,
    faults: Faults | None = None,
    behave: Behaviour | None = None,
    skew_s: Sequence[float] = (),
) -> AsyncIterator[World]:
    """So many agents that have joined; all are gone after the block."""
    loop = clock()
    bus = MemoryBus(faults or Faults())
    term = await take_term(bus, NAMESPACE)
    fleet = Fleet(bus, NAMESPACE, term, now_s=loop.time, wall_ns=lambda: WALL_NS + loop.now_ns())
    skews = [*skew_s, *[0.0] * agents]
    joined = [
        Agent(f"agent-{number + 1}", bus, behave or always(), int(skews[number] * 1e9)) for number in range(agents)
    ]
    async with fleet.listening():
        try:
            yield World(bus, fleet, term, joined)
        finally:
            for agent in joined:
                agent.task.cancel()
            for agent in joined:
                with suppress(asyncio.CancelledError):
                    await agent.task
            assert not [driver for agent in joined for _url, driver in agent.drivers if driver.started_when_closed]


def open_segment(rate: float = 100, seconds: float = 5, **options: object) -> LoadSegment:
    return _segment(Shape(rate_per_s=str(rate), duration_ns=int(seconds * 1e9)), seconds, **options)


def closed_segment(count: int | None = 200, seconds: float | None = None, **options: object) -> LoadSegment:
    duration_ns = None if seconds is None else int(seconds * 1e9)
    return _segment(Shape(count=count, duration_ns=duration_ns), seconds or 10, **options)


def _segment(
    shape: Shape, seconds: float, *, url: str = URL, connections: int = 20, max_s: float | None = None
) -> LoadSegment:
    target = Target(endpoint="", url=url, limits_ns=(50_000_000,))
    return LoadSegment("http", ("http",), (target,), shape, connections, int((max_s or seconds + 30) * 1e9))


def closed_account(conducted: Conducted, segment: int = 0) -> Account:
    """A segment's account, which adds up."""
    found = account(conducted, segment)
    assert found.closes, found
    assert found.planned == found.tried + found.unsent + found.withdrawn + found.unaccounted, found
    assert found.tried == found.ok + found.errors, found
    return found
