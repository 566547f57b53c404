"""Pure: the words in which a run is conducted: what can happen, what is to be done about it, and on what terms."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class OnLoss(StrEnum):
    """What a lost agent means for the others."""

    FAIL = "fail"
    DEGRADE = "degrade"
    REDISTRIBUTE = "redistribute"


class RunEnded(StrEnum):
    """Why a run, or a segment of it, ended."""

    COMPLETE = "complete"
    MAX_DURATION = "max-duration"
    ABORTED = "aborted"
    INTERRUPTED = "interrupted"
    AGENT_LOST = "agent-lost"
    FAILED = "failed"


# --- events --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Begin:
    """All is set up: go."""


@dataclass(frozen=True)
class AgentReady:
    """An agent has taken its assignment."""

    agent: str
    initial_errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class AgentRefused:
    """An agent will not, or did not answer in time."""

    agent: str
    why: str


@dataclass(frozen=True)
class AgentStarted:
    """An agent will begin a segment at its instant."""

    agent: str
    segment: int
    epoch: int


@dataclass(frozen=True)
class AgentAlive:
    """A heartbeat, or anything else that an agent sent."""

    agent: str


@dataclass(frozen=True)
class SignedOff:
    """An agent's manifest of a segment is complete."""

    agent: str
    segment: int
    epoch: int
    ended: str
    tried: int
    missing: tuple[int, ...] = ()


@dataclass(frozen=True)
class BusLost:
    """The bus can't be reached: silence says nothing now."""


@dataclass(frozen=True)
class BusBack:
    """The bus can be reached again."""


@dataclass(frozen=True)
class StopAsked:
    """Somebody wants the run to end now, or what was measured so far ends it."""

    why: str = "interrupted"
    is_abort: bool = False


@dataclass(frozen=True)
class Tick:
    """Time has passed. Several times a second."""


Event = Begin | AgentReady | AgentRefused | AgentStarted | AgentAlive | SignedOff | BusLost | BusBack | StopAsked | Tick


# --- commands ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SendAssign:
    """Claim an agent."""

    agent: str


@dataclass(frozen=True)
class SendStart:
    """Have these agents begin a segment at a common instant, `in_s` from now."""

    agents: tuple[str, ...]
    segment: int
    epoch: int
    in_s: float


@dataclass(frozen=True)
class SendStop:
    """Have these agents start nothing more."""

    agents: tuple[str, ...]
    why: str
    epoch: int | None = None  # the start that is called off; None: whatever is under way


@dataclass(frozen=True)
class SendRestripe:
    """Split what is due from `elapsed_s` on over these agents."""

    agents: tuple[str, ...]
    segment: int
    epoch: int
    elapsed_s: float


@dataclass(frozen=True)
class SendAskAgain:
    """Have an agent send its manifest, and these shards, once more."""

    agent: str
    segment: int
    seqs: tuple[int, ...]


@dataclass(frozen=True)
class Finish:
    """The run is over: release all agents."""

    ended: RunEnded
    why: str = ""


Command = SendAssign | SendStart | SendStop | SendRestripe | SendAskAgain | Finish


class Phase(StrEnum):
    """What the run waits for."""

    IDLE = "idle"
    PREPARING = "preparing"
    STARTING = "starting"
    RUNNING = "running"
    OVER = "over"


@dataclass(frozen=True)
class Terms:
    """What a run goes by. `segments_s` is how long each segment can last at the very most, time-outs included."""

    agents: tuple[str, ...]
    segments_s: Sequence[float]
    lead_s: float = 1.0
    on_loss: OnLoss = OnLoss.FAIL
    lease_s: float = 60.0
    bus_patience_s: float = 60.0  # how long the bus may be away: without it, agents go on for their lease at most
    drain_s: float = 10.0  # how long a segment that was stopped may take to finish what is in flight
