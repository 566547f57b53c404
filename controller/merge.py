"""Pure: shards and manifests, in any order and any number of times -> measurements; knows the gaps.

An agent's totals of a segment are its manifest's where that is complete, else the sum of its shards. Adding is integer
arithmetic, so neither order nor doubling can change a result.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from protocol.histogram import Histogram, Packed, merged
from protocol.messages import Clock, Fate, Machine, Manifest, Series, SeriesKey, Shard
from protocol.series import Tally

_Key = tuple[str, str, int]  # agent, incarnation, segment


class Checkpoint(msgspec.Struct, frozen=True):
    """Everything a merge knows, and how far it has read the stream."""

    sequence: int
    seen: tuple[tuple[int, str, str, int], ...]
    parts: tuple[Manifest, ...]
    shards: tuple[tuple[str, str, int, tuple[int, ...], tuple[Series, ...], Machine], ...]
    seconds: tuple[tuple[int, int, int, int, tuple[Packed, ...], tuple[Packed, ...]], ...]


@dataclass
class Second:
    """What was done in one second of a segment, by all agents."""

    ok: int = 0
    errors: int = 0
    latency: list[Packed] = field(default_factory=list)
    lag: list[Packed] = field(default_factory=list)

    def histograms(self) -> tuple[Histogram, Histogram]:
        """Latency and lag."""
        return merged(self.latency), merged(self.lag)


@dataclass
class _Agent:
    """What one incarnation of an agent told of one segment."""

    tallies: dict[SeriesKey, Tally] = field(default_factory=dict)
    seqs: set[int] = field(default_factory=set)
    parts: dict[int, Manifest] = field(default_factory=dict)
    cpu_ns: int = 0
    wall_ns: int = 0
    loop_delay: Histogram = field(default_factory=Histogram)
    pacer: str = ""

    @property
    def manifest(self) -> Manifest | None:
        """Its first part, once all parts are there."""
        first = next(iter(self.parts.values()), None)
        return self.parts.get(0) if first is not None and len(self.parts) == first.parts else None


class Merge:
    """What is known of a run; `add` whatever arrives."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, str, str, int]] = set()
        self._agents: dict[_Key, _Agent] = {}
        self._seconds: defaultdict[int, dict[int, Second]] = defaultdict(dict)

    def add(self, message: Shard | Manifest) -> bool:
        """Take in a message; False if nothing new was in it."""
        agent = self._agents.setdefault((message.agent, message.incarnation, message.segment), _Agent())
        if isinstance(message, Manifest):
            return _take_manifest(agent, message)
        key = (message.epoch, message.agent, message.incarnation, message.seq)
        if key in self._seen:
            # Duplicates are normal here: an agent resends until it hears an ack, and acks get lost.
            return False
        self._seen.add(key)
        agent.seqs.add(message.seq)
        self._add_shard(agent, message)
        return True

    def agents(self, segment: int) -> list[tuple[str, str]]:
        """The agents that told anything of a segment, with their incarnations."""
        return sorted((agent, incarnation) for agent, incarnation, found in self._agents if found == segment)

    def manifest(self, agent: str, segment: int) -> Manifest | None:
        """An agent's manifest of a segment, once it is complete."""
        for (found, _incarnation, number), told in self._agents.items():
            if found == agent and number == segment and told.manifest is not None:
                return told.manifest
        return None

    def missing(self, agent: str, segment: int) -> tuple[int, ...]:
        """The numbers of shards that the agent's manifest says were sent and that are not here.

        Numbers run on over the segments of a run, so those of earlier segments count as well.
        """
        manifest = self.manifest(agent, segment)
        if manifest is None:
            return ()
        here: set[int] = set()
        for (found, incarnation, _number), told in self._agents.items():
            if found == agent and incarnation == manifest.incarnation:
                here |= told.seqs
        return tuple(seq for seq in range(manifest.last_seq + 1) if seq not in here)

    def tally(self, agent: str, segment: int, *, trust_manifest: bool = True) -> Tally:
        """An agent's totals of a segment: its manifest's if there is one, else those of its shards."""
        total = Tally(SeriesKey(segment=segment))
        for (found, _incarnation, number), told in sorted(self._agents.items()):
            if found != agent or number != segment:
                continue
            if trust_manifest and told.manifest is not None:
                for part in told.parts.values():
                    for series in part.series:
                        total.add(series)
            else:
                for tally in told.tallies.values():
                    total.add(tally.series())
        return total

    def machine(self, agent: str, segment: int) -> Machine:
        """How an agent fared in a segment, by its shards."""
        cpu_ns = wall_ns = 0
        delays = Histogram()
        pacer = ""
        for (found, _incarnation, number), told in self._agents.items():
            if found == agent and number == segment:
                cpu_ns += told.cpu_ns
                wall_ns += told.wall_ns
                delays.merge(told.loop_delay)
                pacer = told.pacer or pacer
        return Machine(cpu_ns=cpu_ns, wall_ns=wall_ns, loop_delay=delays.pack(), pacer=pacer)

    def shards(self, agent: str, segment: int) -> int:
        """How many shards of a segment an agent got through."""
        return sum(
            len(told.seqs)
            for (found, _inc, number), told in self._agents.items()
            if (found, number) == (agent, segment)
        )

    def seconds(self, segment: int) -> dict[int, Second]:
        """What was done in each second of a segment, as far as shards tell."""
        return dict(sorted(self._seconds[segment].items()))

    def live(self, segment: int) -> Tally:
        """The sum of all shards of a segment so far."""
        total = Tally(SeriesKey(segment=segment))
        for (_agent, _incarnation, number), told in self._agents.items():
            if number == segment:
                for tally in told.tallies.values():
                    total.add(tally.series())
        return total

    def checkpoint(self, sequence: int) -> bytes:
        """Everything that is known after reading the stream up to a sequence."""
        parts = tuple(part for told in self._agents.values() for part in told.parts.values())
        return msgspec.msgpack.encode(
            Checkpoint(
                sequence=sequence,
                seen=tuple(sorted(self._seen)),
                parts=parts,
                shards=tuple(self._packed_agents()),
                seconds=tuple(self._packed_seconds()),
            )
        )

    @staticmethod
    def restored(checkpoint: bytes) -> "tuple[Merge, int]":
        """The merge of a checkpoint, and the sequence after which to read on."""
        saved = msgspec.msgpack.decode(checkpoint, type=Checkpoint)
        merge = Merge()
        merge._seen = set(saved.seen)
        for agent, incarnation, segment, seqs, series, machine in saved.shards:
            told = merge._agents.setdefault((agent, incarnation, segment), _Agent())
            told.seqs = set(seqs)
            told.cpu_ns, told.wall_ns, told.pacer = machine.cpu_ns, machine.wall_ns, machine.pacer
            told.loop_delay.merge(machine.loop_delay)
            for one in series:
                told.tallies.setdefault(one.key, Tally(one.key)).add(one)
        for part in saved.parts:
            merge.add(part)
        for segment, second, ok, errors, latency, lag in saved.seconds:
            merge._seconds[segment][second] = Second(ok, errors, list(latency), list(lag))
        return merge, saved.sequence

    def _add_shard(self, agent: _Agent, shard: Shard) -> None:
        machine = shard.machine
        agent.cpu_ns += machine.cpu_ns
        agent.wall_ns += machine.wall_ns
        agent.pacer = machine.pacer or agent.pacer
        agent.loop_delay.merge(machine.loop_delay)
        second = self._seconds[shard.segment].setdefault(shard.second, Second())
        for series in shard.series:
            agent.tallies.setdefault(series.key, Tally(series.key)).add(series)
            second.ok += series.ok
            second.errors += series.errors
            second.latency += _of(series, (Clock.RESPONSE,), (Fate.OK, Fate.ERROR, Fate.CUT))
            second.lag += _of(series, (Clock.LAG,), (Fate.OK, Fate.ERROR, Fate.CUT))

    def _packed_agents(self) -> Iterable[tuple[str, str, int, tuple[int, ...], tuple[Series, ...], Machine]]:
        for (agent, incarnation, segment), told in sorted(self._agents.items()):
            machine = Machine(told.cpu_ns, told.wall_ns, told.loop_delay.pack(), told.pacer)
            series = tuple(tally.series() for tally in told.tallies.values())
            yield agent, incarnation, segment, tuple(sorted(told.seqs)), series, machine

    def _packed_seconds(self) -> Iterable[tuple[int, int, int, int, tuple[Packed, ...], tuple[Packed, ...]]]:
        for segment, seconds in sorted(self._seconds.items()):
            for number, second in sorted(seconds.items()):
                yield segment, number, second.ok, second.errors, tuple(second.latency), tuple(second.lag)


def _take_manifest(agent: _Agent, manifest: Manifest) -> bool:
    """The manifest of the newest epoch stands: an earlier one was of a start that was called off."""
    newest = max((part.epoch for part in agent.parts.values()), default=manifest.epoch)
    if manifest.epoch < newest or (manifest.epoch == newest and manifest.part in agent.parts):
        return False
    if manifest.epoch > newest:
        agent.parts.clear()
    agent.parts[manifest.part] = manifest
    return True


def _of(series: Series, clocks: Iterable[Clock], fates: Iterable[Fate]) -> list[Packed]:
    names = [f"{clock}.{fate}" for clock in clocks for fate in fates]
    return [series.histograms[name] for name in names if name in series.histograms]
