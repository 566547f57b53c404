"""The machine: which core does what, what it is called, and how many files may be open."""

import os
import platform
import resource
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


class NotRunError(Exception):
    """A part of the bench that can't be run here, or by this version: the message says why."""


@dataclass(frozen=True)
class Cores:
    """Who has which core. `rest` is for the controller and NATS: the server's core where there are only two."""

    client: int
    server: int
    rest: int

    @staticmethod
    def of_this_machine() -> "Cores":
        """The first cores that this process may use; the process itself, and what it starts, moves to `rest`."""
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            raise NotRunError("the bench needs two cores: one for the client, one for the server")
        cores = Cores(usable[0], usable[1], usable[2] if len(usable) > 2 else usable[1])
        os.sched_setaffinity(0, {cores.rest})
        return cores

    def __str__(self) -> str:
        """Who runs where, for people."""
        return (
            f"the agent or the peer on core {self.client}, the server on core {self.server}, "
            f"the controller and nats-server on core {self.rest}"
        )


def raise_open_files() -> int:
    """How many files each process may open from now on."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def program(name: str) -> str:
    """The path of a program; `NotRunError` if it is not installed."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
    if path is None:
        raise NotRunError(f"{name} is not installed")
    return path


def description(cores: Cores, peers: dict[str, str], seatrial: str) -> list[str]:
    """What the figures were measured on, line by line."""
    peer_names = ", ".join(f"{name} {known}".strip() for name, known in peers.items())
    return [
        f"Seatrial {seatrial}, Python {platform.python_version()}, uvloop {version('uvloop')}",
        f"{_cpu()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, {os.getloadavg()[0]:.1f} load before",
        f"Cores: {cores}",
        f"Peers: {peer_names or 'none'}",
        f"Measured on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    ]


def first_version(command: list[str]) -> str:
    """The first word with digits and dots in what a program says of itself; empty if there is none."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, stdin=subprocess.DEVNULL)
    words = (ran.stdout + " " + ran.stderr).replace("/", " ").split()
    return next((word.strip("v,<|>$") for word in words if "." in word and any(map(str.isdigit, word))), "")


def _cpu() -> str:
    with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
