"""What servers send, in pieces that a mutation may drop, double, swap or bend: tricky, but most of it legal."""

import struct

from agent.drivers.blocks import block_of
from agent.drivers.frames import Frame, Setting, frame, settings_frame, word_frame

Pieces = tuple[bytes, ...]

OK, END = b"HTTP/1.1 200 OK\r\n", b"\r\n"
HTTP1: tuple[Pieces, ...] = (
    (OK, b"Content-Length: 5\r\n", END, b"hello"),
    (OK, b"Server: nginx\r\n", b"Date: Tue, 24 Nov 2026 10:00:00 GMT\r\n", b"Content-Length: 0\r\n", END),
    (OK, b"Transfer-Encoding: chunked\r\n", END, b"5\r\nhello\r\n", b"1;name=value\r\n!\r\n", b"0\r\n", b"\r\n"),
    (OK, b"Transfer-Encoding: gzip, chunked\r\n", END, b"A\r\n0123456789\r\n", b"0\r\n", b"Trailer: x\r\n", b"\r\n"),
    (OK, b"Connection: close\r\n", END, b"until the end"),
    (b"HTTP/1.0 200 OK\r\n", END, b"old"),
    (b"HTTP/1.0 200 OK\r\n", b"Connection: keep-alive\r\n", b"Content-Length: 3\r\n", END, b"old"),
    (b"HTTP/1.1 204 No Content\r\n", END),
    (b"HTTP/1.1 304 Not Modified\r\n", b"Content-Length: 99\r\n", b"ETag: x\r\n", END),
    (b"HTTP/1.1 100 Continue\r\n", END, OK, b"Content-Length: 2\r\n", END, b"ok"),
    (b"HTTP/1.1 103 Early Hints\r\n", b"Link: </a>; rel=preload\r\n", END, OK, b"Content-Length: 1\r\n", END, b"x"),
    (b"HTTP/1.1 101 Switching Protocols\r\n", b"Upgrade: websocket\r\n", b"Connection: Upgrade\r\n", END, b"\x81\x00"),
    (b"HTTP/1.1 500\r\n", b"content-length:3\r\n", END, b"bad"),
    (b"HTTP/1.1 302 Found\r\n", b"Location: /next\r\n", b"Content-Length: 0\r\n", b"X: \t folded \t\r\n", END),
    (OK, b"Content-Length: 4\r\n", b"Content-Length: 4\r\n", END, b"same"),
    (OK, b"Content-Length: 4\r\n", b"Transfer-Encoding: chunked\r\n", END, b"0\r\n\r\n"),
    (OK, b"Content-Length: 18446744073709551616\r\n", END, b"x"),
    (OK, b"Content-Length: -1\r\n", END),
    (OK, b"Transfer-Encoding: chunked\r\n", END, b"ffffffffffffffff1\r\n", b"x"),
    (OK, b"Content-Length: 2\r\n", END, b"ok", OK, b"Content-Length: 2\r\n", END, b"no"),
    (OK, b"Content-Length: 2\n", b"\n", b"ok"),
    (OK, b"X: " + b"y" * 5000 + b"\r\n", b"Content-Length: 2000\r\n", END, b"z" * 2000),
    (b"\r\n", OK, b"Content-Length: 1\r\n", END, b"x", b"\r\n"),
    (b"\x16\x03\x01\x02\x00", b"not http at all"),
    (b"",),
)
HTTP1_WORDS: Pieces = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\x00",
        b": ",
        b"0",
        b"-1",
        b"4294967296",
        b"chunked",
        b"close",
        b"keep-alive",
        b"identity",
    ),
    *(b"HTTP/1.1 ", b"HTTP/2.0 200\r\n", b" 999 ", b"Content-Length: ", b"Transfer-Encoding: ", b"Connection: "),
    *(b"0\r\n\r\n", b"ffffffff\r\n", b"\r\n\r\n", b" \t", b"\xff\xfe"),
)

