r"""Reads Helm's `--set` syntax: `a.b=1,c={x,y},d[0].e=z`, with `\` before a character that should mean itself.

Where Helm guesses or keeps quiet (no key, a map set over text, `a[0]` without a value) this refuses; what Helm
documents reads the same.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from controller.errors import BadInputError
from controller.experiment.document import plain_scalar

MAX_INDEX = 65_536
MAX_LEVELS = 30
_WORDS = {"true": True, "false": False, "null": None}
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")


def parse_set(text: str, into: dict[str, object]) -> None:
    """Sets typed values: whole and decimal numbers, true, false, null; numbers with leading zeros stay text.

    Helm keeps 1.5 as text; experiments are full of rates and percentiles, so here it is the number that it would be
    in a values file.
    """
    _Line(text, "--set", into, _typed).read()


def parse_set_string(text: str, into: dict[str, object]) -> None:
    """Sets text, whatever it looks like."""
    _Line(text, "--set-string", into, str).read()


def parse_set_file(text: str, into: dict[str, object], read: Callable[[str], str]) -> None:
    """Sets what `read` finds at each path."""
    _Line(text, "--set-file", into, read).read()


def _typed(word: str) -> object:
    lower = word.lower()
    if lower in _WORDS:
        return _WORDS[lower]
    if not _DECIMAL.fullmatch(word):
        return word
    try:
        return plain_scalar(word)
    except ValueError:  # more digits than a number has: an identifier
        return word


@dataclass(slots=True)
class _Line:
    """One flag's text, and how far it has been read."""

    text: str
    flag: str
    into: dict[str, object]
    convert: Callable[[str], object]
    at: int = 0

    def read(self) -> None:
        if not self.text.strip():
            raise self._error("expected key=value, got nothing")
        while self.at < len(self.text):
            path = self._path()
            value = self._value()
            self._assign(path, value)

    def _path(self) -> list[str | int]:
        path: list[str | int] = [self._name()]
        while (stop := self._taken()) != "=":
            if stop == ".":
                path.append(self._name())
            elif stop == "[":
                path.append(self._index())
                if self._next() not in {"[", ".", "="}:
                    raise self._error("expected [, . or = after an index")
            elif stop == ",":
                raise self._error("expected key=value before the comma")
            else:
                raise self._error("expected key=value, got no =")
            if len(path) > MAX_LEVELS + 1:
                raise self._error(f"expected at most {MAX_LEVELS} levels")
        return path

    def _name(self) -> str:
        while self._next() == " ":
            self.at += 1
        name = self._until("=[,.")
        if not name:
            raise self._error("expected a key")
        return name

    def _index(self) -> int:
        digits = self._until("]")
        if self._taken() != "]":
            raise self._error("expected ] after the index")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > len(str(MAX_INDEX)) or int(digits) > MAX_INDEX:
            raise self._error(f"expected an index from 0 to {MAX_INDEX}, got {digits!r}")
        return int(digits)

    def _value(self) -> object:
        if self._next() == "{":
            self.at += 1
            return self._list()
        start = self.at
        word = self._until(",")
        is_empty_list = self.text[start : self.at] == "[]"
        self._taken()
        return [] if is_empty_list else self.convert(word)

    def _list(self) -> list[object]:
        items: list[object] = []
        while True:
            while self._next() == " ":  # Helm's documentation writes {a, b, c}
                self.at += 1
            start = self.at
            word = self._until(",}").rstrip(" ") if self._next() else ""
            is_empty = start == self.at
            stop = self._taken()
            if stop not in {",", "}"}:
                raise self._error("expected } at the end of the list")
            if items or stop == "," or not is_empty:
                items.append(self.convert(word))
            if stop == "}":
                break
        if self._taken() not in {",", ""}:
            raise self._error("expected a comma or nothing after }")
        return items

    def _until(self, stops: str) -> str:
        found: list[str] = []
        while (character := self._next()) and character not in stops:
            self.at += 1
            if character == "\\":
                character = self._taken()
                if not character:
                    raise self._error("expected a character after the backslash")
            found.append(character)
        return "".join(found)

    def _next(self) -> str:
        return self.text[self.at : self.at + 1]

    def _taken(self) -> str:
        character = self._next()
        self.at += len(character)
        return character

    def _assign(self, path: list[str | int], value: object) -> None:
        here: object = self.into
        for depth, key in enumerate(path):
            is_last = depth == len(path) - 1
            fresh = value if is_last else ([] if isinstance(path[depth + 1], int) else {})
            here = self._step(here, key, fresh, replace=is_last, upto=path[:depth])

    def _step(self, here: object, key: str | int, fresh: object, *, replace: bool, upto: list[str | int]) -> object:
        """What lies under `key`, after putting `fresh` there if nothing did, or in any case with `replace`."""
        if isinstance(key, int):
            if not isinstance(here, list):
                raise self._error(f"{_spelled(upto)} is not a list: it can't have an index")
            here.extend([None] * (key + 1 - len(here)))
            if replace or here[key] is None:
                here[key] = fresh
            return here[key]
        if not isinstance(here, dict):
            raise self._error(f"{_spelled(upto)} is not a map: it can't have keys")
        if replace or here.get(key) is None:
            here[key] = fresh
        return here[key]

    def _error(self, words: str) -> BadInputError:
        return BadInputError(f"{self.flag} {self.text!r}, character {min(self.at, len(self.text))}: {words}")


def _spelled(path: list[str | int]) -> str:
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}"
    return text.removeprefix(".")
