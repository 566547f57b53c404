"""One machine: a private nats-server and agent processes, and their certain end.

A small shell owns the server and its folder and reads a pipe from this process; agents read another. However this
process ends, `kill -9` included, the pipes close: the agents leave, the server stops, the folder goes.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from controller.errors import CouldNotRunError

START_S = 15.0
END_S = 3.0
POLL_S = 0.005
MAX_STORE = 1 << 30
KEEP_BYTES = MAX_STORE // 4  # of the stream, and of the object store
# The shell itself makes the folder, so that there is none without a shell to remove it; the configuration, which holds
# a secret, comes by the pipe up to an empty line. If it does not come whole, nobody is there any more to be served.
_WARDEN = """
dir=$1; shift
trap '' INT HUP TERM
umask 077
mkdir "$dir" || exit
is_whole=
while read -r line; do
  [ -n "$line" ] || { is_whole=1; break; }
  printf '%s\\n' "$line"
done >"$dir/nats.conf"
if [ -n "$is_whole" ]; then
  "$@" -c "$dir/nats.conf" >"$dir/nats.log" 2>&1 &
  server=$!
  while read -r _; do :; done
  kill -TERM "$server" 2>/dev/null
  tries=0
  while kill -0 "$server" 2>/dev/null && [ "$tries" -lt 40 ]; do tries=$((tries + 1)); sleep 0.05; done
  kill -KILL "$server" 2>/dev/null
  wait "$server"
fi
rm -rf "$dir"
"""
_CONFIG = """server_name: seatrial
host: "127.0.0.1"
port: -1
ports_file_dir: "{folder}"
max_payload: 8MB
authorization {{ token: "{token}" }}
jetstream {{ store_dir: "{folder}/jetstream", max_memory_store: 256MB, max_file_store: {max_store} }}

"""


@dataclass(frozen=True)
class LocalBus:
    """A private NATS server of this process."""

    url: str
    version: str


@asynccontextmanager
async def nats_server() -> AsyncIterator[LocalBus]:
    """A NATS server with JetStream on a free port of the loopback, for the length of the block."""
    binary = find("nats-server")
    folder = Path(tempfile.gettempdir()) / f"seatrial-{secrets.token_hex(8)}"
    token = secrets.token_urlsafe(24)
    warden = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        _WARDEN,
        "seatrial-warden",
        str(folder),
        binary,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert warden.stdin is not None
        warden.stdin.write(_CONFIG.format(folder=folder, token=token, max_store=MAX_STORE).encode())
        address, version = await _address(folder, warden)
        yield LocalBus(f"nats://{token}@{address}", version)
    finally:
        await _end(warden)
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def agents(count: int, nats_url: str, namespace: str, loglevel: str) -> AsyncIterator[Sequence[str]]:
    """That many agent processes, by name, for the length of the block."""
    binary = find("seatrial-agent")
    environment = {**os.environ, "SEATRIAL_NATS": nats_url}
    started: list[asyncio.subprocess.Process] = []
    try:
        names = []
        for number in range(count):
            name = f"agent-{number + 1}"
            process = await asyncio.create_subprocess_exec(
                binary,
                "--id",
                name,
                "--namespace",
                namespace,
                "--any-target",
                "--end-with-stdin",
                "--loglevel",
                loglevel,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
            started.append(process)
            names.append(name)
        yield names
    finally:
        await asyncio.gather(*map(_end, started))


def find(name: str) -> str:
    """The path of a program of this environment, or of the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / name
    if beside.is_file():
        return str(beside)
    near = Path(sys.executable).parent / name
    found = str(near) if near.is_file() else shutil.which(name)
    if not found:
        package = "seatrial[agent]" if name == "seatrial-agent" else "seatrial[controller]"
        raise CouldNotRunError(f"{name} is not installed: pip install '{package}'")
    return found


async def _address(folder: Path, warden: asyncio.subprocess.Process) -> tuple[str, str]:
    """Where the server listens, and its version: from the file that it writes when it is up."""
    with suppress(TimeoutError):
        async with asyncio.timeout(START_S):
            while warden.returncode is None:
                address = _ports(folder)
                if address:
                    return address, _version(folder)
                await asyncio.sleep(POLL_S)
    raise CouldNotRunError(f"nats-server did not start within {START_S:g} s: {_last_words(folder)}")


def _ports(folder: Path) -> str:
    for path in folder.glob("*.ports"):
        with suppress(ValueError, LookupError, OSError):  # not fully written yet
            return str(json.loads(path.read_text(encoding="utf-8"))["nats"][0]).removeprefix("nats://")
    return ""


def _version(folder: Path) -> str:
    for line in _log_lines(folder):
        if "Version:" in line:
            return line.rpartition("Version:")[2].strip()
    return ""


def _log_lines(folder: Path) -> list[str]:
    with suppress(OSError):
        return (folder / "nats.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return []


def _last_words(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder} could not be made"
    return (_log_lines(folder) or ["it said nothing"])[-1]


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close the pipe, and see the process gone; what does not go is killed with its group."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(END_S):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    with suppress(ProcessLookupError, PermissionError):  # a server whose shell was killed is still in its group
        os.killpg(process.pid, signal.SIGKILL)
