"""Merges what the value flags give, with Helm's precedence: each file in order < --set < --set-string < --set-file."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from controller.errors import BadInputError
from controller.experiment.document import MAX_BYTES, parse_yaml
from controller.experiment.strvals import parse_set, parse_set_file, parse_set_string
from controller.fetch import fetch


def merge_values(
    files: Sequence[str], sets: Sequence[str], set_strings: Sequence[str], set_files: Sequence[str]
) -> dict[str, object]:
    """The values of all flags in one map; maps merge key by key, lists and scalars replace, null removes the key.

    Files are paths, http(s) URLs, or `-` for standard input.
    """
    merged: dict[str, object] = {}
    for file in files:
        merged = _over(merged, _values_file(file))
    for text in sets:
        parse_set(text, merged)
    for text in set_strings:
        parse_set_string(text, merged)
    for text in set_files:
        parse_set_file(text, merged, _file_text)
    return _without_null(merged)


def _over(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _without_null(values: Mapping[str, object]) -> dict[str, object]:
    return {
        key: _without_null(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None
    }


def _values_file(name: str) -> dict[str, object]:
    document = parse_yaml(_content(name, "--values", MAX_BYTES), f"values file {name}")
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise BadInputError(f"values file {name}: expected a map of values, got something else")
    return document


def _file_text(name: str) -> str:
    raw = _content(name, "--set-file", 16 * MAX_BYTES)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadInputError(f"--set-file: {name}: expected UTF-8 text: {error}") from error


def _content(name: str, flag: str, max_bytes: int) -> bytes:
    """The bytes of a file, a URL or standard input, and one more than allowed at most."""
    if name.lower().startswith(("http://", "https://")):
        return fetch(name, what=flag, max_bytes=max_bytes)
    try:
        if name == "-":
            raw = sys.stdin.buffer.read(max_bytes + 1)
        else:
            with Path(name).open("rb") as file:
                raw = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInputError(f"{flag}: {name} could not be read: {reason}") from error
    if len(raw) > max_bytes:
        raise BadInputError(f"{flag}: {name} is larger than {max_bytes >> 20} MiB")
    return raw
