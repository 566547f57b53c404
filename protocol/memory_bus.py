"""The bus inside one process, for tests and for fakes with faults: same suite as the real one.

Faults are knobs of `Faults`; times are the event loop's, so virtual time works.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from protocol.bus import Answer, Record, Stored
from protocol.errors import BusError, ConflictError, NobodyThereError

GIVE_UP_S = 10.0  # how long the verbs without a deadline of their own go on trying


@dataclass
class Faults:
    """What goes wrong, as probabilities from 0 to 1; `is_down` fails everything until it is cleared."""

    drop_requests: float = 0.0
    drop_answers: float = 0.0
    drop_appends: float = 0.0
    drop_acks: float = 0.0
    double_requests: float = 0.0
    delay_s: float = 0.0
    reorder: float = 0.0
    is_down: bool = False
    seed: int = 1


@dataclass
class MemoryBus:
    """A `Bus` without a network; every client of one process shares one."""

    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        self._random = Random(self.faults.seed)  # noqa: S311 faults need to be repeatable, not secret
        self._answers: dict[str, Answer] = {}
        self._answering: set[asyncio.Future[bytes]] = set()
        self._log: list[tuple[str, bytes]] = []
        self._ids: dict[str, int] = {}
        self._grown = asyncio.Condition()
        self._records: dict[str, Record] = {}
        self._blobs: dict[str, bytes] = {}

    @property
    def is_connected(self) -> bool:
        """Whether the bus is up."""
        return not self.faults.is_down

    async def request(self, subject: str, payload: bytes, *, deadline_s: float) -> bytes:
        """See `Bus`."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._transit(self.faults.drop_requests)
                answer = self._answers.get(subject)
                if answer is None:
                    raise NobodyThereError(f"nobody answers on {subject}")
                if self._happens(self.faults.double_requests):
                    await self._answered(answer, payload)
                reply = await self._answered(answer, payload)
                await self._transit(self.faults.drop_answers)
                return reply
        except TimeoutError as error:
            raise BusError(f"no answer on {subject} within {deadline_s} s") from error

    @asynccontextmanager
    async def serve(self, subject: str, answer: Answer) -> AsyncIterator[None]:
        """See `Bus`."""
        self._answers[subject] = answer
        try:
            yield
        finally:
            if self._answers.get(subject) is answer:
                del self._answers[subject]

    async def append(self, subject: str, payload: bytes, *, message_id: str, deadline_s: float) -> int:
        """See `Bus`."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._transit(self.faults.drop_appends)
                if self._happens(self.faults.reorder):
                    await asyncio.sleep(self._random.random() / 2)
                async with self._grown:
                    if message_id not in self._ids:
                        self._log.append((subject, payload))
                        self._ids[message_id] = len(self._log)
                        self._grown.notify_all()
                await self._transit(self.faults.drop_acks)
                return self._ids[message_id]
        except TimeoutError as error:
            raise BusError(f"{subject}: not stored within {deadline_s} s") from error

    async def read(self, subject: str, from_sequence: int) -> AsyncIterator[Stored]:
        """See `Bus`."""
        position = max(from_sequence, 1) - 1
        while True:
            async with self._grown:
                while len(self._log) <= position:
                    await self._grown.wait()
            while position < len(self._log):
                found, payload = self._log[position]
                position += 1
                if found == subject:
                    yield Stored(position, payload)

    async def get(self, key: str) -> Record | None:
        """See `Bus`."""
        await self._transit(0)
        return self._records.get(key)

    async def put(self, key: str, value: bytes, *, revision: int) -> int:
        """See `Bus`."""
        await self._transit(0)
        current = self._records.get(key)
        if (current.revision if current else 0) != revision:
            raise ConflictError(f"{key} is no longer at revision {revision}")
        self._records[key] = Record(value, revision + 1)
        return revision + 1

    async def put_blob(self, name: str, blob: bytes) -> None:
        """See `Bus`."""
        await self._transit(0)
        self._blobs[name] = blob

    async def get_blob(self, name: str) -> bytes | None:
        """See `Bus`."""
        await self._transit(0)
        return self._blobs.get(name)

    async def delete_blob(self, name: str) -> None:
        """See `Bus`."""
        await self._transit(0)
        self._blobs.pop(name, None)

    async def _answered(self, answer: Answer, payload: bytes) -> bytes:
        """The answer, made in a task of its own: it goes on when whoever asked has given up."""
        task = asyncio.ensure_future(answer(payload))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)
        await asyncio.wait([task])
        if task.cancelled():  # whoever answered is gone
            await asyncio.sleep(GIVE_UP_S)
            raise BusError("no answer came")
        return task.result()

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self._random.random() < probability

    async def _transit(self, drop: float) -> None:
        """One way over the bus: late as told, and never arriving if it is down or the message is dropped."""
        await asyncio.sleep(self.faults.delay_s)
        if self.faults.is_down or self._happens(drop):
            await asyncio.sleep(GIVE_UP_S)
            raise BusError("lost on the way")
