"""Fetches what an experiment names by URL: values files and payloads. Not for load: that is the agents' work."""

from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from controller.errors import BadInputError

MAX_BYTES = 64 * 1024 * 1024


def fetch(url: str, *, what: str, timeout_s: float = 30.0, max_bytes: int = MAX_BYTES) -> bytes:
    """The body behind an http(s) URL; `what` names it in the error: a non-2xx status, a time-out, a body too large."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise BadInputError(f"{what}: expected an http:// or https:// URL, got {url!r}")
    try:
        with urlopen(Request(url), timeout=timeout_s) as response:  # noqa: S310 the scheme was checked above
            body: bytes = response.read(max_bytes + 1)
    except HTTPError as error:
        error.close()
        raise BadInputError(f"{what}: {url} answered {error.code}: expected a 2xx status") from error
    except (URLError, HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise BadInputError(f"{what}: {url} could not be fetched: {reason}") from error
    if len(body) > max_bytes:
        raise BadInputError(f"{what}: {url} is larger than {max_bytes >> 20} MiB")
    return body
