"""HTTP/1.1 on uvloop: one plain protocol a connection, no task and no future a request.

A response whose header block was seen before is recognised by a dict; httptools parses all others. Leaves redirects,
retries and cookies out: a load generator tells what came back.
"""

import asyncio
import errno
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import cast

from agent.drivers.request import STATUSES, Origin, request_of
from agent.drivers.response import Response
from agent.outcome import Done, Outcome
from protocol.messages import ErrorClass, Target

_HEADS_KEPT = 512  # the Date header changes each second, so old blocks are of no use
_LOCAL = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOMEM, errno.ENOBUFS})
_RESET = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})
_SWEEPS_PER_TIMEOUT = 100
_STALL_S = 0.05


class Http1Driver:
    """All connections to one origin. See `agent.outcome.Driver`."""

    def __init__(
        self,
        targets: Sequence[Target],
        connections: int,
        *,
        user_agent: str,
        now_ns: Callable[[], int],
        admit: Callable[[str], None] = lambda _address: None,
    ) -> None:
        """`admit` raises `PermissionError` for an address that must not be loaded."""
        self.done: Done = lambda _outcome: None
        self.reconnects = 0
        self.requests = [request_of(target, user_agent) for target in targets]
        self.origin = Origin.of(targets[0].url)
        self.now_ns = now_ns
        self.heads: dict[bytes, tuple[int, int, bool]] = {}
        self.idle: deque[Connection] = deque()
        self.addresses: list[str] = []
        self._admit = admit
        self._limit = connections
        self._open: set[Connection] = set()
        self._opened = 0
        self._turn = 0
        self._connecting: set[asyncio.Task[None]] = set()
        self._tls = ssl.create_default_context() if self.origin.is_tls else None
        self._timeout_ns = min(request.timeout_ns for request in self.requests)
        self._sweeper: asyncio.TimerHandle | None = None
        self._swept_ns = now_ns()
        self._is_closed = False

    async def resolve(self) -> None:
        """See `Driver`."""
        if not self.addresses:
            with suppress(OSError, TimeoutError):
                await self._resolve()
        for address in self.addresses:
            self._admit(address)

    async def open(self) -> None:
        """See `Driver`."""
        try:
            await self.resolve()
            if self.addresses:
                missing = self._limit - len(self._open)
                await asyncio.gather(*(self._connect_ahead() for _ in range(missing)))
        finally:
            self._sweep()

    def start(self, target: int, planned_ns: int) -> bool:
        """See `Driver`."""
        idle = self.idle
        while idle:
            connection = idle.popleft()
            if connection.is_usable:
                connection.send(target, planned_ns)
                return True
        if len(self._open) + len(self._connecting) >= self._limit or self._is_closed:
            return False
        self.connect_for(target, planned_ns)
        return True

    async def close(self) -> None:
        """See `Driver`."""
        self._is_closed = True
        self.done = lambda _outcome: None
        if self._sweeper:
            self._sweeper.cancel()
        tasks = list(self._connecting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self._open):
            connection.abort()

    def connect_for(self, target: int, planned_ns: int) -> None:
        """Begin a connection, and send a request on it."""
        task = asyncio.get_running_loop().create_task(self._connect_and_send(target, planned_ns), name="connect")
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def lost(self, connection: "Connection") -> None:
        """A connection is gone: there is room for another."""
        self._open.discard(connection)

    async def _resolve(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_ns / 1e9):
                found = await loop.getaddrinfo(self.origin.host, self.origin.port, type=socket.SOCK_STREAM)
        except UnicodeError as error:  # no name at all: a label of more than 63 characters, say
            raise socket.gaierror(socket.EAI_NONAME, f"{self.origin.host!r}: {error}") from error
        except TimeoutError as error:
            raise socket.gaierror(socket.EAI_AGAIN, f"{self.origin.host!r}: no answer within the time-out") from error
        self.addresses = list(dict.fromkeys(str(info[4][0]) for info in found))

    async def _connect(self) -> "Connection":
        if not self.addresses:
            await self._resolve()
        address = self.addresses[self._turn % len(self.addresses)]
        self._turn += 1
        self._admit(address)
        loop = asyncio.get_running_loop()
        hostname = self.origin.host if self._tls else None
        async with asyncio.timeout(self._timeout_ns / 1e9):
            _transport, connection = await loop.create_connection(
                lambda: Connection(self), address, self.origin.port, ssl=self._tls, server_hostname=hostname
            )
        self._open.add(connection)
        self._opened += 1
        self.reconnects = max(0, self._opened - self._limit)
        return connection

    async def _connect_ahead(self) -> None:
        with suppress(OSError, TimeoutError):
            self.idle.append(await self._connect())

    async def _connect_and_send(self, target: int, planned_ns: int) -> None:
        began_ns = self.now_ns()
        error, text = ErrorClass.LOCAL, ""
        try:
            connection = await self._connect()
        except TimeoutError:
            error, text = ErrorClass.CONNECT_TIMEOUT, "no connection within the time-out"
        except socket.gaierror as failure:
            error, text = ErrorClass.DNS, str(failure)
        except ssl.SSLError as failure:
            error, text = ErrorClass.TLS, str(failure)
        except OSError as failure:
            error, text = class_of(failure), str(failure)
        else:
            self._no_longer_connecting()
            connection.send(target, planned_ns)
            return
        self._no_longer_connecting()
        if not self._is_closed:
            self.done(Outcome(target, planned_ns, began_ns, self.now_ns(), error, text=text))

    def _no_longer_connecting(self) -> None:
        """Make room at once, not only when the task has ended: `done` may start the next request."""
        task = asyncio.current_task()
        assert task is not None
        self._connecting.discard(task)

    def _sweep(self) -> None:
        now_ns = self.now_ns()
        step_s = max(0.005, min(self._timeout_ns / 1e9 / _SWEEPS_PER_TIMEOUT, 0.1))
        # After a stall of this process, what came in meanwhile is read first: those answers were in time.
        if now_ns - self._swept_ns < (step_s + _STALL_S) * 1e9:
            for connection in list(self._open):
                connection.check_timeout(now_ns)
        self._swept_ns = now_ns
        self._sweeper = asyncio.get_running_loop().call_later(step_s, self._sweep)


