"""The bus over NATS with JetStream. The only importer of `nats`; every JetStream call retries for at least 10 s.

Electing a JetStream leader takes seconds, so one time-out says nothing yet; a message id makes trying again harmless.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy, KeyValueConfig, ObjectStoreConfig, RetentionPolicy, StreamConfig
from nats.js.errors import (
    BadRequestError,
    BucketNotFoundError,
    KeyNotFoundError,
    KeyWrongLastSequenceError,
    NotFoundError,
    ObjectNotFoundError,
    ServerError,
)
from nats.js.kv import KeyValue
from nats.js.object_store import ObjectStore

from protocol import subjects
from protocol.bus import Answer, Record, Stored
from protocol.errors import BusError, ConflictError, NobodyThereError

GIVE_UP_S = 10.0
TRY_S = 2.0
NO_STORAGE = 10047  # JetStream's error code
PAUSE_S = 0.1
DEDUPLICATE_S = 600.0  # longer than any spool waits: a shard that comes back after an outage is still known
KEEP_S = 24 * 3600.0
KEEP_BYTES = 1 << 30  # of the stream, and as much of the object store
_Result = TypeVar("_Result")


class NatsBus:
    """A `Bus`; make one with `connect`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._jetstream: JetStreamContext = client.jetstream(timeout=TRY_S)
        self._records: KeyValue | None = None
        self._blobs: ObjectStore | None = None
        self._answering: set[asyncio.Task[None]] = set()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to a server."""
        return bool(self._client.is_connected)

    async def set_up(self, *, keep_bytes: int = KEEP_BYTES) -> None:
        """Makes the stream, the bucket and the object store, where they don't exist yet. The controller does this."""
        shards = StreamConfig(
            name=subjects.stream(),
            subjects=[subjects.all_shards()],
            retention=RetentionPolicy.LIMITS,
            max_age=KEEP_S,
            max_bytes=keep_bytes,
            duplicate_window=DEDUPLICATE_S,
        )
        await _retried(lambda: self._make(lambda: self._jetstream.add_stream(shards)), "making the stream")
        await _retried(
            lambda: self._make(lambda: self._jetstream.create_key_value(KeyValueConfig(bucket=subjects.bucket()))),
            "making the bucket",
        )
        config = ObjectStoreConfig(max_bytes=keep_bytes)
        await _retried(
            lambda: self._make(lambda: self._jetstream.create_object_store(subjects.blobs(), config=config)),
            "making the object store",
        )

    async def request(self, subject: str, payload: bytes, *, deadline_s: float) -> bytes:
        """See `Bus`."""
        try:
            reply = await self._client.request(subject, payload, timeout=deadline_s)
        except NoRespondersError as error:
            raise NobodyThereError(f"nobody answers on {subject}") from error
        except (NatsError, OSError) as error:
            raise BusError(f"no answer on {subject} within {deadline_s} s: {_words(error)}") from error
        return bytes(reply.data)

    @asynccontextmanager
    async def serve(self, subject: str, answer: Answer) -> AsyncIterator[None]:
        """See `Bus`."""

        async def respond(message: Msg) -> None:
            reply = await answer(message.data)
            with suppress(NatsError, OSError):  # whoever asked will ask again
                await message.respond(reply)

        async def received(message: Msg) -> None:
            task = asyncio.create_task(respond(message), name=f"answer {subject}")
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

        try:
            subscription = await self._client.subscribe(subject, cb=received)
            await self._client.flush()
        except (NatsError, OSError) as error:
            raise BusError(f"can't listen on {subject}: {_words(error)}") from error
        try:
            yield
        finally:
            with suppress(NatsError, OSError):
                await subscription.unsubscribe()

    async def append(self, subject: str, payload: bytes, *, message_id: str, deadline_s: float) -> int:
        """See `Bus`."""
        headers = {"Nats-Msg-Id": message_id}
        acknowledged = await _retried(
            lambda: self._jetstream.publish(subject, payload, timeout=TRY_S, headers=headers),
            f"storing on {subject}",
            give_up_s=deadline_s,
        )
        return int(acknowledged.seq)

    async def read(self, subject: str, from_sequence: int) -> AsyncIterator[Stored]:
        """See `Bus`."""
        config = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=max(from_sequence, 1))
        subscription = await _retried(
            lambda: self._jetstream.subscribe(
                subject, stream=subjects.stream(), ordered_consumer=True, config=config, idle_heartbeat=1.0
            ),
            f"reading {subject}",
        )
        try:
            while True:
                try:
                    message = await subscription.next_msg(timeout=TRY_S)
                except NatsTimeoutError:
                    continue  # nothing new; the ordered consumer renews itself when its heartbeats stay away
                except NatsError as error:
                    raise BusError(f"reading {subject}: {_words(error)}") from error
                yield Stored(int(message.metadata.sequence.stream), bytes(message.data))
        finally:
            with suppress(NatsError, OSError):
                await subscription.unsubscribe()

    async def get(self, key: str) -> Record | None:
        """See `Bus`."""

        async def read() -> Record | None:
            try:
                entry = await (await self._kv()).get(key)
            except KeyNotFoundError:
                return None
            return Record(bytes(entry.value or b""), int(entry.revision or 0))

        return await _retried(read, f"reading {key}")

    async def put(self, key: str, value: bytes, *, revision: int) -> int:
        """See `Bus`."""
        is_first = True

        async def write() -> int:
            nonlocal is_first
            was_first, is_first = is_first, False
            try:
                return int(await (await self._kv()).update(key, value, last=revision))
            except KeyWrongLastSequenceError as error:
                # A try that timed out may have been stored all the same: then the conflict is with ourselves.
                record = None if was_first else await self.get(key)
                if record is not None and record.value == value:
                    return record.revision
                raise ConflictError(f"{key} is no longer at revision {revision}") from error

        return await _retried(write, f"writing {key}")

    async def put_blob(self, name: str, blob: bytes) -> None:
        """See `Bus`."""

        async def write() -> None:
            await (await self._objects()).put(name, blob)

        await _retried(write, f"storing {name}")

    async def get_blob(self, name: str) -> bytes | None:
        """See `Bus`."""

        async def read() -> bytes | None:
            try:
                return (await (await self._objects()).get(name)).data
            except (ObjectNotFoundError, NotFoundError):
                return None

        return await _retried(read, f"fetching {name}")

    async def delete_blob(self, name: str) -> None:
        """See `Bus`."""

        async def delete() -> None:
            with suppress(ObjectNotFoundError, NotFoundError):
                await (await self._objects()).delete(name)

        await _retried(delete, f"deleting {name}")

    async def _kv(self) -> KeyValue:
        if self._records is None:
            self._records = await self._jetstream.key_value(subjects.bucket())
        return self._records

    async def _objects(self) -> ObjectStore:
        if self._blobs is None:
            self._blobs = await self._jetstream.object_store(subjects.blobs())
        return self._blobs

    async def _make(self, make: Callable[[], Awaitable[object]]) -> None:
        try:
            await make()
        except BadRequestError:
            pass  # it exists already, perhaps with other limits: those are its operator's choice
        except ServerError as error:
            if error.err_code != NO_STORAGE:
                raise
            raise BusError(
                "the NATS server has too little storage left for JetStream: give it 2 GiB more (max_file_store)"
            ) from error


