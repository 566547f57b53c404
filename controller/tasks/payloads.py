"""Reads what the requests of an experiment are made of, before anything runs: bodies, rows, secrets, certificates."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from controller.errors import BadInputError
from controller.experiment.http import HttpEndpoint, HttpTask
from controller.experiment.spec import Experiment

if TYPE_CHECKING:
    from protocol.messages import Tls

MAX_PAYLOAD = 64 * 1024 * 1024

Read = TypeVar("Read")


@dataclass(frozen=True)
class Material:
    """What an endpoint's requests are made of, besides its parameters.

    `rows` is a MessagePack list of the rows' columns that templates use. `authorization` is a secret, and no template.
    `tls` is None where the experiment says nothing about it.
    """

    body: bytes = b""
    rows: bytes = b""
    authorization: str = ""
    tls: "Tls | None" = None

    def __repr__(self) -> str:
        return f"Material(body={len(self.body)} bytes, rows={len(self.rows)} bytes)"


def read_material(experiment: Experiment) -> dict[int, dict[str, Material]]:
    """What the requests of all http tasks are made of, by task and endpoint; `BadInputError` with every mistake."""
    mistakes: list[str] = []
    found = {
        number: {endpoint.name: _material(endpoint, mistakes) for endpoint in task.resolved()}
        for number, task in enumerate(experiment.spec)
        if isinstance(task, HttpTask)
    }
    if mistakes:
        raise BadInputError("\n".join(dict.fromkeys(mistakes)))
    return found


def _material(endpoint: HttpEndpoint, mistakes: list[str]) -> Material:
    def noting(read: Callable[[], Read], otherwise: Read) -> Read:
        try:
            return read()
        except BadInputError as error:
            mistakes.append(str(error))
            return otherwise

    body = noting(lambda: _payload(endpoint), b"")
    return Material(
        body=body,
        rows=noting(lambda: _rows(endpoint, body), b""),
        authorization=noting(lambda: _authorization(endpoint), ""),
        tls=noting(lambda: _tls(endpoint), None),
    )


# What follows is imported where it is needed: few experiments do, and a short run should start shortly.


def _rows(endpoint: HttpEndpoint, body: bytes) -> bytes:
    if not endpoint.is_template:
        return b""
    from controller.tasks.rows import columns_needed, read_rows  # noqa: PLC0415

    columns = columns_needed(endpoint, body)
    if endpoint.data is not None:
        return read_rows(endpoint.data, columns)
    if columns:
        of = f" of endpoint {endpoint.name}" if endpoint.name else ""
        raise BadInputError(f"the templates{of} use row.{min(columns)}: expected data with such a column, got no data")
    return b""


def _authorization(endpoint: HttpEndpoint) -> str:
    if endpoint.auth is None:
        return ""
    from controller.tasks.secrets import authorization  # noqa: PLC0415

    return authorization(endpoint.auth)


def _tls(endpoint: HttpEndpoint) -> "Tls | None":
    if endpoint.tls is None:
        return None
    from controller.tasks.certificates import read_tls  # noqa: PLC0415

    return read_tls(endpoint.tls)


def _payload(endpoint: HttpEndpoint) -> bytes:
    what = f"the payload of endpoint {endpoint.name}" if endpoint.name else "the payload"
    if endpoint.payload_url:
        from controller.fetch import fetch  # noqa: PLC0415

        return fetch(endpoint.payload_url, what=what, max_bytes=MAX_PAYLOAD)
    if endpoint.payload_file:
        try:
            body = Path(endpoint.payload_file).read_bytes()
        except OSError as error:
            raise BadInputError(f"{what}: {endpoint.payload_file} can't be read: {error.strerror or error}") from error
        if len(body) > MAX_PAYLOAD:
            raise BadInputError(f"{what}: {endpoint.payload_file} is larger than {MAX_PAYLOAD >> 20} MiB")
        return body
    return (endpoint.payload_str or "").encode("utf-8")
