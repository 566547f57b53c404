"""One run on this agent, from claim to release: prepare, make load segment by segment, ship what was measured."""

import asyncio
import gc
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec
import structlog

from agent.load import Ended, Lease, Load
from agent.machine import Machinery
from agent.outcome import Driver, Room
from agent.policy import peak_per_s
from agent.pool import Pool, grouped
from agent.record import PORTION, Recorder
from agent.rehearsal import Watching, rehearse
from agent.settings import Settings
from agent.ship import Shipper
from agent.wake import Waker
from protocol import subjects
from protocol.arrivals import NS_PER_S
from protocol.bus import Bus
from protocol.histogram import Histogram
from protocol.messages import (
    Assign,
    Machine,
    Manifest,
    Ready,
    Refused,
    Restripe,
    Segment,
    Shard,
    Start,
    Target,
)
from protocol.schedule import Shape, Stripe

PULSE_S = 0.02
CUT_GRACE_S = 0.01
FOREVER_NS = 1 << 62
FRESH_NS = 2 * NS_PER_S
_log = structlog.get_logger()


@dataclass(frozen=True)
class Tools:
    """What a duty works with; tests put their own in place of the machine's."""

    make_driver: Callable[[tuple[Target, ...], int, Room, str], Driver]
    make_waker: Callable[[Callable[[], None]], Waker]
    now_ns: Callable[[], int] = time.perf_counter_ns
    wall_ns: Callable[[], int] = time.time_ns
    cpu_ns: Callable[[], int] = time.process_time_ns


