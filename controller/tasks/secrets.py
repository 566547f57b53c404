"""Secrets by reference: read from the environment or a file when a run begins, and told apart in what is shown.

No message here holds a secret. The report's own rules stand in `controller.report.secrets`.
"""

import os
import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64Error
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

import msgspec

from controller.errors import BadInputError
from controller.experiment.http_parts import Auth
from protocol.messages import Target
from protocol.template import Part, escaped, parse

MAX_BYTES = 64 * 1024
LEAST_CHARACTERS = 4  # anything shorter would black out half the report
_SECRET_NAME = re.compile(r"authorization|cookie|token|secret|password|passwd|api-?key", re.IGNORECASE)
_VISIBLE = re.compile(r"[!-~]+")
_UNDECODABLE = re.compile("[\ud800-\udfff]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


def authorization(auth: Auth) -> str:
    """The value of the Authorization header; `BadInputError` says what about the secret is wrong, never the secret."""
    if auth.basic is not None:
        password, where = _secret(auth.basic.password_env, auth.basic.password_file, "the password")
        if _CONTROLS.search(password + auth.basic.user):
            raise BadInputError(f"{where}: expected a user and password on one line, without control characters")
        return "Basic " + b64encode(f"{auth.basic.user}:{password}".encode()).decode("ascii")
    assert auth.bearer is not None  # the model has seen to it
    token, where = _secret(auth.bearer.token_env, auth.bearer.token_file, "the token")
    if not _VISIBLE.fullmatch(token):
        raise BadInputError(f"{where}: expected a token of printable ASCII without spaces, on one line")
    return f"Bearer {token}"


def _secret(variable: str | None, path: str | None, what: str) -> tuple[str, str]:
    """The secret, and how a message names the place where it is."""
    if variable is not None:
        where = f"{what} in the environment variable {variable}"
        found = os.environ.get(variable)
        if found is None:
            raise BadInputError(f"{where}: it is not set: export {variable} before the run")
    else:
        where = f"{what} in {path}"
        found = _read(path or "", where)
    if not found:
        raise BadInputError(f"{where}: it is empty")
    if _UNDECODABLE.search(found):
        raise BadInputError(f"{where}: expected UTF-8")
    return found, where


def _read(path: str, where: str) -> str:
    try:
        with Path(path).open("rb") as file:
            found = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise BadInputError(f"{where}: it can't be read: {getattr(error, 'strerror', None) or error}") from error
    if len(found) > MAX_BYTES:
        raise BadInputError(f"{where}: expected at most {MAX_BYTES >> 10} KiB")
    try:
        text = found.decode("utf-8")
    except UnicodeDecodeError:
        raise BadInputError(f"{where}: expected UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")


def secrets_of(target: Target, numbers: Iterable[int] = ()) -> list[str]:
    """The texts to black out wherever the target may have echoed them, the longest first.

    With `numbers`, also what the requests of these numbers had in their headers by template and row.
    """
    found: set[str] = set()
    for name, value in target.headers:
        if not _SECRET_NAME.search(name):
            continue
        for sent in _sent(target, value, numbers):
            for secret in (part for part in _parts(sent) if len(part) >= LEAST_CHARACTERS):
                found |= {secret, quote(secret, safe=""), msgspec.json.encode(secret)[1:-1].decode()}
    return sorted(found, key=lambda text: (-len(text), text))


def _sent(target: Target, value: str, numbers: Iterable[int]) -> Iterator[str]:
    """What of a header's value is the target's, and what the rows of these requests put into it."""
    template = parse(value if target.is_template else escaped(value), Part.HEADER)
    if template.is_constant:
        yield template.render(0, {}, 0).decode()
        return
    yield from (piece.decode().partition(" ")[2] for piece in template.pieces if isinstance(piece, bytes))
    rows = _rows(target.rows) if template.columns else []
    for number in numbers if rows else ():
        row = rows[number % len(rows)]
        yield from (row[column] for column in template.columns if column in row)


@lru_cache(maxsize=1)  # of the target of which samples are being told
def _rows(packed: bytes) -> list[dict[str, str]]:
    return msgspec.msgpack.decode(packed, type=list[dict[str, str]]) if packed else []


def _parts(sent: str) -> Iterator[str]:
    """The value, and what in it is a secret by itself: a token, a password, a cookie's value."""
    sent = sent.strip()
    yield sent
    scheme, _, credentials = sent.partition(" ")
    yield credentials.strip()
    if scheme.lower() == "basic":
        with suppress(NotBase64Error, UnicodeDecodeError):
            pair = b64decode(credentials.strip(), validate=True).decode()
            yield pair
            yield pair.partition(":")[2]
    for crumb in sent.split(";"):
        yield crumb.partition("=")[2].strip()
