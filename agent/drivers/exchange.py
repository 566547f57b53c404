"""One HTTP/2 connection: bytes to and from a socket, and what its streams come to. How many there are is the driver's."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from agent.drivers.blocks import Head
from agent.drivers.connect import ConnectError, class_of
from agent.drivers.frames import Code
from agent.drivers.request import STATUSES, Request
from agent.drivers.response import MAX_BODY
from agent.drivers.session import Reset, Session
from agent.drivers.streams import Stream
from agent.outcome import Outcome
from protocol.messages import ErrorClass, Http2

if TYPE_CHECKING:
    from agent.drivers.http2 import Http2Driver

_TRIES = 4  # of a request that servers refuse unprocessed
_TRIES_AWAY = 64  # of one whose connections end by GOAWAY before its turn comes: nobody refuses it
_BODILESS = (204, 304)
_MOST_REDIRECT = 400


class Exchange:
    """One request and its answer, over all tries and redirects; ended by exactly one outcome."""

    __slots__ = (
        "body",
        "body_bytes",
        "bytes_in",
        "bytes_out",
        "first_ns",
        "hops",
        "is_over",
        "number",
        "planned_ns",
        "request",
        "sent_ns",
        "target",
        "tries",
    )

    def __init__(self, target: int, request: Request, planned_ns: int, number: int) -> None:
        self.target = target
        self.request = request
        self.planned_ns = planned_ns
        self.number = number
        self.sent_ns = 0  # of the first hop
        self.first_ns = 0  # of the last
        self.tries = 1
        self.hops = 0
        self.bytes_in = 0  # of earlier hops
        self.bytes_out = 0
        self.body: bytes | bytearray = b""
        self.body_bytes = 0
        self.is_over = False

    def add(self, data: bytes) -> None:
        """A part of the body; as much as evidence and checks need is kept."""
        self.body_bytes += len(data)
        kept = len(self.body)
        keeps = self.request.keeps_body
        if not kept:
            self.body = data[:keeps]
        elif kept < keeps:
            if isinstance(self.body, bytes):
                self.body = bytearray(self.body)
            self.body += data[: keeps - kept]


class Connection(asyncio.Protocol):
    """One connection. `settled` is set when the server has told its settings, or never will: `failure` says why."""

    def __init__(self, driver: "Http2Driver", sock: socket.socket) -> None:
        self.session: Session[Exchange] = Session(driver.heads)
        self.settled = asyncio.Event()
        self.failure: ConnectError | None = None
        self.is_listed = False  # among the driver's free ones
        self.is_usable = False  # for requests: the driver has taken it on, and it is not retired
        self.is_retired = False  # or gone
        self._driver = driver
        self._transport: asyncio.Transport | None = None
        self._sock_send: Callable[[bytes], int] | None = sock.send
        self._remote = ""
        self._streams = 0  # that may be open at once
        self._left = driver.requests_per_connection or -1
        self._is_paused = False
        self._is_reading = False
        self._is_flush_due = False

    @property
    def has_room(self) -> bool:
        """Whether a request may be sent on it now."""
        return self.is_usable and len(self.session.streams) < self._streams and not self._is_paused

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected; over TLS, the handshake is done."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        tls = transport.get_extra_info("ssl_object")
        peer = transport.get_extra_info("peername")
        self._remote = f"{peer[0]}:{peer[1]}" if peer else ""
        if tls is not None:
            self._sock_send = None
            chosen = tls.selected_alpn_protocol()
            if chosen != "h2" and (chosen or self._driver.http2 is Http2.ALPN):
                said = f"chose {chosen}" if chosen else "chose no protocol"
                text = f"the server {said} in the TLS handshake: h2 was expected; does it offer HTTP/2 on this port?"
                self._settle(ConnectError(ErrorClass.TLS, text))
                return
        self._flush()

    def send(self, exchange: Exchange) -> None:
        """Open a stream for a request; it is written with all others of this turn of the event loop."""
        driver = self._driver
        block, body = driver.rendered(exchange)
        if not exchange.hops:
            exchange.sent_ns = driver.now_ns()  # the last byte's instant takes its place as soon as it is known
        self.session.open(exchange, block, body)
        self._left -= 1
        if not self._left or self.session.is_closing:
            self._retire()
        self._flush_soon()

    def data_received(self, data: bytes) -> None:
        """Parts of responses, or many of them."""
        driver, session = self._driver, self.session
        now_ns = driver.now_ns()
        events = session.receive(data)
        self._streams = min(driver.streams, session.max_streams)
        if session.is_closing:
            self._retire()
        if session.is_ready and not self.settled.is_set() and not session.fault:
            self._settle(None)
        self._is_reading = True
        driver.reading = self
        for stream, what, is_end in events:
            if not stream.owner.is_over:
                self._on_event(stream, what, is_end=is_end, now_ns=now_ns)
        self._is_reading = False
        driver.reading = None
        if session.fault:
            self._break()
            return
        self._after(driver)

    def pause_writing(self) -> None:
        """The server does not read as fast as we write."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """The server reads again."""
        self._is_paused = False
        self._after(self._driver)

    def connection_lost(self, failure: Exception | None) -> None:
        """The connection is gone; so are the requests on it."""
        text = self.session.said or str(failure or "") or "the server closed the connection"
        if isinstance(failure, ssl.SSLError):
            error = ErrorClass.TLS
        else:
            error = class_of(failure) if isinstance(failure, OSError) else ErrorClass.RESET
        self._end(error, text)

    def check_timeouts(self, now_ns: int) -> None:
        """End the requests that have taken too long; the connection lives on unless nobody reads at its other end."""
        session = self.session
        for stream in list(session.streams.values()):
            exchange = stream.owner
            timeout_ns = exchange.request.timeout_ns
            if now_ns - exchange.sent_ns >= timeout_ns:
                session.cancel(stream)
                error = ErrorClass.BODY_TIMEOUT if exchange.first_ns else ErrorClass.FIRST_BYTE_TIMEOUT
                self._tell(
                    stream, error, f"{stream.bytes_in} bytes of a response within {timeout_ns / 1e9:g} s", now_ns
                )
        if self._is_paused and not session.streams:
            self._end(ErrorClass.RESET, "the server no longer reads")
        else:
            self._after(self._driver)

    def abort(self) -> None:
        """Close at once."""
        self.is_usable = False
        self.is_retired = True
        if self._transport is not None:
            self._transport.abort()

    def _on_event(self, stream: Stream[Exchange], what: Head | bytes | Reset, *, is_end: bool, now_ns: int) -> None:
        exchange = stream.owner
        if isinstance(what, bytes):
            exchange.add(what)
            if exchange.body_bytes > MAX_BODY:
                self._too_large(stream, f"a body of more than {MAX_BODY >> 20} MiB", now_ns)
                return
        elif isinstance(what, Head):
            exchange.first_ns = exchange.first_ns or now_ns
            if what.length > MAX_BODY and not is_end and not exchange.request.is_head:
                text = f"a body of {what.length} bytes: more than {MAX_BODY >> 20} MiB are not read"
                self._too_large(stream, text, now_ns)
                return
        else:
            self._on_reset(stream, what, now_ns)
            return
        if is_end:
            self._finish(stream, now_ns)

    def _settle(self, failure: ConnectError | None) -> None:
        self.failure = failure
        self.settled.set()

    def _retire(self) -> None:
        """It takes no more requests; those on it go on."""
        if not self.is_retired:
            self.is_retired = True
            self.is_usable = False
            self._driver.retired(self)

    def _after(self, driver: "Http2Driver") -> None:
        """Write what is to be written, and offer what room there is."""
        self._flush()
        session = self.session
        if self.is_retired and not session.streams:
            if not session.is_closing:
                session.close()
                self._flush()
            if self._transport is not None:
                self._transport.close()
        elif not self.is_listed and self.has_room:
            driver.offer(self)
        if driver.waiting:
            driver.serve()

    def _break(self) -> None:
        """The server does not keep to the protocol."""
        fault = self.session.fault
        assert fault is not None
        self._flush()
        self._end(ErrorClass.PROTOCOL, fault.text)

    def _end(self, error: ErrorClass, text: str) -> None:
        """The connection is of no use any more; what was in flight on it ends."""
        self.abort()
        self._driver.lost(self)
        if not self.settled.is_set():
            self._settle(ConnectError(error, text))
        streams = list(self.session.streams.values())
        self.session.streams.clear()
        now_ns = self._driver.now_ns()
        for stream in streams:
            if self.session.said and stream.head is None and error is not ErrorClass.PROTOCOL:
                text = self.session.said
            self._tell(stream, error, text, now_ns)

    def _flush_soon(self) -> None:
        if not self._is_reading and not self._is_flush_due:
            self._is_flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        session = self.session
        while not self._is_paused:
            data = session.take()
            if not data:
                break
            self._write(data)
        if session.sent:
            now_ns = self._driver.now_ns()
            for stream in session.sent:
                exchange = stream.owner
                if not exchange.hops:
                    exchange.sent_ns = now_ns
            session.sent.clear()

    def _write(self, data: bytes) -> None:
        """Straight to the socket where nothing lies between, so that *sent* is when the kernel had it."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._sock_send is not None and not transport.get_write_buffer_size():
            try:
                count = self._sock_send(data)
            except (BlockingIOError, InterruptedError):
                count = 0
            except OSError:  # the transport meets it as well, and tells
                return
            if count == len(data):
                return
            data = data[count:]
        transport.write(data)

    def _on_reset(self, stream: Stream[Exchange], reset: Reset, now_ns: int) -> None:
        exchange = stream.owner
        if reset.is_ours:
            self._tell(stream, ErrorClass.PROTOCOL, reset.text, now_ns)
        elif reset.code == Code.REFUSED_STREAM and exchange.tries < self._most_tries and stream.head is None:
            exchange.tries += 1
            self._go_again(stream)
        else:
            self._tell(stream, ErrorClass.RESET, reset.text, now_ns)

    @property
    def _most_tries(self) -> int:
        return _TRIES_AWAY if self.session.is_closing else _TRIES

    def _go_again(self, stream: Stream[Exchange]) -> None:
        """Send the request of a stream that is over again, or the one that follows it."""
        exchange = stream.owner
        exchange.bytes_in += stream.bytes_in
        exchange.bytes_out += stream.bytes_out
        exchange.first_ns = exchange.body_bytes = 0
        exchange.body = b""
        self._driver.again(exchange)

    def _too_large(self, stream: Stream[Exchange], text: str, now_ns: int) -> None:
        self.session.cancel(stream)
        self._tell(stream, ErrorClass.TOO_LARGE, text, now_ns)

    def _finish(self, stream: Stream[Exchange], now_ns: int) -> None:
        """End a request that got a whole response; or follow where that leads."""
        driver, exchange, head = self._driver, stream.owner, stream.head
        assert head is not None
        request, status = exchange.request, head.status
        has_none = request.is_head or status in _BODILESS
        expected = 0 if has_none else head.length
        if expected not in (-1, exchange.body_bytes):
            text = f"a body of {exchange.body_bytes} bytes, where {expected} were announced"
            self._tell(stream, ErrorClass.PROTOCOL, text, now_ns)
            return
        if 300 <= status < _MOST_REDIRECT and exchange.hops < request.target.redirects:
            onward = driver.next_hop(exchange, head)
            if onward is not None:
                exchange.request = onward
                exchange.hops += 1
                self._go_again(stream)
                return
        if status >= STATUSES or request.is_error[status]:
            self._tell(stream, ErrorClass.STATUS, "", now_ns)
            return
        if request.has_check:
            text = request.failed_check(bytes(exchange.body))
            if text:
                self._tell(stream, ErrorClass.CHECK, text, now_ns)
                return
        planned_ns, target = exchange.planned_ns, exchange.target
        if now_ns - planned_ns > driver.slow_ns[target] or exchange.hops:
            self._tell(stream, None, "", now_ns)
            return
        exchange.is_over = True
        bytes_in, bytes_out = exchange.bytes_in + stream.bytes_in, exchange.bytes_out + stream.bytes_out
        driver.good(target, planned_ns, exchange.sent_ns, exchange.first_ns, now_ns, status, bytes_in, bytes_out)

    def _tell(self, stream: Stream[Exchange], error: ErrorClass | None, text: str, now_ns: int) -> None:
        """Tell of a request in full: it went wrong, or was slow."""
        exchange = stream.owner
        exchange.is_over = True
        self._driver.done(
            Outcome(
                exchange.target,
                exchange.planned_ns,
                exchange.sent_ns,
                now_ns,
                error,
                status=stream.head.status if stream.head else 0,
                bytes_in=exchange.bytes_in + stream.bytes_in,
                bytes_out=exchange.bytes_out + stream.bytes_out,
                first_ns=exchange.first_ns,
                number=exchange.number,
                redirects=exchange.hops,
                remote=self._remote,
                text=text,
                trace=exchange.request.trace(exchange.number),
                body=bytes(exchange.body),
            )
        )
