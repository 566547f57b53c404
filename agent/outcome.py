"""What a driver tells of one request: its end of the edge between drivers and the rest of the agent.

The edge is one plain call in, `start(target, planned_ns) -> bool` (False when nothing is free), and one plain call
out, `done(outcome)`. A driver never calls `done` from inside `start`. Another driver, or a compiled one, fits behind it.
"""

from collections.abc import Callable
from typing import Protocol

from protocol.messages import ErrorClass


class Outcome:
    """One request that ended in exactly one class; `error` is None if it went well.

    `sent_ns` is when its last byte was handed to the transport; for a request that never got so far, when its
    connection was begun. `body` holds the response from `body_at` on, at least its first 1 KB if there was that much.
    """

    __slots__ = (
        "body",
        "body_at",
        "bytes_in",
        "bytes_out",
        "done_ns",
        "error",
        "planned_ns",
        "remote",
        "sent_ns",
        "status",
        "target",
        "text",
    )

    def __init__(  # noqa: PLR0913, PLR0917 one value per measured thing, and made once per request
        self,
        target: int,
        planned_ns: int,
        sent_ns: int,
        done_ns: int,
        error: ErrorClass | None,
        status: int = 0,
        bytes_in: int = 0,
        bytes_out: int = 0,
        remote: str = "",
        text: str = "",
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
        self.remote = remote
        self.text = text
        self.body = body
        self.body_at = body_at


Done = Callable[[Outcome], None]


class Driver(Protocol):
    """Bytes on sockets, for the targets of one origin."""

    done: Done
    reconnects: int

    async def resolve(self) -> None:
        """Finds where the origin is; `PermissionError` if that must not be loaded. Connects to nothing."""
        ...

    async def open(self) -> None:
        """Resolves and connects as far as that goes; what fails here fails again, and is counted, under load."""
        ...

    def start(self, target: int, planned_ns: int) -> bool:
        """Sends a request, or begins a connection for it; False when nothing is free."""
        ...

    async def close(self) -> None:
        """Closes all connections; no `done` is called any more."""
        ...