class Duty:
    """What this agent was assigned; `epoch` is the newest that it knows of."""

    def __init__(self, assign: Assign, bus: Bus, settings: Settings, tools: Tools) -> None:
        self.assign = assign
        self.epoch = assign.epoch
        self.shipper = Shipper(bus, subjects.shards(assign.namespace, assign.run_id))
        self.lease = Lease(tools.now_ns() + assign.lease_ns)
        self.segment = -1
        self._bus = bus
        self._settings = settings
        self._tools = tools
        self._pools: tuple[Pool, ...] = ()
        self._resolved: set[str] = set()  # "host address"
        self._machinery = Machinery()
        self._connected_to: tuple[tuple[Target, ...], Room] | None = None
        self._load: Load | None = None
        self._stopped = False
        self._running: asyncio.Task[None] | None = None
        self._connecting: asyncio.Task[None] | None = None  # to what the next segment loads
        self._begun: dict[int, int] = {}
        self._clock_offset_ns = 0
        self._recorder: Recorder | None = None

    @property
    def tried(self) -> int:
        """Requests tried in the segment under way."""
        return self._recorder.tried if self._recorder else 0

    async def prepare(self, clock_offset_ns: int, clock_error_ns: int) -> Ready | Refused:
        """Check the policy, resolve, connect, make the initial calls: `Ready`, or `Refused` with the reason."""
        try:
            await self._fetch_bodies()
            self._check_ceilings()
            await self._check_origins()
            errors = await self._initial_calls()
            await self._connect(0)
            rehearse(self.assign.segments, self._machinery)
            gc.collect()
            gc.freeze()  # what is there now stays until the run is over: no collection need look at it again
        except PermissionError as error:
            return Refused(self._settings.agent_id, str(error))
        self._clock_offset_ns = clock_offset_ns
        return Ready(
            self._settings.agent_id,
            self._settings.incarnation,
            clock_offset_ns=clock_offset_ns,
            clock_error_ns=clock_error_ns,
            initial_errors=tuple(errors),
            resolved=tuple(sorted(self._resolved)),
        )

    def start(self, order: Start, tasks: asyncio.TaskGroup) -> str:
        """Begin a segment at its instant; empty, or why not."""
        if order.segment in self._begun and order.epoch <= self._begun[order.segment]:
            return ""
        if self._running is not None and not self._running.done():
            if self._load is None or not self._is_ahead():
                return f"segment {self.segment} is under way"
            self._running.cancel()  # a newer epoch of a segment that has not begun yet
        self.epoch = max(self.epoch, order.epoch)
        self._begun[order.segment] = order.epoch
        self.segment = order.segment
        self._stopped = False
        wait_ns = order.start_at_ns - self._clock_offset_ns - self._tools.wall_ns()
        self._start_ns = self._tools.now_ns() + wait_ns
        self._running = tasks.create_task(self._run(order.segment), name=f"segment {order.segment}")
        return ""

    def restripe(self, order: Restripe) -> str:
        """Take on another part of the timetable; empty, or why not. A known epoch changes nothing."""
        if order.epoch <= self.epoch:
            return ""
        if order.segment != self.segment or self._load is None or not self._load.restripe(order.stripe):
            return f"too late for another part of segment {order.segment}"
        self.epoch = order.epoch
        return ""

    def stop(self, why: Ended = Ended.STOPPED) -> None:
        """Start nothing more in the segment under way."""
        self._stopped = True
        if self._load is not None:
            self._load.stop(why)

    def renew(self, asked_ns: int) -> None:
        """A controller answered what was asked then: the lease counts from the question.

        An answer that waited while this process was frozen says nothing about now, and resumes nothing.
        """
        self.lease.until_ns = max(self.lease.until_ns, asked_ns + self.assign.lease_ns)
        if self._load is not None and self._tools.now_ns() - asked_ns < FRESH_NS:
            self._load.resume()

    @property
    def is_held(self) -> bool:
        """Whether load waits for a controller's word after a freeze."""
        return self._load is not None and self._load.is_held

    async def finished(self) -> None:
        """Returns when no segment is under way and everything is shipped."""
        if self._running is not None:
            await asyncio.wait([self._running])
        await self.shipper.flushed()

    async def close(self) -> None:
        """Close all connections."""
        for task in (self._running, self._connecting):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await self._disconnect()

    def _is_ahead(self) -> bool:
        return self._tools.now_ns() < self._start_ns

    async def _fetch_bodies(self) -> None:
        segments = []
        for segment in self.assign.segments:
            targets = [await self._with_body(target) for target in segment.targets]
            segments.append(msgspec.structs.replace(segment, targets=tuple(targets)))
        self.assign = msgspec.structs.replace(self.assign, segments=tuple(segments))

    async def _with_body(self, target: Target) -> Target:
        fetched = {}
        for field_name, name in (("body", target.body_blob), ("rows", target.rows_blob)):
            if name:
                fetched[field_name] = await self._bus.get_blob(name)
                if fetched[field_name] is None:
                    raise PermissionError(f"the {field_name} {name} of {target.url} is not in the object store")
        return msgspec.structs.replace(target, **fetched) if fetched else target

    def _check_ceilings(self) -> None:
        for segment in self.assign.segments:
            rate = None
            if segment.shape.is_open:
                rate = peak_per_s(segment.shape) / segment.stripe.of
            objection = self._settings.policy.objection(rate, segment.connections)
            if objection:
                raise PermissionError(objection)

    async def _check_origins(self) -> None:
        """Where this agent must not go is known before anything is sent, not when its segment comes."""
        for targets in dict.fromkeys(segment.targets for segment in self.assign.segments):
            for group in grouped(targets):
                driver = self._tools.make_driver(targets, group[0], Room(1, 1), self.assign.user_agent)
                await driver.resolve()
                host = urlsplit(targets[group[0]].url).hostname
                self._resolved.update(f"{host} {address}" for address in driver.addresses)

    async def _connect(self, index: int) -> None:
        """Have connections to a segment's origins: those of the segment before, where they are the same."""
        segment = self.assign.segments[index]
        ahead = segment.connections if segment.ahead is None else segment.ahead
        room = Room(segment.connections, ahead, segment.streams)
        if self._pools and self._connected_to == (segment.targets, room):
            return
        await self._disconnect()
        # Over HTTP/1.1 each request at once takes a connection of its own, also in a mix with HTTP/2.
        single = Room(room.connections * room.streams, room.ahead * room.streams)
        self._pools = tuple(
            Pool(
                self._tools.make_driver(
                    segment.targets,
                    group[0],
                    room if segment.targets[group[0]].http2 else single,
                    self.assign.user_agent,
                ),
                frozenset(group),
            )
            for group in grouped(segment.targets)
        )
        self._connected_to = (segment.targets, room)
        for pool in self._pools:
            await pool.driver.open()

    async def _disconnect(self) -> None:
        pools, self._pools = self._pools, ()
        for pool in pools:
            await pool.driver.close()

    async def _initial_calls(self) -> list[str]:
        """What went wrong in one call on each connection, of the segments that ask for them."""
        errors: list[str] = []
        for index, segment in enumerate(self.assign.segments):
            if segment.initial_calls:
                await self._connect(index)
                errors += await self._call_once(segment)
        return errors

    async def _call_once(self, segment: Segment) -> list[str]:
        """What went wrong in one call on each connection."""
        calls = segment.connections if segment.ahead is None else segment.ahead
        once = msgspec.structs.replace(
            segment, shape=Shape(count=calls), count=calls, stripe=Stripe(0, 1), phases_ns=(), streams=1
        )
        recorder = Watching(segment.targets)
        load = self._load_of(once, recorder)
        load.begin(self._tools.now_ns())
        try:
            await load.finished.wait()
        finally:
            load.abandon()
        return recorder.wrong

    async def _run(self, index: int) -> None:
        segment = self.assign.segments[index]
        if self._connecting is not None:
            await asyncio.wait([self._connecting])
        await self._connect_to_allowed(index)
        recorder = Recorder(
            index,
            segment.targets,
            segment.phases_ns,
            agent=self._settings.agent_id,
            is_open=segment.shape.is_open,
        )
        load = self._load_of(segment, recorder)
        self._recorder, self._load = recorder, load
        load.begin(self._start_ns)
        if self._stopped:
            load.stop(Ended.STOPPED)
        course = _Course(index, recorder, load, cpu_ns=self._tools.cpu_ns())
        try:
            second = await self._follow(course)
        finally:
            load.abandon()  # a start that was called off, or a run that was, must not wake up later
        load.watch()
        await load.close_account()
        await self._cut(course, second, FOREVER_NS)
        course.recorder.ticks = course.recorder.ticks[:0]
        await self._sign_off(course)
        if index + 1 < len(self.assign.segments):  # now, so that a slow origin does not eat into the next start
            self._connecting = asyncio.create_task(self._connect_to_allowed(index + 1), name="connect ahead")

    async def _connect_to_allowed(self, index: int) -> None:
        with suppress(PermissionError):  # it was allowed when resolved before: now each request fails, and is counted
            await self._connect(index)

    async def _follow(self, course: "_Course") -> int:
        """Ship each second while the load lasts; the second in which it ended."""
        second = 0
        finished = course.load.finished
        async with asyncio.TaskGroup() as tasks:
            pulse = tasks.create_task(self._pulse(course), name="pulse")
            while not finished.is_set():
                await self._until(course.load, second + 1)
                if finished.is_set():
                    break
                await self._cut(course, second, (second + 1) * NS_PER_S)
                second = max(second + 1, (self._tools.now_ns() - self._start_ns) // NS_PER_S)
                course.until_ns = (second + 1) * NS_PER_S
            pulse.cancel()
        return second

    def _load_of(self, segment: Segment, recorder: Recorder) -> Load:
        return Load(
            segment,
            self._pools,
            recorder,
            self.lease,
            now_ns=self._tools.now_ns,
            make_waker=self._tools.make_waker,
        )

    async def _until(self, load: Load, second: int) -> None:
        """Wait for the end of a second of the run, or of the load."""
        wait_s = (self._start_ns + second * NS_PER_S - self._tools.now_ns()) / 1e9 + CUT_GRACE_S
        with suppress(TimeoutError):
            async with asyncio.timeout(max(wait_s, 0.001)):
                await load.finished.wait()

    async def _cut(self, course: "_Course", second: int, until_ns: int) -> None:
        """Ship what was done up to an instant. In steps, between which the loop goes round: so the load goes on."""
        targets = self.assign.segments[course.index].targets
        course.load.sweep(2 * max(target.timeout_ns for target in targets) + NS_PER_S)
        while course.recorder.count(until_ns):  # noqa: ASYNC110 in portions
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        series = course.recorder.cut(until_ns)
        await asyncio.sleep(0)
        cpu_ns = self._tools.cpu_ns()
        machine = msgspec.structs.replace(
            self._machinery.interval(sum(pool.driver.most_open for pool in self._pools)),
            cpu_ns=cpu_ns - course.cpu_ns,
            wall_ns=NS_PER_S,
            loop_delay=course.delays.pack(),
            pacer=course.load.pacer,
        )
        course.cpu_ns = cpu_ns
        course.all_delays.merge(course.delays)
        course.delays.clear()
        shard = Shard(
            run_id=self.assign.run_id,
            epoch=self.epoch,
            agent=self._settings.agent_id,
            incarnation=self._settings.incarnation,
            seq=-1,
            segment=course.index,
            second=second,
            series=series,
            machine=machine,
        )
        await asyncio.sleep(0)
        await self.shipper.put(shard)

    async def _pulse(self, course: "_Course") -> None:
        """Look after the load, and measure how late the event loop is."""
        while True:
            expected = self._tools.now_ns() + int(PULSE_S * 1e9)
            await asyncio.sleep(PULSE_S)
            course.delays.record(self._tools.now_ns() - expected)
            course.load.watch()
            recorder = course.recorder
            while recorder.uncounted >= PORTION and recorder.count(course.until_ns):  # noqa: ASYNC110 see _cut
                await asyncio.sleep(0)

    async def _sign_off(self, course: "_Course") -> None:
        load, recorder = course.load, course.recorder
        await self.shipper.sign_off(
            Manifest(
                run_id=self.assign.run_id,
                epoch=self.epoch,
                agent=self._settings.agent_id,
                incarnation=self._settings.incarnation,
                segment=course.index,
                last_seq=-1,
                ended=load.ended,
                elapsed_ns=load.elapsed_ns,
                series=tuple(tally.series() for _key, tally in sorted(recorder.totals.items())),
                machine=Machine(
                    cpu_ns=self._tools.cpu_ns() - course.began_cpu_ns,
                    wall_ns=load.elapsed_ns,
                    loop_delay=course.all_delays.pack(),
                    pacer=load.pacer,
                ),
            )
        )
        _log.debug("segment_signed_off", segment=course.index, ended=load.ended, tried=recorder.tried)


@dataclass
class _Course:
    """A segment under way."""

    index: int
    recorder: Recorder
    load: Load
    cpu_ns: int
    until_ns: int = NS_PER_S  # the end of the second under way
    delays: Histogram = field(default_factory=Histogram)
    all_delays: Histogram = field(default_factory=Histogram)

    def __post_init__(self) -> None:
        self.began_cpu_ns = self.cpu_ns
