"""Pure: where a redirect leads, and the target that asks there. Leaves counting and sending to the drivers.

As RFC 9110, 15.4, and browsers have it: 303 asks with GET, and so do 301 and 302 after a POST; all others repeat method
and body. Credentials and cookies stay with their origin.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from agent.drivers.request import Origin
from protocol.messages import Target
from protocol.template import escaped

MAX_URL_CHARACTERS = 8192
_STATUSES = frozenset({301, 302, 303, 307, 308})
_OF_ORIGIN = frozenset({"authorization", "proxy-authorization", "cookie", "host"})
_ABOUT_BODY = re.compile(r"content-.*|transfer-encoding|expect|digest|last-modified", re.IGNORECASE)
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True)
class Redirect:
    """Where to ask next, and how. `keeps_body` tells whether the request's body goes along."""

    url: str
    method: str
    keeps_body: bool
    is_same_origin: bool


def follow(request_url: str, method: str, status: int, location: str) -> Redirect | None:
    """What a response asks for; None if it is no redirect, or one that can't be followed."""
    if status not in _STATUSES or not location.strip():
        return None
    try:
        url = urljoin(request_url, quote(location.strip(), safe=_VISIBLE, errors="surrogateescape"))
        parts = urlsplit(url)
        origin = Origin.of(url)
    except ValueError:  # a port that is none, brackets that don't close
        return None
    if parts.scheme not in ("http", "https") or not origin.host or parts.port == 0 or len(url) > MAX_URL_CHARACTERS:
        return None
    asks_anew = (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST")
    return Redirect(
        url=parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl(),
        method="GET" if asks_anew else method,
        keeps_body=not asks_anew,
        is_same_origin=origin == Origin.of(request_url),
    )


def redirected(target: Target, redirect: Redirect) -> Target:
    """The target that asks where the redirect leads; templates in its headers and body are filled in anew."""
    headers, tls = target.headers, target.tls
    body, body_blob = target.body, target.body_blob
    if not redirect.keeps_body:
        headers = tuple(field for field in headers if not _ABOUT_BODY.fullmatch(field[0]))
        body, body_blob = b"", ""
    if not redirect.is_same_origin:
        headers = tuple(field for field in headers if field[0].lower() not in _OF_ORIGIN)
    if Origin.of(redirect.url).host != Origin.of(target.url).host:
        tls = msgspec.structs.replace(tls, server_name="", cert=b"", key=b"")
    return msgspec.structs.replace(
        target,
        url=escaped(redirect.url) if target.is_template else redirect.url,
        method=redirect.method,
        headers=headers,
        body=body,
        body_blob=body_blob,
        tls=tls,
    )
