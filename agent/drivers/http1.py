"""HTTP/1.1 on uvloop: one plain protocol a connection, no task and no future a request.

A response that was seen before, or whose header block was, is recognised by a dict; httptools parses all others. Leaves
retries and cookies out: a load generator tells what came back.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import cast

from agent.drivers.connect import ConnectError, Connector, class_of
from agent.drivers.redirect import follow, redirected
from agent.drivers.request import STATUSES, Request, request_of
from agent.drivers.response import Response
from agent.outcome import Connected, Done, Good, Outcome, Room
from protocol.messages import ErrorClass, Target

ANSWER_KEPT = 2048  # bytes: longer responses are recognised by their header block
KEPT = 512  # the Date header changes each second, so old ones are of no use
_SWEEPS_PER_TIMEOUT = 100
_SWEEP_S_PER_CONNECTION = 2e-5
_STALL_S = 0.05
_REDIRECTED_KEPT = 256


def ignore(*_told: object) -> None:
    """What nobody listens to."""


class Http1Driver:
    """All connections to one origin. See `agent.outcome.Driver`."""

    def __init__(
        self,
        targets: Sequence[Target],
        room: Room,
        *,
        home: int = 0,
        user_agent: str,
        now_ns: Callable[[], int],
        admit: Callable[[str], None] = lambda _address: None,
    ) -> None:
        """`home` is one of the targets of this origin. `admit` raises `PermissionError` for what must not be loaded."""
        self.done: Done = ignore
        self.good: Good = ignore
        self.slow_ns: Sequence[int] = [-1] * len(targets)
        self.connected: list[Connected] = []
        self.most_open = 0
        self.requests = [request_of(target, user_agent) for target in targets]
        self.now_ns = now_ns
        self.answers: dict[bytes, int] = {}  # whole response -> status; all of them leave the connection open
        self.heads: dict[bytes, tuple[int, int]] = {}  # header block -> status, length of the body
        self.knows_answers = True
        self.answers_hit = 0
        self.idle: deque[Connection] = deque()
        own = targets[home]
        self.requests_per_connection = own.requests_per_connection if own.keep_alive else 1
        self._user_agent = user_agent
        self._connector = Connector(own, now_ns=now_ns, admit=admit)
        self._admit = admit
        self._room = room
        self._open: set[Connection] = set()
        self._opened = 0
        self._connecting: set[asyncio.Task[None]] = set()
        self._timeout_ns = min(request.timeout_ns for request in self.requests)
        self._redirected: dict[tuple[int, str], Request | None] = {}
        self._elsewhere: dict[object, Http1Driver] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._swept_ns = now_ns()
        self._is_closed = False

    @property
    def reconnects(self) -> int:
        """Connections that took the place of others."""
        return self._opened - self.most_open

    @property
    def addresses(self) -> list[str]:
        """See `Driver`."""
        return self._connector.addresses

    async def resolve(self) -> None:
        """See `Driver`."""
        await self._connector.resolve()

    async def open(self) -> None:
        """See `Driver`."""
        try:
            await self.resolve()
            if self.addresses:
                missing = self._room.ahead - len(self._open)
                await asyncio.gather(*(self._connect_ahead() for _ in range(missing)))
        finally:
            self._sweep()

    def start(self, target: int, planned_ns: int, number: int) -> bool:
        """See `Driver`."""
        idle = self.idle
        while idle:
            connection = idle.popleft()
            if connection.is_usable:
                connection.send(target, planned_ns, number)
                return True
        if len(self._open) + len(self._connecting) >= self._room.connections or self._is_closed:
            return False
        self.connect_for(target, planned_ns, number)
        return True

    async def close(self) -> None:
        """See `Driver`."""
        self._is_closed = True
        self.done = self.good = ignore
        if self._sweeper:
            self._sweeper.cancel()
        tasks = list(self._connecting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self._open):
            connection.abort()
        for driver in self._elsewhere.values():
            await driver.close()

    def connect_for(self, target: int, planned_ns: int, number: int) -> None:
        """Begin a connection, and send a request on it."""
        self._begin(target, planned_ns, number, lambda connection: connection.send(target, planned_ns, number))

    def lost(self, connection: "Connection") -> None:
        """A connection is gone: there is room for another."""
        self._open.discard(connection)

    def answered(self, data: bytes, response: Response) -> None:
        """Remember a response whose length is told by its header block, and that leaves the connection open."""
        if self.knows_answers and len(data) <= ANSWER_KEPT:
            if len(self.answers) >= KEPT:
                # Bodies that differ from answer to answer are not worth remembering.
                self.knows_answers = self.answers_hit >= KEPT
                self.answers_hit = 0
                self.answers.clear()
            self.answers[data] = response.status
        if len(self.heads) >= KEPT:
            self.heads.clear()
        self.heads[data[: response.head_length]] = (response.status, len(data) - response.head_length)

    def next_hop(self, target: int, request: Request, wire: bytes, response: Response) -> Request | None:
        """What asks where a redirect leads; None if it leads nowhere."""
        asked = request.url(wire.split(b" ", 2)[1])
        redirect = follow(asked, request.target.method, response.status, response.location)
        if redirect is None:
            return None
        key = (target, f"{redirect.method} {redirect.url}")
        if key not in self._redirected:
            if len(self._redirected) >= _REDIRECTED_KEPT:
                self._redirected.clear()
            self._redirected[key] = request_of(redirected(request.target, redirect), self._user_agent)
        return self._redirected[key]

    def go_on(self, before: "Connection", request: Request, number: int, *, is_free: bool) -> None:
        """Follow a redirect: on the same connection if it is free and leads there, else on another."""
        trip = before.trip
        driver = self._driver_of(request)
        if driver is self and is_free:
            before.resend(request, trip, number)
            return
        if is_free:
            self.idle.append(before)
        driver.done, driver.good, driver.slow_ns = self.done, self.good, self.slow_ns
        driver.take_up(request, trip, number)

    def take_up(self, request: Request, trip: "Trip", number: int) -> None:
        """Send a redirected request on whatever connection is free, or on a new one."""
        while self.idle:
            connection = self.idle.popleft()
            if connection.is_usable:
                connection.resend(request, trip, number)
                return
        self._begin(
            trip.target, trip.planned_ns, number, lambda connection: connection.resend(request, trip, number), trip
        )

    def _driver_of(self, request: Request) -> "Http1Driver":
        """The driver for a redirected request's origin."""
        origin = Connector(request.target, now_ns=self.now_ns, admit=self._admit).origin
        if origin == self._connector.origin:
            return self
        if origin not in self._elsewhere:
            driver = Http1Driver(
                [one.target for one in self.requests],
                self._room,
                user_agent=self._user_agent,
                now_ns=self.now_ns,
                admit=self._admit,
            )
            driver._connector = Connector(request.target, now_ns=self.now_ns, admit=self._admit)
            driver.connected = self.connected
            driver._sweep()
            self._elsewhere[origin] = driver
        return self._elsewhere[origin]

    def _begin(
        self,
        target: int,
        planned_ns: int,
        number: int,
        send: Callable[["Connection"], None],
        trip: "Trip | None" = None,
    ) -> None:
        work = self._connect_and(send, target, planned_ns, number, trip)
        task = asyncio.get_running_loop().create_task(work, name="connect")
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self) -> "Connection":
        connection, made = await self._connector.connect(lambda sock: Connection(self, sock))
        self.connected.append(made)
        self._open.add(connection)
        self._opened += 1
        self.most_open = max(self.most_open, len(self._open))
        return connection

    async def _connect_ahead(self) -> None:
        with suppress(ConnectError):
            self.idle.append(await self._connect())

    async def _connect_and(
        self,
        send: Callable[["Connection"], None],
        target: int,
        planned_ns: int,
        number: int,
        trip: "Trip | None",
    ) -> None:
        began_ns = self.now_ns()
        try:
            connection = await self._connect()
        except (ConnectError, PermissionError) as failure:
            self._no_longer_connecting()
            if not self._is_closed:
                error = failure.error if isinstance(failure, ConnectError) else ErrorClass.LOCAL
                sent_ns = trip.sent_ns if trip else began_ns
                outcome = Outcome(target, planned_ns, sent_ns, self.now_ns(), error, number=number, text=str(failure))
                outcome.redirects = trip.hops if trip else 0
                self.done(outcome)
            return
        self._no_longer_connecting()
        send(connection)

    def _no_longer_connecting(self) -> None:
        """Make room at once, not only when the task has ended: `done` may start the next request."""
        task = asyncio.current_task()
        assert task is not None
        self._connecting.discard(task)

    def _sweep(self) -> None:
        now_ns = self.now_ns()
        step_s = max(0.005, min(self._timeout_ns / 1e9 / _SWEEPS_PER_TIMEOUT, 0.1))
        step_s = max(step_s, len(self._open) * _SWEEP_S_PER_CONNECTION)
        # After a stall of this process, what came in meanwhile is read first: those answers were in time.
        if now_ns - self._swept_ns < (step_s + _STALL_S) * 1e9:
            for connection in list(self._open):
                connection.check_timeout(now_ns)
        self._swept_ns = now_ns
        self._sweeper = asyncio.get_running_loop().call_later(step_s, self._sweep)


