"""One target's requests as bytes, for HTTP/1.1 and HTTP/2, and how their answers are judged.

What is the same for each request is put together once; the rest is filled in by number.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from agent.drivers.response import MAX_BODY
from protocol.checks import bytes_needed, compile_check
from protocol.messages import StatusRange, Target
from protocol.series import BODY_KEPT
from protocol.template import Part, Template, constant, escaped, parse

STATUSES = 1000
_SAFE = ("GET", "HEAD", "OPTIONS")  # may be sent again (RFC 9110, 9.2.1)
_WITH_LENGTH = ("POST", "PUT", "PATCH")
_FRAMING = frozenset({"content-length", "transfer-encoding"})  # ours to say
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "upgrade", "te"})  # RFC 9113, 8.2.2
_URL = re.compile(r"[A-Za-z]+://(?P<authority>[^/?#]*)(?P<path>(?:\{\{.*?\}\}|[^#])*)", re.DOTALL)
_PATH_SALT, _BODY_SALT, _HEADER_SALT = 1, 2, 3
_NO_ROW: Mapping[str, str] = {}


class Parts(NamedTuple):
    """One request for HTTP/2: the header fields in lower case, without those that only HTTP/1.1 has."""

    path: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    authority: bytes


@dataclass(frozen=True)
class Origin:
    """Where the requests of one driver go."""

    host: str
    port: int
    is_tls: bool

    @staticmethod
    def of(url: str) -> "Origin":
        """The origin of a URL that was checked before."""
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        return Origin(parts.hostname or "", parts.port or (443 if is_tls else 80), is_tls)


class Request:
    """The requests of one target, and how their responses are judged; `ValueError` if its templates can't be used.

    `wire` is the bytes of each request that carries no trace, where those are all the same, else None; with
    `is_constant` there is no other. `is_error` is indexed by status code. `keeps_body` is how many bytes of a response's
    body are needed for evidence and checks. Requests with the same `trace_salt` have the same trace ids, as those that
    follow a redirect should.
    """

    __slots__ = (
        "_base",
        "_body",
        "_checks",
        "_fields",
        "_head",
        "_path",
        "_rows",
        "_says_length",
        "_wall_ns",
        "authority",
        "has_check",
        "is_constant",
        "is_error",
        "is_head",
        "is_safe",
        "is_simple",
        "keeps_body",
        "target",
        "timeout_ns",
        "trace_period",
        "trace_salt",
        "wire",
    )

    def __init__(self, target: Target, user_agent: str, wall_ns: Callable[[], int], trace_salt: bytes) -> None:
        self.target = target
        self.timeout_ns = target.timeout_ns
        self.is_head = target.method == "HEAD"
        self.is_safe = target.method in _SAFE
        self.is_error = _judgements(target.error_ranges)
        self.has_check = bool(target.checks)
        self.is_simple = not self.is_head and not self.has_check
        self.keeps_body = max((BODY_KEPT, *(min(bytes_needed(one) or MAX_BODY, MAX_BODY) for one in target.checks)))
        self._checks = tuple(compile_check(check) for check in target.checks)
        self._wall_ns = wall_ns

        names = {name.lower() for name, _value in target.headers}
        self.trace_period = 0 if "traceparent" in names else target.trace_period
        # The time is in it because numbers begin anew with each segment.
        self.trace_salt = trace_salt or f"{user_agent} {target.endpoint} {wall_ns()} ".encode()
        self._path, authority = _split(target)
        self._base = f"{urlsplit(target.url).scheme}://{authority.decode()}"
        self._body = _body(target)
        self._says_length = bool(self._body.pieces) or target.method in _WITH_LENGTH
        fields = _fields(target, user_agent, authority)
        self._fields = [(name.lower().encode(), value) for name, value in fields if name.lower() not in _HOP_BY_HOP]
        self._head = _head(target.method, self._path, fields)
        host = next(value for name, value in self._fields if name == b"host")
        self.authority = host.render(0, _NO_ROW, 0) if host.is_constant else authority
        self._rows: Sequence[Mapping[str, str]] = _rows(target, self._head.columns | self._body.columns)
        is_same = self._head.is_constant and self._body.is_constant
        self.wire = self._http1(0, b"") if is_same else None
        self.is_constant = is_same and not self.trace_period

    def render(self, number: int) -> bytes:
        """Request `number` for HTTP/1.1."""
        if self.trace_period and number % self.trace_period == 0:
            return self._http1(number, b"traceparent: %b\r\n" % self._traceparent(number))
        return self.wire or self._http1(number, b"")

    def parts(self, number: int) -> Parts:
        """Request `number` for HTTP/2."""
        row, now_ns = self._row(number), self._wall_ns()
        body = self._body.render(number, row, now_ns)
        authority = self.authority
        headers = []
        for name, value in self._fields:
            rendered = value.render(number, row, now_ns).strip(b" \t")
            if name == b"host":
                authority = rendered
            else:
                headers.append((name, rendered))
        if self._says_length:
            headers.append((b"content-length", b"%d" % len(body)))
        if self.trace_period and number % self.trace_period == 0:
            headers.append((b"traceparent", self._traceparent(number)))
        return Parts(self._path.render(number, row, now_ns), tuple(headers), body, authority)

    def url(self, path: bytes) -> str:
        """The URL that was asked for, by the path that was sent: that of `parts`, or the second word of the bytes."""
        return self._base + path.decode("ascii")

    def trace(self, number: int) -> str:
        """The trace id that goes with request `number`; empty if none does."""
        if not self.trace_period or number % self.trace_period:
            return ""
        return self._ids(number)[:32]

    def failed_check(self, body: bytes) -> str:
        """What the first check that fails says; empty if none does. `body` is all of the response's."""
        for check in self._checks:
            if why := check(body):
                return why
        return ""

    def _row(self, number: int) -> Mapping[str, str]:
        rows = self._rows
        return rows[number % len(rows)] if rows else _NO_ROW

    def _http1(self, number: int, trace: bytes) -> bytes:
        row, now_ns = self._row(number), self._wall_ns()
        head = self._head.render(number, row, now_ns)
        body = self._body.render(number, row, now_ns)
        length = b"Content-Length: %d\r\n" % len(body) if self._says_length else b""
        return b"".join((head, length, trace, b"\r\n", body))

    def _ids(self, number: int) -> str:
        return blake2b(self.trace_salt + b"%d" % number, digest_size=24).hexdigest()

    def _traceparent(self, number: int) -> bytes:
        ids = self._ids(number)
        return f"00-{ids[:32]}-{ids[32:]}-01".encode("ascii")


