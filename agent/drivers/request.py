"""One target's request as HTTP/1.1 bytes, and how its answers are judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from protocol.messages import StatusRange, Target

STATUSES = 1000
_SAFE = ("GET", "HEAD", "OPTIONS")  # may be sent again (RFC 9110, 9.2.1)


@dataclass(frozen=True)
class Request:
    """One target's request as bytes, and how its responses are judged."""

    wire: bytes
    is_head: bool
    is_safe: bool
    timeout_ns: int
    is_error: bytes  # indexed by status code


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


def request_of(target: Target, user_agent: str) -> Request:
    """The bytes that ask for a target."""
    parts = urlsplit(target.url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    given = {name.lower() for name, _value in target.headers}
    lines = [f"{target.method} {path} HTTP/1.1"]
    if "host" not in given:
        lines.append(f"Host: {parts.netloc.rpartition('@')[2]}")
    if "user-agent" not in given:
        lines.append(f"User-Agent: {user_agent}")
    if "accept" not in given:
        lines.append("Accept: */*")
    if (target.body or target.method in ("POST", "PUT", "PATCH")) and "content-length" not in given:
        lines.append(f"Content-Length: {len(target.body)}")
    lines += [f"{name}: {value}" for name, value in target.headers]
    wire = "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + target.body
    is_safe = target.method in _SAFE
    return Request(wire, target.method == "HEAD", is_safe, target.timeout_ns, _judgements(target.error_ranges))


def _judgements(ranges: Sequence[StatusRange]) -> bytes:
    judged = bytearray(STATUSES)
    for one in ranges:
        for status in range(max(0, one.lower), min(STATUSES - 1, one.upper) + 1):
            judged[status] = 1
    return bytes(judged)
