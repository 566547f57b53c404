"""An event loop whose clock jumps over idle time: for tests that touch no socket. A minute costs milliseconds."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from functools import wraps

LIMIT_S = 3600.0  # no test waits longer than this: whatever does, hangs


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time stands still while something is ready, and else jumps to the next timer."""

    def __init__(self) -> None:
        self.ns = 1_000_000_000_000
        super().__init__(_Jumping(self))
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.ns / 1e9

    def now_ns(self) -> int:
        return self.ns

    def freeze(self, seconds: float) -> None:
        """Time passes and nothing runs: what SIGSTOP does to a process."""
        self.ns += round(seconds * 1e9)


class _Jumping(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout is None:
            raise AssertionError("everybody waits, and nothing will ever happen")
        if not found:
            self._loop.ns += round(timeout * 1e9)
        return found


def in_virtual_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """The coroutine function as a plain test that runs in a loop of its own."""

    @wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        async def within_limit() -> None:
            async with asyncio.timeout(LIMIT_S):
                await test(*args, **kwargs)

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(within_limit())

    return run


def clock() -> VirtualLoop:
    """The running loop, for its time."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop
