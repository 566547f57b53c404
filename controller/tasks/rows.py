"""Reads the rows of data that an endpoint's templates are filled in from, and tells what is wrong with either.

Rows leave here as MessagePack with the columns that are used, and every value as text. Splitting them over agents is
the request's number's work.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import msgspec

from controller.errors import BadInputError
from controller.experiment.http import HttpEndpoint
from controller.experiment.http_parts import Data
from controller.experiment.mistakes import did_you_mean, shown
from protocol.template import Part, Template, parse

MAX_BYTES = 64 * 1024 * 1024
_AS_ROW = msgspec.json.Decoder(dict[str, msgspec.Raw])

Row = dict[str, str]
Numbered = Iterator[tuple[int, Row]]  # with the line on which a row ends; for rows in the experiment, its place


def columns_needed(endpoint: HttpEndpoint, body: bytes = b"") -> frozenset[str]:
    """The columns that the templates of an endpoint use; `BadInputError` for what is no template."""
    if not endpoint.is_template:
        return frozenset()
    templates = [_template(endpoint, "url", endpoint.url, Part.URL)]
    templates += [
        _template(endpoint, f"headers.{name}", value, Part.HEADER) for name, value in endpoint.headers.items()
    ]
    templates.append(_template(endpoint, "payload", body.decode("utf-8", "surrogateescape"), Part.BODY))
    return frozenset(chain.from_iterable(template.columns for template in templates))


def _template(endpoint: HttpEndpoint, what: str, text: str, part: Part) -> Template:
    try:
        return parse(text, part)
    except ValueError as error:
        of = f" of endpoint {endpoint.name}" if endpoint.name else ""
        raise BadInputError(f"the template in {what}{of}: {error}") from error


def read_rows(data: Data, columns: frozenset[str]) -> bytes:
    """The rows with the columns that are needed, as MessagePack; `BadInputError` names the source and the line."""
    if data.rows is not None:
        where, unit = "data.rows", "row"
        rows = enumerate(({name: _as_text(value) for name, value in row.items()} for row in data.rows), 1)
        return _packed(rows, columns, where, unit)
    where = data.file or data.url or ""
    text = _text(_bytes(data), where)
    if not text.strip():
        raise BadInputError(f"{where}: expected rows of data, got nothing")
    return _packed(_csv(text, where) if data.read_as == "csv" else _json_lines(text, where), columns, where, "line")


def _as_text(value: str | float | bool) -> str:  # noqa: FBT001 a cell is what it is
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _bytes(data: Data) -> bytes:
    if data.url is not None:
        from controller.fetch import fetch  # noqa: PLC0415 few experiments do, and it is slow to import

        return fetch(data.url, what="the rows of data", max_bytes=MAX_BYTES)
    assert data.file is not None  # the model has seen to it
    try:
        with Path(data.file).open("rb") as file:
            found = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInputError(f"the rows of data: {data.file} can't be read: {reason}") from error
    if len(found) > MAX_BYTES:
        raise BadInputError(f"the rows of data: {data.file} is larger than {MAX_BYTES >> 20} MiB")
    return found


def _text(found: bytes, where: str) -> str:
    try:
        return found.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = found.count(b"\n", 0, error.start) + 1
        raise BadInputError(f"{where}, line {line}: expected UTF-8, got the byte {found[error.start]:#04x}") from error


def _csv(text: str, where: str) -> Numbered:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    try:
        for cells in lines:
            if not cells:
                continue  # an empty line, as after the last row
            if not header:
                header = _header(cells, where, lines.line_num)
                continue
            if len(cells) != len(header):
                problem = f"expected {len(header)} values, as the first line has names, got {len(cells)}"
                raise BadInputError(f"{where}, line {lines.line_num}: {problem}")
            yield lines.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise BadInputError(f"{where}, line {lines.line_num}: expected CSV as in RFC 4180: {error}") from error


def _header(cells: list[str], where: str, line: int) -> list[str]:
    names = [cell.strip() for cell in cells]
    for at, name in enumerate(names):
        if not name:
            raise BadInputError(f"{where}, line {line}: expected a name for each column, column {at + 1} has none")
        if name in names[:at]:
            raise BadInputError(f"{where}, line {line}: the column {shown(name)} is named twice: name each once")
    return names


def _json_lines(text: str, where: str) -> Numbered:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = _AS_ROW.decode(line)
            _refuse_doubles(line, f"{where}, line {number}")
            yield number, {name: _of_json(value) for name, value in row.items()}
        except msgspec.ValidationError as error:
            hint = f'expected a JSON object, such as {{"id": 7}}, got {shown(line.strip())}'
            raise BadInputError(f"{where}, line {number}: {hint}") from error
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise BadInputError(f"{where}, line {number}: expected JSON, got {shown(line.strip())}: {error}") from error


def _refuse_doubles(line: str, where: str) -> None:
    names = [name for name, _value in json.loads(line, object_pairs_hook=list, parse_int=str, parse_float=str)]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise BadInputError(f"{where}: the column {shown(name)} is named twice: name each once")


def _of_json(value: msgspec.Raw) -> str:
    """Text as it is, anything else as it is written in JSON."""
    written = bytes(value)
    return msgspec.json.decode(written, type=str) if written.startswith(b'"') else written.decode()


def _packed(rows: Iterable[tuple[int, Row]], columns: frozenset[str], where: str, unit: str) -> bytes:
    """The rows with these columns alone; what holds none of them is checked all the same."""
    encode = msgspec.msgpack.Encoder().encode
    packed = bytearray()
    wanted = sorted(columns)
    count = 0
    for number, row in rows:
        count += 1
        for column in wanted:
            if column not in row:
                problem = did_you_mean(f"there is no column {shown(column)}, which a template needs", column, row)
                raise BadInputError(f"{where}, {unit} {number}: {problem}")
        packed += encode({column: row[column] for column in wanted})
        if len(packed) > MAX_BYTES:
            raise BadInputError(f"{where}: the columns that templates use come to more than {MAX_BYTES >> 20} MiB")
    if not count:
        raise BadInputError(f"{where}: expected rows of data, got only the columns' names")
    return b"\xdd" + count.to_bytes(4, "big") + bytes(packed) if wanted else b""
