"""Pure: text with `{{ … }}` in it, filled in for each request from its number, its row of data and the time.

Both sides need it: the controller tells what is wrong with a template, the agent fills it in. Time is passed in. What
is filled in can't change the shape of what surrounds it: see `Part`.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from enum import Enum
from functools import lru_cache
from hashlib import blake2b, shake_128
from urllib.parse import quote

import msgspec

OPEN, CLOSE = "{{", "}}"
MOST_TEXT = 1_000_000  # characters of one randomText
_WORDS = ("row.<column>", "number", "uuid", "timestamp", "timestampMs", "isoTime", "random A B", "randomText N")
_MASK = (1 << 64) - 1
_INT64 = 1 << 63
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_AS_LETTERS = bytes(_LETTERS[byte % len(_LETTERS)] for byte in range(256))
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))

Fill = Callable[[int, Mapping[str, str], int], bytes]  # of number, row, wall clock in ns
_Word = Callable[[int, Mapping[str, str], int], str]
_Filter = Callable[[str], str]


class Part(Enum):
    """The part of a request that a template stands in, which decides how values are made harmless.

    In a URL they are percent-encoded, unless the filter `url` did so; in a header control characters are, so that no
    value ends the line; in a body values stand as they are.
    """

    BODY = "body"
    URL = "url"
    HEADER = "header"


class Template:
    """Constant pieces, and functions for what stands between them. `columns` are those that a row must have."""

    __slots__ = ("_constants", "_fills", "_whole", "columns", "pieces")

    def __init__(self, pieces: Iterable[bytes | Fill], columns: Iterable[str] = ()) -> None:
        self.pieces = tuple(pieces)
        self.columns = frozenset(columns)
        self._constants = [piece if isinstance(piece, bytes) else b"" for piece in self.pieces]
        self._fills = tuple((at, piece) for at, piece in enumerate(self.pieces) if not isinstance(piece, bytes))
        self._whole = b"".join(self._constants)

    @property
    def is_constant(self) -> bool:
        """Whether it renders the same for every request."""
        return not self._fills

    def render(self, number: int, row: Mapping[str, str], now_ns: int) -> bytes:
        """The bytes for request `number`; `row` has all `columns`, `now_ns` is the wall clock."""
        if not self._fills:
            return self._whole
        pieces = self._constants.copy()
        for at, fill in self._fills:
            pieces[at] = fill(number, row, now_ns)
        return b"".join(pieces)

    def __add__(self, other: "Template") -> "Template":
        """One after the other."""
        return Template(_merged((*self.pieces, *other.pieces)), self.columns | other.columns)


def parse(text: str, part: Part = Part.BODY, salt: int = 0) -> Template:
    """The template; `ValueError` with the place, the nearest known word and what is known. `{{{{` stands for `{{`.

    `uuid` and the times are the same wherever they stand in one request; each `random` word has a value of its own,
    also against those of templates with another `salt`. Bytes that are no UTF-8 pass as surrogate escapes.
    """
    pieces: list[bytes | Fill] = []
    columns: list[str] = []
    for at, piece in _pieces(text):
        if at < 0:
            pieces.append(_literal(piece, part))
            continue
        try:
            word, filters, column = _expression(piece, (salt << 32) + at)
        except ValueError as error:
            raise ValueError(f"at character {at + 1}: {error}") from None
        if column is not None:
            columns.append(column)
        pieces.append(_fill(word, filters, part))
    return Template(_merged(pieces), columns)


def constant(text: bytes) -> Template:
    """A template that is these bytes, whatever stands in them."""
    return Template([text] if text else [])


def escaped(text: str) -> str:
    """The template that renders this text, whatever stands in it."""
    return text.replace(OPEN, OPEN * 2)


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Literal text, with -1, and what stands between braces, with the place of its opening ones."""
    at = 0
    while (opens := text.find(OPEN, at)) >= 0:
        yield -1, text[at:opens]
        if text.startswith(OPEN * 2, opens):
            yield -1, OPEN
            at = opens + 4
            continue
        closes = text.find(CLOSE, opens + 2)
        if closes < 0:
            raise ValueError(
                f"at character {opens + 1}: {OPEN} without {CLOSE}; a literal {OPEN} is written {OPEN * 2}"
            )
        yield opens, text[opens + 2 : closes]
        at = closes + 2
    yield -1, text[at:]


def _literal(text: str, part: Part) -> bytes:
    if part is Part.URL:
        text = quote(text, safe=_VISIBLE, errors="surrogateescape")
    elif part is Part.HEADER:
        text = _without_controls(text)
    return text.encode("utf-8", "surrogateescape")


def _merged(pieces: Iterable[bytes | Fill]) -> list[bytes | Fill]:
    """Neighbouring constants as one, empty ones left out."""
    merged: list[bytes | Fill] = []
    for piece in pieces:
        last = merged[-1] if merged else None
        if isinstance(piece, bytes) and isinstance(last, bytes):
            merged[-1] = last + piece
        elif piece != b"":
            merged.append(piece)
    return merged


