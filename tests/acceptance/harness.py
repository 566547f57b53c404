"""Real processes for acceptance tests: each test has a world of its own, and ends everything in it by process id.

A world is a folder and an environment. Its TMPDIR is the mark by which all of its processes are found again, also those
whose parent is gone.
"""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import yaml

SCRIPTS = Path(sysconfig.get_path("scripts"))
TIMEOUT_S = 60.0
TARGET = Path(__file__).with_name("target.py")
Document = dict[str, Any]


@dataclass(frozen=True)
class Process:
    """A living process: no zombie."""

    pid: int
    parent: int
    command: str

    @property
    def name(self) -> str:
        """What it runs, in a word."""
        for word in ("seatrial-agent", "seatrial-warden", "nats-server", "seatrial"):
            if f"/{word}" in self.command or f" {word}" in self.command:
                return word
        return self.command


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str
    took_s: float


class World:
    """A private folder, TMPDIR and environment, and the processes in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir(parents=True)
        self.tmp = folder / "tmp"
        self.tmp.mkdir()
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name != "PYTHONDONTWRITEBYTECODE" and not name.startswith("SEATRIAL_")
        } | {"TMPDIR": str(self.tmp)}
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *command: str, program: str = "seatrial", stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """One of our programs, under way in the world's folder."""
        process = subprocess.Popen(
            [str(SCRIPTS / program), *command],
            cwd=self.folder,
            env=self.environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def run(self, *command: str, timeout_s: float = TIMEOUT_S) -> Ran:
        """`seatrial` with these arguments, to its end."""
        return ended(self.start(*command), timeout_s)

    def load(self, http: Document, slos: Sequence[Document] = (), *flags: str) -> Ran:
        """An experiment of one http task and upper limits, to its end."""
        spec: list[Document] = [{"task": "http", "with": http}]
        if slos:
            spec.append({"task": "assess", "with": {"SLOs": {"upper": list(slos)}}})
        (self.folder / "experiment.yaml").write_text(yaml.safe_dump({"spec": spec}))
        return self.run("run", *flags)

    def shell(self, script: str) -> Ran:
        """A shell script in which our programs are on the PATH."""
        path = f"{SCRIPTS}{os.pathsep}{self.environment.get('PATH', '')}"
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=self.folder,
            env={**self.environment, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return ended(process)

    def interrupt(self, process: subprocess.Popen[str]) -> None:
        """Ctrl-C, as a terminal does it: to the whole foreground group."""
        os.killpg(process.pid, signal.SIGINT)

    def processes(self, name: str = "") -> list[Process]:
        """The living processes of this world, or those with a name."""
        mark = f"TMPDIR={self.tmp}"
        return [one for one in _with_mark(mark) if not name or one.name == name]

    def leftovers(self) -> list[str]:
        """What a run has left in this world: processes, and folders in its TMPDIR."""
        folders = [str(path) for path in self.tmp.iterdir()]
        return [f"{one.pid} {one.command}" for one in self.processes()] + folders

    def document(self) -> Document:
        """experiment.yaml as it is now."""
        found: Document = yaml.load((self.folder / "experiment.yaml").read_text(), yaml.CSafeLoader)
        return found

    def result(self) -> Document:
        """Its result."""
        found: Document = self.document()["result"]
        return found

    def files(self) -> dict[str, bytes]:
        """Everything in the folder."""
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*")}

    def end(self) -> None:
        """Kill what is left, by process id."""
        for one in self.processes():
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        for process in self._started:
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


@contextmanager
def world_in(folder: Path) -> Iterator[World]:
    """A world, which ends with the block."""
    world = World(folder)
    try:
        yield world
    finally:
        world.end()


@dataclass(frozen=True)
class Target:
    """A scripted target (see `target.py`) under way."""

    process: subprocess.Popen[str]
    url: str
    https_url: str = ""

    def stats(self) -> dict[str, Document]:
        """What it has seen, by path."""
        with urlopen(f"{self.url}/stats", timeout=10) as response:
            found: dict[str, Document] = json.load(response)
            return found

    def seen(self, path: str) -> Document:
        """What it has seen on one path."""
        return self.stats().get(path, {"requests": 0, "headers": {}, "bodies": {}, "log": []})

    def received_s(self, path: str) -> list[float]:
        """When each request on one path was complete, from the first of them on."""
        clocks = sorted(received_ns / 1e9 for received_ns, _scripted, _answered in self.seen(path)["log"])
        return [one - clocks[0] for one in clocks]


@contextmanager
def serving(*options: str) -> Iterator[Target]:
    """A scripted target, for the length of the block."""
    process = subprocess.Popen(
        [sys.executable, str(TARGET), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        urls = [line.strip() for line in iter(process.stdout.readline, "\n") if line]
        yield Target(process, *urls)
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def ended(process: subprocess.Popen[str], timeout_s: float = TIMEOUT_S) -> Ran:
    """Wait for a command's end."""
    began = time.monotonic()
    out, err = process.communicate(timeout=timeout_s)
    return Ran(process.returncode, out, err, time.monotonic() - began)


def eventually(holds: Callable[[], object], timeout_s: float, what: str) -> None:
    """Wait until something holds; fail if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.02)


def http_values(url: str, **settings: object) -> list[str]:
    """Flags for `launch` of one http task."""
    return [f"--set=http.{name}={value}" for name, value in {"url": url, **settings}.items()]


def only_target(result: Document) -> Document:
    """The one target that was measured in a result."""
    [run] = result["runs"]
    [segment] = [segment for segment in run["segments"] if not segment["isWarmup"]]
    [target] = segment["targets"]
    found: Document = target
    return found


def count_over(hdr: Sequence[tuple[int, int]], ms: float) -> int:
    """How many samples of (µs, count) buckets are above a latency."""
    return sum(count for us, count in hdr if us > ms * 1000)


def rss_mib(pid: int) -> float:
    """The resident memory of a process, 0 if there is none such."""
    status = Path(f"/proc/{pid}/status")
    if not Path("/proc/self/status").exists():
        told = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
        return int(told.strip() or 0) / 1024
    with suppress(OSError):
        for line in status.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _with_mark(mark: str) -> list[Process]:
    """The living processes of this machine that have the mark in their environment."""
    if Path("/proc/self/environ").exists():
        return [
            one for entry in Path("/proc").iterdir() if entry.name.isdigit() if (one := _linux_process(entry, mark))
        ]
    listed = subprocess.run(
        ["ps", "-axEww", "-o", "pid=,ppid=,command="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines() if mark in line]
    return [Process(int(pid), int(parent), command.partition(f" {mark}")[0]) for pid, parent, command in rows]


def _linux_process(entry: Path, mark: str) -> Process | None:
    try:
        if mark.encode() not in (entry / "environ").read_bytes().split(b"\0"):
            return None
        command = (entry / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
        parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it ended meanwhile, or is not ours to look at
        return None
    return Process(int(entry.name), parent, command)
