"""A scripted HTTP target in a process of its own: it does what the last part of the path says, and counts exactly.

`/ok` answers 200 and `ok` at once. Of `?ms=`, `?status=` and `?body=` each is a list, of which the n-th request on a path
gets its own share, round and round (bodies have | between them); `ms=1*290,300*20` stands for 310 of them. `/status/503` answers that status, `/echo`
with the request's headers, `/redirect?to=/any/ok` with that location. `/hang`, `/reset`, `/garbage`, `/huge` (10 GB, announced), `/endless` (10 GB in chunks) and `/slow` (a body that
does not come to its end) are the hostile ones. What stands before (`/any/words/ok`) only tells requests apart.
`/stats` tells of every other path: requests, header values, bodies, the clocks of each request, bytes both ways, and the
requests of each connection and address.
"""

import argparse
import asyncio
import json
import socket
import ssl
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import cast
from urllib.parse import parse_qs

import uvloop
from httptools import HttpParserError, HttpRequestParser

GIGABYTES = 10 * 1000**3
CHUNK = b"x" * 65536
CHUNKED = b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK)
BODY_KEPT = 200


@dataclass
class Seen:
    """What came in on one path. Clocks are CLOCK_MONOTONIC, which all processes of a machine share, in ns."""

    requests: int = 0
    headers: Counter[str] = field(default_factory=Counter)
    bodies: Counter[str] = field(default_factory=Counter)
    log: list[tuple[int, float, int]] = field(default_factory=list)  # received, scripted ms, answered
    connections: Counter[int] = field(default_factory=Counter)  # requests by connection
    addresses: Counter[str] = field(default_factory=Counter)  # requests by the address of ours that they came to
    bytes_in: int = 0
    bytes_out: int = 0  # of complete answers


SEEN: dict[str, Seen] = {}
NUMBERS = count()


@lru_cache
def scripted(query: str, name: str, default: str) -> list[str]:
    """The list of that name in a query, without its shorthand."""
    words = parse_qs(query).get(name, [default])[0].split("|" if name == "body" else ",")
    pairs = [word.partition("*") for word in words]
    return [word for word, _, times in pairs for _ in range(int(times or 1))]


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = HttpRequestParser(self)
        self._flood: bytes = b""
        self._url = b""
        self._headers: list[str] = []
        self._body = b""
        self._number = next(NUMBERS)
        self._received = 0
        self._seen = Seen()
        self._answers = ("200", b"ok\n")

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, failure: Exception | None) -> None:
        self._flood = b""

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self._answer(b"this is not HTTP\n", "400")
            self.transport.close()

    def resume_writing(self) -> None:
        self._pour()

    def pause_writing(self) -> None:
        self._is_full = True

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body = b"", [], b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append(f"{name.decode().lower()}: {value.decode()}")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        received_ns = time.perf_counter_ns()
        path, _, query = self._url.decode().partition("?")
        if path == "/stats":
            self._seen, self._received = Seen(), 0
            self._answer(json.dumps({one: vars(seen) for one, seen in SEEN.items()}).encode())
            return
        self._seen = seen = SEEN.setdefault(path, Seen())
        ms, status, body = (
            words[seen.requests % len(words)]
            for words in (scripted(query, *one) for one in (("ms", "0"), ("status", "200"), ("body", "ok\n")))
        )
        latency_ms = float(ms)
        self._answers = (status, body.encode())
        seen.requests += 1
        seen.connections[self._number] += 1
        seen.addresses[self.transport.get_extra_info("sockname")[0]] += 1
        seen.bytes_in += self._received
        self._received = 0
        seen.headers.update(self._headers)
        seen.bodies[self._body[:BODY_KEPT].decode("latin-1")] += 1
        self._behave(
            path, query, latency_ms, lambda: seen.log.append((received_ns, latency_ms, time.perf_counter_ns()))
        )

    def _behave(self, path: str, query: str, latency_ms: float, note) -> None:
        words = path.split("/")
        match words[-1]:
            case "hang":
                note()
            case "reset":
                note()
                self.transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                self.transport.abort()
            case "garbage":
                note()
                self.transport.write(b"\x00\x01this is not HTTP at all\r\n\r\n")
            case "huge":
                note()
                self.transport.write(f"HTTP/1.1 200 OK\r\nContent-Length: {GIGABYTES}\r\n\r\n".encode())
                self._pour(CHUNK)
            case "endless":
                note()
                self.transport.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                self._pour(CHUNKED)
            case "slow":
                note()
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe first few bytes")
            case "echo":
                note()
                self._answer("\n".join(self._headers).encode(), self._answers[0])
            case "redirect":
                note()
                self._answer(b"", "302", f"Location: {parse_qs(query)['to'][0]}\r\n")
            case status if words[-2] == "status":
                note()
                self._answer(b"as asked\n", status)
            case _:
                asyncio.get_running_loop().call_later(latency_ms / 1e3, self._answer_late, note)

    def _answer_late(self, note) -> None:
        note()
        status, body = self._answers
        self._answer(body, status)

    def _answer(self, body: bytes, status: str = "200", header: str = "") -> None:
        answer = f"HTTP/1.1 {status} Said\r\n{header}Content-Length: {len(body)}\r\n\r\n".encode() + body
        if not self.transport.is_closing():
            self.transport.write(answer)
            self._seen.bytes_out += len(answer)

    def _pour(self, flood: bytes = b"") -> None:
        """Write as much as the other side takes, until it has gone."""
        self._flood = flood or self._flood
        self._is_full = False
        while self._flood and not self._is_full and not self.transport.is_closing():
            self.transport.write(self._flood)


async def main() -> None:
    """Serve until standard input closes; the addresses go to standard output."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1", help="addresses, with commas between them")
    parser.add_argument("--certificate", help="PEM with key and certificate: serve HTTPS on a second port")
    options = parser.parse_args()
    loop = asyncio.get_running_loop()
    first, *more = options.host.split(",")
    servers = [await loop.create_server(Client, first, options.port, backlog=1024)]
    port = servers[0].sockets[0].getsockname()[1]
    for host in more:
        await loop.create_server(Client, host, port, backlog=1024)
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate)
        servers.append(await loop.create_server(Client, "127.0.0.1", 0, ssl=context))
    for scheme, server in zip(("http", "https"), servers, strict=False):
        host = f"[{first}]" if ":" in first else first
        sys.stdout.write(f"{scheme}://{host}:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.write("\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(main())