def class_of(failure: OSError) -> ErrorClass:
    """The class of a connection that could not be made, or broke."""
    if isinstance(failure, ConnectionRefusedError):
        return ErrorClass.REFUSED
    if failure.errno in _LOCAL or isinstance(failure, PermissionError):
        return ErrorClass.LOCAL
    if failure.errno in _RESET or isinstance(failure, ConnectionError):
        return ErrorClass.RESET
    return ErrorClass.UNREACHABLE


def _is_close(failure: Exception | None) -> bool:
    return failure is None or (isinstance(failure, OSError) and class_of(failure) is ErrorClass.RESET)


class Connection(asyncio.Protocol):
    """One connection: at most one request in flight, ended by exactly one outcome."""

    def __init__(self, driver: Http1Driver) -> None:
        self._driver = driver
        self._transport: asyncio.Transport | None = None
        self._write: Callable[[bytes], None] = lambda _wire: None
        self._remote = ""
        self._is_busy = False
        self._target = 0
        self._request = driver.requests[0]
        self._planned_ns = 0
        self._sent_ns = 0
        self._received = 0
        self._answered = 0  # requests, on this connection
        self._response: Response | None = None
        self.is_usable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected; over TLS, the handshake is done."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._write = self._transport.write
        peer = transport.get_extra_info("peername")
        self._remote = f"{peer[0]}:{peer[1]}" if peer else ""
        self.is_usable = True

    def send(self, target: int, planned_ns: int) -> None:
        """Hand a request to the transport."""
        request = self._driver.requests[target]
        self._target = target
        self._request = request
        self._planned_ns = planned_ns
        self._received = 0
        self._is_busy = True
        self._write(request.wire)
        self._sent_ns = self._driver.now_ns()
        if not self.is_usable:  # it closed while the request was on its way here
            asyncio.get_running_loop().call_soon(self._fail, ErrorClass.RESET, "the connection was closed")

    def data_received(self, data: bytes) -> None:
        """Part of a response, or all of it."""
        if not self._is_busy:
            self.abort()  # nobody asked for this: nothing that follows could be trusted
            return
        self._received += len(data)
        if self._response is None:
            end = data.find(b"\r\n\r\n") + 4
            known = self._driver.heads.get(data[:end])
            if known is not None and len(data) == end + known[1] and not self._request.is_head:
                self._finish(known[0], data, end, is_kept=known[2])
                return
            self._response = Response(is_head=self._request.is_head)
        self._parse(data)

    def eof_received(self) -> None:
        """The other side sends nothing more."""
        self.is_usable = False

    def connection_lost(self, failure: Exception | None) -> None:
        """The connection is gone; if a request was in flight, that ends it."""
        self.is_usable = False
        self._driver.lost(self)
        if not self._is_busy:
            return
        if self._answered and not self._received and self._request.is_safe and _is_close(failure):
            # The server closed it after a complete answer, and this request was already on its way: a reconnect.
            self._is_busy = False
            self._driver.connect_for(self._target, self._planned_ns)
            return
        response = self._response
        if response is not None and response.ends_with_connection and failure is None:
            self._finish(response.status, bytes(response.body), 0, is_kept=False)
            return
        text = str(failure or "") or f"the connection was closed after {self._received} bytes of the response"
        if isinstance(failure, ssl.SSLError):
            self._fail(ErrorClass.TLS, text)
        else:
            self._fail(class_of(failure) if isinstance(failure, OSError) else ErrorClass.RESET, text)

    def check_timeout(self, now_ns: int) -> None:
        """End the request in flight if it has taken too long."""
        if self._is_busy and now_ns - self._sent_ns >= self._request.timeout_ns:
            error = ErrorClass.BODY_TIMEOUT if self._received else ErrorClass.FIRST_BYTE_TIMEOUT
            self._fail(error, f"{self._received} bytes of a response within {self._request.timeout_ns / 1e9:g} s")

    def abort(self) -> None:
        """Close at once."""
        self.is_usable = False
        if self._transport is not None:
            self._transport.abort()

    def _parse(self, data: bytes) -> None:
        response = self._response
        assert response is not None
        fault = response.feed(data)
        if fault is not None:
            self._fail(*fault)
            return
        if not response.is_complete:
            return
        head = response.head_length
        if response.is_plain and response.bytes_fed == len(data) and not self._request.is_head:
            heads = self._driver.heads
            if len(heads) >= _HEADS_KEPT:
                heads.clear()
            heads[data[:head]] = (response.status, len(data) - head, response.is_kept)
        self._finish(response.status, bytes(response.body), 0, is_kept=response.is_kept)

    def _finish(self, status: int, body: bytes, body_at: int, *, is_kept: bool) -> None:
        done_ns = self._driver.now_ns()
        self._answered += 1
        is_error = self._request.is_error[status] if status < STATUSES else True
        self._end(is_kept=is_kept)
        self._driver.done(
            Outcome(
                self._target,
                self._planned_ns,
                self._sent_ns,
                done_ns,
                ErrorClass.STATUS if is_error else None,
                status,
                self._received,
                len(self._request.wire),
                self._remote,
                "",
                body,
                body_at,
            )
        )

    def _fail(self, error: ErrorClass, text: str) -> None:
        if not self._is_busy:
            return
        done_ns = self._driver.now_ns()
        response = self._response
        status = response.status if response else 0
        body = bytes(response.body) if response else b""
        self._end(is_kept=False)
        self._driver.lost(self)
        outcome = Outcome(self._target, self._planned_ns, self._sent_ns, done_ns, error, status, self._received)
        outcome.bytes_out, outcome.remote, outcome.text, outcome.body = (
            len(self._request.wire),
            self._remote,
            text,
            body,
        )
        self._driver.done(outcome)

    def _end(self, *, is_kept: bool) -> None:
        """The request is over: the connection is free again, or closed."""
        self._is_busy = False
        self._response = None
        if is_kept and self.is_usable:
            self._driver.idle.append(self)
        else:
            self.abort()
            self._driver.lost(self)
