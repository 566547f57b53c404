"""Looks at a target: where its name leads, whether all of that answers, its certificate, and one request, which is all.

The blocking calls have threads of their own, as a name server that never answers can't be interrupted.
"""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import TypeVar
from urllib.parse import urlsplit

from controller.doctor.line import Line, fail, ok, warn
from controller.errors import BadInputError
from controller.experiment.http_parts import Auth, TlsSettings
from controller.tasks.secrets import authorization

DEADLINE_S = 5.0
MOST_ADDRESSES = 16
MOST_BYTES = 1 << 20
DAYS_LEFT = 14
SAFE = ("GET", "HEAD", "OPTIONS")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Aim:
    """One URL as the experiment will load it."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] | None = None
    auth: Auth | None = None
    tls: TlsSettings = field(default_factory=TlsSettings)
    http2: str = ""
    timeout_s: float = 3.0
    is_error: Callable[[int], bool] = lambda status: status >= 400
    errors_expected: bool = False

    @property
    def host(self) -> str:
        """The name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def is_https(self) -> bool:
        """Whether there is TLS."""
        return urlsplit(self.url).scheme == "https"

    @property
    def port(self) -> int:
        """The port, also where the URL leaves it out."""
        return urlsplit(self.url).port or (443 if self.is_https else 80)

    @property
    def path(self) -> str:
        """What is asked for."""
        parts = urlsplit(self.url)
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    @property
    def server_name(self) -> str:
        """The name that its certificate should be for."""
        return self.tls.server_name or self.host

    @property
    def unasked(self) -> str:
        """Why no request can be made by hand; empty if one can."""
        if self.http2 == "prior-knowledge":
            return "HTTP/2 with prior knowledge is spoken there"
        if any("{{" in text for text in (self.url, *(self.headers or {}).values())):
            return "its URL or headers are a template"
        return ""


async def look(aims: Sequence[Aim]) -> tuple[list[Line], tuple[str, ...]]:
    """The lines about all URLs, each origin looked at once, and the addresses that were found."""
    origins = {(aim.host, aim.port, aim.is_https): aim for aim in aims}
    found = await asyncio.gather(*map(_origin, origins.values()))
    lines = [line for its_lines, _addresses in found for line in its_lines]
    answering = dict(zip(origins, (addresses for _lines, addresses in found), strict=True))
    asked = [(aim, answering[aim.host, aim.port, aim.is_https]) for aim in aims]
    lines += await asyncio.gather(*(_ask(aim, addresses[0]) for aim, addresses in asked if addresses))
    return lines, tuple(dict.fromkeys(address for addresses in answering.values() for address in addresses))


async def _origin(aim: Aim) -> tuple[list[Line], list[str]]:
    """The lines about name, addresses and certificate, and the addresses worth a request."""
    try:
        addresses = await resolved(aim.host, aim.port)
    except OSError as error:
        fix = f"mend the URL or the name server: getent hosts {aim.host}"
        return [fail("name", f"{aim.host} does not resolve: {error.strerror or error}", fix)], []
    except TimeoutError:
        fix = f"look at the name server: cat /etc/resolv.conf; getent hosts {aim.host}"
        return [fail("name", f"{aim.host} does not resolve within {DEADLINE_S:g} s", fix)], []
    shown = addresses[:MOST_ADDRESSES]
    tried = dict(zip(shown, await asyncio.gather(*(_connects(one, aim.port) for one in shown)), strict=True))
    answering = [address for address, why in tried.items() if not why]
    lines = [_connection(aim, tried, len(addresses))]
    if aim.is_https and answering:
        certificate = await _certificate(aim, answering[0])
        lines.append(certificate)
        if certificate.level == "fail":
            return lines, []
    return lines, answering


async def resolved(host: str, port: int) -> list[str]:
    """All addresses of a name, in the order in which they are tried; `OSError` if there are none."""
    try:
        found = await in_thread(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), DEADLINE_S)
    except UnicodeError as error:  # no name at all: a label of more than 63 characters, say
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
    return list(dict.fromkeys(str(info[4][0]) for info in found))


