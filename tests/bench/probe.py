"""What the way to a target and back costs, without a load generator: one request at a time, and no sleep before the answer.

Run as a program with the URL of a scripted target and a number of requests: prints percentiles in µs, as JSON. It spins
while it waits, so nothing of what it measures is its own waking up; the target's is.
"""

import json
import socket
import sys
import time
from contextlib import suppress
from urllib.parse import urlsplit

from scripted_target import ANSWER, percentiles

REQUEST = b"GET / HTTP/1.1\r\nHost: scripted\r\n\r\n"


def probe(url: str, count: int) -> list[float]:
    """How long each answer took, in µs."""
    parts = urlsplit(url)
    took_us = []
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)  # noqa: FBT003 the socket's own signature
        for _ in range(count):
            began_ns = time.perf_counter_ns()
            connection.send(REQUEST)
            left = len(ANSWER)
            while left:
                with suppress(BlockingIOError):
                    received = len(connection.recv(left))
                    if not received:
                        raise ConnectionError(f"{url} closed the connection in the middle of an answer")
                    left -= received
            took_us.append((time.perf_counter_ns() - began_ns) / 1000)
    return took_us


if __name__ == "__main__":
    sys.stdout.write(json.dumps(percentiles(probe(sys.argv[1], int(sys.argv[2])))))