class Trip:
    """A request that was redirected: what it began with, and how many redirects were followed."""

    __slots__ = ("bytes_in", "bytes_out", "hops", "planned_ns", "sent_ns", "target")

    def __init__(self, target: int, planned_ns: int, sent_ns: int) -> None:
        self.target = target
        self.planned_ns = planned_ns
        self.sent_ns = sent_ns
        self.hops = 0
        self.bytes_in = 0
        self.bytes_out = 0


class Connection(asyncio.Protocol):
    """One connection: at most one request in flight, ended by exactly one outcome."""

    __slots__ = (
        "_answered",
        "_bytes_out",
        "_driver",
        "_first_ns",
        "_is_busy",
        "_is_partly_sent",
        "_number",
        "_planned_ns",
        "_received",
        "_remote",
        "_request",
        "_response",
        "_sent_ns",
        "_sock_send",
        "_target",
        "_transport",
        "_trip",
        "_wire",
        "is_usable",
    )

    def __init__(self, driver: Http1Driver, sock: socket.socket) -> None:
        self._driver = driver
        self._transport: asyncio.Transport | None = None
        self._sock_send: Callable[[bytes], int] | None = sock.send
        self._remote = ""
        self._is_busy = False
        self._target = 0
        self._number = 0
        self._request = driver.requests[0]
        self._wire = b""
        self._planned_ns = 0
        self._sent_ns = 0
        self._first_ns = 0
        self._bytes_out = 0
        self._received = 0
        self._answered = 0  # requests, on this connection
        self._is_partly_sent = False
        self._response: Response | None = None
        self._trip: Trip | None = None
        self.is_usable = False

    @property
    def trip(self) -> Trip:
        """What this connection's request has behind it."""
        trip = self._trip or Trip(self._target, self._planned_ns, self._sent_ns)
        self._trip = None
        trip.hops += 1
        trip.bytes_in += self._received
        trip.bytes_out += self._bytes_out
        return trip

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected; over TLS, the handshake is done."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        if transport.get_extra_info("ssl_object") is not None:
            self._sock_send = None
        peer = transport.get_extra_info("peername")
        self._remote = f"{peer[0]}:{peer[1]}" if peer else ""
        self.is_usable = True

    def send(self, target: int, planned_ns: int, number: int) -> None:
        """Hand a request to the transport."""
        driver = self._driver
        request = driver.requests[target]
        wire = request.wire
        period = request.trace_period
        if wire is None or (period and not number % period):
            wire = request.render(number)
        self._target = target
        self._number = number
        self._planned_ns = planned_ns
        self._request = request
        self._put(wire)
        self._sent_ns = driver.now_ns()

    def resend(self, request: Request, trip: Trip, number: int) -> None:
        """Hand the next request of a redirected one to the transport; its clocks go on."""
        self._target, self._planned_ns, self._sent_ns = trip.target, trip.planned_ns, trip.sent_ns
        self._request, self._number, self._trip = request, number, trip
        self._put(request.render(number))

    def data_received(self, data: bytes) -> None:
        """Part of a response, or all of it."""
        if not self._is_busy:
            self.abort()  # nobody asked for this: nothing that follows could be trusted
            return
        driver = self._driver
        now_ns = driver.now_ns()
        if self._response is None:
            request = self._request
            status = driver.answers.get(data) if driver.knows_answers else None
            if status is not None and not request.has_check:
                driver.answers_hit += 1
                if self._finish_plainly(request, status, len(data), now_ns):
                    return
                self._received = len(data)
                self._first_ns = now_ns
                self._finish(status, data, data.find(b"\r\n\r\n") + 4, now_ns, is_kept=True)
                return
            self._first_ns = now_ns
            self._received = len(data)
            end = data.find(b"\r\n\r\n") + 4
            known = driver.heads.get(data[:end])
            if known is not None and len(data) == end + known[1] and not request.is_head:
                self._finish(known[0], data, end, now_ns, is_kept=True)
                return
            self._response = Response(is_head=request.is_head, keeps_body=request.keeps_body)
        else:
            self._received += len(data)
        self._parse(data, now_ns)

    def eof_received(self) -> None:
        """The other side sends nothing more."""
        self.is_usable = False

    def connection_lost(self, failure: Exception | None) -> None:
        """The connection is gone; if a request was in flight, that ends it."""
        self.is_usable = False
        self._driver.lost(self)
        if not self._is_busy:
            return
        if self._answered and not self._received and self._request.is_safe and _is_close(failure) and not self._trip:
            # The server closed it after a complete answer, and this request was already on its way: a reconnect.
            self._is_busy = False
            self._driver.connect_for(self._target, self._planned_ns, self._number)
            return
        response = self._response
        if response is not None and response.ends_with_connection and failure is None:
            self._finish(response.status, bytes(response.body), 0, self._driver.now_ns(), is_kept=False)
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

    def _put(self, wire: bytes) -> None:
        """Write a request; straight to the socket where nothing lies between, so that *sent* is when the kernel had it."""
        self._received = 0
        self._first_ns = 0
        self._is_busy = True
        self._wire = wire
        self._bytes_out = length = len(wire)
        assert self._transport is not None
        if not self.is_usable:  # it closed while the request was on its way here
            asyncio.get_running_loop().call_soon(self._fail, ErrorClass.RESET, "the connection was closed")
            return
        if self._sock_send is None:
            self._transport.write(wire)
            return
        try:
            count = self._sock_send(wire)
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError:  # the transport meets it as well, and tells
            return
        if count != length:
            self._is_partly_sent = True
            self._transport.write(wire[count:])

    def _parse(self, data: bytes, now_ns: int) -> None:
        response = self._response
        assert response is not None
        fault = response.feed(data)
        if fault is not None:
            self._fail(*fault)
            return
        if not response.is_complete:
            return
        is_head = self._request.is_head
        if response.is_plain and response.is_kept and response.bytes_fed == len(data) and not is_head:
            if not response.location:
                self._driver.answered(data, response)
            self._finish(response.status, data, response.head_length, now_ns, is_kept=True)
            return
        self._finish(response.status, bytes(response.body), 0, now_ns, is_kept=response.is_kept)

    def _finish_plainly(self, request: Request, status: int, length: int, now_ns: int) -> bool:
        """End a request in the ordinary way, unless there is more to say about it."""
        driver = self._driver
        target = self._target
        if (
            request.is_error[status]
            or request.is_head
            or self._trip is not None
            or now_ns - self._planned_ns > driver.slow_ns[target]
            or driver.requests_per_connection
            or self._is_partly_sent
            or not self.is_usable
        ):
            return False
        self._is_busy = False
        self._answered += 1
        driver.idle.append(self)
        driver.good(target, self._planned_ns, self._sent_ns, now_ns, now_ns, status, length, self._bytes_out)
        return True

    def _finish(self, status: int, body: bytes, body_at: int, done_ns: int, *, is_kept: bool) -> None:
        """End a request that got a whole response; or follow where that leads."""
        driver, request, response = self._driver, self._request, self._response
        self._answered += 1
        if request.target.redirects and response is not None and response.location:
            hops = self._trip.hops if self._trip else 0
            onward = driver.next_hop(self._target, request, self._wire, response)
            if onward is not None and hops < request.target.redirects:
                self._set_free(is_kept=is_kept, is_needed=True)
                driver.go_on(self, onward, self._number, is_free=self.is_usable)
                return
        error, text = None, ""
        if status >= STATUSES or request.is_error[status]:
            error = ErrorClass.STATUS
        elif request.has_check:
            text = request.failed_check(body[body_at:] if body_at else body)
            error = ErrorClass.CHECK if text else None
        self._tell(error, text, status, done_ns, body, body_at, is_kept=is_kept)

    def _fail(self, error: ErrorClass, text: str) -> None:
        if not self._is_busy:
            return
        response = self._response
        status = response.status if response else 0
        body = bytes(response.body) if response else b""
        self._tell(error, text, status, self._driver.now_ns(), body, 0, is_kept=False)

    def _tell(  # noqa: PLR0913 what makes an outcome
        self,
        error: ErrorClass | None,
        text: str,
        status: int,
        done_ns: int,
        body: bytes,
        body_at: int,
        *,
        is_kept: bool,
    ) -> None:
        driver, trip = self._driver, self._trip
        self._trip = None
        planned_ns, received, first_ns = self._planned_ns, self._received, self._first_ns
        bytes_in = received + (trip.bytes_in if trip else 0)
        bytes_out = self._bytes_out + (trip.bytes_out if trip else 0)
        self._set_free(is_kept=is_kept)
        if error is None and trip is None and done_ns - planned_ns <= driver.slow_ns[self._target]:
            driver.good(self._target, planned_ns, self._sent_ns, first_ns, done_ns, status, bytes_in, bytes_out)
            return
        driver.done(
            Outcome(
                self._target,
                planned_ns,
                self._sent_ns,
                done_ns,
                error,
                status=status,
                bytes_in=bytes_in,
                bytes_out=bytes_out,
                first_ns=first_ns if received else 0,
                number=self._number,
                redirects=trip.hops if trip else 0,
                remote=self._remote,
                text=text,
                trace=self._request.trace(self._number),
                body=body,
                body_at=body_at,
            )
        )

    def _set_free(self, *, is_kept: bool, is_needed: bool = False) -> None:
        """The request is over: the connection is free again, or closed."""
        self._is_busy = False
        self._response = None
        most = self._driver.requests_per_connection
        if self._is_partly_sent:
            assert self._transport is not None
            is_kept = is_kept and not self._transport.get_write_buffer_size()  # the answer came before we were through
            self._is_partly_sent = False
        if is_kept and self.is_usable and not (most and self._answered >= most):
            if not is_needed:
                self._driver.idle.append(self)
        else:
            self.abort()
            self._driver.lost(self)


def _is_close(failure: Exception | None) -> bool:
    return failure is None or (isinstance(failure, OSError) and class_of(failure) is ErrorClass.RESET)