_SETTINGS = settings_frame({Setting.MAX_CONCURRENT_STREAMS: 100, Setting.INITIAL_WINDOW_SIZE: 65_535})
_ACK = frame(Frame.SETTINGS, 1, 0, b"")
_HEAD = block_of([(b":status", b"200"), (b"content-type", b"text/plain"), (b"content-length", b"5")])
_INTERIM = block_of([(b":status", b"103"), (b"link", b"</a>")])
_TRAILERS = block_of([(b"grpc-status", b"0"), (b"grpc-message", b"")])
HTTP2: tuple[Pieces, ...] = (
    (_SETTINGS, _ACK, frame(Frame.HEADERS, 4, 1, _HEAD), frame(Frame.DATA, 1, 1, b"hello")),
    (_SETTINGS, frame(Frame.HEADERS, 5, 1, block_of([(b":status", b"204")])), frame(Frame.HEADERS, 5, 3, _HEAD)),
    (_SETTINGS, frame(Frame.HEADERS, 4, 3, _INTERIM), frame(Frame.HEADERS, 4, 3, _HEAD), frame(Frame.DATA, 1, 3, b"")),
    (_SETTINGS, frame(Frame.HEADERS, 0, 1, _HEAD[:3]), frame(Frame.CONTINUATION, 4, 1, _HEAD[3:]), _ACK),
    (
        _SETTINGS,
        frame(Frame.HEADERS, 4, 1, _HEAD),
        frame(Frame.DATA, 0, 1, b"he"),
        frame(Frame.HEADERS, 5, 1, _TRAILERS),
    ),
    (
        _SETTINGS,
        frame(Frame.HEADERS, 0x2C, 1, b"\x02" + b"\x00" * 5 + _HEAD + b"\x00\x00"),
        frame(Frame.DATA, 9, 1, b"\x01x\x00"),
    ),
    (
        _SETTINGS,
        word_frame(Frame.RST_STREAM, 1, 0),
        word_frame(Frame.RST_STREAM, 3, 7),
        word_frame(Frame.RST_STREAM, 1, 8),
    ),
    (_SETTINGS, word_frame(Frame.GOAWAY, 0, 1, 0), frame(Frame.HEADERS, 5, 1, _HEAD)),
    (_SETTINGS, frame(Frame.GOAWAY, 0, 0, struct.pack(">II", 3, 11) + b"calm down")),
    (_SETTINGS, word_frame(Frame.WINDOW_UPDATE, 0, 100_000), word_frame(Frame.WINDOW_UPDATE, 5, 100_000), _ACK),
    (_SETTINGS, word_frame(Frame.WINDOW_UPDATE, 0, 0), word_frame(Frame.WINDOW_UPDATE, 1, (1 << 31) - 1)),
    (_SETTINGS, frame(Frame.PING, 0, 0, b"12345678"), frame(Frame.PING, 1, 0, b"87654321"), frame(99, 255, 1, b"new")),
    (
        _SETTINGS,
        settings_frame({Setting.INITIAL_WINDOW_SIZE: 0}),
        settings_frame({Setting.INITIAL_WINDOW_SIZE: (1 << 31) - 1}),
    ),
    (_SETTINGS, settings_frame({Setting.MAX_FRAME_SIZE: 1 << 20, Setting.HEADER_TABLE_SIZE: 0}), _ACK),
    (_SETTINGS, frame(Frame.PUSH_PROMISE, 4, 1, struct.pack(">I", 2) + _HEAD)),
    (
        _SETTINGS,
        frame(Frame.HEADERS, 4, 1, b"\x3f\xe1\x1f" + _HEAD),
        frame(Frame.HEADERS, 4, 3, b"\x7f\xff\xff\xff\xff"),
    ),
    (_SETTINGS, frame(Frame.HEADERS, 4, 1, b"\x88\x5c\x8a\xff\xff\xff"), frame(Frame.DATA, 0, 1, b"x" * 3000)),
    (_SETTINGS, frame(Frame.PRIORITY, 0, 1, b"\x00\x00\x00\x00\x10"), frame(Frame.HEADERS, 5, 7, _HEAD)),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n",),
)
HTTP2_WORDS: Pieces = (
    *(_HEAD, _TRAILERS, b"\x88", b"\x20", b"\x3f\xe1\x1f", b"\x00\x00\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"),
    *(b"\x00\x00\x00\x01", b"\x00\x00\x00\x02", b"\x00\x00\x00\x03", b"\x00\x40\x00", b"\x00\x40\x01"),
)
