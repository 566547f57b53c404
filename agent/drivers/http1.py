"""HTTP/1.1 on uvloop: one plain protocol a connection, no task and no future a request.

A response that was seen before, or whose header block was, is recognised by a dict; httptools parses all others. Leaves
retries and cookies out: a load generator tells what came back.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from agent.drivers.connect import ConnectError, Connector
from agent.drivers.connection import ANSWER_KEPT, Connection, Trip
from agent.drivers.redirect import follow, redirected
from agent.drivers.request import Request, request_of
from agent.drivers.response import Response
from agent.outcome import Connected, Done, Good, Outcome, Room
from protocol.messages import ErrorClass, Target

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

    def lost(self, connection: Connection) -> None:
        """A connection is gone: there is room for another."""
        self._open.discard(connection)

    def answered(self, data: bytes, response: Response) -> None:
        """Remember a response whose length is told by its header block, and that leaves the connection open."""
        if len(data) <= ANSWER_KEPT:
            if len(self.answers) >= KEPT:
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
            onward = redirected(request.target, redirect)
            self._redirected[key] = request_of(onward, self._user_agent, trace_salt=request.trace_salt)
        return self._redirected[key]

    def go_on(self, before: Connection, request: Request, number: int, *, is_free: bool) -> None:
        """Follow a redirect: on the same connection if it is free and leads there, else on another."""
        trip = before.leave()
        driver = self._driver_of(request)
        if driver is self and is_free:
            before.resend(request, trip, number)
            return
        if is_free:
            self.idle.append(before)
        driver.done, driver.good, driver.slow_ns = self.done, self.good, self.slow_ns
        driver.take_up(request, trip, number)

    def take_up(self, request: Request, trip: Trip, number: int) -> None:
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
        send: Callable[[Connection], None],
        trip: Trip | None = None,
    ) -> None:
        work = self._connect_and(send, target, planned_ns, number, trip)
        task = asyncio.get_running_loop().create_task(work, name="connect")
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self) -> Connection:
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
        send: Callable[[Connection], None],
        target: int,
        planned_ns: int,
        number: int,
        trip: Trip | None,
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
                if trip:
                    outcome.redirects, outcome.bytes_in, outcome.bytes_out = trip.hops, trip.bytes_in, trip.bytes_out
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
