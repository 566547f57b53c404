"""The edge between drivers and the rest of the agent: what a driver is asked, and what it tells.

In: one plain call, `start(target, planned_ns, number) -> bool` (False when nothing is free). Out: one plain call for
an ordinary good answer, `good(...)`, which costs no object, and one for everything else, `done(outcome)`. A driver never
calls either from inside `start`. Another driver, or a compiled one, fits behind it. All instants are those of the
agent's monotonic clock, in ns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from protocol.messages import ErrorClass


class Outcome:
    """One request that ended in exactly one class; `error` is None if it went well.

    `sent_ns` is when its last byte was handed to the transport; for a request that never got so far, when its
    connection was begun. `first_ns` is when the first byte of the response came, 0 if none did. `body` holds the
    response from `body_at` on, at least its first 1 KB if there was that much. `redirects` is how many were followed.
    """

    __slots__ = (
        "body",
        "body_at",
        "bytes_in",
        "bytes_out",
        "done_ns",
        "error",
        "first_ns",
        "number",
        "planned_ns",
        "redirects",
        "remote",
        "sent_ns",
        "status",
        "target",
        "text",
        "trace",
    )

    def __init__(  # noqa: PLR0913 one value per measured thing
        self,
        target: int,
        planned_ns: int,
        sent_ns: int,
        done_ns: int,
        error: ErrorClass | None = None,
        *,
        status: int = 0,
        bytes_in: int = 0,
        bytes_out: int = 0,
        first_ns: int = 0,
        number: int = 0,
        redirects: int = 0,
        remote: str = "",
        text: str = "",
        trace: str = "",
        body: bytes = b"",
        body_at: int = 0,
    ) -> None:
        self.target = target
        self.planned_ns = planned_ns
        self.sent_ns = sent_ns
        self.done_ns = done_ns
        self.error = error
        self.status = status
        self.bytes_in = bytes_in
        self.bytes_out = bytes_out
        self.first_ns = first_ns
        self.number = number
        self.redirects = redirects
        self.remote = remote
        self.text = text
        self.trace = trace
        self.body = body
        self.body_at = body_at


Done = Callable[[Outcome], None]
# target, planned_ns, sent_ns, first_ns, done_ns, status, bytes_in, bytes_out
Good = Callable[[int, int, int, int, int, int, int, int], None]


class Connected(NamedTuple):
    """A connection that was made: to what address, and how long that took; `tls_ns` is None without TLS."""

    remote: str
    connect_ns: int
    tls_ns: int | None = None


@dataclass(frozen=True)
class Room:
    """How many connections a driver may have open at once, how many it opens ahead, and the requests on each."""

    connections: int
    ahead: int
    streams: int = 1


class Driver(Protocol):
    """Bytes on sockets, for the targets of one origin.

    `good` may stand for `done` where a request went well and took, from planned to done, no more than its target's
    `slow_ns`: what is slower, and every error, is told in full. `connected` grows by each connection made; whoever reads
    it empties it. `most_open` is the most connections that were open at once.
    """

    done: Done
    good: Good
    slow_ns: Sequence[int]
    most_open: int
    connected: list[Connected]

    @property
    def reconnects(self) -> int:
        """Connections that took the place of others."""
        ...

    @property
    def addresses(self) -> Sequence[str]:
        """The addresses that the origin's name has."""
        ...

    async def resolve(self) -> None:
        """Finds where the origin is; `PermissionError` if that must not be loaded. Connects to nothing."""
        ...

    async def open(self) -> None:
        """Resolves and connects as far as that goes; what fails here fails again, and is counted, under load."""
        ...

    def start(self, target: int, planned_ns: int, number: int) -> bool:
        """Sends a request, or begins a connection for it; False when nothing is free.

        `target` is an index into the driver's targets; `number` is the request's own in the segment, over all agents.
        """
        ...

    async def close(self) -> None:
        """Closes all connections; nothing is told any more."""
        ...
