"""The agent's life: join, wait for work, do it, flush, leave. Owns the TaskGroup of everything that runs."""

import asyncio
import os
from collections import deque
from contextlib import suppress

import structlog

from agent.duty import Duty, Tools
from agent.load import Ended
from agent.settings import Settings
from protocol import subjects
from protocol.arrivals import NS_PER_S
from protocol.bus import Bus
from protocol.codec import decode_to_agent, encode
from protocol.errors import BusError, ProtocolError
from protocol.messages import (
    AskAgain,
    Assign,
    Done,
    Heartbeat,
    Hello,
    Ready,
    Refused,
    Release,
    Renewed,
    Restripe,
    Start,
    Stop,
    Welcome,
)

HELLO_S = 1.0
EAGER_HELLO_S = 0.02  # until the first answer: whoever started this agent waits for it
HEARTBEAT_S = 1.0
PREPARE_S = 20.0
LEAVE_S = 5.0
AFTER_LEASE_NS = 5 * NS_PER_S
_log = structlog.get_logger()
Order = Assign | Start | Restripe | Stop | AskAgain | Release


class Service:
    """One agent on a bus; `run` it until it is told to `leave`."""

    def __init__(self, bus: Bus, settings: Settings, tools: Tools) -> None:
        self._bus = bus
        self._settings = settings
        self._tools = tools
        self._term = 0
        self._duty: Duty | None = None
        self._preparing: asyncio.Task[Ready | Refused] | None = None
        self._tasks = asyncio.TaskGroup()
        self._duty_tasks: list[asyncio.Task[None]] = []
        self._leaving = asyncio.Event()
        self._offsets: deque[tuple[int, int]] = deque(maxlen=16)

    async def run(self) -> None:
        """Take orders until told to leave; what is in flight then still ends, and is shipped."""
        subject = subjects.agent(self._settings.namespace, self._settings.agent_id)
        async with self._bus.serve(subject, self._answer), self._tasks:
            hello = self._tasks.create_task(self._say_hello(), name="hello")
            await self._leaving.wait()
            hello.cancel()
            if self._duty is not None:
                self._duty.stop()
                with suppress(TimeoutError):  # what did not get out in time shows as a gap at the controller
                    async with asyncio.timeout(LEAVE_S + self._longest_timeout_s(self._duty)):
                        await self._duty.finished()
                await self._release()

    def leave(self) -> None:
        """Finish what is in flight, ship it, and end."""
        self._leaving.set()

    async def _say_hello(self) -> None:
        pause_s = EAGER_HELLO_S
        while True:
            with suppress(
                BusError, ProtocolError
            ):  # no controller yet, or one of another version: it will be asked again
                await self._greet()
                pause_s = HELLO_S
            await asyncio.sleep(pause_s)

    async def _greet(self) -> None:
        offset_ns, error_ns = self._clock()
        hello = Hello(
            agent=self._settings.agent_id,
            incarnation=self._settings.incarnation,
            cores=os.cpu_count() or 1,
            host=self._settings.host,
            pid=os.getpid(),
            busy_with=self._duty.assign.run_id if self._duty else "",
            clock_offset_ns=offset_ns,
            clock_error_ns=error_ns,
        )
        asked_ns = self._tools.now_ns()
        reply = await self._bus.request(subjects.hello(self._settings.namespace), encode(hello), deadline_s=HELLO_S)
        welcome = decode_to_agent(reply)
        if isinstance(welcome, Welcome):
            self._follow(welcome.term)
            self._note_clock(welcome.controller_at_ns, asked_ns)

    def _follow(self, term: int) -> None:
        """A new leader may have another clock: what was read off the former one says nothing about it."""
        if term > self._term:
            self._term = term
            self._offsets.clear()

    def _note_clock(self, controller_at_ns: int, asked_ns: int) -> None:
        """How far the controller's clock is ahead of this one: half a round trip before now, give or take that half."""
        round_trip_ns = self._tools.now_ns() - asked_ns
        offset_ns = controller_at_ns - (self._tools.wall_ns() - round_trip_ns // 2)
        self._offsets.append((round_trip_ns // 2, offset_ns))

    def _clock(self) -> tuple[int, int]:
        """The offset read by the shortest round trip of late, and half that round trip."""
        if not self._offsets:
            return 0, 0
        error_ns, offset_ns = min(self._offsets)
        return offset_ns, error_ns

    async def _answer(self, payload: bytes) -> bytes:
        agent = self._settings.agent_id
        try:
            order = decode_to_agent(payload)
        except ProtocolError as error:
            return encode(Refused(agent, str(error)))
        if isinstance(order, Welcome | Renewed):
            return encode(Refused(agent, f"{type(order).__name__} is an answer, not an order"))
        if order.term < self._term:
            return encode(Refused(agent, f"term {order.term} is over: term {self._term} leads"))
        self._term = order.term
        return encode(await self._obey(order))

    async def _obey(self, order: Order) -> Ready | Refused | Done:
        agent = self._settings.agent_id
        if isinstance(order, Assign):
            return await self._take(order)
        duty = self._duty
        if duty is None or duty.assign.run_id != order.run_id:
            if isinstance(order, Release | Stop):
                return Done(agent)
            return Refused(agent, f"not assigned to run {order.run_id}", busy_with=duty.assign.run_id if duty else "")
        match order:
            case Start():
                why = duty.start(order, self._tasks)
                return Refused(agent, why) if why else Done(agent)
            case Restripe():
                why = duty.restripe(order)
                return Refused(agent, why) if why else Done(agent)
            case Stop() if order.epoch is None or order.epoch >= duty.epoch:
                duty.stop()
            case AskAgain():
                await duty.shipper.again(order.segment, order.seqs)
            case Release():
                await self._release()
        return Done(agent)

    async def _take(self, order: Assign) -> Ready | Refused:
        """Claim this agent for a run; claiming is atomic because nothing awaits between the look and the claim."""
        agent = self._settings.agent_id
        if self._leaving.is_set():
            return Refused(agent, "this agent is about to leave")
        if self._duty is not None and self._duty.assign.run_id != order.run_id:
            return Refused(agent, f"busy with run {self._duty.assign.run_id}", busy_with=self._duty.assign.run_id)
        if self._duty is None:
            self._duty = Duty(order, self._bus, self._settings, self._tools)
            self._preparing = self._tasks.create_task(self._prepare(self._duty), name="prepare")
            self._duty_tasks = [
                self._tasks.create_task(self._duty.shipper.run(), name="ship"),
                self._tasks.create_task(self._keep_lease(self._duty), name="heartbeat"),
            ]
        assert self._preparing is not None
        answer = await asyncio.shield(self._preparing)
        if isinstance(answer, Refused):
            await self._release()
        return answer

    async def _prepare(self, duty: Duty) -> Ready | Refused:
        offset_ns, error_ns = self._clock()
        try:
            async with asyncio.timeout(PREPARE_S):
                return await duty.prepare(offset_ns, error_ns)
        except (TimeoutError, BusError) as error:
            return Refused(self._settings.agent_id, str(error) or f"not prepared within {PREPARE_S:g} s")

    async def _keep_lease(self, duty: Duty) -> None:
        """Say each second that this agent lives; the answer renews the lease. Long after its end, forget the run."""
        subject = subjects.heartbeat(duty.assign.namespace, duty.assign.run_id)
        while True:
            with suppress(BusError, ProtocolError):  # the lease bounds what happens without a controller
                await self._beat(duty, subject)
            if self._tools.now_ns() > duty.lease.until_ns + AFTER_LEASE_NS:
                _log.warning("run_abandoned", run_id=duty.assign.run_id)
                self._tasks.create_task(self._release(), name="release")
                return
            await asyncio.sleep(0.05 if duty.is_held else HEARTBEAT_S)

    async def _beat(self, duty: Duty, subject: str) -> None:
        heartbeat = Heartbeat(
            duty.assign.run_id,
            self._settings.agent_id,
            self._settings.incarnation,
            epoch=duty.epoch,
            segment=duty.segment,
            tried=duty.tried,
        )
        asked_ns = self._tools.now_ns()
        reply = decode_to_agent(await self._bus.request(subject, encode(heartbeat), deadline_s=HEARTBEAT_S))
        if not isinstance(reply, Renewed) or reply.term < self._term:
            return
        self._follow(reply.term)
        self._note_clock(reply.controller_at_ns, asked_ns)
        if reply.is_over:
            duty.stop(Ended.LOST)
        duty.renew(asked_ns)

    async def _release(self) -> None:
        duty, self._duty = self._duty, None
        if self._preparing is not None:
            self._preparing.cancel()
            self._preparing = None
        for task in self._duty_tasks:
            task.cancel()
        self._duty_tasks = []
        if duty is not None:
            await duty.close()

    def _longest_timeout_s(self, duty: Duty) -> float:
        return max(target.timeout_ns for segment in duty.assign.segments for target in segment.targets) / 1e9
