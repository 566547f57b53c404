"""`seatrial-agent --check`: what this machine gives an agent, measured in a fifth of a second, without a bus or a target.

Whether that is enough for some load is decided by who asked, such as `seatrial doctor`.
"""

import asyncio
import platform
import time

import msgspec
import numpy as np

from agent.machine import Machinery
from agent.wake import make_waker
from protocol import __version__
from protocol.histogram import Histogram

SAMPLE_NS = 200_000_000
STEP_NS = 1_000_000


async def selfcheck() -> str:
    """The machine as one line of JSON; `loop_delay` is how late the pacer's own waker was, in steps of a millisecond."""
    pacer, late = await _lateness()
    machine = msgspec.structs.replace(Machinery().interval(), pacer=pacer, loop_delay=late.pack(), wall_ns=SAMPLE_NS)
    about = {"version": __version__, "python": platform.python_version(), "machine": machine}
    return msgspec.json.encode(about).decode()


async def _lateness() -> tuple[str, Histogram]:
    samples: list[int] = []
    ended = asyncio.Event()
    began_ns = time.perf_counter_ns()
    due_ns = began_ns + STEP_NS

    def wake() -> None:
        nonlocal due_ns
        now_ns = time.perf_counter_ns()
        if now_ns < due_ns:  # a coarse timer may be early
            waker.arm(due_ns)
            return
        samples.append(now_ns - due_ns)
        due_ns = now_ns + STEP_NS
        if now_ns - began_ns >= SAMPLE_NS:
            ended.set()
        else:
            waker.arm(due_ns)

    waker = make_waker(wake)
    try:
        waker.arm(due_ns)
        await ended.wait()
    finally:
        waker.close()
    late = Histogram()
    late.record_many(np.array(samples, dtype=np.int64))
    return waker.kind, late
