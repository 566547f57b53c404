"""Pure: checks on a response's body, made once into functions that run on each body.

The controller makes them to tell what is wrong with a check; the agent runs them. For a JSON path only the values on
the way are decoded; the rest of the body is read over.
"""

import re
from collections.abc import Callable
from itertools import takewhile
from typing import Any

import msgspec

from protocol.messages import Check, CheckKind

SHOWN = 60  # characters of a text or value in a sentence
MOST_STEPS = 64
_NAME = re.compile(r"[^.\[\]\"'\s*?()@$][^.\[\]\"'\s*?()]*")
_INDEX = re.compile(r"\[\s*(\d{1,9})\s*\]")
_QUOTED = re.compile(r"""\[\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')\s*\]""")
_UNFIT = re.compile(r'["\\\x00-\x1f]')  # for the name of a msgspec field
_EXAMPLE = 'such as $.items[0].name or $["a name"]'

Run = Callable[[bytes], str]
JsonPath = tuple[str | int, ...]


def compile_check(check: Check) -> Run:
    """A function from a whole body to "", or to a sentence on what was expected and got; `ValueError` on a bad check."""
    match check.kind:
        case CheckKind.CONTAINS:
            return _contains(check.argument)
        case CheckKind.REGEX:
            return _regex(check.argument)
        case CheckKind.JSON_PATH:
            return _json_path(check.argument, check.value)
        case CheckKind.MAX_BYTES:
            return _max_bytes(check.argument)


def parse_json_path(text: str) -> JsonPath:
    """The names and indices of a path like `$.a.b[0]["c d"]`, the `$.` being optional; `ValueError` if it is none."""
    at = 0
    steps: list[str | int] = []
    if text.startswith("$"):
        at = 1
    elif text and text[0] not in ".[":
        text = f".{text}"
    while at < len(text):
        step, at = _step(text, at)
        steps.append(step)
    if not text or len(steps) > MOST_STEPS:
        raise ValueError(f"expected a JSON path of at most {MOST_STEPS} steps, {_EXAMPLE}, got {_short(text)!r}")
    return tuple(steps)


def _step(text: str, at: int) -> tuple[str | int, int]:
    if text[at] == "." and (found := _NAME.match(text, at + 1)):
        return found[0], found.end()
    if found := _INDEX.match(text, at):
        return int(found[1]), found.end()
    if found := _QUOTED.match(text, at):
        quoted = found[1] if found[1] is not None else found[2]
        return re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL), found.end()
    rest = _short(text[at:])
    raise ValueError(
        f"expected a JSON path of names and indices, {_EXAMPLE}, got {_short(text)!r}, which ends at {rest!r}"
    )


def _contains(text: str) -> Run:
    wanted = text.encode()
    if not wanted:
        raise ValueError("expected a text that the body is to contain, got none")
    why = f"contains: expected a body with {_short(text)!r}"
    return lambda body: "" if wanted in body else f"{why}, got {_excerpt(body)}"


def _regex(pattern: str) -> Run:
    if not pattern:
        raise ValueError("expected a regular expression, got none")
    try:
        search = _search(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"expected a regular expression, got {_short(pattern)!r}: {error}") from error
    why = f"regex: expected a body that matches {_short(pattern)!r}"
    return lambda body: "" if search(body) else f"{why}, got {_excerpt(body)}"


def _search(pattern: str) -> Callable[[bytes], object]:
    if pattern.isascii():
        return re.compile(pattern.encode()).search
    search = re.compile(pattern).search  # of bytes, `é?` would be half a letter, and perhaps the other half
    return lambda body: search(body.decode("utf-8", "replace"))


def _max_bytes(argument: str) -> Run:
    if not (argument.isascii() and argument.isdecimal() and len(argument) < 19):
        raise ValueError(f"expected a number of bytes, got {_short(argument)!r}")
    most = int(argument)
    what = f"max-bytes: expected a body of at most {most} bytes, got"

    def run(body: bytes) -> str:
        if len(body) <= most:
            return ""
        return f"{what} {len(body)}" if len(body) > most + 1 else f"{what} more"  # no more may have been kept of it

    return run


def bytes_needed(check: Check) -> int | None:
    """How many bytes of a body decide the check; None: all of them."""
    return int(check.argument) + 1 if check.kind is CheckKind.MAX_BYTES else None


def _json_path(argument: str, value: str) -> Run:
    path = parse_json_path(argument)
    try:
        wanted = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(f'expected a JSON value such as 7 or "text", got {_short(value)!r}: {error}') from error
    find = _finder(path)
    what = f"json-path: expected {_short(value.strip())} at {_short(argument)}, got"

    def run(body: bytes) -> str:
        try:
            found = _found(body, path, find)
        except UnicodeDecodeError:
            return f"{what} a body that is not UTF-8"
        except msgspec.DecodeError as error:
            return f"{what} a body that is not JSON: {_lower(error)}"
        except RecursionError:
            return f"{what} JSON that is nested too deeply"
        return "" if _is_same(found, wanted) else f"{what} {_as_json(found)}"

    return run


def _found(body: bytes, path: JsonPath, find: Callable[[Any], Any]) -> Any:
    if not body.isascii():
        body.decode()  # what is read over is not looked at that closely
    try:
        return find(body)
    except msgspec.ValidationError:  # another shape than the path, or a name that stands twice
        return _walked(msgspec.json.decode(body), path)


def _finder(path: JsonPath) -> Callable[[Any], Any]:
    """What finds a path's value in JSON text, UNSET if there is none; `ValidationError` where the shape is another."""
    if any(isinstance(step, str) and _UNFIT.search(step) for step in path):
        return lambda text: _walked(msgspec.json.decode(text), path)
    names = list(takewhile(lambda step: isinstance(step, str), path))
    rest = path[len(names) :]
    shape: Any = list[msgspec.Raw] if rest else Any
    for name in reversed(names):
        shape = msgspec.defstruct("Level", [("value", shape, msgspec.UNSET)], rename={"value": str(name)}, gc=False)
    decode = msgspec.json.Decoder(shape).decode
    depth = range(len(names))
    if not rest:
        return lambda text: _descended(decode(text), depth)
    assert isinstance(rest[0], int)
    index, find = rest[0], _finder(rest[1:])

    def indexed(text: Any) -> Any:
        found = _descended(decode(text), depth)
        if found is msgspec.UNSET or index >= len(found):
            return msgspec.UNSET
        return find(found[index])

    return indexed


def _descended(level: Any, depth: range) -> Any:
    for _ in depth:
        if level is msgspec.UNSET:
            return level
        level = level.value
    return level


def _walked(found: Any, path: JsonPath) -> Any:
    """The value at a path of decoded JSON; UNSET if there is none."""
    for step in path:
        match step:
            case str() if isinstance(found, dict) and step in found:
                found = found[step]
            case int() if isinstance(found, list) and step < len(found):
                found = found[step]
            case _:
                return msgspec.UNSET
    return found


def _is_same(one: Any, other: Any) -> bool:
    """Equal as JSON has it: numbers by value, and true is no number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same(value, other[name]) for name, value in one.items())
    return bool(one == other)


def _as_json(found: Any) -> str:
    return "nothing there" if found is msgspec.UNSET else _short(msgspec.json.encode(found).decode())


def _excerpt(body: bytes) -> str:
    return repr(_short(body[: 4 * SHOWN].decode("utf-8", "replace"))) if body else "an empty body"


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _lower(error: Exception) -> str:
    text = str(error)
    return text[:1].lower() + text[1:]