@asynccontextmanager
async def connect(url: str, *, name: str, give_up_s: float = GIVE_UP_S) -> AsyncIterator[NatsBus]:
    """A bus for the length of the block; `BusError` if no server answers in time. Reconnects for ever once it has."""
    last: list[str] = []

    async def noted(error: Exception) -> None:
        # A server that refuses credentials closes the connection next, which says less.
        if not last or "authorization" not in last[0].lower():
            last[:] = [_words(error)]

    try:
        async with asyncio.timeout(give_up_s):
            client = await _first_connection(url, name, noted)
    except (TimeoutError, NatsError, OSError, ValueError) as error:
        why = last[0] if last else _words(error)
        raise BusError(f"no NATS server answers at {_redacted(url)}: {why}. Is one running there?") from error
    try:
        yield NatsBus(client)
    finally:
        # The client lets its transport's own complaints through when the server has gone: there is nothing to close then.
        with suppress(NatsError, OSError, TimeoutError, RuntimeError):
            async with asyncio.timeout(TRY_S):
                await client.flush()
        with suppress(NatsError, OSError, TimeoutError, RuntimeError):
            async with asyncio.timeout(TRY_S):
                await client.close()


async def _first_connection(url: str, name: str, noted: Callable[[Exception], Awaitable[None]]) -> Client:
    while True:
        try:
            return await nats.connect(
                url,
                name=name,
                error_cb=noted,
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.25,
                connect_timeout=2,
                ping_interval=5,
            )
        except (NatsError, OSError) as error:
            await noted(error)
            await asyncio.sleep(PAUSE_S)


async def _retried(
    call: Callable[[], Awaitable[_Result]], what: str, *, give_up_s: float = GIVE_UP_S, pause_s: float = PAUSE_S
) -> _Result:
    """The call's result, trying again until `give_up_s` have passed; `BusError` after that."""
    deadline = time.monotonic() + give_up_s
    while True:
        try:
            return await call()
        except (BucketNotFoundError, NatsError, OSError) as error:
            if time.monotonic() > deadline:
                raise BusError(f"{what} failed for {give_up_s:.0f} s: {_words(error)}") from error
        await asyncio.sleep(pause_s)


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _redacted(url: str) -> str:
    scheme, _, rest = url.rpartition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if scheme else rest.rpartition("@")[2]
