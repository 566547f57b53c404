"""Numbers shards, sends them until they are acknowledged, and keeps them within bounds while they can't be sent.

Messages leave in the order they were given. A shard gets its number when it is first tried, so that shards which
were never tried can still be joined when the spool is full: their seconds merge into one, no count is lost.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from itertools import groupby

import msgspec
import structlog

from protocol.bus import Bus
from protocol.codec import decode_to_controller, encode
from protocol.errors import BusError
from protocol.histogram import merged
from protocol.messages import Machine, Manifest, Series, Shard
from protocol.series import Tally, split

MAX_MESSAGE = 512 * 1024
MAX_SPOOL = 64 * 1024 * 1024
MAX_KEPT = 2 * 1024 * 1024  # of what was sent, in case it is asked for again: all of it is in the manifest as well
TRY_S = 10.0
_log = structlog.get_logger()


@dataclass
class _Item:
    message: Shard | Manifest
    size: int


class Shipper:
    """The way of one run's shards from this agent to the stream."""

    def __init__(self, bus: Bus, subject: str, *, max_spool: int = MAX_SPOOL) -> None:
        self._bus = bus
        self._subject = subject
        self._max_spool = max_spool
        self._waiting: deque[_Item] = deque()
        self._kept: dict[int, bytes] = {}
        self._kept_bytes = 0
        self._manifests: dict[int, tuple[Manifest, ...]] = {}
        self._spooled = 0
        self._seq = -1
        self._repeats = 0
        self._under_way: _Item | None = None
        self._changed = asyncio.Condition()

    @property
    def last_seq(self) -> int:
        """The number of the last shard that was tried; -1 before the first."""
        return self._seq

    @property
    def spooled_bytes(self) -> int:
        """What waits to be sent, about."""
        return self._spooled

    async def put(self, shard: Shard) -> None:
        """Send a shard when its turn comes; one that is too large for a message goes in pieces."""
        groups = split(shard.series, MAX_MESSAGE)
        for position, series in enumerate(groups):
            machine = shard.machine if position == 0 else Machine()
            await self._enqueue(msgspec.structs.replace(shard, series=series, machine=machine))

    async def sign_off(self, manifest: Manifest) -> None:
        """Send a segment's manifest after all its shards."""
        groups = split(manifest.series, MAX_MESSAGE)
        parts = tuple(
            msgspec.structs.replace(manifest, series=series, part=number, parts=len(groups))
            for number, series in enumerate(groups)
        )
        self._manifests[manifest.segment] = parts
        for part in parts:
            await self._enqueue(part)

    async def again(self, segment: int, seqs: tuple[int, ...]) -> None:
        """Send these shards once more, as far as they are still here, and the segment's manifest."""
        self._repeats += 1
        for seq in seqs:
            if seq in self._kept:
                shard = decode_to_controller(self._kept[seq])
                assert isinstance(shard, Shard)
                await self._enqueue(shard)
        for part in self._manifests.get(segment, ()):
            await self._enqueue(part)

    async def run(self) -> None:
        """Send what waits, for ever; cancel it to end."""
        while True:
            async with self._changed:
                while not self._waiting:
                    await self._changed.wait()
                item = self._waiting.popleft()
                self._under_way = item
            await asyncio.sleep(0)  # a round of the loop for the load
            await self._send(item)
            async with self._changed:
                self._spooled -= item.size
                self._under_way = None
                self._changed.notify_all()

    async def flushed(self) -> None:
        """Returns when nothing waits any more."""
        async with self._changed:
            while self._waiting or self._under_way:
                await self._changed.wait()

    async def _enqueue(self, message: Shard | Manifest) -> None:
        item = _Item(message, len(encode(message)))
        async with self._changed:
            self._waiting.append(item)
            self._spooled += item.size
            if self._spooled > self._max_spool:
                self._join()
            self._changed.notify_all()

    async def _send(self, item: _Item) -> None:
        message = self._numbered(item.message)
        identity = (message.run_id, message.epoch, message.agent, message.incarnation)
        match message:
            case Shard():
                place = f"{message.seq}"
            case Manifest():
                place = f"manifest/{message.segment}/{message.part}"
        message_id = "/".join((*map(str, identity), place, str(self._repeats)))
        payload = encode(message)
        if isinstance(message, Shard):
            self._keep(message.seq, payload)
        while True:
            try:
                await self._bus.append(self._subject, payload, message_id=message_id, deadline_s=TRY_S)
                return
            except BusError as error:
                _log.warning("shard_not_stored", run_id=message.run_id, place=place, error=str(error))

    def _numbered(self, message: Shard | Manifest) -> Shard | Manifest:
        if isinstance(message, Manifest):
            last = self._seq if message.last_seq < 0 else message.last_seq
            return msgspec.structs.replace(message, last_seq=last)
        if message.seq >= 0:
            return message
        self._seq += 1
        return msgspec.structs.replace(message, seq=self._seq)

    def _keep(self, seq: int, payload: bytes) -> None:
        if seq in self._kept:
            return
        self._kept[seq] = payload
        self._kept_bytes += len(payload)
        while self._kept_bytes > min(self._max_spool, MAX_KEPT):
            self._kept_bytes -= len(self._kept.pop(next(iter(self._kept))))

    def _join(self) -> None:
        """Merge neighbours of the same segment that were never tried: fewer, larger seconds, and every count."""
        joined: deque[_Item] = deque()
        for is_fresh, items in groupby(
            self._waiting, lambda one: isinstance(one.message, Shard) and one.message.seq < 0
        ):
            if not is_fresh:
                joined.extend(items)
                continue
            shards = [one.message for one in items if isinstance(one.message, Shard)]
            for _segment, neighbours in groupby(shards, lambda one: (one.epoch, one.segment)):
                joined.extend(_joined(list(neighbours)))
        self._waiting = joined
        self._spooled = sum(item.size for item in joined) + (self._under_way.size if self._under_way else 0)
        _log.warning("spool_joined", spooled_bytes=self._spooled, messages=len(joined))


def _joined(shards: list[Shard]) -> list[_Item]:
    tallies: dict[object, Tally] = {}
    for shard in shards:
        for one in shard.series:
            tallies.setdefault(one.key, Tally(one.key)).add(one)
    machine = Machine(
        cpu_ns=sum(shard.machine.cpu_ns for shard in shards),
        wall_ns=sum(shard.machine.wall_ns for shard in shards),
        loop_delay=merged(shard.machine.loop_delay for shard in shards).pack(),
        pacer=shards[0].machine.pacer,
    )
    last = shards[-1]
    series: tuple[Series, ...] = tuple(tally.series() for tally in tallies.values())
    whole = msgspec.structs.replace(
        shards[0], series=series, machine=machine, seconds=last.second + last.seconds - shards[0].second
    )
    pieces = split(whole.series, MAX_MESSAGE)
    messages = [
        msgspec.structs.replace(whole, series=piece, machine=machine if number == 0 else Machine())
        for number, piece in enumerate(pieces)
    ]
    return [_Item(message, len(encode(message))) for message in messages]
