"""Reads the request bodies that an experiment names, before anything runs."""

from pathlib import Path

from controller.errors import BadInputError
from controller.experiment.http import HttpEndpoint, HttpTask
from controller.experiment.spec import Experiment

MAX_PAYLOAD = 64 * 1024 * 1024


def read_all_payloads(experiment: Experiment) -> dict[int, dict[str, bytes]]:
    """The request bodies of all http tasks, by task and endpoint; `BadInputError` before anything has run."""
    tasks = enumerate(experiment.spec)
    return {number: _of_task(task) for number, task in tasks if isinstance(task, HttpTask)}


def _of_task(task: HttpTask) -> dict[str, bytes]:
    """The request body of each endpoint, by name; `BadInputError` if one can't be read."""
    return {endpoint.name: _payload(endpoint) for endpoint in task.resolved()}


def _payload(endpoint: HttpEndpoint) -> bytes:
    what = f"the payload of endpoint {endpoint.name}" if endpoint.name else "the payload"
    if endpoint.payload_url:
        from controller.fetch import fetch  # noqa: PLC0415 few experiments do, and it is slow to import

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
