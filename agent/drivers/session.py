"""One HTTP/2 connection as a client sees it (RFC 9113): streams and flow control, for the HTTP/2 and the gRPC driver.

Knows no socket and no clock: bytes in, events out, and what is to be written. Tables for header compression have size 0
on both sides, so that header blocks carry no state. Leaves what a request or a response means to the drivers.
"""

from typing import Generic, NamedTuple, TypeVar

from agent.drivers.blocks import MAX_HEAD, BlockError, Head, Heads
from agent.drivers.frames import (
    ACK,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FRAME,
    HEAD_BYTES,
    MAX_FRAME,
    MAX_STREAM,
    MAX_WINDOW,
    PADDED,
    PREFACE,
    PRIORITY,
    WORD,
    BrokenError,
    Code,
    Frame,
    Setting,
    check,
    frame,
    name_of,
    settings_frame,
    settings_of,
    unpadded,
    word_frame,
)
from agent.drivers.streams import Bodies, Stream

T = TypeVar("T")
WINDOW = 1 << 30  # that we grant a server, for each stream and for the connection
UNLIMITED = MAX_STREAM  # streams at once, where a server sets no limit
_MAX_CONTINUATIONS = 1024
_MAX_REPLIES = 20_000  # acknowledgements that wait to be written
_NO_TABLE = b"\x20"  # first in the first block: our encoder's table has size 0


class Reset(NamedTuple):
    """A stream that ended before its time. `is_ours`: what the server sent on it was malformed.

    With REFUSED_STREAM, the server surely did nothing about the request: it may be sent again.
    """

    code: int
    text: str
    is_ours: bool = False


class Fault(NamedTuple):
    """What a server did that makes its connection useless."""

    code: Code
    text: str


# A head (interim, of the response, trailers), a part of the body, or the early end; and whether it was the last.
Event = tuple[Stream[T], Head | bytes | Reset, bool]


