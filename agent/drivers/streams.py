"""HTTP/2's streams, and the flow control of the bodies that are sent on them (RFC 9113, 5.2). Knows no socket."""

from collections import deque
from collections.abc import Callable, Container
from typing import Generic, TypeVar

from agent.drivers.blocks import Head
from agent.drivers.frames import DEFAULT_WINDOW, HEAD_BYTES, MAX_FRAME, Frame, frame

T = TypeVar("T")
_BODY_A_TURN = 1 << 18


class Stream(Generic[T]):
    """One request and its response; `owner` is whatever the driver wants to find there."""

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "granted",
        "head",
        "head_bytes",
        "id",
        "is_sent",
        "is_whole",
        "owner",
        "unsent",
        "window",
    )

    def __init__(self, number: int, owner: T, window: int) -> None:
        self.id = number
        self.owner = owner
        self.window = window  # how much of a body the server takes now
        self.unsent: bytes | memoryview = b""
        self.is_whole = False  # nothing more will be added to `unsent`
        self.is_sent = False
        self.head: Head | None = None  # of the response; interim ones don't count
        self.head_bytes = 0
        self.granted = 0  # received since we last opened the window
        self.bytes_in = 0
        self.bytes_out = 0


class Bodies(Generic[T]):
    """The bodies of one connection that are not wholly sent. `sent` holds the streams whose last byte went out."""

    def __init__(self) -> None:
        self.window = DEFAULT_WINDOW
        self.max_frame = MAX_FRAME
        self.sent: list[Stream[T]] = []
        self._waiting: deque[Stream[T]] = deque()

    def add(self, stream: Stream[T], body: bytes, *, is_whole: bool) -> None:
        """Add to a stream's body."""
        if stream.unsent:
            stream.unsent = bytes(stream.unsent) + body
        elif body or is_whole:
            stream.unsent = memoryview(body)
            self._waiting.append(stream)
        stream.is_whole = is_whole

    def write(self, write: Callable[[bytes], None], open_streams: Container[int]) -> None:
        """Write one frame of each body in turn, as long as the server takes any; at most a part at a time."""
        waiting = self._waiting
        left = _BODY_A_TURN
        idle = 0  # how many in a row could send nothing
        while idle < len(waiting) and left > 0:
            stream = waiting.popleft()
            if stream.id not in open_streams:
                continue
            data = self._frame_of(stream, left)
            if data:
                write(data)
            left -= len(data)
            idle = 0 if data else idle + 1
            if stream.unsent or (stream.is_whole and not stream.is_sent):
                waiting.append(stream)

    def _frame_of(self, stream: Stream[T], most: int) -> bytes:
        """One frame of a body; empty if there can be none now."""
        unsent = stream.unsent
        length = min(stream.window, self.window, self.max_frame, most, len(unsent)) if unsent else 0
        if unsent and length <= 0:
            return b""
        is_last = stream.is_whole and length == len(unsent)
        stream.unsent = unsent[length:]
        stream.window -= length
        self.window -= length
        stream.bytes_out += HEAD_BYTES + length
        if is_last:
            stream.is_sent = True
            self.sent.append(stream)
        return frame(Frame.DATA, is_last, stream.id, bytes(unsent[:length]))
