"""A driver without sockets: requests end as a behaviour says, by the loop's clock."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from agent.outcome import Connected, Done, Good, Outcome
from protocol.messages import ErrorClass, Target


class Fate(NamedTuple):
    """How long a request takes, and in which class of error it ends, if in any."""

    service_s: float = 0.01
    error: ErrorClass | None = None


Behaviour = Callable[[int], Fate]  # the number of the request, in the order of sending -> its fate


def always(service_s: float = 0.01, error: ErrorClass | None = None) -> Behaviour:
    return lambda _number: Fate(service_s, error)


class FakeDriver:
    """`sent` holds the planned instants of all requests, in the order of sending, and when each was sent."""

    def __init__(
        self,
        connections: int,
        behave: Behaviour | None = None,
        admit: Callable[[], None] = lambda: None,
        start_of: Callable[[], int] = lambda: 0,
    ) -> None:
        """`start_of` tells when the segment under way began: planned instants are kept in ns since then."""
        self._admit = admit
        self._start_of = start_of
        self.done: Done = lambda _outcome: None
        self.good: Good = lambda *_told: None
        self.slow_ns: Sequence[int] = ()
        self.connected: list[Connected] = []
        self.addresses: list[str] = ["127.0.0.1"]
        self.most_open = 0
        self.reconnects = 0
        self.targets: list[int] = []
        self.numbers: list[int] = []
        self.sent: list[tuple[int, int]] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.is_open = False
        self.is_dead = False
        self.is_closed = False
        self.started_when_closed = False
        self._limit = connections
        self._behave = behave or always()
        self._handles: set[asyncio.TimerHandle] = set()

    @property
    def planned(self) -> list[int]:
        return [planned_ns for planned_ns, _sent_ns in self.sent]

    async def resolve(self) -> None:
        self._admit()

    async def open(self) -> None:
        await self.resolve()
        self.is_open = True

    def start(self, target: int, planned_ns: int, number: int) -> bool:
        self.started_when_closed = self.started_when_closed or (self.is_closed and not self.is_dead)
        if self.is_closed or self.is_dead or self.in_flight >= self._limit:
            return False
        loop = asyncio.get_running_loop()
        fate = self._behave(len(self.sent))
        sent_ns = round(loop.time() * 1e9)
        self.sent.append((planned_ns - self._start_of(), sent_ns))
        self.targets.append(target)
        self.numbers.append(number)
        self.in_flight += 1
        self.most_in_flight = self.most_open = max(self.most_in_flight, self.in_flight)
        loop.call_later(fate.service_s, self._end, target, planned_ns, sent_ns, fate.error)
        return True

    async def close(self) -> None:
        self.is_closed = True
        self.done = self.good = lambda *_told: None

    def _end(self, target: int, planned_ns: int, sent_ns: int, error: ErrorClass | None) -> None:
        self.in_flight -= 1
        if self.is_closed or self.is_dead:
            return
        done_ns = round(asyncio.get_running_loop().time() * 1e9)
        status = 200 if error is None else 503 if error is ErrorClass.STATUS else 0
        if error is None and done_ns - planned_ns <= self.slow_ns[target]:
            self.good(target, planned_ns, sent_ns, done_ns, done_ns, status, 100, 50)
            return
        outcome = Outcome(target, planned_ns, sent_ns, done_ns, error, status=status, bytes_in=100, bytes_out=50)
        outcome.first_ns = done_ns if status else 0
        self.done(outcome)


def due(rate_per_s: float, count: int, requests: Sequence[int] | None = None) -> list[int]:
    """When requests are due at a constant rate."""
    return [round(k / rate_per_s * 1e9) for k in (range(count) if requests is None else requests)]


TARGET = Target(endpoint="", url="http://127.0.0.1:1/")