class Session(Generic[T]):
    """One connection, from its first byte on.

    After `receive`, look at `fault`; after anything that may write, `take` what is to be written, again and again until
    it is empty. `sent` holds the streams whose last byte was taken; whoever reads it empties it. `heads` may be shared.
    """

    def __init__(self, heads: Heads) -> None:
        self.streams: dict[int, Stream[T]] = {}
        self.fault: Fault | None = None
        self.is_ready = False  # the server has told its settings
        self.is_closing = False  # no stream can be opened any more; those that are open go on
        self.max_streams = UNLIMITED
        self.said = ""  # the server, when it went away
        self._heads = heads
        self._next = 1
        self._rest = b""
        self._events: list[Event[T]] = []
        self._block: list[bytes] = []
        self._block_bytes = 0
        self._block_stream = 0  # 0: no header block is open
        self._block_flags = 0
        self._granted = 0
        self._replies = 0
        self._stream_window = DEFAULT_WINDOW
        self._bodies: Bodies[T] = Bodies()
        self.sent = self._bodies.sent
        ours = {
            Setting.HEADER_TABLE_SIZE: 0,
            Setting.ENABLE_PUSH: 0,
            Setting.INITIAL_WINDOW_SIZE: WINDOW,
            Setting.MAX_HEADER_LIST_SIZE: MAX_HEAD,
        }
        self._out = [PREFACE, settings_frame(ours), word_frame(Frame.WINDOW_UPDATE, 0, WINDOW - DEFAULT_WINDOW)]

    @property
    def room(self) -> int:
        """How many streams may be opened now."""
        return 0 if self.is_closing else self.max_streams - len(self.streams)

    def open(self, owner: T, block: bytes, body: bytes = b"", *, is_whole: bool = True) -> Stream[T]:
        """A stream with a request's header block; unless it is whole, `send` adds to its body. Needs `room`."""
        number = self._next
        if number == 1:
            block = _NO_TABLE + block
        self._next = number + 2
        self.is_closing = self.is_closing or number + 2 > MAX_STREAM
        stream = self.streams[number] = Stream(number, owner, self._stream_window)
        is_sent = is_whole and not body
        if len(block) <= self._bodies.max_frame:
            self._out.append(frame(Frame.HEADERS, END_HEADERS | is_sent, number, block))
            stream.bytes_out = HEAD_BYTES + len(block)
        else:
            self._write_long_block(stream, block, END_STREAM if is_sent else 0)
        if is_sent:
            stream.is_sent = stream.is_whole = True
            self.sent.append(stream)
        else:
            self.send(stream, body, is_whole=is_whole)
        return stream

    def send(self, stream: Stream[T], body: bytes, *, is_whole: bool) -> None:
        """Add to a body; it goes out as the server takes it."""
        self._bodies.add(stream, body, is_whole=is_whole)

    def cancel(self, stream: Stream[T], code: Code = Code.CANCEL) -> None:
        """End a stream; nothing more is told about it."""
        if self.streams.pop(stream.id, None):
            self._out.append(word_frame(Frame.RST_STREAM, stream.id, code))

    def close(self, code: Code = Code.NO_ERROR, text: str = "") -> None:
        """Say that the connection ends; the streams that are open can go on."""
        self.is_closing = True
        self._out.append(frame(Frame.GOAWAY, 0, 0, WORD.pack(0) + WORD.pack(code) + text.encode()[:200]))

    def take(self) -> bytes:
        """What is to be written next, a part of the bodies at a time; empty if nothing can be."""
        self._bodies.write(self._out.append, self.streams)
        taken = b"".join(self._out)
        self._out.clear()
        self._replies = 0
        return taken

    def receive(self, data: bytes) -> list[Event[T]]:
        """What bytes from the server bring about."""
        if self.fault:
            return []
        if self._rest:
            data = self._rest + data
        events: list[Event[T]] = []
        self._events = events
        try:
            self._rest = data[self._read(data) :]
        except BlockError as failure:
            self._break(Code.COMPRESSION_ERROR, str(failure))
        except BrokenError as failure:
            self._break(failure.code, str(failure))
        return events

    def _read(self, data: bytes) -> int:
        """Read whole frames; how far that went."""
        at, size = 0, len(data)
        while size - at >= HEAD_BYTES:
            word, flags, number = FRAME.unpack_from(data, at)
            start = at + HEAD_BYTES
            end = start + (word >> 8)
            kind = word & 0xFF
            number &= MAX_STREAM
            if not self.is_ready or self._block_stream or end - start > MAX_FRAME:
                self._check_order(data, kind, flags, number, end - start)
            if end > size:
                break
            at = end
            payload = data[start:end]
            if kind == 0:
                self._on_data(number, flags, payload)
            elif kind == 1:
                self._on_headers(number, flags, payload)
            else:
                self._on_other(kind, flags, number, payload)
        return at

    def _check_order(self, data: bytes, kind: int, flags: int, number: int, length: int) -> None:
        """That a frame may come now, and may be so long."""
        if not self.is_ready and (kind != Frame.SETTINGS or flags & ACK or length > MAX_FRAME):
            began = ascii(data[:40].decode("latin-1"))
            raise BrokenError(Code.PROTOCOL_ERROR, f"the server speaks no HTTP/2: it began with {began}")
        if length > MAX_FRAME:
            raise BrokenError(Code.FRAME_SIZE_ERROR, f"a frame of {length} bytes: at most {MAX_FRAME} may be")
        if self._block_stream and (kind != Frame.CONTINUATION or number != self._block_stream):
            raise BrokenError(Code.PROTOCOL_ERROR, f"a frame of type {kind} in the middle of a header block")

    def _on_other(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        match kind:
            case Frame.SETTINGS:
                self._on_settings(number, flags, payload)
            case Frame.WINDOW_UPDATE:
                self._on_window(number, payload)
            case Frame.RST_STREAM:
                self._on_reset(number, payload)
            case Frame.PING:
                check(Frame.PING, number, payload, 8, is_on_stream=False)
                if not flags & ACK:
                    self._reply(frame(Frame.PING, ACK, 0, payload))
            case Frame.GOAWAY:
                self._on_goaway(number, payload)
            case Frame.CONTINUATION:
                if not self._block_stream:
                    raise BrokenError(Code.PROTOCOL_ERROR, "a CONTINUATION frame without a header block")
                self._add_to_block(flags, payload)
            case Frame.PUSH_PROMISE:
                raise BrokenError(Code.PROTOCOL_ERROR, "a push, though we said that we take none")
            case _:
                pass  # a priority, or of an extension that we don't know (RFC 9113, 4.1)

    def _on_data(self, number: int, flags: int, payload: bytes) -> None:
        length = len(payload)
        self._granted += length
        if self._granted >= WINDOW // 2:
            self._out.append(word_frame(Frame.WINDOW_UPDATE, 0, self._granted))
            self._granted = 0
        if flags & PADDED:
            payload = unpadded(payload, PADDED)
        stream = self.streams.get(number)
        if stream is None:
            self._check_is_ended(number)
            return
        stream.bytes_in += HEAD_BYTES + length
        if stream.head is None:
            self._malformed(stream, "a body before any headers")
            return
        if flags & END_STREAM:
            self._end(stream)
            self._events.append((stream, payload, True))
            return
        stream.granted += length
        if stream.granted >= WINDOW // 2:
            self._out.append(word_frame(Frame.WINDOW_UPDATE, number, stream.granted))
            stream.granted = 0
        if payload:
            self._events.append((stream, payload, False))

    def _on_headers(self, number: int, flags: int, payload: bytes) -> None:
        size = HEAD_BYTES + len(payload)
        if flags & (PADDED | PRIORITY):
            payload = unpadded(payload, flags)
        if flags & END_HEADERS:
            self._on_block(number, payload, size, is_end=bool(flags & END_STREAM))
            return
        if number not in self.streams:
            self._check_is_ended(number)
        self._block, self._block_bytes = [payload], size
        self._block_stream, self._block_flags = number, flags

    def _add_to_block(self, flags: int, payload: bytes) -> None:
        self._block.append(payload)
        self._block_bytes += HEAD_BYTES + len(payload)
        if self._block_bytes > MAX_HEAD or len(self._block) > _MAX_CONTINUATIONS:
            raise BrokenError(Code.ENHANCE_YOUR_CALM, f"a header block without an end: {self._block_bytes} bytes")
        if flags & END_HEADERS:
            number, self._block_stream = self._block_stream, 0
            block, self._block = b"".join(self._block), []
            self._on_block(number, block, self._block_bytes, is_end=bool(self._block_flags & END_STREAM))

    def _on_block(self, number: int, block: bytes, size: int, *, is_end: bool) -> None:
        stream = self.streams.get(number)
        if stream is None:
            self._check_is_ended(number)
            return
        head = self._heads.known.get(block) or self._heads.read(block)
        stream.bytes_in += size
        stream.head_bytes += size
        fault = head.fault
        if stream.head_bytes > MAX_HEAD:
            fault = f"more than {MAX_HEAD >> 10} KiB of headers"
        elif stream.head is not None:
            fault = fault or ("" if is_end and not head.status else "trailers with a status, or before the end")
        elif head.status == 101 or head.status < (200 if is_end else 100):
            fault = fault or f"a response with {f'status {head.status}' if head.status else 'no status'}"
        elif head.status >= 200:
            stream.head = head
        if fault:
            self._malformed(stream, fault)
            return
        if is_end:
            self._end(stream)
        self._events.append((stream, head, is_end))

    def _on_settings(self, number: int, flags: int, payload: bytes) -> None:
        told = settings_of(number, flags, payload)
        if flags & ACK:
            return
        step = told.get(Setting.INITIAL_WINDOW_SIZE, self._stream_window) - self._stream_window
        for stream in self.streams.values() if step else ():
            stream.window += step
            if stream.window > MAX_WINDOW:
                raise BrokenError(Code.FLOW_CONTROL_ERROR, f"the window of stream {stream.id} was opened too far")
        self._stream_window += step
        self._bodies.max_frame = told.get(Setting.MAX_FRAME_SIZE, self._bodies.max_frame)
        self.max_streams = told.get(Setting.MAX_CONCURRENT_STREAMS, self.max_streams)
        self.is_ready = True
        self._reply(frame(Frame.SETTINGS, ACK, 0, b""))

    def _on_window(self, number: int, payload: bytes) -> None:
        check(Frame.WINDOW_UPDATE, number, payload, 4, is_on_stream=number != 0)
        step = WORD.unpack(payload)[0] & MAX_WINDOW
        if number == 0:
            self._bodies.window += step
            if not step or self._bodies.window > MAX_WINDOW:
                code = Code.FLOW_CONTROL_ERROR if step else Code.PROTOCOL_ERROR
                raise BrokenError(code, f"the connection's window was opened by {step}")
            return
        stream = self.streams.get(number)
        if stream is None:
            self._check_is_ended(number)
            return
        stream.window += step
        if not step or stream.window > MAX_WINDOW:
            code = Code.FLOW_CONTROL_ERROR if step else Code.PROTOCOL_ERROR
            self._malformed(stream, f"the stream's window was opened by {step}", code)

    def _on_reset(self, number: int, payload: bytes) -> None:
        check(Frame.RST_STREAM, number, payload, 4, is_on_stream=True)
        stream = self.streams.pop(number, None)
        if stream is None:
            self._check_is_ended(number)  # a NO_ERROR that follows a complete answer, say: legal
            return
        code = WORD.unpack(payload)[0]
        self._events.append((stream, Reset(code, f"the server reset the stream: {name_of(code)}"), True))

    def _on_goaway(self, number: int, payload: bytes) -> None:
        if number or len(payload) < 8:
            raise BrokenError(Code.PROTOCOL_ERROR, f"a GOAWAY frame of {len(payload)} bytes on stream {number}")
        last, code = WORD.unpack_from(payload)[0] & MAX_STREAM, WORD.unpack_from(payload, 4)[0]
        why = payload[8:108].decode("latin-1")
        self.said = f"the server went away: {name_of(code)}" + (f", {why!a}" if why else "")
        self.is_closing = True
        for stream in [one for one in self.streams.values() if one.id > last]:
            del self.streams[stream.id]
            self._events.append((stream, Reset(Code.REFUSED_STREAM, self.said), True))

    def _check_is_ended(self, number: int) -> None:
        """That a frame is of a stream which was open once: what still comes on it is of no interest."""
        if not number & 1 or number >= self._next:
            raise BrokenError(Code.PROTOCOL_ERROR, f"a frame on stream {number}, which nobody opened")

    def _end(self, stream: Stream[T]) -> None:
        if stream.is_sent:
            del self.streams[stream.id]
        else:  # it answered before it had heard all: it needs no more
            self.cancel(stream)

    def _malformed(self, stream: Stream[T], text: str, code: Code = Code.PROTOCOL_ERROR) -> None:
        self.cancel(stream, code)
        self._events.append((stream, Reset(code, text, is_ours=True), True))

    def _break(self, code: Code, text: str) -> None:
        self.fault = Fault(code, text)
        self._rest, self._block = b"", []
        self.close(code, text)

    def _reply(self, answer: bytes) -> None:
        self._out.append(answer)
        self._replies += 1
        if self._replies > _MAX_REPLIES:
            raise BrokenError(Code.ENHANCE_YOUR_CALM, "more pings and settings than can be answered")

    def _write_long_block(self, stream: Stream[T], block: bytes, flags: int) -> None:
        step = self._bodies.max_frame
        pieces = [block[at : at + step] for at in range(0, len(block), step)]
        for position, piece in enumerate(pieces):
            kind = Frame.CONTINUATION if position else Frame.HEADERS
            is_last = position == len(pieces) - 1
            given = (0 if position else flags) | (END_HEADERS if is_last else 0)
            self._out.append(frame(kind, given, stream.id, piece))
        stream.bytes_out = HEAD_BYTES * len(pieces) + len(block)
