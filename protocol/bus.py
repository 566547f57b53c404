"""The seam between the two sides: five verbs, and nothing of NATS.

Requests have deadlines and may be asked twice; appended messages are stored once per message id for as long as the
de-duplication window lasts, and are read in the order of their sequence; records are small and written by
compare-and-set; blobs are large and written whole. `BusError` is what every verb raises when the bus does not answer.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

Answer = Callable[[bytes], Awaitable[bytes]]


class Stored(NamedTuple):
    """An appended message and its place in the stream."""

    sequence: int
    payload: bytes


class Record(NamedTuple):
    """A small value and the revision that a compare-and-set must name to replace it."""

    value: bytes
    revision: int


class Bus(Protocol):
    """What both sides do with the bus."""

    @property
    def is_connected(self) -> bool:
        """Whether the bus could be reached when last heard of."""
        ...

    async def request(self, subject: str, payload: bytes, *, deadline_s: float) -> bytes:
        """The answer of whoever serves the subject; `NobodyThereError` at once if nobody does."""
        ...

    def serve(self, subject: str, answer: Answer) -> AbstractAsyncContextManager[None]:
        """Answers requests to the subject, each in a task of its own, inside the block."""
        ...

    async def append(self, subject: str, payload: bytes, *, message_id: str, deadline_s: float) -> int:
        """The sequence at which the message was stored, now or by an earlier try with the same id."""
        ...

    def read(self, subject: str, from_sequence: int) -> AsyncIterator[Stored]:
        """The messages of the subject from a sequence on, each once and in order; waits for more, without end."""
        ...

    async def get(self, key: str) -> Record | None:
        """A record, or None if there is none."""
        ...

    async def put(self, key: str, value: bytes, *, revision: int) -> int:
        """The record's new revision; `ConflictError` unless it stood at `revision` (0: must not exist yet)."""
        ...

    async def put_blob(self, name: str, blob: bytes) -> None:
        """Stores a large value, whole, in place of any former one."""
        ...

    async def get_blob(self, name: str) -> bytes | None:
        """A large value, or None if there is none."""
        ...

    async def delete_blob(self, name: str) -> None:
        """Forgets a large value; nothing happens if there is none."""
        ...
