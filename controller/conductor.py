"""A run's shell: bus messages and timers -> run.on(event) -> do its commands. Decides nothing itself."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass

import structlog

from controller.abort import first_violated, sentence
from controller.account import Conducted, running
from controller.events import (
    AgentAlive,
    AgentReady,
    AgentRefused,
    AgentStarted,
    Begin,
    BusBack,
    BusLost,
    Command,
    Event,
    Finish,
    Phase,
    SendAskAgain,
    SendAssign,
    SendRestripe,
    SendStart,
    SendStop,
    SignedOff,
    StopAsked,
    Terms,
    Tick,
)
from controller.experiment.abort import AbortOn
from controller.merge import Merge
from controller.plan import Plan
from controller.run import RESTRIPE_LEAD_S, Run
from protocol import subjects
from protocol.bus import Bus
from protocol.codec import decode_to_controller, encode
from protocol.errors import BusError, NobodyThereError, ProtocolError
from protocol.messages import (
    AskAgain,
    Assign,
    Done,
    Heartbeat,
    Manifest,
    Ready,
    Refused,
    Release,
    Renewed,
    Restripe,
    Shard,
    Start,
    Stop,
    ToAgent,
    ToController,
)
from protocol.schedule import Part, Stripe, Timetable, cut_short

TICK_S = 0.05
FROZEN_S = 1.0
ASSIGN_S = 25.0
ORDER_S = 2.0
TRY_S = 1.0  # an agent answers at once, but for an assignment, which it has to prepare
CHECKPOINT_S = 10.0
LOOK_S = 0.25
RELEASE_S = 2.0
LOST_S = 0.3  # a lost agent is told as well, in case it lives, but nobody waits for it
_log = structlog.get_logger()


@dataclass(frozen=True)
class Order:
    """What a run is conducted by."""

    run_id: str
    namespace: str
    term: int
    plan: Plan
    agents: tuple[str, ...]
    terms: Terms
    user_agent: str
    abort_on: tuple[AbortOn, ...] = ()
    whole_seconds: frozenset[int] = frozenset()  # the segments of which SLOs have windows


class Conductor:
    """Conducts one run; `conduct` once. `stop` ends it early."""

    def __init__(
        self,
        bus: Bus,
        order: Order,
        *,
        now_s: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.conducted = Conducted(
            order.plan,
            order.agents,
            Merge(order.whole_seconds),
            on_loss=order.terms.on_loss,
            lease_s=order.terms.lease_s,
            begun_at_ns=wall_ns(),
        )
        self.run = Run(order.terms)
        self._bus = bus
        self._order = order
        self._now_s = now_s
        self._wall_ns = wall_ns
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._tasks = asyncio.TaskGroup()
        self._log = _log.bind(run_id=order.run_id)
        self._sequence = 0
        self._told: set[tuple[str, int, int, tuple[int, ...]]] = set()
        self._spawned: set[asyncio.Task[object]] = set()
        if order.plan.segments:
            for segment, load in enumerate(order.plan.segments):
                for index, agent in enumerate(order.agents):
                    if load.shape.is_open:
                        self.conducted.parts[segment, agent] = order.plan.part(segment, index)

    def stop(self, why: str) -> None:
        """End the run now: nothing more is started, what is in flight ends."""
        self._events.put_nowait(StopAsked(why))

    async def conduct(self) -> Conducted:
        """The run, from the assignments to the release of all agents."""
        order = self._order
        heartbeats = subjects.heartbeat(order.namespace, order.run_id)
        try:
            async with self._bus.serve(heartbeats, self._renew), self._tasks:
                self._spawn(self._read_shards(), "read shards")
                self._spawn(self._save_checkpoints(), "checkpoint")
                if order.abort_on:
                    self._spawn(self._watch_limits(), "abortOn")
                self._events.put_nowait(Begin())
                await self._follow()
                for task in tuple(self._spawned):
                    task.cancel()
        finally:
            with suppress(TimeoutError, BusError):  # an agent that does not hear it forgets the run with its lease
                async with asyncio.timeout(RELEASE_S):
                    await self._release()
        return self.conducted

    def _spawn(self, coroutine: Coroutine[object, object, object], name: str) -> None:
        """A task that ends with the run at the latest."""
        task = self._tasks.create_task(coroutine, name=name)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    async def _follow(self) -> None:
        is_connected = True
        looked_s = self._now_s()
        while self.run.phase is not Phase.OVER:
            event: Event = Tick()
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    event = await self._events.get()
            if self._now_s() - looked_s > FROZEN_S:
                # It was this process that stood still: what the agents said meanwhile waits to be read.
                self._log.warning("controller_stood_still", seconds=round(self._now_s() - looked_s, 1))
                self._do(BusBack())
            looked_s = self._now_s()
            if self._bus.is_connected != is_connected:
                is_connected = self._bus.is_connected
                self._log.warning("bus_back" if is_connected else "bus_lost")
                self._do(BusBack() if is_connected else BusLost())
            self._do(event)

    def _do(self, event: Event) -> None:
        lost_before = set(self.run.lost)
        for command in self.run.on(event, self._now_s()):
            self._perform(command)
        for agent in set(self.run.lost) - lost_before:
            self._log.error("agent_lost", agent_id=agent)
        self.conducted.lost = dict(self.run.lost)

    def _perform(self, command: Command) -> None:
        match command:
            case SendAssign():
                self._spawn(self._assign(command.agent), f"assign {command.agent}")
            case SendStart():
                at_ns = self._wall_ns() + int(command.in_s * 1e9)
                self.conducted.started_s[command.segment] = self._now_s() + command.in_s
                self.conducted.stopped_s = None  # what was stopped before was another start, or one agent's segment
                self.conducted.started_at_ns = self.conducted.started_at_ns or at_ns
                for agent in command.agents:
                    self._spawn(self._start(agent, command, at_ns), f"start {agent}")
            case SendStop():
                self.conducted.stopped_s = self._now_s()
                stop = Stop(self._order.run_id, self._order.term, command.why, command.epoch)
                self._to_all(command.agents, stop)
            case SendRestripe():
                self._restripe(command)
            case SendAskAgain():
                message = AskAgain(self._order.run_id, self._order.term, command.segment, command.seqs)
                self._to_all((command.agent,), message)
            case Finish():
                self.conducted.ended, self.conducted.why = command.ended, command.why
                self.conducted.ended_by_segment = dict(self.run.ended_by_segment)

    def _to_all(self, agents: tuple[str, ...], message: ToAgent) -> None:
        for agent in agents:
            self._spawn(self._tell(agent, message), f"tell {agent}")

    async def _tell(self, agent: str, message: ToAgent, deadline_s: float = ORDER_S) -> ToController | None:
        """The agent's answer, or None if it gave none. Orders get lost, and change nothing when they come again."""
        subject, payload = subjects.agent(self._order.namespace, agent), encode(message)
        begun_s = self._now_s()
        try_s = min(TRY_S, deadline_s / 3)
        patience_s = 0.0 if isinstance(message, Release) else ORDER_S  # with an agent that is not there
        while True:
            try:
                return decode_to_controller(await self._bus.request(subject, payload, deadline_s=try_s))
            except (BusError, ProtocolError) as error:
                why = error
            waited_s = self._now_s() - begun_s
            is_gone = isinstance(why, NobodyThereError) and waited_s >= patience_s
            if is_gone or not isinstance(why, BusError) or waited_s + try_s > deadline_s:
                self._log.debug("order_unanswered", agent_id=agent, order=type(message).__name__, error=str(why))
                return None
            await asyncio.sleep(TICK_S)

    async def _assign(self, agent: str) -> None:
        order = self._order
        index = order.agents.index(agent)
        assign = Assign(
            run_id=order.run_id,
            term=order.term,
            epoch=0,
            namespace=order.namespace,
            segments=order.plan.assignment(index),
            lease_ns=int(order.terms.lease_s * 1e9),
            user_agent=order.user_agent,
            index=index,
        )
        answer = await self._tell(agent, assign, ASSIGN_S)
        match answer:
            case Ready():
                self.conducted.ready[agent] = answer
                await self._events.put(AgentReady(agent, answer.initial_errors))
            case Refused():
                await self._events.put(AgentRefused(agent, answer.why))
            case _:
                self._log.warning("assignment_unanswered", agent_id=agent)  # its silence will tell

    async def _start(self, agent: str, command: SendStart, at_ns: int) -> None:
        start = Start(self._order.run_id, self._order.term, command.epoch, command.segment, at_ns)
        answer = await self._tell(agent, start, max(command.in_s, 0.2))
        if isinstance(answer, Done):
            await self._events.put(AgentStarted(agent, command.segment, command.epoch))
        elif isinstance(answer, Refused):
            self._log.warning("start_refused", agent_id=agent, why=answer.why)

    def _restripe(self, command: SendRestripe) -> None:
        """Split what is due from an instant on over the agents that are left."""
        shape = self._order.plan.segments[command.segment].shape
        if not shape.is_open:
            self._log.warning("load_not_redistributed", why="closed load has no timetable to split")
            return
        timetable = Timetable(shape)
        first = timetable.due_count(int(command.elapsed_s * 1e9))
        for agent in set(self._order.agents) - set(command.agents):
            key = (command.segment, agent)
            if self.conducted.parts[key].timetable.planned <= first:
                continue  # lost before, and its part was given to others then
            kept = tuple(stripe for stripe in self.conducted.parts[key].stripes if stripe.first < first)
            nothing = Timetable(cut_short(shape, first))
            self.conducted.parts[key] = Part(nothing, kept)
        for index, agent in enumerate(command.agents):
            stripe = Stripe(index, len(command.agents), first)
            key = (command.segment, agent)
            self.conducted.parts[key] = self.conducted.parts[key].restriped(stripe)
            message = Restripe(self._order.run_id, self._order.term, command.epoch, command.segment, stripe)
            self._spawn(self._hand_over(agent, message), f"restripe {agent}")
        self._log.warning("load_redistributed", agents=len(command.agents), from_request=first)

    async def _hand_over(self, agent: str, message: Restripe) -> None:
        """One that goes on with its old part beside the others' new ones would send what they send."""
        answer = await self._tell(agent, message, RESTRIPE_LEAD_S)
        if not isinstance(answer, Done):
            why = answer.why if isinstance(answer, Refused) else "no answer"
            await self._events.put(AgentRefused(agent, f"a lost agent's load: {why}"))

    async def _renew(self, payload: bytes) -> bytes:
        """A heartbeat's answer: the lease is renewed, unless the run goes on without this agent."""
        try:
            message = decode_to_controller(payload)
        except ProtocolError as error:
            return encode(Refused("", str(error)))
        is_over = self.run.phase is Phase.OVER
        if isinstance(message, Heartbeat):
            is_over = is_over or message.agent in self.run.lost or message.agent not in self._order.agents
            if not is_over:
                await self._events.put(AgentAlive(message.agent))
        return encode(Renewed(self._order.term, self._wall_ns(), is_over=is_over))

    async def _read_shards(self) -> None:
        subject = subjects.shards(self._order.namespace, self._order.run_id)
        while True:
            try:
                async for stored in self._bus.read(subject, self._sequence + 1):
                    self._sequence = stored.sequence
                    await self._take_in(stored.payload)
            except BusError as error:
                self._log.warning("stream_unreadable", error=str(error))
                await asyncio.sleep(TICK_S)

    async def _take_in(self, payload: bytes) -> None:
        try:
            message = decode_to_controller(payload)
        except ProtocolError as error:
            self._log.error("shard_unreadable", error=str(error))
            return
        if not isinstance(message, Shard | Manifest) or message.run_id != self._order.run_id:
            return
        self.conducted.merge.add(message)
        await self._events.put(AgentAlive(message.agent))
        await self._note_manifest(message.agent, message.segment)

    async def _note_manifest(self, agent: str, segment: int) -> None:
        merge = self.conducted.merge
        manifest = merge.manifest(agent, segment)
        if manifest is None:
            return
        missing = merge.missing(agent, segment)
        fact = (agent, segment, manifest.epoch, missing)
        if fact in self._told:
            return
        self._told.add(fact)
        tried = sum(series.ok + series.errors for series in manifest.series)
        await self._events.put(SignedOff(agent, segment, manifest.epoch, manifest.ended, tried, missing))

    async def _watch_limits(self) -> None:
        """End the run once what was measured so far violates a limit of `abortOn`."""
        read = -1
        while True:
            await asyncio.sleep(LOOK_S)
            if read == self._sequence or self.run.phase is not Phase.RUNNING:
                continue
            read = self._sequence
            measured = running(self.conducted, self.run.segment)
            found = first_violated(self._order.abort_on, measured)
            if found is not None:
                why = sentence(found, measured[found.slo.metric.provider])
                self._log.error("run_aborted", why=why)
                self.conducted.aborted, self.conducted.aborted_by = why, found
                await self._events.put(StopAsked(why, is_abort=True))
                return

    async def _save_checkpoints(self) -> None:
        """What a controller that takes over reads first; gone when the run is over."""
        name = subjects.checkpoint_blob(self._order.namespace, self._order.run_id)
        try:
            while True:
                await asyncio.sleep(CHECKPOINT_S)
                try:
                    await self._bus.put_blob(name, self.conducted.merge.checkpoint(self._sequence))
                except BusError as error:
                    self._log.warning("checkpoint_not_saved", error=str(error))
        finally:
            with suppress(BusError, TimeoutError):
                async with asyncio.timeout(RELEASE_S):
                    await self._bus.delete_blob(name)

    async def _release(self) -> None:
        message = Release(self._order.run_id, self._order.term)
        patience_s = {agent: LOST_S if agent in self.run.lost else RELEASE_S for agent in self._order.agents}
        await asyncio.gather(*(self._tell(agent, message, wait_s) for agent, wait_s in patience_s.items()))
