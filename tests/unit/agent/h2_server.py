"""The server's side of HTTP/2 as bytes, made with hpack's encoder, and what a session makes of them."""

from collections.abc import Iterator

from hpack import Encoder

from agent.drivers.blocks import Heads, block_of
from agent.drivers.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    FRAME,
    PREFACE,
    WORD,
    Frame,
    Setting,
    frame,
    settings_frame,
)
from agent.drivers.session import Session

GET = ((b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/"))
REQUEST = block_of(GET)


def encoded(*fields: tuple[str, str], status: str = "200") -> bytes:
    """A response's header block, as an encoder with a table of size 0 makes it."""
    encoder = Encoder()
    encoder.header_table_size = 0
    given = ((":status", status),) if status else ()
    return encoder.encode([*given, *fields])


def headers(number: int, *fields: tuple[str, str], status: str = "200", end: bool = False, flags: int = 0) -> bytes:
    flags |= END_HEADERS | (END_STREAM if end else 0)
    return frame(Frame.HEADERS, flags, number, encoded(*fields, status=status))


def data(number: int, body: bytes, *, end: bool = False) -> bytes:
    return frame(Frame.DATA, END_STREAM if end else 0, number, body)


def settings(**values: int) -> bytes:
    return settings_frame({Setting[name.upper()]: value for name, value in values.items()})


def window_update(number: int, step: int) -> bytes:
    return frame(Frame.WINDOW_UPDATE, 0, number, WORD.pack(step))


def reset(number: int, code: int) -> bytes:
    return frame(Frame.RST_STREAM, 0, number, WORD.pack(code))


def goaway(last: int, code: int = 0, text: bytes = b"") -> bytes:
    return frame(Frame.GOAWAY, 0, 0, WORD.pack(last) + WORD.pack(code) + text)


SETTINGS_ACK = frame(Frame.SETTINGS, ACK, 0, b"")


def split(wire: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Frames as type, flags, stream and payload; the preface is left out."""
    wire = wire.removeprefix(PREFACE)
    while wire:
        word, flags, number = FRAME.unpack_from(wire)
        end = 9 + (word >> 8)
        assert len(wire) >= end, "half a frame was written"
        yield Frame(word & 0xFF), flags, number, wire[9:end]
        wire = wire[end:]


def drained(session: Session) -> bytes:
    """All that the session can write now."""
    return b"".join(iter(session.take, b""))


def ready(*first: bytes, streams: int = 1) -> Session[str]:
    """A session whose server has said hello, with streams 1, 3, … open, their requests sent; owners are "1", "3", …."""
    session: Session[str] = Session(Heads())
    assert session.receive(b"".join(first) or settings()) == []
    for at in range(streams):
        session.open(str(2 * at + 1), REQUEST)
    drained(session)
    session.sent.clear()
    return session


def told(events) -> list[tuple[int, object, bool]]:
    """Events in a form that compares."""
    return [(stream.id, what, is_end) for stream, what, is_end in events]
