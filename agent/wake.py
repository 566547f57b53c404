"""Wakes the pacer at an instant, finer than the event loop's timers, which step in 1 ms.

On Linux a timerfd is a reader of the loop (through ctypes before Python 3.13): tens of microseconds late instead of
up to 1.5 ms, for some CPU more per wake-up. Elsewhere the loop's own timer, which `kind` tells.
"""

import asyncio
import ctypes
import os
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from protocol.arrivals import NS_PER_S

_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1
AHEAD_NS = 30_000  # how long the kernel takes to wake us up, or a little more
NEAR_NS = AHEAD_NS + 5_000  # setting a timer for less is not worth it
_SPEC = struct.Struct("=qqqq")
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)


class TimerFd:
    """A timerfd in the loop; `arm` with an instant of `time.perf_counter_ns`.

    The kernel takes some tens of microseconds to wake a process up. So the timer is set that much ahead, and for what is
    left the loop goes round without waiting: sockets are served meanwhile.
    """

    kind = "timerfd"

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop = loop
        self._wake = wake
        self._at_ns = 0
        self._is_looking = False
        self._settime = self._libc.timerfd_settime
        self._spec = ctypes.create_string_buffer(32)
        loop.add_reader(self._fd, self._fired)

    def arm(self, at_ns: int) -> None:
        """Wake at an instant; one in the past means at once."""
        self._at_ns = at_ns
        if at_ns - time.perf_counter_ns() > NEAR_NS:
            self._is_looking = False
            _SPEC.pack_into(self._spec, 0, 0, 0, *divmod(at_ns - AHEAD_NS, NS_PER_S))
            self._settime(self._fd, _ABSOLUTE, self._spec, None)
        elif not self._is_looking:
            self._is_looking = True
            self._loop.call_soon(self._look)

    def close(self) -> None:
        """Wake no more."""
        self._is_looking = False
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _fired(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._fd, 8)
        if not self._is_looking:
            self._is_looking = True
            self._look()

    def _look(self) -> None:
        """Wake if it is time, else look again after another round of the loop; not at all if armed for later."""
        if not self._is_looking:
            return
        left_ns = self._at_ns - time.perf_counter_ns()
        if left_ns > 0:
            self._loop.call_soon(self._look)
            return
        self._is_looking = False
        self._wake()


class LoopTimer:
    """The loop's own timer, in steps of a millisecond on uvloop."""

    kind = "timer"

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wake: Callable[[], None],
        now_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._loop = loop
        self._wake = wake
        self._now_ns = now_ns
        self._handle: asyncio.TimerHandle | None = None

    def arm(self, at_ns: int) -> None:
        """Wake at an instant; one in the past means at once."""
        if self._handle:
            self._handle.cancel()
        self._handle = self._loop.call_later(max(0, at_ns - self._now_ns()) / 1e9, self._wake)

    def close(self) -> None:
        """Wake no more."""
        if self._handle:
            self._handle.cancel()
            self._handle = None


Waker = TimerFd | LoopTimer


def make_waker(wake: Callable[[], None]) -> Waker:
    """The finest waker that this machine has."""
    loop = asyncio.get_running_loop()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            return TimerFd(loop, wake)
    return LoopTimer(loop, wake)
