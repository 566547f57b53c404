"""Pure: shards and manifests, in any order and any number of times -> measurements; knows the gaps.

An agent's totals of a segment are its manifest's where that is complete, else the sum of its shards. Adding is integer
arithmetic, so neither order nor doubling can change a result.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from protocol.histogram import Histogram, Packed
from protocol.messages import Clock, Fate, Machine, Manifest, Series, SeriesKey, Shard
from protocol.series import Tally

_Key = tuple[str, str, int]  # agent, incarnation, segment
_NO_TARGET = -1  # of a second in which nothing was done


_PackedSecond = tuple[int, int, int, int, int, tuple[Packed, ...], tuple[Packed, ...], tuple[Packed, ...]]


class Checkpoint(msgspec.Struct, frozen=True):
    """Everything a merge knows, and how far it has read the stream."""

    sequence: int
    seen: tuple[tuple[int, str, str, int], ...]
    parts: tuple[Manifest, ...]
    shards: tuple[tuple[str, str, int, tuple[int, ...], tuple[Series, ...], Machine], ...]
    seconds: tuple[_PackedSecond, ...]
    whole: tuple[tuple[int, int, tuple[Series, ...]], ...] = ()
    covered: tuple[tuple[str, str, int, tuple[int, ...], tuple[int, ...]], ...] = ()


@dataclass
class Second:
    """What was done in one second of a segment, by all agents."""

    ok: int = 0
    errors: int = 0
    latency: list[Packed] = field(default_factory=list)
    lag: list[Packed] = field(default_factory=list)
    service: list[Packed] = field(default_factory=list)

    def add(self, other: "Second") -> None:
        """Count another target, or another second."""
        self.ok += other.ok
        self.errors += other.errors
        self.latency += other.latency
        self.lag += other.lag
        self.service += other.service


@dataclass
class _Agent:
    """What one incarnation of an agent told of one segment."""

    tallies: dict[SeriesKey, Tally] = field(default_factory=dict)
    seqs: set[int] = field(default_factory=set)
    parts: dict[int, Manifest] = field(default_factory=dict)
    machine: Machine = field(default_factory=Machine)
    covered: set[int] = field(default_factory=set)  # seconds for which a shard came
    blurred: set[int] = field(default_factory=set)  # of these, those that were told together with others

    @property
    def manifest(self) -> Manifest | None:
        """Its first part, once all parts are there."""
        first = next(iter(self.parts.values()), None)
        return self.parts.get(0) if first is not None and len(self.parts) == first.parts else None


Keys = Callable[[SeriesKey], bool]


def _all(_key: SeriesKey) -> bool:
    return True


class Merge:
    """What is known of a run; `add` whatever arrives.

    Of the segments in `whole`, everything that was measured is kept by second, for SLOs with a window; of others, what
    charts show.
    """

    def __init__(self, whole: Collection[int] = ()) -> None:
        self._seen: set[tuple[int, str, str, int]] = set()
        self._agents: dict[_Key, _Agent] = {}
        self._seconds: defaultdict[int, dict[tuple[int, int], Second]] = defaultdict(dict)  # second and target
        self._keeps_whole = frozenset(whole)
        self._whole: defaultdict[int, dict[int, dict[SeriesKey, Series]]] = defaultdict(dict)

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

    def tally(self, agent: str, segment: int, *, trust_manifest: bool = True, keys: Keys = _all) -> Tally:
        """An agent's totals of a segment: its manifest's if there is one, else those of its shards.

        `keys` chooses what of it, by phase and target.
        """
        total = Tally(SeriesKey(segment=segment))
        for (found, _incarnation, number), told in sorted(self._agents.items()):
            if found != agent or number != segment:
                continue
            if trust_manifest and told.manifest is not None:
                for part in told.parts.values():
                    for series in part.series:
                        if keys(series.key):
                            total.add(series)
            else:
                for tally in told.tallies.values():
                    if keys(tally.key):
                        total.add(tally.series())
        return total

    def machine(self, agent: str, segment: int) -> Machine:
        """How an agent fared in a segment, by its shards."""
        told = [
            told.machine for (found, _inc, number), told in self._agents.items() if (found, number) == (agent, segment)
        ]
        return together(told)

    def shards(self, agent: str, segment: int) -> int:
        """How many shards of a segment an agent got through."""
        return sum(
            len(told.seqs)
            for (found, _inc, number), told in self._agents.items()
            if (found, number) == (agent, segment)
        )

    def seconds(self, segment: int, target: int | None = None) -> dict[int, Second]:
        """What was done in each second of a segment, as far as shards tell; of one target, or of all."""
        found: dict[int, Second] = {}
        for (number, of), second in sorted(self._seconds[segment].items()):
            if target is None or of in (target, _NO_TARGET):
                found.setdefault(number, Second()).add(second)
        return found

    def told_s(self, agent: str, segment: int) -> int:
        """How many seconds of a segment an agent has told of, from the first."""
        covered = [
            max(told.covered, default=-1) + 1
            for (found, _incarnation, number), told in self._agents.items()
            if (found, number) == (agent, segment)
        ]
        return max(covered, default=0)

    def unclear(self, agent: str, segment: int, length: int) -> set[int]:
        """Of so many seconds, those of which it is not known what an agent did in just them.

        A shard is missing, or one tells of several seconds: those joined in a spool, those after a freeze. After the
        last shard of an agent that signed off, and all of whose shards are here, nothing happened.
        """
        covered: set[int] = set()
        blurred: set[int] = set()
        for (found, _incarnation, number), told in self._agents.items():
            if (found, number) == (agent, segment):
                covered |= told.covered
                blurred |= told.blurred
        if self.manifest(agent, segment) is not None and not self.missing(agent, segment):
            length = min(length, max(covered, default=-1) + 1)
        gaps = set(range(length)) - covered
        return gaps | blurred | {second + 1 for second in gaps if second + 1 < length}

    def whole_seconds(self, segment: int, keys: Keys) -> Mapping[int, Tally]:
        """Everything that was measured in each second of a segment, made when it is looked up."""
        return _Seconds(self._whole[segment], keys)

    def live(self, segment: int, keys: Keys = _all) -> Tally:
        """The sum of all shards of a segment so far."""
        total = Tally(SeriesKey(segment=segment))
        for (_agent, _incarnation, number), told in self._agents.items():
            if number == segment:
                for tally in told.tallies.values():
                    if keys(tally.key):
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
                covered=tuple(
                    (*key, tuple(sorted(told.covered)), tuple(sorted(told.blurred)))
                    for key, told in sorted(self._agents.items())
                ),
                whole=tuple(
                    (segment, second, tuple(series.values()))
                    for segment, seconds in sorted(self._whole.items())
                    for second, series in sorted(seconds.items())
                ),
            )
        )

    @staticmethod
    def restored(checkpoint: bytes, whole: Collection[int] = ()) -> "tuple[Merge, int]":
        """The merge of a checkpoint, and the sequence after which to read on."""
        saved = msgspec.msgpack.decode(checkpoint, type=Checkpoint)
        merge = Merge(whole)
        merge._seen = set(saved.seen)
        for agent, incarnation, segment, seqs, series, machine in saved.shards:
            told = merge._agents.setdefault((agent, incarnation, segment), _Agent())
            told.seqs = set(seqs)
            told.machine = machine
            for one in series:
                told.tallies.setdefault(one.key, Tally(one.key)).add(one)
        for part in saved.parts:
            merge.add(part)
        for segment, second, target, ok, errors, latency, lag, service in saved.seconds:
            merge._seconds[segment][second, target] = Second(ok, errors, list(latency), list(lag), list(service))
        for agent, incarnation, segment, covered, blurred in saved.covered:
            told = merge._agents.setdefault((agent, incarnation, segment), _Agent())
            told.covered, told.blurred = set(covered), set(blurred)
        for segment, second, kept in saved.whole:
            merge._whole[segment][second] = {one.key: one for one in kept}
        return merge, saved.sequence

    def _add_shard(self, agent: _Agent, shard: Shard) -> None:
        agent.machine = together([agent.machine, shard.machine])
        told = range(shard.second, shard.second + shard.seconds)
        agent.covered.update(told)
        if len(told) > 1:
            agent.blurred.update(told)
        seconds = self._seconds[shard.segment]
        if not shard.series:
            seconds.setdefault((shard.second, _NO_TARGET), Second())
        for series in shard.series:
            agent.tallies.setdefault(series.key, Tally(series.key)).add(series)
            second = seconds.setdefault((shard.second, series.key.target), Second())
            second.ok += series.ok
            second.errors += series.errors
            second.latency += _of(series, Clock.RESPONSE)
            second.lag += _of(series, Clock.LAG)
            second.service += _of(series, Clock.SERVICE)
            if shard.segment in self._keeps_whole:
                self._keep_whole(shard, series)

    def _keep_whole(self, shard: Shard, series: Series) -> None:
        kept = self._whole[shard.segment].setdefault(shard.second, {})
        total = Tally(series.key)
        if series.key in kept:
            total.add(kept[series.key])
        total.add(msgspec.structs.replace(series, slow=(), failed=(), remotes=()))
        kept[series.key] = total.series()

    def _packed_agents(self) -> Iterable[tuple[str, str, int, tuple[int, ...], tuple[Series, ...], Machine]]:
        for (agent, incarnation, segment), told in sorted(self._agents.items()):
            series = tuple(tally.series() for tally in told.tallies.values())
            yield agent, incarnation, segment, tuple(sorted(told.seqs)), series, told.machine

    def _packed_seconds(self) -> Iterable[_PackedSecond]:
        for segment, seconds in sorted(self._seconds.items()):
            for (number, target), second in sorted(seconds.items()):
                packed = (tuple(second.latency), tuple(second.lag), tuple(second.service))
                yield segment, number, target, second.ok, second.errors, *packed


class _Seconds(Mapping[int, Tally]):
    """What was measured by second, of the keys that are chosen; each tally is made when it is looked up."""

    def __init__(self, seconds: Mapping[int, Mapping[SeriesKey, Series]], keys: Keys) -> None:
        self._seconds = seconds
        self._keys = keys

    def __getitem__(self, second: int) -> Tally:
        total = Tally(SeriesKey())
        for key, series in self._seconds[second].items():
            if self._keys(key):
                total.add(series)
        return total

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._seconds))

    def __len__(self) -> int:
        return len(self._seconds)


def together(machines: Iterable[Machine]) -> Machine:
    """How an agent fared in several intervals: times add up, of files and ports the most counts, of memory the last."""
    total, delays = Machine(), Histogram()
    for machine in machines:
        delays.merge(machine.loop_delay)
        total = Machine(
            cpu_ns=total.cpu_ns + machine.cpu_ns,
            wall_ns=total.wall_ns + machine.wall_ns,
            pacer=machine.pacer or total.pacer,
            throttled=total.throttled + machine.throttled,
            throttled_ns=total.throttled_ns + machine.throttled_ns,
            files=max(total.files, machine.files),
            files_limit=machine.files_limit or total.files_limit,
            ports=max(total.ports, machine.ports),
            ports_limit=machine.ports_limit or total.ports_limit,
            cpu_quota=machine.cpu_quota or total.cpu_quota,
            rss=machine.rss or total.rss,
        )
    return msgspec.structs.replace(total, loop_delay=delays.pack())


def _take_manifest(agent: _Agent, manifest: Manifest) -> bool:
    """The manifest of the newest epoch stands: an earlier one was of a start that was called off."""
    newest = max((part.epoch for part in agent.parts.values()), default=manifest.epoch)
    if manifest.epoch < newest or (manifest.epoch == newest and manifest.part in agent.parts):
        return False
    if manifest.epoch > newest:
        agent.parts.clear()
    agent.parts[manifest.part] = manifest
    return True


def _of(series: Series, clock: Clock) -> list[Packed]:
    names = [f"{clock}.{fate}" for fate in Fate]
    return [series.histograms[name] for name in names if name in series.histograms]
