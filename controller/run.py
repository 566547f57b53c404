"""Pure: a run's state machine. `on(event, now_s)` gives the commands that somebody else performs.

Every wait has a deadline here, so a run ends whatever is lost, doubled or late. Knows no bus, no histogram, no clock:
`now_s` is a monotonic time that is passed in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

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
    OnLoss,
    Phase,
    RunEnded,
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

PREPARE_S = 30.0
ACK_MARGIN_S = 0.1
SILENCE_S = 5.0
SETTLE_S = 3.0
MAX_EPOCHS = 3
RESTRIPE_LEAD_S = 1.0


@dataclass
class _Epoch:
    """The segment under way."""

    segment: int
    number: int
    start_s: float
    acked: set[str] = field(default_factory=set)
    signed: dict[str, SignedOff] = field(default_factory=dict)
    called_off: int = 0  # starts of this segment before this one
    asked: dict[str, float] = field(default_factory=dict)  # for shards
    reminded: dict[str, float] = field(default_factory=dict)  # of its manifest
    restriped: set[str] = field(default_factory=set)  # who got a part of the lost ones
    redistributed: set[str] = field(default_factory=set)  # whose part went to others
    never_began: set[str] = field(default_factory=set)


class Run:
    """One run, from the first assignment to its end."""

    def __init__(self, terms: Terms) -> None:
        self.phase = Phase.IDLE
        self.lost: dict[str, float] = {}  # when each was last heard of
        self.ended_by_segment: dict[int, RunEnded] = {}
        self.epoch = 0
        self._terms = terms
        self._ready: set[str] = set()
        self._heard: dict[str, float] = {}
        self._deadline_s = float("inf")
        self._now: _Epoch | None = None
        self._stop_reason: RunEnded | None = None
        self._stopped_s = float("inf")
        self._bus_is_back_s = 0.0
        self._has_bus = True
        self._bus_lost_s = 0.0
        self._begun_s = 0.0

    @property
    def segment(self) -> int:
        """The segment under way, -1 before the first."""
        return self._now.segment if self._now else -1

    @property
    def living(self) -> tuple[str, ...]:
        """The agents that are not lost."""
        return tuple(agent for agent in self._terms.agents if agent not in self.lost)

    def on(self, event: Event, now_s: float) -> list[Command]:  # noqa: C901, PLR0912 one case an event, each short
        """What is to be done about an event."""
        if self.phase is Phase.OVER:
            return []
        match event:
            case Begin():
                return self._begin(now_s)
            case AgentReady():
                self._heard[event.agent] = now_s
                if event.initial_errors:
                    return self._finish(RunEnded.FAILED, _initial(event))
                self._ready.add(event.agent)
                return self._start_if_ready(now_s)
            case AgentRefused():
                return self._refused(event, now_s)
            case AgentStarted():
                if self._now and (event.segment, event.epoch) == (self._now.segment, self._now.number):
                    self._now.acked.add(event.agent)
                return self._tick(now_s)
            case AgentAlive():
                self._heard[event.agent] = max(now_s, self._heard.get(event.agent, 0.0))
                return []
            case SignedOff():
                self._heard[event.agent] = max(now_s, self._heard.get(event.agent, 0.0))
                return self._signed_off(event, now_s)
            case BusLost():
                self._bus_lost_s = now_s if self._has_bus else self._bus_lost_s
                self._has_bus = False
                return []
            case BusBack():
                self._has_bus = True
                self._bus_is_back_s = now_s
                return []
            case StopAsked():
                return self._stop(RunEnded.ABORTED if event.is_abort else RunEnded.INTERRUPTED, event.why, now_s)
            case Tick():
                return self._tick(now_s)
            case _:
                assert_never(event)

    def _begin(self, now_s: float) -> list[Command]:
        if self.phase is not Phase.IDLE:
            return []
        self.phase = Phase.PREPARING
        self._begun_s = now_s
        self._deadline_s = now_s + PREPARE_S
        return [SendAssign(agent) for agent in self._terms.agents]

    def _start_if_ready(self, now_s: float) -> list[Command]:
        if self.phase is not Phase.PREPARING or self._ready != set(self._terms.agents):
            return []
        return self._start(0, now_s)

    def _start(self, segment: int, now_s: float, called_off: int = 0) -> list[Command]:
        self.phase = Phase.STARTING
        agents = self.living
        self._now = _Epoch(segment, self.epoch, now_s + self._terms.lead_s, called_off=called_off)
        self._heard.update(dict.fromkeys(agents, now_s))
        return [SendStart(agents, segment, self.epoch, self._terms.lead_s)]

    def _refused(self, event: AgentRefused, now_s: float) -> list[Command]:
        if self.phase is Phase.PREPARING and event.agent not in self._ready:
            return self._finish(RunEnded.FAILED, f"{event.agent} refused: {event.why}")
        if self.phase is Phase.RUNNING and self._now is not None and event.agent in self._now.restriped:
            return self._stop(RunEnded.AGENT_LOST, f"{event.agent} refused: {event.why}", now_s)
        return []

    def _signed_off(self, event: SignedOff, now_s: float) -> list[Command]:
        current = self._now
        if current is None or event.segment != current.segment or event.agent in self.lost:
            return []
        if self.phase is Phase.STARTING and event.tried and event.epoch < current.number:
            return self._finish(RunEnded.FAILED, f"{event.agent} began an epoch that was called off")
        if event.epoch < current.number and event.agent not in current.restriped:
            return []
        if event.ended in ("lease", "lost"):  # it stopped for want of a controller: what it left was never made
            return self._lose([event.agent], now_s)
        current.signed[event.agent] = event
        if event.missing and event.agent not in current.asked:
            current.asked[event.agent] = now_s
            return [SendAskAgain(event.agent, event.segment, event.missing)]
        return self._tick(now_s)

    def _stop(self, why: RunEnded, text: str, now_s: float) -> list[Command]:
        if self.phase in (Phase.IDLE, Phase.PREPARING):
            return self._finish(why, text)
        assert self._now is not None
        if self._stop_reason is not None:
            return []
        self._stop_reason = why
        self._stopped_s = now_s
        if self.phase is Phase.STARTING:  # who has not said that it will begin has nothing to sign off
            self._now.never_began = set(self.living) - self._now.acked
        self.phase = Phase.RUNNING
        self._now.start_s = min(self._now.start_s, now_s)
        return [SendStop(self.living, text)]

    def _tick(self, now_s: float) -> list[Command]:
        if not self._has_bus and now_s - self._bus_lost_s > self._terms.bus_patience_s:
            return self._give_up_the_bus(now_s)
        match self.phase:
            case Phase.PREPARING:
                return self._await_ready(now_s)
            case Phase.STARTING:
                return self._await_acks(now_s)
            case Phase.RUNNING:
                return self._look_after(now_s)
            case _:
                return []

    def _give_up_the_bus(self, now_s: float) -> list[Command]:
        why = f"the bus was away for {self._terms.bus_patience_s:g} s"
        if self.phase not in (Phase.STARTING, Phase.RUNNING):
            return self._finish(RunEnded.FAILED, why)
        for agent in self.living:
            self.lost[agent] = self._heard.get(agent, now_s)
        return [*self._stop(RunEnded.AGENT_LOST, why, now_s), *self._finish(RunEnded.AGENT_LOST, why)]

    def _await_ready(self, now_s: float) -> list[Command]:
        missing = sorted(set(self._terms.agents) - self._ready)
        if now_s > self._deadline_s:
            return self._finish(RunEnded.FAILED, f"no answer from {', '.join(missing)} within {PREPARE_S:g} s")
        since_s = max(self._begun_s, self._bus_is_back_s)
        silent = [agent for agent in missing if now_s - max(since_s, self._heard.get(agent, 0.0)) > SILENCE_S]
        if silent and self._has_bus:
            return self._finish(
                RunEnded.FAILED, f"lost {', '.join(silent)} before the start: nothing was heard from it"
            )
        return []

    def _await_acks(self, now_s: float) -> list[Command]:
        current = self._now
        assert current is not None
        silent = set(self.living) - current.acked
        if not silent and now_s >= current.start_s - ACK_MARGIN_S:
            self.phase = Phase.RUNNING
            return []
        if silent and now_s >= current.start_s - ACK_MARGIN_S:
            # Nothing was sent yet: call it off, and plan the next epoch.
            agents = self.living
            self.epoch += 1
            called_off = current.called_off + 1
            if called_off >= MAX_EPOCHS:
                names = ", ".join(sorted(silent))
                return [SendStop(agents, "not started"), *self._finish(RunEnded.FAILED, f"no start from {names}")]
            return [
                SendStop(agents, "start called off", current.number),
                *self._start(current.segment, now_s, called_off),
            ]
        return []

    def _look_after(self, now_s: float) -> list[Command]:
        current = self._now
        assert current is not None
        commands = self._notice_silence(current, now_s)
        if self.phase is not Phase.RUNNING:
            return commands
        commands += self._ask_late(current, now_s)
        waiting = [agent for agent in self.living if not self._is_settled(current, agent, now_s)]
        if not waiting:
            commands += self._end_segment(current, now_s)
        return commands

    def _is_settled(self, current: _Epoch, agent: str, now_s: float) -> bool:
        """Signed off with all shards here, or with no hope of those that are missing."""
        signed = current.signed.get(agent)
        if signed is None:
            return agent in current.never_began
        return not signed.missing or now_s - current.asked.get(agent, now_s) > SETTLE_S

    def _notice_silence(self, current: _Epoch, now_s: float) -> list[Command]:
        if not self._has_bus:
            return []
        silent = [
            agent
            for agent in self.living
            if agent not in current.signed and now_s - max(self._heard.get(agent, 0.0), self._bus_is_back_s) > SILENCE_S
        ]
        commands = self._lose(silent, now_s)
        if self._terms.on_loss is OnLoss.REDISTRIBUTE and self._stop_reason is None:
            commands += self._redistribute(current, now_s)
        return commands

    def _lose(self, agents: Sequence[str], now_s: float) -> list[Command]:
        for agent in agents:
            self.lost[agent] = self._heard.get(agent, 0.0)
        if agents and (self._terms.on_loss is OnLoss.FAIL or not self.living):
            return self._stop(RunEnded.AGENT_LOST, f"lost {', '.join(agents)}", now_s)
        return []

    def _redistribute(self, current: _Epoch, now_s: float) -> list[Command]:
        """Once a lost agent's lease has surely ended, its share of what is still to come goes to the others."""
        free = {agent: heard_s for agent, heard_s in self.lost.items() if agent not in current.redistributed}
        # All of what is still to come is dealt anew, so whoever is lost must be past its lease.
        heirs = tuple(agent for agent in self.living if agent not in current.signed)
        if not free or not heirs or now_s <= max(free.values()) + self._terms.lease_s + 1.0:
            return []
        self.epoch += 1
        current.redistributed.update(free)
        current.restriped.update(heirs)
        current.number = self.epoch
        elapsed_s = now_s + RESTRIPE_LEAD_S - current.start_s
        return [SendRestripe(heirs, current.segment, self.epoch, elapsed_s)]

    def _ask_late(self, current: _Epoch, now_s: float) -> list[Command]:
        """Agents that live and should long be done are asked for their manifest, and then given up."""
        limit_s = min(
            current.start_s + self._terms.segments_s[current.segment],
            self._stopped_s + self._terms.drain_s,
        )
        if now_s <= limit_s:
            return []
        commands: list[Command] = []
        for agent in self.living:
            if agent in current.signed:
                continue
            if agent not in current.reminded:
                current.reminded[agent] = now_s
                commands += [SendStop((agent,), "too late"), SendAskAgain(agent, current.segment, ())]
            elif now_s - current.reminded[agent] > 2 * SETTLE_S:
                self.lost[agent] = now_s
                commands += self._stop(RunEnded.AGENT_LOST, f"no manifest from {agent}", now_s)
        return commands

    def _end_segment(self, current: _Epoch, now_s: float) -> list[Command]:
        ended = self._stop_reason or _ended(current, self.living)
        self.ended_by_segment[current.segment] = ended
        if ended is RunEnded.AGENT_LOST or not self.living:
            return self._finish(RunEnded.AGENT_LOST, "")
        is_last = current.segment + 1 == len(self._terms.segments_s)
        if is_last or self._stop_reason is not None:
            return self._finish(ended, "")
        return self._start(current.segment + 1, now_s)

    def _finish(self, ended: RunEnded, why: str) -> list[Command]:
        self.phase = Phase.OVER
        if self._now is not None:
            self.ended_by_segment.setdefault(self._now.segment, ended)
        return [Finish(ended, why)]


def _ended(current: _Epoch, living: Sequence[str]) -> RunEnded:
    """How a segment ended by what its agents say: one that stopped on its own account is as good as lost."""
    said = {current.signed[agent].ended for agent in living if agent in current.signed}
    if "stopped" in said:
        return RunEnded.AGENT_LOST
    return RunEnded.MAX_DURATION if "max-duration" in said else RunEnded.COMPLETE


def _initial(event: AgentReady) -> str:
    first = event.initial_errors[0]
    return (
        f"the first calls went wrong: {first} ({len(event.initial_errors)} on {event.agent}); "
        "set allowInitialErrors: true to make the load all the same"
    )
