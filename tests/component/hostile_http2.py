"""A scripted HTTP/2 server on the loopback that does what no decent server does, and drivers that face it."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from h2_server import SETTINGS_ACK, data, headers, settings
from hostile_server import Client, Peer, Server, serving, target_of
from hpack import Decoder

from agent.drivers.frames import ACK, END_HEADERS, END_STREAM, FRAME, PREFACE, Frame
from agent.drivers.http2 import Http2Driver
from agent.outcome import Room
from protocol.messages import Http2, Target


@dataclass(frozen=True)
class Asked:
    """One whole request as the server heard it."""

    number: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Http2Peer:
    """The server's end of one connection. `frames` is all that was heard, in order; `grants` opens windows by itself."""

    def __init__(self, peer: Peer, *, grants: bool = True) -> None:
        self._peer = peer
        self._reader = peer._reader
        self._decoder = Decoder()
        self._grants = grants
        self._heads: dict[int, tuple[tuple[bytes, bytes], ...]] = {}
        self._bodies: dict[int, bytes] = {}
        self.frames: list[tuple[Frame, int, int, bytes]] = []
        self.close = peer.close
        self.reset = peer.reset
        self.send = peer.send

    async def greet(self, **values: int) -> None:
        """Hears the client's preface and settings, and answers with its own."""
        assert await self._reader.readexactly(len(PREFACE)) == PREFACE
        kind, *_rest = await self.frame()
        assert kind is Frame.SETTINGS
        await self.send(settings(**values) + SETTINGS_ACK)

    async def frame(self) -> tuple[Frame, int, int, bytes]:
        """The next frame of the client's."""
        word, flags, number = FRAME.unpack(await self._reader.readexactly(9))
        heard = (Frame(word & 0xFF), flags, number, await self._reader.readexactly(word >> 8))
        self.frames.append(heard)
        return heard

    async def heard(self, kind: Frame) -> tuple[Frame, int, int, bytes]:
        """The next frame of a type that matters; acknowledgements don't."""
        while True:
            frame = await self.frame()
            if frame[0] is kind and not (kind in (Frame.SETTINGS, Frame.PING) and frame[1] & ACK):
                return frame

    async def request(self) -> Asked:
        """The next whole request."""
        while True:
            kind, flags, number, payload = await self.frame()
            if kind is Frame.HEADERS:
                assert flags & END_HEADERS
                self._heads[number] = tuple(map(tuple, self._decoder.decode(payload, raw=True)))
                self._bodies[number] = b""
            elif kind is Frame.DATA:
                self._bodies[number] += payload
                if self._grants:
                    step = len(payload).to_bytes(4, "big")
                    await self.send(b"".join(FRAME.pack(4 << 8 | 8, 0, of) + step for of in (0, number) if payload))
            if kind in (Frame.HEADERS, Frame.DATA) and flags & END_STREAM:
                asked = Asked(number, self._heads.pop(number), self._bodies.pop(number))
                self._peer._server.requests.append(asked)
                return asked


Script = Callable[[Http2Peer], Awaitable[None]]


def speaking(script: Script, **values: int) -> Callable[[Peer], Awaitable[None]]:
    """A script for `serving` that greets, and goes on as the given one."""

    async def run(peer: Peer) -> None:
        spoken = Http2Peer(peer)
        await spoken.greet(**values)
        await script(spoken)

    return run


def hello(number: int, *fields: tuple[str, str], status: str = "200", body: bytes = b"hello") -> bytes:
    """A whole response."""
    return headers(number, *fields, status=status) + data(number, body, end=True)


def answering(*pieces: Callable[[int], bytes]) -> Script:
    """A script that gives each request the same bytes, in so many pieces, and stays."""

    async def script(peer: Http2Peer) -> None:
        while True:
            number = (await peer.request()).number
            for position, piece in enumerate(pieces):
                if position:
                    await asyncio.sleep(0.01)
                await peer.send(piece(number))

    return script


class Http2Client(Client):
    """A driver of HTTP/2, and the outcomes of what it was asked for."""

    def __init__(
        self,
        *targets: Target,
        connections: int = 1,
        ahead: int | None = None,
        streams: int = 1,
        admit: Callable[[str], None] = lambda _address: None,
    ):
        super().__init__(*targets)
        self.driver = Http2Driver(
            targets,
            Room(connections, connections if ahead is None else ahead, streams),
            user_agent="seatrial/test",
            now_ns=time.perf_counter_ns,
            admit=admit,
        )
        self.driver.done = self._done
        self.driver.good = self._good


@asynccontextmanager
async def client_of(
    url: str, connections: int = 1, streams: int = 1, ahead: int | None = None, **options: object
) -> AsyncIterator[Http2Client]:
    """A client whose driver is open."""
    targets = (target_of(url, **{"http2": Http2.PRIOR_KNOWLEDGE, **options}),)
    client = Http2Client(*targets, connections=connections, streams=streams, ahead=ahead)
    await client.driver.open()
    try:
        yield client
    finally:
        await client.driver.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def facing(
    script: Callable[[Peer], Awaitable[None]],
    *,
    connections: int = 1,
    streams: int = 1,
    tls: ssl.SSLContext | None = None,
    path: str = "",
    **options: object,
) -> AsyncIterator[tuple[Http2Client, Server]]:
    """A client whose driver is open, and the server that it faces."""
    async with (
        serving(script, tls=tls) as server,
        client_of(server.url + path, connections, streams, **options) as client,
    ):
        yield client, server
