"""YAML in and out, with every limit an experiment needs: size, depth, no aliases, no key twice, no surprise types.

It is the only importer of PyYAML. Documents are plain maps, lists and scalars; what they mean is decided elsewhere.
"""

import contextlib
import math
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

import yaml

from controller.errors import BadInputError

try:
    from yaml import CSafeDumper as _FastDumper
    from yaml import CSafeLoader as _FastLoader
except ImportError:  # PyYAML built without libyaml: ten times slower, the same answers
    from yaml import SafeDumper as _FastDumper  # type: ignore[assignment]
    from yaml import SafeLoader as _FastLoader  # type: ignore[assignment]

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
_WIDTH = 120
_FLOW_CHARACTERS = 24
_NUMBER_CHARACTERS = 1000

# YAML 1.2's scalars, not 1.1's: yes, 12:30 and 2024-01-01 are text. So is 010, which the two read differently.
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_BASED = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_STR_TAGS = ("!", "tag:yaml.org,2002:str")


def parse_yaml(text: str | bytes, source: str, *, max_bytes: int = MAX_BYTES) -> object:
    """The one document in the text, as maps with text keys, lists and scalars; None when it is empty.

    Everything that is wrong with it is a BadInputError with source, line and column.
    """
    plain = _decoded(text, source, max_bytes)
    builder = _Builder(source)
    try:
        document = builder.build(yaml.parse(plain, Loader=_FastLoader))
    except yaml.MarkedYAMLError as error:
        words = " ".join(str(part) for part in (error.context, error.problem) if part)
        if "nesting depth" in words:  # newer parsers have a limit of their own, and read ahead of the builder's
            words = f"expected at most {MAX_DEPTH} levels of nesting"
        raise BadInputError(f"{_place(source, error.problem_mark)}: not valid YAML: {words}") from error
    except yaml.YAMLError as error:
        words = " ".join(str(error).split())
        raise BadInputError(f"{source}: not valid YAML: {words}") from error
    if builder.problems:
        raise BadInputError("\n".join(builder.problems))
    return document


def plain_scalar(word: str) -> object:
    """What a bare word means in YAML 1.2; a number that no float or int of ours can hold is a ValueError."""
    if word in _WORDS:
        return _WORDS[word]
    if len(word) > _NUMBER_CHARACTERS and (_INTEGER.fullmatch(word) or _BASED.fullmatch(word)):
        raise ValueError("the number has too many digits")
    if _INTEGER.fullmatch(word):
        return int(word)
    if _BASED.fullmatch(word):
        return int(word, 0)
    if not _FLOAT.fullmatch(word):
        return word
    found = float(word)
    if math.isinf(found):
        raise ValueError("the number is out of range")
    return found


def _decoded(text: str | bytes, source: str, max_bytes: int) -> str:
    if len(text) > max_bytes:  # a character has at least one byte, so this needs no encoding
        raise BadInputError(f"{source}: expected at most {_size(max_bytes)} of YAML, got {_size(len(text))}")
    try:
        raw = text.encode() if isinstance(text, str) else text
        if len(raw) > max_bytes:
            raise BadInputError(f"{source}: expected at most {_size(max_bytes)} of YAML, got {_size(len(raw))}")
        return raw.decode("utf-8-sig")
    except UnicodeError as error:
        raise BadInputError(f"{source}: not valid YAML: expected UTF-8 text: {error}") from error


def _size(count: int) -> str:
    return f"{count / (1 << 20):.3g} MiB" if count >= 1 << 20 else f"{count} bytes"


def _place(source: str, mark: object) -> str:
    line, column = getattr(mark, "line", None), getattr(mark, "column", None)
    if line is None or column is None:
        return source
    return f"{source}, line {line + 1}, column {column + 1}"


def _line(mark: object) -> int:
    line: int = getattr(mark, "line", 0)
    return line + 1


