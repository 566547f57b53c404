"""HTTP/2 on uvloop: many requests at once on each connection, no task and no future a request.

All requests of one turn of the event loop go out in one write. A request that a server surely did not process (it
refused the stream, or went away before it) is sent again; nothing else is. Leaves redirects to other origins out: they
are told as they came.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from agent.drivers.blocks import Head, Heads, block_of
from agent.drivers.connect import ConnectError, Connector
from agent.drivers.exchange import Connection, Exchange
from agent.drivers.redirect import follow, redirected
from agent.drivers.request import Request, request_of
from agent.outcome import Connected, Done, Good, Outcome, Room
from protocol.messages import ErrorClass, Http2, Target

_SWEEPS_PER_TIMEOUT = 100
_SWEEP_S_PER_STREAM = 2e-6
_STALL_S = 0.05
_REDIRECTED_KEPT = 256


def ignore(*_told: object) -> None:
    """What nobody listens to."""


class Http2Driver:
    """All connections to one origin. See `agent.outcome.Driver`.

    `streams` is how many requests at once a connection carries, `heads` the header blocks known to all of them,
    `reading` the connection whose answers are being told, `waiting` the requests without a stream.
    """

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
        own = targets[home]
        self.done: Done = ignore
        self.good: Good = ignore
        self.slow_ns: Sequence[int] = [-1] * len(targets)
        self.connected: list[Connected] = []
        self.most_open = 0
        self.now_ns = now_ns
        self.http2 = own.http2
        self.requests = [request_of(target, user_agent) for target in targets]
        self.requests_per_connection = own.requests_per_connection if own.keep_alive else 1
        self.streams = min(room.streams, self.requests_per_connection or room.streams)
        self.heads = Heads()
        self.reading: Connection | None = None
        self.waiting: deque[Exchange] = deque()
        self._user_agent = user_agent
        alpn = ("h2",) if own.http2 is Http2.ALPN or own.url.lower().startswith("https:") else ()
        self._connector = Connector(own, alpn=alpn, now_ns=now_ns, admit=admit)
        self._scheme = b"https" if self._connector.origin.is_tls else b"http"
        self._room = room
        self._ahead = room.ahead
        self._rendered: list[tuple[bytes, bytes] | None] = [None] * len(targets)
        self._redirected: dict[tuple[int, str], Request] = {}
        self._free: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._retired: set[Connection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._opened = 0
        self._timeout_ns = min(request.timeout_ns for request in self.requests)
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
                missing = self._ahead - len(self._open)
                await asyncio.gather(*(self._begin() for _ in range(missing)))
        finally:
            self._sweep()

    def start(self, target: int, planned_ns: int, number: int) -> bool:
        """See `Driver`."""
        if self.waiting:
            self.serve()
        connection = self.reading
        if connection is None or not connection.has_room:
            connection = self._next_free()
        if connection is not None:
            connection.send(Exchange(target, self.requests[target], planned_ns, number))
            return True
        if self._is_closed:
            return False
        if len(self.waiting) >= len(self._connecting) * self._streams_expected():
            if len(self._open) + len(self._connecting) >= self._most_connections():
                return False
            self._begin()
        exchange = Exchange(target, self.requests[target], planned_ns, number)
        exchange.sent_ns = self.now_ns()
        self.waiting.append(exchange)
        return True

    async def close(self) -> None:
        """See `Driver`."""
        self._is_closed = True
        self.done = self.good = ignore
        self.waiting.clear()
        if self._sweeper:
            self._sweeper.cancel()
        tasks = list(self._connecting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in [*self._open, *self._retired]:
            connection.abort()

    def rendered(self, exchange: Exchange) -> tuple[bytes, bytes]:
        """A request's header block and body; made once where all requests of the target are the same."""
        request, number = exchange.request, exchange.number
        period = request.trace_period
        if request.wire is None or exchange.hops or (period and not number % period):
            return self._render(exchange)
        known = self._rendered[exchange.target]
        if known is None:
            known = self._rendered[exchange.target] = self._render(exchange)
        return known

    def next_hop(self, exchange: Exchange, head: Head) -> Request | None:
        """What asks where a redirect leads; None if it leads nowhere, or elsewhere."""
        request = exchange.request
        location = next((value for name, value in head.headers if name == b"location"), b"").decode("latin-1")
        asked = request.url(request.parts(exchange.number).path)
        redirect = follow(asked, request.target.method, head.status, location)
        if redirect is None or not redirect.is_same_origin:
            return None
        key = (exchange.target, f"{redirect.method} {redirect.url}")
        if key not in self._redirected:
            if len(self._redirected) >= _REDIRECTED_KEPT:
                self._redirected.clear()
            target = redirected(request.target, redirect)
            self._redirected[key] = request_of(target, self._user_agent, trace_salt=request.trace_salt)
        return self._redirected[key]

    def again(self, exchange: Exchange) -> None:
        """Send a request again, or the next one of a redirect, on whatever connection is free, or on a new one."""
        if self._is_closed:
            return
        if not exchange.hops:
            exchange.sent_ns = self.now_ns()
        self.waiting.append(exchange)
        self.serve()

    def serve(self) -> None:
        """Send what waits where there is room, and make room for the rest."""
        waiting = self.waiting
        while waiting:
            connection = self._next_free()
            if connection is None:
                break
            connection.send(waiting.popleft())
        each = self._streams_expected()
        while len(waiting) > len(self._connecting) * each:
            if self._is_closed or len(self._open) + len(self._connecting) >= self._most_connections():
                break
            self._begin()

    def offer(self, connection: Connection) -> None:
        """A connection has room."""
        connection.is_listed = True
        self._free.append(connection)

    def retired(self, connection: Connection) -> None:
        """A connection takes no more requests: there is room for another."""
        if connection in self._open:
            self._open.discard(connection)
            self._retired.add(connection)

    def lost(self, connection: Connection) -> None:
        """A connection is gone: there is room for another."""
        self._open.discard(connection)
        self._retired.discard(connection)

    def _most_connections(self) -> int:
        """As many as were given; where they may grow, more if the server allows fewer streams on each than were asked."""
        room = self._room
        if room.ahead >= room.connections:
            return room.connections
        return -(-room.connections * room.streams // self._streams_expected())

    def _streams_expected(self) -> int:
        """How many requests a new connection will carry, as far as the server told on others."""
        told = min((connection.session.max_streams for connection in self._open), default=self.streams)
        return max(1, min(self.streams, told))

    def _next_free(self) -> Connection | None:
        """A connection with room, each in turn."""
        free = self._free
        while free:
            connection = free.popleft()
            if connection.has_room:
                free.append(connection)
                return connection
            connection.is_listed = False
        return None

    def _render(self, exchange: Exchange) -> tuple[bytes, bytes]:
        request = exchange.request
        parts = request.parts(exchange.number)
        pseudo = (
            (b":method", request.target.method.encode()),
            (b":scheme", self._scheme),
            (b":authority", parts.authority),
            (b":path", parts.path),
        )
        return block_of((*pseudo, *parts.headers)), parts.body

    def _begin(self) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._connect(), name="connect")
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return task

    async def _connect(self) -> None:
        """Make a connection; what waited for it is sent, or fails as it did."""
        task = asyncio.current_task()
        assert task is not None
        try:
            connection = await self._connection()
        except (ConnectError, PermissionError) as failure:
            self._connecting.discard(task)  # at once, not when the task has ended: `done` may start the next request
            self._give_up(failure)
            return
        self._connecting.discard(task)
        connection.is_usable = True
        self._open.add(connection)
        self._opened += 1
        self.most_open = max(self.most_open, len(self._open))
        self.offer(connection)
        self.serve()

    async def _connection(self) -> Connection:
        """A connection whose server has told its settings: it is not known before what may be sent."""
        until = asyncio.get_running_loop().time() + self._timeout_ns / 1e9
        connection, made = await self._connector.connect(lambda sock: Connection(self, sock))
        try:
            async with asyncio.timeout_at(until):
                await connection.settled.wait()
        except TimeoutError as late:
            connection.abort()
            text = "no HTTP/2 settings within the time-out: does the server speak HTTP/2 on this port?"
            raise ConnectError(ErrorClass.CONNECT_TIMEOUT, text) from late
        except asyncio.CancelledError:
            connection.abort()
            raise
        failure = connection.failure
        if failure is None and connection.is_retired:
            failure = ConnectError(ErrorClass.RESET, connection.session.said or "the server closed the connection")
        if failure is not None:
            connection.abort()
            raise failure
        self.connected.append(made)
        return connection

    def _give_up(self, failure: ConnectError | PermissionError) -> None:
        """End the requests that no connection under way can carry any more."""
        if self._is_closed:
            return
        error = failure.error if isinstance(failure, ConnectError) else ErrorClass.LOCAL
        surplus = len(self.waiting) - len(self._connecting) * self._streams_expected()
        for exchange in [self.waiting.popleft() for _ in range(surplus)]:
            self._fail(exchange, error, str(failure), self.now_ns())

    def _fail(self, exchange: Exchange, error: ErrorClass, text: str, now_ns: int) -> None:
        outcome = Outcome(exchange.target, exchange.planned_ns, exchange.sent_ns, now_ns, error, text=text)
        outcome.number, outcome.redirects = exchange.number, exchange.hops
        outcome.bytes_in, outcome.bytes_out = exchange.bytes_in, exchange.bytes_out
        outcome.trace = exchange.request.trace(exchange.number)
        self.done(outcome)

    def _sweep(self) -> None:
        now_ns = self.now_ns()
        connections = [*self._open, *self._retired]
        step_s = max(0.005, min(self._timeout_ns / 1e9 / _SWEEPS_PER_TIMEOUT, 0.1))
        step_s = max(step_s, sum(len(one.session.streams) for one in connections) * _SWEEP_S_PER_STREAM)
        # After a stall of this process, what came in meanwhile is read first: those answers were in time.
        if now_ns - self._swept_ns < (step_s + _STALL_S) * 1e9:
            for connection in connections:
                connection.check_timeouts(now_ns)
            self._check_waiting(now_ns)
        self._swept_ns = now_ns
        if not self._is_closed:
            self._sweeper = asyncio.get_running_loop().call_later(step_s, self._sweep)

    def _check_waiting(self, now_ns: int) -> None:
        """End the requests that found no stream: the server allows too few, say."""
        patience = 2 if self._connecting else 1  # a connection under way ends by itself, and tells why
        for exchange in [one for one in self.waiting if now_ns - one.sent_ns >= patience * one.request.timeout_ns]:
            self.waiting.remove(exchange)
            self._fail(exchange, ErrorClass.CONNECT_TIMEOUT, "no stream was free within the time-out", now_ns)