def _expression(inner: str, place: int) -> tuple[_Word, list[str], str | None]:
    """The word, its filters' names, and the column that it needs."""
    first, *filters = (part.strip() for part in inner.split("|"))
    for name in filters:
        if name not in _FILTERS:
            raise ValueError(_unknown("filter", name, _FILTERS))
    if not first:
        raise ValueError(f"expected a word between {OPEN} and {CLOSE}: known are {', '.join(_WORDS)}")
    if first.startswith("row."):
        column = first.removeprefix("row.").strip()
        if not column:
            raise ValueError("expected the name of a column after row.")
        return _column(column), filters, column
    name, *arguments = first.split()
    if name in _PLAIN and not arguments:
        return _PLAIN[name], filters, None
    if name == "random":
        return _random(arguments, place), filters, None
    if name == "randomText":
        return _random_text(arguments, place), filters, None
    if name in _PLAIN:
        raise ValueError(f"{name} stands alone, got {first!r}")
    raise ValueError(_unknown("word", first, _WORDS))


def _unknown(what: str, got: str, known: Iterable[str]) -> str:
    words = {word.split(" ")[0].removesuffix("<column>").lower(): word for word in known}
    close = get_close_matches(got.partition(".")[0].lower() or got, words, n=1, cutoff=0.5)
    hint = f"did you mean {words[close[0]]}? " if close else ""
    return f"unknown {what} {got!r}: {hint}known are {', '.join(words.values())}"


def _fill(word: _Word, filters: list[str], part: Part) -> Fill:
    steps = [_FILTERS[name] for name in filters]
    is_harmless = not filters and word in _PLAIN.values()
    if part is Part.URL and filters[-1:] != ["url"] and not is_harmless:
        steps.append(_percent_encoded)
    elif part is Part.HEADER and not is_harmless:
        steps.append(_without_controls)
    if not steps:
        return lambda number, row, now_ns: word(number, row, now_ns).encode()
    if len(steps) == 1:
        step = steps[0]
        return lambda number, row, now_ns: step(word(number, row, now_ns)).encode()

    def fill(number: int, row: Mapping[str, str], now_ns: int) -> bytes:
        value = word(number, row, now_ns)
        for step in steps:
            value = step(value)
        return value.encode()

    return fill


# --- words ---------------------------------------------------------------------------------------------------------


def _column(column: str) -> _Word:
    return lambda _number, row, _now_ns: row[column]


def _number(number: int, _row: Mapping[str, str], _now_ns: int) -> str:
    return str(number)


def _uuid(number: int, _row: Mapping[str, str], now_ns: int) -> str:
    # The time is in it because numbers begin anew with each segment and run, and targets may insist on new ids.
    found = bytearray(blake2b(b"%d %d" % (number, now_ns), digest_size=16).digest())
    found[6] = found[6] & 0x0F | 0x40
    found[8] = found[8] & 0x3F | 0x80
    text = found.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _timestamp(_number: int, _row: Mapping[str, str], now_ns: int) -> str:
    return str(now_ns // 1_000_000_000)


def _timestamp_ms(_number: int, _row: Mapping[str, str], now_ns: int) -> str:
    return str(now_ns // 1_000_000)


def _iso_time(_number: int, _row: Mapping[str, str], now_ns: int) -> str:
    seconds, rest_ns = divmod(now_ns, 1_000_000_000)
    return f"{_second(seconds)}.{rest_ns // 1_000_000:03d}Z"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def _random(arguments: list[str], place: int) -> _Word:
    try:
        least, most = map(int, arguments)
    except ValueError:
        raise ValueError(f"expected two whole numbers, as in random 1 100, got {_given(arguments)}") from None
    if not -_INT64 <= least <= most < _INT64:
        raise ValueError(f"expected random A B with A <= B, both of 64 bits, got {_given(arguments)}")
    span = most - least + 1
    return lambda number, _row, _now_ns: str(least + (_mixed(number, place) * span >> 64))


def _random_text(arguments: list[str], place: int) -> _Word:
    length = int(arguments[0]) if len(arguments) == 1 and arguments[0].isdecimal() else 0
    if not 1 <= length <= MOST_TEXT:
        words = f"expected a length from 1 to {MOST_TEXT}, as in randomText 16"
        raise ValueError(f"{words}, got {_given(arguments)}")

    def text(number: int, _row: Mapping[str, str], _now_ns: int) -> str:
        return shake_128(b"%d %d" % (number, place)).digest(length).translate(_AS_LETTERS).decode("ascii")

    return text


def _given(arguments: list[str]) -> str:
    """What was given, for a message."""
    return repr(" ".join(arguments)) if arguments else "nothing"


def _mixed(number: int, place: int) -> int:
    """64 bits from both: the finalizer of SplitMix64, twice."""
    found = number * 0x9E3779B97F4A7C15 + place * 0xD1B54A32D192ED03 + 0x2545F4914F6CDD1D & _MASK
    found = (found ^ found >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    found = (found ^ found >> 27) * 0x94D049BB133111EB & _MASK
    return found ^ found >> 31


# --- filters -------------------------------------------------------------------------------------------------------


def _percent_encoded(value: str) -> str:
    return quote(value, safe="")


def _json_escaped(value: str) -> str:
    return msgspec.json.encode(value)[1:-1].decode()


def _base64(value: str) -> str:
    return b64encode(value.encode()).decode("ascii")


def _without_controls(value: str) -> str:
    """With control characters percent-encoded."""
    return _CONTROLS.sub(lambda found: f"%{ord(found[0]):02X}", value)


_FILTERS: dict[str, _Filter] = {"json": _json_escaped, "url": _percent_encoded, "base64": _base64}
_PLAIN: dict[str, _Word] = {
    "number": _number,
    "uuid": _uuid,
    "timestamp": _timestamp,
    "timestampMs": _timestamp_ms,
    "isoTime": _iso_time,
}