class _Builder:
    """Turns parser events into a document without recursion, so that no nesting can exhaust the stack."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[str] = []
        self._document: object = None
        self._has_document = False
        self._open: list[tuple[dict[str, object] | list[object], dict[str, int]]] = []
        self._keys: list[str | None] = []

    def build(self, events: Iterable[yaml.Event]) -> object:
        for event in events:
            match event:
                case yaml.ScalarEvent():
                    self._refuse_marks(event)
                    self._scalar(event)
                case yaml.MappingStartEvent():
                    self._start(event, {})
                case yaml.SequenceStartEvent():
                    self._start(event, [])
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self._open.pop()
                    self._keys.pop()
                case yaml.AliasEvent():
                    raise self._error(event, "YAML aliases (*name) are not allowed: write the value out")
                case yaml.DocumentStartEvent():
                    if self._has_document:
                        raise self._error(event, "expected one YAML document, got a second one")
                    self._has_document = True
                case _:
                    pass
        return self._document

    def _refuse_marks(self, event: yaml.NodeEvent) -> None:
        if event.anchor is not None:
            raise self._error(event, "YAML anchors (&name) are not allowed: write the value where it is needed")
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in _STR_TAGS:
            raise self._error(event, f"YAML tags are not allowed, got {tag}")

    def _start(self, event: yaml.NodeEvent, container: dict[str, object] | list[object]) -> None:
        self._refuse_marks(event)
        if len(self._open) >= MAX_DEPTH:
            raise self._error(event, f"expected at most {MAX_DEPTH} levels of nesting")
        if self._open and isinstance(self._open[-1][0], dict) and self._keys[-1] is None:
            raise self._error(event, "expected a plain key, got a map or a list as the key")
        self._put(container)
        self._open.append((container, {}))
        self._keys.append(None)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if self._open and isinstance(self._open[-1][0], dict) and self._keys[-1] is None:
            self._key(event)
            return
        is_text = bool(event.style) or event.tag in _STR_TAGS
        self._put(event.value if is_text else self._resolved(event))

    def _key(self, event: yaml.ScalarEvent) -> None:
        # Keys stay as written (404 is the key "404"), as in the JSON that Iter8 made of its YAML.
        lines = self._open[-1][1]
        line = _line(event.start_mark)
        if event.value in lines:
            where = _place(self.source, event.start_mark)
            self.problems.append(f"{where}: duplicate key {event.value!r}: already given in line {lines[event.value]}")
        lines.setdefault(event.value, line)
        self._keys[-1] = event.value

    def _put(self, value: object) -> None:
        if not self._open:
            self._document = value
            return
        container = self._open[-1][0]
        if isinstance(container, list):
            container.append(value)
            return
        key = self._keys[-1]
        assert key is not None  # the parser gives a key before each value
        container[key] = value
        self._keys[-1] = None

    def _resolved(self, event: yaml.ScalarEvent) -> object:
        try:
            return plain_scalar(event.value)
        except ValueError as error:
            raise self._error(event, str(error)) from error

    def _error(self, event: yaml.Event, words: str) -> BadInputError:
        return BadInputError(f"{_place(self.source, event.start_mark)}: {words}")


class _Dumper(_FastDumper):
    """Writes what any reader, of YAML 1.1 or 1.2, reads back the same."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 PyYAML's signature
        return True


def _represent_list(dumper: _Dumper, data: list[object] | tuple[object, ...]) -> yaml.Node:
    flow = bool(data) and all(
        not isinstance(item, dict | list | tuple) and (not isinstance(item, str) or len(item) <= _FLOW_CHARACTERS)
        for item in data
    )
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flow)


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(tuple, _represent_list)
# The default resolvers are those of YAML 1.1; text that only 1.2 reads as a number must be quoted as well.
_Dumper.add_implicit_resolver(
    "tag:seatrial,2024:number", re.compile(rf"^(?:{_INTEGER.pattern}|{_BASED.pattern}|{_FLOAT.pattern})$"), None
)


def dump_yaml(document: object) -> str:
    """The document as YAML: keys in order, no aliases, numbers that read back the same, lists of scalars on a line."""
    written: str = yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH, default_flow_style=False
    )
    return written


def write_atomically(path: Path, text: str | bytes) -> None:
    """Replaces the file, or leaves it as it was: a reader never sees half of it, whatever happens meanwhile."""
    target = Path(os.path.realpath(path))  # a symlink stays one
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(text.encode() if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o7777)
        temporary.replace(target)
    except OSError as error:
        _remove(temporary)
        raise BadInputError(f"{path} could not be written: {error.strerror or error}") from error
    except BaseException:
        _remove(temporary)
        raise


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
