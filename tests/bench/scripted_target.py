"""A target whose answers take a scripted time, and which logs how long each really took by its own clock.

Run as a program: prints its URL; when standard input closes, prints its log as JSON, and ends. Of 1,000 requests 978 are
answered after 1 ms, 20 after 5 ms and 2 after 20 ms, so p50, p99 and p99.9 each lie well inside one of those steps.
"""

import ctypes
import heapq
import json
import os
import select
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

STEPS_US = (1_000, 5_000, 20_000)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 128\r\n\r\n" + b"x" * 128
PERCENTILES = ("50", "99", "99.9")
_PR_SET_TIMERSLACK = 29


def delay_us(number: int) -> int:
    """How long the answer to the target's n-th request takes."""
    place = number % 1000
    if place in (250, 750):
        return STEPS_US[2]
    return STEPS_US[1] if place % 50 == 7 else STEPS_US[0]


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Of all values, exactly: the least that so many percent do not exceed."""
    ordered = sorted(values)
    return {p: ordered[max(0, -int(-float(p) * len(ordered) // 100) - 1)] for p in PERCENTILES} if ordered else {}


class Target:
    """All connections in one loop, which waits with a resolution of microseconds."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._listener.settimeout(0)
        self.port = self._listener.getsockname()[1]
        self._epoll = select.epoll()
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._epoll.register(sys.stdin.fileno(), select.EPOLLIN)
        self._open: dict[int, socket.socket] = {}
        self._due: list[tuple[int, int, int]] = []  # when, of which request, on which connection
        self._received_ns: list[int] = []
        self.took_us: list[float] = []
        self.is_over = False

    def serve(self) -> None:
        """Answer until standard input closes."""
        while not self.is_over:
            wait_s = max(0, self._due[0][0] - time.perf_counter_ns()) / 1e9 if self._due else None
            # select() on the epoll's descriptor: epoll_wait itself counts in milliseconds.
            select.select([self._epoll.fileno()], [], [], wait_s)
            for fd, _event in self._epoll.poll(0):
                self._ready(fd)
            self._answer_due()

    def _ready(self, fd: int) -> None:
        if fd == sys.stdin.fileno():
            self.is_over = True
        elif fd == self._listener.fileno():
            with suppress(BlockingIOError):
                while True:
                    connection, _address = self._listener.accept()
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._open[connection.fileno()] = connection
                    self._epoll.register(connection.fileno(), select.EPOLLIN)
        else:
            self._read(fd)

    def _read(self, fd: int) -> None:
        received_ns = time.perf_counter_ns()
        data = b""
        with suppress(OSError):
            data = self._open[fd].recv(4096)
        if not data:
            self._epoll.unregister(fd)
            self._open.pop(fd).close()
        elif data.endswith(b"\r\n\r\n"):  # requests are small: they come in one piece
            number = len(self._received_ns)
            self._received_ns.append(received_ns)
            heapq.heappush(self._due, (received_ns + delay_us(number) * 1000, number, fd))

    def _answer_due(self) -> None:
        while self._due and self._due[0][0] <= time.perf_counter_ns():
            _due_ns, number, fd = heapq.heappop(self._due)
            if fd in self._open:
                with suppress(OSError):
                    self._open[fd].send(ANSWER)
                    self.took_us.append((time.perf_counter_ns() - self._received_ns[number]) / 1000)


def in_real_time() -> bool:
    """Whether this process goes before all others on its core; it needs no more than 1 ns of slack in either case."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        return False
    return True


def main() -> None:
    """Serve, then tell."""
    target = Target()
    is_real_time = in_real_time()
    sys.stdout.write(f"http://127.0.0.1:{target.port}/\n")
    sys.stdout.flush()
    target.serve()
    log = {
        "requests": len(target.took_us),
        "took_us": percentiles(target.took_us),
        "is_real_time": is_real_time,
    }
    sys.stdout.write(json.dumps(log) + "\n")


if __name__ == "__main__":
    main()
