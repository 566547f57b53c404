"""Which agents are there, and which of them are free: whoever said hello of late."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from controller.errors import CouldNotRunError
from protocol import subjects
from protocol.bus import Bus
from protocol.codec import decode_to_controller, encode
from protocol.errors import ProtocolError
from protocol.messages import Hello, Refused, Welcome

FORGET_S = 3.5  # three hellos missed
_log = structlog.get_logger()


@dataclass(frozen=True)
class _Heard:
    hello: Hello
    at_s: float


class Fleet:
    """The agents of one namespace; listens inside `joined`."""

    def __init__(
        self,
        bus: Bus,
        namespace: str,
        term: int,
        *,
        now_s: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._bus = bus
        self._namespace = namespace
        self._term = term
        self._now_s = now_s
        self._wall_ns = wall_ns
        self._heard: dict[str, _Heard] = {}
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Fleet"]:
        """Hears agents inside the block."""
        async with self._bus.serve(subjects.hello(self._namespace), self._welcome):
            yield self

    @property
    def free(self) -> list[Hello]:
        """The agents that are there and have no run, in the order of their names."""
        return [hello for hello in self.here if not hello.busy_with]

    @property
    def here(self) -> list[Hello]:
        """All agents that are there, in the order of their names."""
        since = self._now_s() - FORGET_S
        here = [heard.hello for heard in self._heard.values() if heard.at_s >= since]
        return sorted(here, key=lambda hello: hello.agent)

    def hello(self, agent: str) -> Hello | None:
        """What an agent last said of itself."""
        heard = self._heard.get(agent)
        return heard.hello if heard else None

    async def at_least(self, count: int, wait_s: float) -> list[Hello]:
        """That many free agents, or more; `CouldNotRunError` if there are fewer after `wait_s`."""
        try:
            async with asyncio.timeout(wait_s), self._changed:
                while len(self.free) < count:
                    await self._changed.wait()
        except TimeoutError as error:
            found = ", ".join(hello.agent for hello in self.free) or "none"
            raise CouldNotRunError(
                f"{count} free agent{'s' if count > 1 else ''} expected in namespace {self._namespace!r} within "
                f"{wait_s:g} s, found {found}: start more with seatrial-agent, or wait longer with --wait-agents"
            ) from error
        return self.free

    async def _welcome(self, payload: bytes) -> bytes:
        try:
            hello = decode_to_controller(payload)
        except ProtocolError as error:
            _log.warning("hello_refused", error=str(error))
            return encode(Refused("", str(error)))
        if isinstance(hello, Hello):
            async with self._changed:
                if hello.agent not in self._heard:
                    _log.debug("agent_found", agent_id=hello.agent, host=hello.host)
                self._heard[hello.agent] = _Heard(hello, self._now_s())
                self._changed.notify_all()
        return encode(Welcome(self._term, self._wall_ns()))