def request_of(
    target: Target, user_agent: str, wall_ns: Callable[[], int] = time.time_ns, *, trace_salt: bytes = b""
) -> Request:
    """The requests that ask for a target; `ValueError` if its templates or checks can't be used."""
    return Request(target, user_agent, wall_ns, trace_salt)


def _split(target: Target) -> tuple[Template, bytes]:
    """The path with its query, and the authority."""
    found = _URL.match(target.url)
    if found is None:
        raise ValueError(f"expected a URL such as http://host:8080/path, got {target.url!r}")
    path = found["path"]
    if not path.startswith("/"):
        path = f"/{path}"
    return _parsed(target, path, "the URL", Part.URL, _PATH_SALT), found["authority"].rpartition("@")[2].encode()


def _parsed(target: Target, text: str, what: str, part: Part, salt: int) -> Template:
    if not target.is_template:
        text = escaped(text)
    try:
        return parse(text, part, salt)
    except ValueError as error:
        raise ValueError(f"{what} {error}") from error


def _body(target: Target) -> Template:
    if not target.is_template:
        return constant(target.body)
    return _parsed(target, target.body.decode("utf-8", "surrogateescape"), "the body", Part.BODY, _BODY_SALT)


def _fields(target: Target, user_agent: str, authority: bytes) -> list[tuple[str, Template]]:
    """The header fields in order: ours that were not given, then the given ones in their own spelling."""
    names = {name.lower() for name, _value in target.headers}
    ours = {"Host": authority, "User-Agent": user_agent.encode(), "Accept": b"*/*"}
    if not target.keep_alive:
        ours["Connection"] = b"close"
    fields = [(name, constant(value)) for name, value in ours.items() if name.lower() not in names]
    for at, (name, value) in enumerate(target.headers):
        if name.lower() not in _FRAMING:
            fields.append((name, _parsed(target, value, f"the header {name}", Part.HEADER, _HEADER_SALT + at)))
    return fields


def _head(method: str, path: Template, fields: Sequence[tuple[str, Template]]) -> Template:
    head = constant(f"{method} ".encode()) + path + constant(b" HTTP/1.1\r\n")
    for name, value in fields:
        head += constant(f"{name}: ".encode()) + value + constant(b"\r\n")
    return head


def _rows(target: Target, columns: frozenset[str]) -> list[dict[str, str]]:
    rows = msgspec.msgpack.decode(target.rows, type=list[dict[str, str]]) if target.rows else []
    lacking = next((column for column in sorted(columns) if not all(column in row for row in rows)), None)
    if columns and (lacking or not rows):
        raise ValueError(f"the templates need row.{lacking or min(columns)}, and there is no such column in the rows")
    return rows


def _judgements(ranges: Sequence[StatusRange]) -> bytes:
    judged = bytearray(STATUSES)
    for one in ranges:
        for status in range(max(0, one.lower), min(STATUSES - 1, one.upper) + 1):
            judged[status] = 1
    return bytes(judged)
