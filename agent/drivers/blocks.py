"""HTTP/2 header blocks without a memory: each is written, and read, by itself (RFC 7541 with tables of size 0).

So a request's block can be made once, and a response's block that was seen before is recognised by a dict. Leaves frames
to `frames`; this is the one home of `hpack`.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from hpack import Decoder, HPACKError, OversizedHeaderListError
from hpack.hpack import encode_integer
from hpack.table import HeaderTable

Headers = tuple[tuple[bytes, bytes], ...]
MAX_HEAD = 256 * 1024  # of one header list, or of all that a stream brings besides its body
_HEADS_KEPT = 512  # the date changes each second, so old blocks are of no use
_KEPT_BYTES = 4096  # longer blocks are read anew each time
_NO_INDEX, _NEVER_INDEX, _INDEXED = 0x00, 0x10, 0x80
_PAIRS = {pair: index for index, pair in enumerate(HeaderTable.STATIC_TABLE, 1) if pair[1]}
_NAMES = {pair[0]: index for index, pair in reversed(tuple(enumerate(HeaderTable.STATIC_TABLE, 1)))}
_SECRET = frozenset({b"authorization", b"cookie", b"proxy-authorization"})
# Of HTTP/1.1 alone; in HTTP/2 they make a message malformed (RFC 9113, 8.2.2).
_OF_CONNECTION = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_NO_NAME = frozenset([*range(0x21), *range(0x41, 0x5B), 0x3A, *range(0x7F, 0x100)])
_NO_VALUE = frozenset({0, 10, 13})


class Head(NamedTuple):
    """One decoded header block. `status` is 0 in trailers; `length` is the content-length, -1 if none is given.

    `fault` says why the block makes its message malformed; empty if it does not.
    """

    status: int
    headers: Headers
    length: int = -1
    fault: str = ""


class BlockError(Exception):
    """A header block that nobody can read: nothing on its connection can be trusted any more."""


def block_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The header block of a list of headers, names in lower case and pseudo-headers first."""
    return b"".join([_field(name, value) for name, value in headers])


class Heads:
    """Reads header blocks, and remembers those it has read."""

    def __init__(self) -> None:
        self.known: dict[bytes, Head] = {}
        self._decoder = Decoder(max_header_list_size=MAX_HEAD)
        self._decoder.header_table_size = 0
        self._decoder.max_allowed_table_size = 0

    def read(self, block: bytes) -> Head:
        """What a block says; `BlockError` if it says nothing."""
        try:
            head = _head_of(tuple((bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)))
        except OversizedHeaderListError:
            return Head(0, (), fault=f"more than {MAX_HEAD >> 10} KiB of headers")
        except HPACKError as failure:
            raise BlockError(f"a header block that can't be read: {failure}") from failure
        if len(block) <= _KEPT_BYTES:
            if len(self.known) >= _HEADS_KEPT:
                self.known.clear()
            self.known[block] = head
        return head


@lru_cache(maxsize=1024)
def _field(name: bytes, value: bytes) -> bytes:
    pair = _PAIRS.get((name, value))
    if pair:
        return bytes([_INDEXED | pair])
    index = _NAMES.get(name, 0)
    lead = encode_integer(index, 4)
    lead[0] |= _NEVER_INDEX if name in _SECRET else _NO_INDEX
    return bytes(lead) + (b"" if index else _string(name)) + _string(value)


def _string(text: bytes) -> bytes:
    return bytes(encode_integer(len(text), 7)) + text


def _head_of(headers: Headers) -> Head:
    """A header list with what makes its message malformed, if anything does (RFC 9113, 8.2 and 8.3)."""
    status, length, is_regular = 0, -1, False
    for name, value in headers:
        if name[:1] == b":":
            if name != b":status" or status or is_regular or len(value) != 3 or not value.isdigit() or value < b"100":
                return Head(0, headers, fault=f"{_shown(name)}: {_shown(value)} is no status, or stands where none may")
            status = int(value)
            continue
        is_regular = True
        if not name or not _NO_NAME.isdisjoint(name) or not _NO_VALUE.isdisjoint(value):
            return Head(0, headers, fault=f"the header {_shown(name)} has characters that none may have")
        if name in _OF_CONNECTION:
            return Head(0, headers, fault=f"the header {_shown(name)} is of HTTP/1.1 alone")
        if name == b"content-length":
            if not value.isdigit() or len(value) > 18 or length not in (-1, int(value)):
                return Head(0, headers, fault=f"content-length: {_shown(value)} is no length, or not the only one")
            length = int(value)
    return Head(status, headers, length)


def _shown(text: bytes) -> str:
    return ascii(text[:60].decode("latin-1"))