async def _connects(address: str, port: int) -> str:
    """Why no connection came about; empty if one did."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            _reader, writer = await asyncio.open_connection(address, port)
    except TimeoutError:
        return f"no connection within {DEADLINE_S:g} s"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    writer.close()
    return ""


def _connection(aim: Aim, tried: Mapping[str, str], count: int) -> Line:
    what = "connection"
    fine = [address for address, why in tried.items() if not why]
    bad = [f"{address} ({why})" for address, why in tried.items() if why]
    where = f"{aim.host}:{aim.port}" if ":" not in aim.host else f"[{aim.host}]:{aim.port}"
    rest = f", {count - len(tried)} more not tried" if count > len(tried) else ""
    if not fine:
        fix = f"start the target, or open the way to it: nc -vz {aim.host} {aim.port}"
        return fail(what, f"{where} is not there: {', '.join(bad)}{rest}", fix)
    told = f"{where} answers at {', '.join(fine)}{rest}"
    if bad:
        return warn(what, f"{told}; not at {', '.join(bad)}", "agents use all addresses of a name: name a good one")
    return ok(what, told)


async def _certificate(aim: Aim, address: str) -> Line:
    """What the server shows of itself in the TLS handshake."""
    what = "TLS"
    try:
        context = trust(aim.tls, ["h2", "http/1.1"])
    except OSError as error:
        return fail(what, f"the files of tls can't be used: {error}", "mend tls.ca, tls.cert and tls.key")
    try:
        async with asyncio.timeout(DEADLINE_S):
            _reader, writer = await asyncio.open_connection(
                address, aim.port, ssl=context, server_hostname=aim.server_name, ssl_handshake_timeout=DEADLINE_S
            )
    except ssl.SSLCertVerificationError as error:
        fix = f"tls.ca: the file of who signed it; see openssl s_client -connect {aim.host}:{aim.port}"
        return fail(what, f"the certificate is not trusted: {error.verify_message}", fix)
    except (TimeoutError, OSError) as error:
        fix = f"see whether TLS is spoken there: openssl s_client -connect {aim.host}:{aim.port}"
        return fail(what, f"no TLS handshake with {address}: {error or f'none within {DEADLINE_S:g} s'}", fix)
    spoken: ssl.SSLObject = writer.get_extra_info("ssl_object")
    line = certificate(spoken.getpeercert() or {}, str(spoken.version()), spoken.selected_alpn_protocol(), time.time())
    writer.transport.abort()  # a server that never closes its side must not hold this up
    return line


def trust(tls: TlsSettings, alpn: list[str]) -> ssl.SSLContext:
    """How the experiment trusts servers, and shows who it is; `OSError` if a file is missing or wrong."""
    context = ssl.create_default_context(cafile=tls.ca)
    context.set_alpn_protocols(alpn)
    if tls.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert is not None:
        context.load_cert_chain(tls.cert, tls.key)
    if tls.min_version == "1.3":
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def certificate(shown: Mapping[str, object], version: str, alpn: str | None, now_s: float) -> Line:
    """A trusted certificate, and how long it still is; nothing is known of one that is not checked."""
    offered = {"h2": "HTTP/2", "http/1.1": "HTTP/1.1 only"}.get(alpn or "", "no ALPN, so HTTP/1.1 only")
    if "notAfter" not in shown:
        return ok("TLS", f"{version}, {offered}, the certificate is not checked (insecure)")
    until_s = ssl.cert_time_to_seconds(str(shown["notAfter"]))
    days = int((until_s - now_s) // 86400)
    told = f"{version}, {offered}, certificate by {_issuer(shown)}, {days} days left"
    if days < DAYS_LEFT:
        return warn("TLS", told, "renew the certificate")
    return ok("TLS", told)


def _issuer(shown: Mapping[str, object]) -> str:
    issuer = shown.get("issuer")
    names = dict(pair for part in issuer for pair in part) if isinstance(issuer, tuple) else {}
    return str(names.get("organizationName") or names.get("commonName") or "an unnamed issuer")


async def _ask(aim: Aim, address: str) -> Line:
    """One request; in place of a method that may change something, HEAD."""
    what = "request"
    if aim.unasked:
        return ok(what, f"{aim.url}: not tried, as {aim.unasked}")
    method = aim.method if aim.method in SAFE else "HEAD"
    about = f"{method} {aim.url}" + (f" (in place of {aim.method})" if method != aim.method else "")
    try:
        status, took_s = await in_thread(lambda: _request(aim, address, method), DEADLINE_S)
    except TimeoutError:
        fix = f"see what it waits for: curl -v -m {DEADLINE_S:g} {aim.url}"
        return fail(what, f"{about}: no answer within {DEADLINE_S:g} s", fix)
    except BadInputError as error:
        return fail(what, f"{about}: {error}", "mend auth, or what it names")
    except (OSError, HTTPException, ValueError) as error:
        return fail(what, f"{about}: {_words(error)}", f"see what it says: curl -v {aim.url}")
    told = f"{about}: status {status} in {took_s * 1e3:,.1f} ms"
    if took_s > aim.timeout_s:
        return fail(what, f"{told}, the time-out is {aim.timeout_s:g} s", "a longer timeout, or a faster target")
    if aim.is_error(status) and method == aim.method and not aim.errors_expected:
        fix = f"see what it says: curl -v {aim.url}; if errors are meant, expect: errors"
        return fail(what, f"{told}, which counts as an error", fix)
    return ok(what, told)


def _request(aim: Aim, address: str, method: str) -> tuple[int, float]:
    """The status, and the seconds from the request's first byte to the response's last, or its first MiB."""
    headers = dict(aim.headers or {})
    if aim.auth is not None:
        headers["Authorization"] = authorization(aim.auth)
    if not any(name.lower() == "user-agent" for name in headers):
        headers["User-Agent"] = "seatrial-doctor"
    stream = socket.create_connection((address, aim.port), timeout=DEADLINE_S)
    if aim.is_https:
        stream = trust(aim.tls, ["http/1.1"]).wrap_socket(stream, server_hostname=aim.server_name)
    connection = HTTPConnection(aim.host, aim.port, timeout=DEADLINE_S)
    connection.default_port = 443 if aim.is_https else 80  # which the Host header leaves out
    connection.sock = stream
    try:
        began_s = time.perf_counter()
        connection.request(method, aim.path, headers=headers)
        answer = connection.getresponse()
        answer.read(MOST_BYTES)
        return answer.status, time.perf_counter() - began_s
    finally:
        connection.close()


async def in_thread(call: Callable[[], _T], deadline_s: float) -> _T:
    """The call's result from a thread that nobody waits for after the deadline; `TimeoutError` then."""
    running = asyncio.get_running_loop()
    done: asyncio.Future[_T] = running.create_future()

    def tell(result: _T | None, error: Exception | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # without an error there is a result

    def work() -> None:
        result: _T | None = None
        failure: Exception | None = None
        try:
            result = call()
        except Exception as error:  # noqa: BLE001 it is raised again where the result is awaited
            failure = error
        try:
            running.call_soon_threadsafe(tell, result, failure)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    threading.Thread(target=work, name="doctor", daemon=True).start()
    async with asyncio.timeout(deadline_s):
        return await done


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
