"""A scripted HTTP server on the loopback that does what no decent server does, and drivers that face it."""

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path

import pytest
import uvloop

from agent.drivers.http1 import Http1Driver
from agent.outcome import Outcome, Room
from protocol.messages import StatusRange, Target

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
TIMEOUT_S = 0.2
PATIENCE_S = 10.0


class Peer:
    """The server's end of one connection."""

    def __init__(self, server: "Server", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer

    async def request(self) -> bytes:
        """The next request, body included."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        found = head + await self._reader.readexactly(length)
        self._server.requests.append(found)
        return found

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """Closes with RST instead of FIN."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class Server:
    """Where it listens, and what it saw."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.requests: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


@asynccontextmanager
async def serving(
    script: Script, *, tls: ssl.SSLContext | None = None, port: int = 0, host: str = "127.0.0.1"
) -> AsyncIterator[Server]:
    """Runs the script on each connection; the connection closes when the script ends."""
    server = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        tasks.add(asyncio.current_task())
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await script(Peer(server, reader, writer))
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            writer.close()

    listener = await asyncio.start_server(connected, host, port, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(*answers: bytes) -> Script:
    """A script that gives each request of a connection the same bytes, in so many pieces, and stays."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            for position, piece in enumerate(answers):
                if position:
                    await asyncio.sleep(0.01)
                await peer.send(piece)

    return script


def once(*answers: bytes) -> Script:
    """A script that answers one request, and closes."""

    async def script(peer: Peer) -> None:
        await peer.request()
        for piece in answers:
            await peer.send(piece)

    return script


class Client:
    """A driver, and the outcomes of what it was asked for."""

    def __init__(
        self,
        *targets: Target,
        connections: int = 1,
        ahead: int | None = None,
        admit: Callable[[str], None] = lambda _address: None,
    ):
        self.outcomes: list[Outcome] = []
        self.driver = Http1Driver(
            targets,
            Room(connections, connections if ahead is None else ahead),
            user_agent="seatrial/test",
            now_ns=time.perf_counter_ns,
            admit=admit,
        )
        self.driver.done = self._done
        self.driver.good = self._good
        self._is_starting = False
        self._arrived = asyncio.Event()

    def start(self, target: int = 0, planned_ns: int = 0) -> bool:
        self._is_starting = True
        is_started = self.driver.start(target, planned_ns, len(self.outcomes))
        self._is_starting = False
        return is_started

    async def ask(self, target: int = 0, planned_ns: int = 0) -> Outcome:
        """The one outcome of one request."""
        before = len(self.outcomes)
        assert self.start(target, planned_ns)
        await self.arrived(before + 1)
        await asyncio.sleep(0.002)
        assert len(self.outcomes) == before + 1
        return self.outcomes[-1]

    async def arrived(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.outcomes) < count:
                self._arrived.clear()
                await self._arrived.wait()

    def _good(  # noqa: PLR0917 see agent.outcome.Good
        self, target, planned_ns, sent_ns, first_ns, done_ns, status, bytes_in, bytes_out
    ) -> None:
        outcome = Outcome(target, planned_ns, sent_ns, done_ns, status=status, bytes_in=bytes_in)
        outcome.bytes_out, outcome.first_ns = bytes_out, first_ns
        self._done(outcome)

    def _done(self, outcome: Outcome) -> None:
        assert not self._is_starting, "done was called from inside start"
        self.outcomes.append(outcome)
        self._arrived.set()


def target_of(url: str, **options: object) -> Target:
    """Statuses from 400 on are errors; 0.2 s is the time-out."""
    given = {"timeout_ns": int(TIMEOUT_S * 1e9), "error_ranges": (StatusRange(400, 999),), **options}
    return Target(endpoint="", url=url, **given)


@asynccontextmanager
async def facing(
    script: Script, *, connections: int = 1, tls: ssl.SSLContext | None = None, path: str = "", **options: object
) -> AsyncIterator[tuple[Client, Server]]:
    """A client whose driver is open, and the server that it faces."""
    async with serving(script, tls=tls) as server, client_of(server.url + path, connections, **options) as client:
        yield client, server


@asynccontextmanager
async def client_of(url: str, connections: int = 1, **options: object) -> AsyncIterator[Client]:
    client = Client(target_of(url, **options), connections=connections)
    await client.driver.open()
    try:
        yield client
    finally:
        await client.driver.close()
        await asyncio.sleep(0)


def on_each_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """The coroutine function as a plain test, once on asyncio and once on uvloop, which agents run on."""

    @wraps(test)
    def run(*args: object, new_loop: Callable[[], asyncio.AbstractEventLoop], **kwargs: object) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(asyncio.wait_for(test(*args, **kwargs), 2 * PATIENCE_S))

    kept = [*signature(test).parameters.values(), Parameter("new_loop", Parameter.KEYWORD_ONLY)]
    run.__signature__ = signature(test).replace(parameters=kept)
    loops = pytest.mark.parametrize(
        "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
    )
    return loops(run)


def server_tls(folder: Path) -> ssl.SSLContext:
    """A server that shows a certificate which it signed itself."""
    file = folder / "localhost.pem"
    file.write_text(CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


# Made for these tests; it opens nothing. Valid for a hundred years, for localhost and 127.0.0.1.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg2/6g9oKkEMe8bXtd
Rm0ryj5TlG98m+f8vD4jlUC2Ug2hRANCAAQRvkONJX3MmU8j2s5SyXLRo/xtF8KF
h0DA/ZMXH1myHueuqurMZteRhL0AUBudp07J/3sPR44Xi2Fs7zKlQ4TJ
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUUV5leFYgLwbvu91RDQGiOOC9j9IwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzAwMDAzMVoYDzIxMjYxMDMw
MDAwMDMxWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQRvkONJX3MmU8j2s5SyXLRo/xtF8KFh0DA/ZMXH1myHueuqurMZteR
hL0AUBudp07J/3sPR44Xi2Fs7zKlQ4TJo28wbTAdBgNVHQ4EFgQUJZOjzO1oQDVK
N8OtSC/tiJnel0cwHwYDVR0jBBgwFoAUJZOjzO1oQDVKN8OtSC/tiJnel0cwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIgapwTLsoVW5MzMK+kqw1+Gp0RrLYBk+oQzjDnoHezRQUCIQCZ
DHQkOYayfjJ/2kvibIaesR7dhu218fub9CEYPVeJMA==
-----END CERTIFICATE-----
"""
