"""Pure: an experiment's load x a number of agents -> who sends what when. Shares add up to the asked load exactly."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import msgspec

from protocol.arrivals import NS_PER_S
from protocol.messages import Segment, Target
from protocol.schedule import Part, Shape, Stripe, Timetable, share

FOREVER_NS = 1 << 62


@dataclass(frozen=True)
class Phase:
    """A part of a segment that is measured by itself: a stage, or what `measure` takes or leaves of one.

    `stage` is the stage's name, empty where the load has no stages; `begin` and `end` are its load at its own ends.
    """

    starts_ns: int
    ends_ns: int
    stage: str = ""
    is_measured: bool = True
    begin: float = 0.0
    end: float = 0.0


@dataclass(frozen=True)
class LoadSegment:
    """One segment of a run, over all agents. More than one target is a mix, whose sum has a provider of its own."""

    name: str
    providers: tuple[str, ...]
    targets: tuple[Target, ...]
    shape: Shape
    connections: int
    max_length_ns: int
    is_warmup: bool = False
    initial_calls: bool = False
    ahead: int | None = None
    streams: int = 1
    phases: tuple[Phase, ...] = ()
    total: str = ""  # the provider of a mix as a whole

    @property
    def rate_per_s(self) -> float | None:
        """The rate asked for; of stages, the mean of the plan; None in closed load."""
        if not self.shape.is_open:
            return None
        if self.shape.rate_per_s is not None:
            return float(Fraction(self.shape.rate_per_s))
        timetable = Timetable(self.shape)
        return timetable.planned / max(timetable.length_ns, 1) * NS_PER_S

    @property
    def planned(self) -> int | None:
        """Requests planned; None where the answers decide (closed load with a duration)."""
        return Timetable(self.shape).planned if self.shape.is_open else self.shape.count

    @property
    def length_ns(self) -> int | None:
        """The planned length; None where the answers decide (closed load with a count)."""
        if self.shape.is_open:
            return Timetable(self.shape).length_ns
        if self.shape.count is None and self.shape.users:
            return sum(stage.duration_ns for stage in self.shape.users)
        return self.shape.duration_ns

    @property
    def measured_phases(self) -> frozenset[int]:
        """The phases that count in metrics."""
        if not self.phases:
            return frozenset({0})
        return frozenset(number for number, phase in enumerate(self.phases) if phase.is_measured)

    @property
    def stages(self) -> dict[str, frozenset[int]]:
        """The measured phases of each stage, by the stage's name."""
        names = dict.fromkeys(phase.stage for phase in self.phases if phase.stage and phase.is_measured)
        return {
            name: frozenset(n for n, phase in enumerate(self.phases) if phase.stage == name and phase.is_measured)
            for name in names
        }

    @property
    def phases_ns(self) -> tuple[int, ...]:
        """Where the second and later phases begin."""
        return tuple(phase.starts_ns for phase in self.phases[1:])

    @property
    def weights(self) -> list[int]:
        """The targets' shares."""
        return [target.weight for target in self.targets]


@dataclass(frozen=True)
class Plan:
    """Who sends what when: agent number i of `agents` has the stripe i of each segment."""

    segments: tuple[LoadSegment, ...]
    agents: int

    def assignment(self, index: int) -> tuple[Segment, ...]:
        """One agent's part of every segment."""
        return tuple(self._part(segment, index) for segment in self.segments)

    def part(self, segment: int, index: int) -> Part:
        """One agent's part of an open segment's timetable."""
        return Part(Timetable(self.segments[segment].shape), (Stripe(index, self.agents),))

    @property
    def hash(self) -> str:
        """The same for the same plan: what was asked of whom, in twelve hexadecimal digits."""
        parts = [self.assignment(index) for index in range(self.agents)]
        return hashlib.sha256(msgspec.msgpack.encode(parts)).hexdigest()[:12]

    def _part(self, segment: LoadSegment, index: int) -> Segment:
        count = None
        if not segment.shape.is_open and segment.shape.count is not None:
            count = share(segment.shape.count, index, self.agents)
        return Segment(
            name=segment.name,
            targets=segment.targets,
            shape=segment.shape,
            stripe=Stripe(index, self.agents),
            connections=share(segment.connections, index, self.agents),
            max_length_ns=segment.max_length_ns,
            count=count,
            is_warmup=segment.is_warmup,
            initial_calls=segment.initial_calls,
            ahead=None if segment.ahead is None else share(segment.ahead, index, self.agents),
            streams=segment.streams,
            phases_ns=segment.phases_ns,
        )


def most_agents(segments: Sequence[LoadSegment]) -> int:
    """The most agents that all have a connection and a request of their own."""
    planned = [segment.planned for segment in segments if segment.planned is not None]
    return max(1, min((*(segment.connections for segment in segments), *planned)))


def split(segments: Sequence[LoadSegment], agents: int) -> Plan:
    """The plan for so many agents, or fewer where some would have no connection."""
    return Plan(tuple(segments), max(1, min(agents, most_agents(segments))))
