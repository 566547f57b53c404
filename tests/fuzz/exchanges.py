"""Whole exchanges on a connection of the HTTP/1.1 driver, without a socket: what it tells of the bytes that come back."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from agent.drivers.connection import Connection
from agent.drivers.http1 import Http1Driver
from agent.outcome import Outcome, Room
from protocol.messages import Check, CheckKind, StatusRange, Target
from protocol.series import BODY_KEPT

_URL = "http://127.0.0.1:1/"
TARGETS = (
    Target("plain", _URL),
    Target("head", _URL, method="HEAD"),
    Target("checked", _URL, checks=(Check(CheckKind.CONTAINS, "hello"),)),
    Target("refused", _URL, error_ranges=(StatusRange(200, 999),)),
)


class Wire:
    """Stands for both the socket and the transport: takes everything, and remembers whether it was closed."""

    def __init__(self) -> None:
        self.is_closed = False

    def send(self, data: bytes) -> int:
        return len(data)

    def write(self, data: bytes) -> None:
        pass

    def abort(self) -> None:
        self.is_closed = True

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 1) if name == "peername" else None

    def get_write_buffer_size(self) -> int:
        return 0


@dataclass(frozen=True)
class Exchange:
    """What became of one request. `bytes_in` and `is_kept` are None when bytes were left over."""

    error: str
    status: int
    body: bytes
    bytes_in: int | None
    is_kept: bool | None

    def with_the_unknowns_of(self, other: "Exchange") -> "Exchange":
        """The same, as far as the other knows."""
        if other.is_kept is not None:
            return self
        return Exchange(self.error, self.status, self.body, None, None)


def new_driver() -> Http1Driver:
    """A driver that has seen nothing yet; its clock ticks once a look."""
    return Http1Driver(TARGETS, Room(1, 1), user_agent="fuzz", now_ns=itertools.count(1).__next__)


def exchange(driver: Http1Driver, target: int, chunks: Sequence[bytes]) -> Exchange:
    """Ask once on a new connection, and be answered with these bytes and then the connection's end."""
    told: list[Outcome] = []
    driver.slow_ns = [1 << 62] * len(TARGETS)
    driver.done = told.append
    driver.good = lambda at, planned, sent, _first, done, status, bytes_in, bytes_out: told.append(
        Outcome(at, planned, sent, done, status=status, bytes_in=bytes_in, bytes_out=bytes_out)
    )
    wire = Wire()
    connection = Connection(driver, wire)
    connection.connection_made(wire)
    connection.send(target, 0, 0)
    left = list(chunks)
    while left and not told:
        connection.data_received(left.pop(0))
    is_kept = connection in driver.idle
    driver.idle.clear()
    assert is_kept is not wire.is_closed or not told, f"kept: {is_kept}, closed: {wire.is_closed}"
    connection.connection_lost(None)
    assert len(told) == 1, f"{len(told)} outcomes of one request"
    [outcome] = told
    body = bytes(outcome.body[outcome.body_at :])[:BODY_KEPT] if outcome.error else b""
    known = (None, None) if left else (outcome.bytes_in, is_kept)
    return Exchange(str(outcome.error or ""), outcome.status, body, *known)
