"""Makes connections to one origin: resolves its name, uses all its addresses in turn, and times TCP and TLS apart."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import TypeVar

from agent.drivers.request import Origin
from agent.drivers.tls import context_of
from agent.outcome import Connected
from protocol.messages import ErrorClass, Target

_LOCAL = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOMEM, errno.ENOBUFS})
_RESET = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})
_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)


class ConnectError(Exception):
    """A connection could not be made: of which class that is, and what was said."""

    def __init__(self, error: ErrorClass, text: str) -> None:
        super().__init__(text)
        self.error = error


class Connector:
    """The way to one origin. `admit` raises `PermissionError` for an address that must not be loaded."""

    def __init__(
        self,
        target: Target,
        *,
        alpn: Sequence[str] = (),
        now_ns: Callable[[], int],
        admit: Callable[[str], None],
    ) -> None:
        self.origin = Origin.of(target.url)
        self.addresses: list[str] = []
        self._tls = target.tls
        self._alpn = tuple(alpn)
        self._timeout_s = target.timeout_ns / 1e9
        self._now_ns = now_ns
        self._admit = admit
        self._found: list[tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]] = []
        self._turn = 0

    async def resolve(self) -> None:
        """Find the origin's addresses; `PermissionError` if one must not be loaded. No answer is told by `connect`."""
        if not self._found:
            try:
                await self._resolve()
            except ConnectError:
                return
        for address in self.addresses:
            self._admit(address)

    async def connect(self, make: Callable[[socket.socket], _Protocol]) -> tuple[_Protocol, Connected]:
        """A connection to the next address, or a `ConnectError`; `PermissionError` if that must not be loaded.

        The protocol is given the socket as well, so that it may write to it directly where there is no TLS.
        """
        if not self._found:
            await self._resolve()
        family, address = self._found[self._turn % len(self._found)]
        self._turn += 1
        self._admit(str(address[0]))
        step = "connection"
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as failure:
            raise ConnectError(class_of(failure), str(failure)) from failure
        try:
            sock.setblocking(False)  # noqa: FBT003 it has no name
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(self._timeout_s):
                began_ns = self._now_ns()
                await asyncio.get_running_loop().sock_connect(sock, address)
                through_ns = self._now_ns()
                step = "TLS handshake"
                protocol = await self._take_over(sock, make)
        except BaseException as failure:
            sock.close()
            if isinstance(failure, TimeoutError):
                raise ConnectError(ErrorClass.CONNECT_TIMEOUT, f"no {step} within the time-out") from failure
            if isinstance(failure, ssl.SSLError | ValueError):
                raise ConnectError(ErrorClass.TLS, str(failure)) from failure
            if isinstance(failure, OSError):
                raise ConnectError(class_of(failure), str(failure)) from failure
            raise
        remote = f"[{address[0]}]:{address[1]}" if family == socket.AF_INET6 else f"{address[0]}:{address[1]}"
        tls_ns = self._now_ns() - through_ns if self.origin.is_tls else None
        return protocol, Connected(remote, through_ns - began_ns, tls_ns)

    async def _take_over(self, sock: socket.socket, make: Callable[[socket.socket], _Protocol]) -> _Protocol:
        """The protocol on a connected socket, after the TLS handshake where there is one."""
        context = context_of(self._tls, self._alpn) if self.origin.is_tls else None
        name = (self._tls.server_name or self.origin.host) if context else None
        _transport, protocol = await asyncio.get_running_loop().create_connection(
            lambda: make(sock), sock=sock, ssl=context, server_hostname=name
        )
        return protocol

    async def _resolve(self) -> None:
        host, port = self.origin.host, self.origin.port
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as failure:  # no name at all: a label of more than 63 characters, say
            raise ConnectError(ErrorClass.DNS, f"{host!r}: {failure}") from failure
        except TimeoutError as failure:
            raise ConnectError(ErrorClass.DNS, f"{host!r}: no answer within the time-out") from failure
        except OSError as failure:
            raise ConnectError(ErrorClass.DNS, str(failure)) from failure
        self._found = list(dict.fromkeys((info[0], info[4]) for info in found))  # type: ignore[misc]  # of TCP: no other address is asked for
        self.addresses = [str(address[0]) for _family, address in self._found]


def class_of(failure: OSError) -> ErrorClass:
    """The class of a connection that could not be made, or broke."""
    if isinstance(failure, ConnectionRefusedError):
        return ErrorClass.REFUSED
    if failure.errno in _LOCAL or isinstance(failure, PermissionError):
        return ErrorClass.LOCAL
    if failure.errno in _RESET or isinstance(failure, ConnectionError):
        return ErrorClass.RESET
    return ErrorClass.UNREACHABLE
