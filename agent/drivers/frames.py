"""HTTP/2's frames as bytes (RFC 9113): their types, settings and error codes, and what is checked of each alone."""

import struct
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
MAX_FRAME = 1 << 14  # of a payload, until a side says that it takes more
DEFAULT_WINDOW = (1 << 16) - 1
MAX_WINDOW = MAX_STREAM = (1 << 31) - 1
FRAME = struct.Struct(">IBI")  # length and type in one word of 3 + 1 bytes; flags; stream
WORD = struct.Struct(">I")
SETTING = struct.Struct(">HI")
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20


class Frame(IntEnum):
    """Types of frames."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Setting(IntEnum):
    """What a side tells the other about itself."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Code(IntEnum):
    """Why a stream or a connection was ended."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class BrokenError(Exception):
    """The server did what makes its connection useless."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


def frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    """One frame as bytes."""
    return FRAME.pack(len(payload) << 8 | kind, flags, number) + payload


def word_frame(kind: int, number: int, *words: int) -> bytes:
    """A frame whose payload is one or more 32-bit numbers."""
    return frame(kind, 0, number, b"".join(map(WORD.pack, words)))


def settings_frame(settings: dict[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(Frame.SETTINGS, 0, 0, b"".join(SETTING.pack(*one) for one in settings.items()))


def unpadded(payload: bytes, flags: int) -> bytes:
    """What is left of a DATA or HEADERS frame without its padding and priority."""
    if flags & PADDED:
        if not payload or payload[0] >= len(payload):
            raise BrokenError(Code.PROTOCOL_ERROR, "a frame with more padding than bytes")
        payload = payload[1 : len(payload) - payload[0]]
    if flags & PRIORITY:
        if len(payload) < 5:
            raise BrokenError(Code.FRAME_SIZE_ERROR, "a HEADERS frame too short for its priority")
        payload = payload[5:]
    return payload


def check(kind: Frame, number: int, payload: bytes, size: int, *, is_on_stream: bool) -> None:
    """That a frame has the one size that its type may have, and is on a stream, or on none."""
    if len(payload) != size:
        raise BrokenError(Code.FRAME_SIZE_ERROR, f"a {kind.name} frame of {len(payload)} bytes: {size} were expected")
    if bool(number) is not is_on_stream:
        raise BrokenError(Code.PROTOCOL_ERROR, f"a {kind.name} frame on stream {number}")


def settings_of(number: int, flags: int, payload: bytes) -> dict[int, int]:
    """What a SETTINGS frame tells; nothing if it only acknowledges."""
    if number:
        raise BrokenError(Code.PROTOCOL_ERROR, f"a SETTINGS frame on stream {number}")
    if len(payload) % SETTING.size or (flags & ACK and payload):
        raise BrokenError(Code.FRAME_SIZE_ERROR, f"a SETTINGS frame of {len(payload)} bytes")
    told: dict[int, int] = dict(SETTING.iter_unpack(payload))
    window = told.get(Setting.INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)
    if window > MAX_WINDOW:
        raise BrokenError(Code.FLOW_CONTROL_ERROR, f"an initial window of {window}: at most {MAX_WINDOW} may be")
    if not MAX_FRAME <= told.get(Setting.MAX_FRAME_SIZE, MAX_FRAME) < 1 << 24 or told.get(Setting.ENABLE_PUSH):
        raise BrokenError(Code.PROTOCOL_ERROR, f"settings that no server may have: {told}")
    return told


def name_of(code: int) -> str:
    """What an error code is called."""
    return Code(code).name if code in set(Code) else f"error code {code}"
