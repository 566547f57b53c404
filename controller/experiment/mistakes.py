"""Collects what is wrong with a document, so that the user hears of every mistake at once and not one per attempt.

It knows paths, wording and the nearest known word; what counts as a mistake is decided by those who look.
"""

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from controller.errors import BadInputError

SHOWN_CHARACTERS = 60


class Mistakes:
    """The mistakes found so far in one source, in the order they were found."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: list[str] = []

    def add(self, path: str, text: str) -> None:
        """Notes one mistake; `path` may be empty when it concerns the whole document."""
        line = f"{path}: {text}" if path else text
        if line not in self.lines:
            self.lines.append(line)

    def raise_if_any(self) -> None:
        """Ends with one BadInputError that lists them all, one a line, below a line that names the source."""
        if self.lines:
            count = "1 mistake" if len(self.lines) == 1 else f"{len(self.lines)} mistakes"
            raise BadInputError("\n".join([f"{self.source}: {count}", *self.lines]))


def joined(path: str, key: str | int) -> str:
    """The path of what lies under `key`: `spec[0].with.url`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def shown(value: object) -> str:
    """The value as a message shows it: short, on one line, text in double quotes."""
    if isinstance(value, Mapping):
        return "a map" if value else "an empty map"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if isinstance(value, str):
        cut = value if len(value) <= SHOWN_CHARACTERS else value[: SHOWN_CHARACTERS - 1] + "…"
        return json.dumps(cut, ensure_ascii=False)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value) if len(str(value)) <= SHOWN_CHARACTERS else "a number that is too long"


def expected(what: str, got: object, *, hint: str = "") -> ValueError:
    """The error for a value of the wrong kind: `expected X, got Y`, and what to write instead."""
    return ValueError(f"expected {what}, got {shown(got)}{': ' if hint else ''}{hint}")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant, if one is close."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def did_you_mean(what: str, word: str, known: Iterable[str]) -> str:
    """The sentence for a word nobody knows: the nearest known one, or else all there are."""
    words = list(known)
    close = nearest(word, words)
    return f"{what}; did you mean {close}?" if close else f"{what}; known are {', '.join(words)}"


def matched_keys(
    raw: Mapping[str, object], known: Iterable[str], path: str, mistakes: Mistakes, *, lenient: bool
) -> dict[str, object]:
    """The map with every key in its known spelling, as Iter8 matched them in any case; keys set to null are absent.

    An unknown key, or one field given in two spellings, becomes a mistake. `lenient` drops unknown keys instead.
    """
    words = list(known)
    by_lower = {word.lower(): word for word in words}
    spelled: dict[str, str] = {}
    found: dict[str, object] = {}
    for key, value in raw.items():
        word = by_lower.get(key.lower())
        if word is None:
            if not lenient:
                mistakes.add(joined(path, key), did_you_mean("unknown field", key, words))
            continue
        if word in spelled:
            mistakes.add(joined(path, key), f"the same field as {spelled[word]}: give it once")
            continue
        spelled[word] = key
        if value is not None:
            found[word] = value
    return found
