"""Reads the small values of an experiment: durations, numbers, URLs, headers, limits with a unit.

Each function takes whatever the document holds and gives a value that is valid, or a ValueError whose text is ready
to stand behind a path: `expected a duration such as "30s", got 5: write "5s"`.
"""

import math
import re
from collections.abc import Callable
from decimal import Decimal
from urllib.parse import SplitResult, urlsplit

from controller.experiment.mistakes import expected, shown

NANOSECONDS = {
    "ns": Decimal(1),
    "us": Decimal(1_000),
    "µs": Decimal(1_000),  # the micro sign
    "μs": Decimal(1_000),  # the Greek letter: Go takes both
    "ms": Decimal(1_000_000),
    "s": Decimal(1_000_000_000),
    "m": Decimal(60_000_000_000),
    "h": Decimal(3_600_000_000_000),
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9._])?")
_PLACEHOLDER = re.compile(r"\{\{[^\r\n]*?\}\}")
_MAX_CHARACTERS = 64
MAX_URL_CHARACTERS = 8192


def duration_ns(text: str) -> Decimal | None:
    """The nanoseconds of a Go duration such as `1m30s`, exactly; None when the text is none."""
    if len(text) > _MAX_CHARACTERS or not _DURATION.fullmatch(text):
        return None
    return sum((Decimal(amount) * NANOSECONDS[unit] for amount, unit in _PART.findall(text)), Decimal(0))


def decimal(value: object) -> Decimal | None:
    """The exact number that was written (0.1 is one tenth), from a number or its text; None when it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, float):
        return Decimal(repr(value)) if math.isfinite(value) else None
    if isinstance(value, str) and len(value) <= _MAX_CHARACTERS and _NUMBER.fullmatch(value):
        return Decimal(value)
    return None


def plain(number: Decimal) -> str:
    """The number as people write it: no exponent, no zeros at the end."""
    return f"{number.normalize():f}" if number else "0"


def seconds(least_s: float, most_s: float, example: str) -> Callable[[object], float]:
    """A reader of Go durations between two bounds; what it returns is in seconds."""
    what = f'a duration such as "{example}"'

    def read(value: object) -> float:
        if decimal(value) is not None:
            raise expected(what, value, hint=f'write "{value}s"')
        ns = duration_ns(value) if isinstance(value, str) else None
        if ns is None:
            raise expected(what, value)
        found_s = float(ns / NANOSECONDS["s"])
        if not least_s <= found_s <= most_s:
            raise expected(f"a duration from {span(least_s)} to {span(most_s)}", value)
        return found_s

    return read


def span(length_s: float) -> str:
    """A length of time in its largest whole unit: `1h`, `90s`, `250ms`."""
    ns = Decimal(repr(length_s)) * NANOSECONDS["s"]
    if not ns:
        return "0s"
    for unit in ("h", "m", "s", "ms", "us"):
        if ns >= NANOSECONDS[unit] and not ns % NANOSECONDS[unit]:
            return f"{plain(ns / NANOSECONDS[unit])}{unit}"
    return f"{plain(ns)}ns"


def whole(least: int, most: int) -> Callable[[object], int]:
    """A reader of whole numbers between two bounds; 1e3 and 1000.0 are whole, true and "12" are no numbers."""
    what = f"a whole number from {least} to {most}"

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise expected(what, value)
        if not least <= value <= most or value != int(value):
            raise expected(what, value)
        return int(value)

    return read


def number(value: object, what: str = "a number") -> Decimal:
    """The exact number; its text (`"12"`) is refused, as Iter8 did."""
    found = None if isinstance(value, str) else decimal(value)
    if found is None:
        raise expected(what, value)
    return found


def truth(value: object) -> bool:
    """True or false; "true" in quotes is text."""
    if not isinstance(value, bool):
        raise expected("true or false", value)
    return value


def text(value: object) -> str:
    """Text; a bare number or true is refused with the hint to quote it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        raise expected("text", value, hint=f'write it in quotes, "{str(value).lower()}", or use --set-string')
    raise expected("text", value)


def some_text(value: object) -> str:
    """Text that is not empty."""
    found = text(value)
    if not found or "\0" in found:
        raise expected("text that is not empty", value)
    return found


def one_of(*words: str) -> Callable[[object], str]:
    """A reader of one word out of a closed set."""
    what = " or ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} or {words[-1]}"

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise expected(what, value)
        return value

    return read


def url(value: object) -> str:
    """An http or https URL with a host, in ASCII, that can stand in a request line as it is."""
    what = "a URL such as http://host:8080/path"
    found = text(value)
    if not found or not found.isascii() or any(c <= " " or c == "\x7f" for c in found):
        raise ValueError(f"expected {what} without spaces, in ASCII (percent-encode the rest), got {shown(found)}")
    if len(found) > MAX_URL_CHARACTERS:
        raise ValueError(f"expected a URL of at most {MAX_URL_CHARACTERS} characters, got {len(found)}")
    try:
        parts = urlsplit(found)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"expected {what}, got {shown(found)}: {error}") from error
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"expected a URL that begins with http:// or https://, got {shown(found)}")
    if not _has_host(parts) or port == 0:
        raise expected(what, found)
    if "@" in parts.netloc:
        raise ValueError("expected a URL without user and password: give an Authorization header instead")
    return found


def target_url(value: object) -> str:
    """As `url`; between `{{` and `}}` anything may stand in the path and the query."""
    found = text(value)
    beyond_host = re.search(r"(?<=[^:/])[/?]", found)
    at = beyond_host.start() if beyond_host else len(found)
    url(found[:at] + _PLACEHOLDER.sub("x", found[at:]))
    if len(found) > MAX_URL_CHARACTERS:
        raise ValueError(f"expected a URL of at most {MAX_URL_CHARACTERS} characters, got {len(found)}")
    return found


def _has_host(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    if ":" in host:  # urlsplit has checked what stands in brackets
        return parts.netloc.startswith("[")
    return _HOST.fullmatch(host) is not None


def method(value: object) -> str:
    """An HTTP method, in upper case."""
    if not isinstance(value, str) or len(value) > _MAX_CHARACTERS or not _TOKEN.fullmatch(value):
        raise expected("an HTTP method such as GET", value)
    if value.upper() == "CONNECT":
        raise expected("a method that asks for a resource, such as GET", value)
    return value.upper()


def header_value(value: object) -> str:
    """A header's value: printable ASCII, no line breaks."""
    found = text(value)
    if not all(" " <= c <= "~" or c == "\t" for c in found):
        raise expected("printable ASCII on one line", found)
    return found.strip()


def headers(value: object) -> dict[str, str]:
    """Header names and values, in the order they were given; names keep their case."""
    if not isinstance(value, dict):
        raise expected("a map from header name to text", value)
    found: dict[str, str] = {}
    problems: list[str] = []
    for name, content in value.items():
        try:
            found[_header_name(name, found)] = header_value(content)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ValueError("; ".join(problems))
    return found


def _header_name(name: object, before: dict[str, str]) -> str:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise expected("a header name such as X-Request-Id", name)
    if name.lower() in {"content-length", "transfer-encoding"}:
        raise ValueError("is computed from the payload: leave it out")
    if name.lower() in {other.lower() for other in before}:
        raise ValueError("given twice, in different case: give it once")
    return name
