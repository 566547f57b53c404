"""Programs pinned to a core: run to their end or for the length of a block, and ended by their process id."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from machine import NotRunError, program

END_S = 5.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Ran:
    """A program that has ended, and the CPU time of it and its children."""

    code: int
    out: str
    err: str
    cpu_s: float


def run(
    command: Sequence[str], timeout_s: float, *, core: int | None = None, environment: Mapping[str, str] | None = None
) -> Ran:
    """A program, to its end. Nothing else of ours may end meanwhile: its CPU time is what our children add up to."""
    before_s = _children_cpu_s()
    with started(command, core=core, environment=environment) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as expired:
            raise NotRunError(f"{command[0]} did not end within {timeout_s:g} s") from expired
    return Ran(process.returncode, out, err, _children_cpu_s() - before_s)


@contextmanager
def started(
    command: Sequence[str], *, core: int | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A program under way, gone with its process group when the block ends."""
    pinned = [] if core is None else [program("taskset"), "-c", str(core)]
    process = subprocess.Popen(
        [*pinned, *command],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C comes to the bench alone, which ends all others
    )
    try:
        yield process
    finally:
        _end(process)


def cpu_s(pid: int) -> float:
    """The CPU time, user and system, that a living process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss_mib(pid: int) -> float:
    """The resident memory of a living process."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _end(process: subprocess.Popen[str]) -> None:
    """Ask it to leave, by its standard input and by SIGTERM; kill the group of one that does not."""
    if process.poll() is None:
        with suppress(OSError):  # it may have closed its end
            if process.stdin is not None and not process.stdin.closed:
                process.stdin.close()
        process.terminate()
        deadline = time.monotonic() + END_S
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
