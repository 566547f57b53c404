"""The sample service of `seatrial demo`: HTTP/1.1 with latencies drawn from known distributions.

Each path has its own log-normal distribution, drawn by a seeded generator, so what a load test ought to find is known:
`quantile_ms` tells. It serves one purpose, being measured, and leaves everything else of HTTP out.
"""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from math import exp
from random import Random
from statistics import NormalDist
from typing import cast

from httptools import HttpParserError, HttpRequestParser

PATHS_HINT = "/, /catalogue or /checkout"


@dataclass(frozen=True)
class Behaviour:
    """Service time is log-normal: half of the answers are faster than the median; `sigma` is the spread."""

    median_ms: float
    sigma: float
    body: bytes

    def draw_s(self, random: Random) -> float:
        """The service time of the next request, in seconds."""
        return self.median_ms / 1000 * exp(self.sigma * random.gauss(0, 1))

    def quantile_ms(self, share: float) -> float:
        """The service time in ms that a share of the requests does not exceed."""
        return self.median_ms * exp(self.sigma * NormalDist().inv_cdf(share))


BEHAVIOURS = {
    "/": Behaviour(5, 0.25, b'{"service": "seatrial demo"}\n'),
    "/catalogue": Behaviour(8, 0.3, json.dumps({"items": [f"item-{n}" for n in range(64)]}).encode()),
    "/checkout": Behaviour(20, 0.35, b'{"order": "accepted"}\n'),
}


class _Client(asyncio.Protocol):
    """One connection; answers in the order of the requests."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._transport: asyncio.Transport | None = None
        self._parser = HttpRequestParser(self)
        self._path = b""
        self._free_at_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            assert self._transport is not None
            self._transport.close()

    def on_message_begin(self) -> None:
        self._path = b""

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_message_complete(self) -> None:
        behaviour = BEHAVIOURS.get(self._path.partition(b"?")[0].decode("latin-1"))
        if behaviour is None:
            self._write(_response("404 Not Found", f"expected {PATHS_HINT}\n".encode()))
            return
        loop = asyncio.get_running_loop()
        self._free_at_s = max(loop.time(), self._free_at_s) + behaviour.draw_s(self._random)
        loop.call_at(self._free_at_s, self._write, _response("200 OK", behaviour.body))

    def _write(self, response: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(response)


def _response(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode("ascii") + body


async def serve(host: str, port: int, seed: int = 1) -> asyncio.Server:
    """A listening service; port 0 takes a free one."""
    random = Random(seed)  # noqa: S311 repeatable, not secret
    return await asyncio.get_running_loop().create_server(lambda: _Client(random), host, port)


async def serve_until_stopped(host: str, port: int, *, end_with_stdin: bool = False) -> None:
    """Serve until SIGTERM or Ctrl-C, or the end of standard input; the address goes to standard output."""
    server = await serve(host, port)
    address = server.sockets[0].getsockname()
    sys.stdout.write(f"http://{address[0]}:{address[1]}\n")
    sys.stdout.flush()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    if end_with_stdin:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _read_on, stopped)
    await stopped.wait()
    server.close()


def _read_on(stopped: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1024):
        stopped.set()
