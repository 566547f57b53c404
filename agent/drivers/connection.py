"""One HTTP/1.1 connection: bytes to and from a socket, and what they come to. How many there are is the driver's."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from agent.drivers.connect import class_of
from agent.drivers.request import STATUSES, Request
from agent.drivers.response import Response
from agent.outcome import Outcome
from protocol.messages import ErrorClass

if TYPE_CHECKING:
    from agent.drivers.http1 import Http1Driver

ANSWER_KEPT = 2048  # bytes: longer responses are recognised by their header block


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
        "_is_plain",
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

    def __init__(self, driver: "Http1Driver", sock: socket.socket) -> None:
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
        self._is_plain = not driver.requests_per_connection  # and no redirect or partial write is under way
        self._response: Response | None = None
        self._trip: Trip | None = None
        self.is_usable = False

    def leave(self) -> Trip:
        """What this connection's request has behind it, with the hop that ends here; it is another's to go on with."""
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
        send = self._sock_send
        if send is None or not self.is_usable:
            self._put(wire)
            self._sent_ns = driver.now_ns()
        else:  # as _put, in one piece with this: it is all that most requests take
            self._received = self._first_ns = 0
            self._is_busy = True
            self._wire = wire
            self._bytes_out = length = len(wire)
            # Before the call: the answer may be there before the kernel comes back from it.
            self._sent_ns = driver.now_ns()
            try:
                count = send(wire)
            except OSError:
                count = -1
            if count != length:
                self._put_rest(wire, max(count, 0))

    def resend(self, request: Request, trip: Trip, number: int) -> None:
        """Hand the next request of a redirected one to the transport; its clocks go on."""
        self._target, self._planned_ns, self._sent_ns = trip.target, trip.planned_ns, trip.sent_ns
        self._request, self._number, self._trip = request, number, trip
        self._is_plain = False
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
            status = driver.answers.get(data) if len(data) <= ANSWER_KEPT else None
            if status is not None and request.is_simple:
                target, planned_ns = self._target, self._planned_ns
                if (
                    now_ns - planned_ns <= driver.slow_ns[target]
                    and not request.is_error[status]
                    and self._is_plain
                    and self.is_usable
                ):
                    self._is_busy = False
                    self._answered += 1
                    driver.idle.append(self)
                    length = len(data)
                    driver.good(target, planned_ns, self._sent_ns, now_ns, now_ns, status, length, self._bytes_out)
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
        """Write a request through the transport. `send` goes straight to the socket where nothing lies between.

        So *sent* is when the kernel had the request, and not when it was put into a queue.
        """
        self._received = 0
        self._first_ns = 0
        self._is_busy = True
        self._wire = wire
        self._bytes_out = len(wire)
        assert self._transport is not None
        if not self.is_usable:  # it closed while the request was on its way here
            asyncio.get_running_loop().call_soon(self._fail, ErrorClass.RESET, "the connection was closed")
            return
        self._transport.write(wire)

    def _put_rest(self, wire: bytes, count: int) -> None:
        """The socket took so much and no more, or failed: the transport goes on, or tells how it failed."""
        assert self._transport is not None
        self._is_partly_sent = True
        self._is_plain = False
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
        self._is_plain = not self._driver.requests_per_connection
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
