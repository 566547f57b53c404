"""Looks at the NATS server, a private one or a given one, and at the agents that say hello there."""

import asyncio
import time
from collections.abc import Sequence

from controller.doctor.line import Line, Load, counted, fail, ok, warn
from controller.errors import CouldNotRunError
from controller.fleet import Fleet
from controller.local import KEEP_BYTES, nats_server
from protocol import subjects
from protocol.errors import BusError
from protocol.messages import Hello
from protocol.nats_bus import NatsBus, connect

DEADLINE_S = 5.0
LISTEN_S = 2.6  # two hellos of an idle agent: the second tells of its clock
FAR_S = 0.1
TERM = 0  # of nobody: whoever leads goes on leading
SPREAD_NS = 1_000_000_000
UNSURE_NS = 50_000_000
STORE_FIX = "start it with storage: nats-server --jetstream --store_dir DIR, with max_file_store of 3GB or more"


async def of_private() -> Line:
    """Whether a NATS server starts here, and how soon it serves."""
    what = "NATS"
    began_s = time.monotonic()
    try:
        async with nats_server() as server, connect(server.url, name="seatrial-doctor", give_up_s=DEADLINE_S) as bus:
            async with asyncio.timeout(DEADLINE_S):
                await bus.set_up(keep_bytes=KEEP_BYTES)
            took_ms = (time.monotonic() - began_s) * 1e3
            return ok(what, f"a private server ({server.version}) started and serves JetStream after {took_ms:.0f} ms")
    except (CouldNotRunError, BusError) as error:
        return fail(what, f"a private server does not serve: {error}", "make room in the temporary folder; see df -h")
    except TimeoutError:
        return fail(
            what, f"a private server gives no JetStream within {DEADLINE_S:g} s", "end other work here; see top"
        )


async def of_given(url: str, namespace: str, load: Load) -> tuple[list[Line], list[Hello]]:
    """The lines about a server and its fleet, and the agents that are there."""
    try:
        async with connect(url, name="seatrial-doctor", give_up_s=DEADLINE_S) as bus:
            served = await _jetstream(bus, url, namespace)
            async with Fleet(bus, namespace, TERM).listening() as fleet:
                await asyncio.sleep(LISTEN_S)
                here = fleet.here
        return [served, agents(here, namespace, load, redacted(url)), *clocks(here)], here
    except BusError as error:
        port = url.rpartition(":")[2].rstrip("/")
        fix = f"start one there: nats-server --jetstream --port {port if port.isdecimal() else 4222}; or mend --nats"
        return [fail("NATS", str(error), fix)], []


async def _jetstream(bus: NatsBus, url: str, namespace: str) -> Line:
    """Whether the server stores what agents measure; makes the stream for it, as any experiment would."""
    what = "NATS"
    try:
        async with asyncio.timeout(DEADLINE_S):
            await bus.set_up()
            began_s = time.monotonic()
            await bus.get(subjects.term_key(namespace))
            took_s = time.monotonic() - began_s
    except TimeoutError:
        return fail(what, f"{redacted(url)} gives no JetStream within {DEADLINE_S:g} s", STORE_FIX)
    except BusError as error:
        return fail(what, f"{redacted(url)}: {error}", STORE_FIX)
    told = f"{redacted(url)} serves JetStream, and answers in {took_s * 1e3:.1f} ms"
    if took_s > FAR_S:
        return warn(what, told, "a server nearer to controller and agents")
    return ok(what, told)


def agents(here: Sequence[Hello], namespace: str, load: Load, url: str) -> Line:
    """Whether enough agents are there and free."""
    what = "agents"
    free = [hello for hello in here if not hello.busy_with]
    named = ", ".join(_about(hello) for hello in here) or "none"
    told = f"{len(free)} free in namespace {namespace!r}, {load.agents} needed: {named}"
    if len(free) >= load.agents:
        return ok(what, told)
    space = "" if namespace == "default" else f" --namespace {namespace}"
    return fail(what, told, f"start more, or wait for those at work: seatrial-agent --nats {url}{space}")


def clocks(here: Sequence[Hello]) -> list[Line]:
    """How far the agents' clocks are from the one here; a start is corrected by that, as exactly as it is known."""
    known = [hello for hello in here if hello.clock_error_ns]
    if not known:
        return []
    named = ", ".join(
        f"{hello.agent} {hello.clock_offset_ns / 1e6:+,.1f} ± {hello.clock_error_ns / 1e6:.1f} ms" for hello in known
    )
    told = f"this one is ahead of the agents' by {named}"
    if max(hello.clock_error_ns for hello in known) > UNSURE_NS:
        return [warn("clocks", f"{told}; they start that far apart", "a NATS server nearer to the agents")]
    if max(abs(hello.clock_offset_ns) for hello in known) > SPREAD_NS:
        fix = "on each machine: chronyc tracking, or timedatectl set-ntp true"
        return [warn("clocks", f"{told}; starts are corrected, times in logs are not", fix)]
    return [ok("clocks", told)]


def redacted(url: str) -> str:
    """The URL of a server without what it was logged in with."""
    scheme, _, rest = url.rpartition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _about(hello: Hello) -> str:
    state = f", busy with run {hello.busy_with}" if hello.busy_with else ""
    return f"{hello.agent} ({counted(hello.cores, 'core')} on {hello.host}{state})"
