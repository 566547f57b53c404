"""Seatrial as it really runs: one agent process on the client's core, a private nats-server, and the controller.

The agent stays between runs, as agents of a fleet do. Its CPU time counts from before the controller starts until it has
ended, so that connecting, shards and the manifest are all in it.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from machine import Cores, NotRunError
from processes import cpu_s, started

from controller.errors import CouldNotRunError
from controller.local import find

AGENT = "bench"
START_S = 15.0
SPARE_S = 60.0
POLL_S = 0.1
Document = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One run, as its result has it, with the agent's CPU time."""

    segment: Document
    cpu_s: float

    @property
    def target(self) -> Document:
        """The only target."""
        [target] = self.segment["targets"]
        found: Document = target
        return found

    @property
    def tried(self) -> int:
        """Requests sent."""
        return int(self.target["account"]["tried"])

    @property
    def rate_per_s(self) -> float:
        """Requests per second that were answered as they should be."""
        return float(self.segment["achievedPerS"])

    @property
    def cpu_us(self) -> float:
        """The agent's CPU time per request, in µs."""
        return self.cpu_s * 1e6 / max(self.tried, 1)

    def ms(self, clock: str, percentile: str) -> float:
        """A percentile of a clock, in ms."""
        return float(self.target["clocks"][clock]["percentiles"][percentile])


class Rig:
    """An agent that waits for work, and a controller for each run."""

    def __init__(self, nats_url: str, agent_pid: int, folder: Path) -> None:
        self.agent_pid = agent_pid
        self._environment = {"SEATRIAL_NATS": nats_url}
        self._folder = folder
        self._runs = 0

    def run(self, seconds: int, watch: Callable[[float], None] = lambda _s: None, **http: object) -> Run:
        """One run of an http task with these fields; `watch` is called ten times a second with the seconds since the command's start."""
        self._runs += 1
        folder = self._folder / f"run-{self._runs}"
        folder.mkdir()
        values = {"tasks": ["http"], "http": {"duration": f"{seconds}s", **http}}
        (folder / "values.yaml").write_text(json.dumps(values), encoding="utf-8")
        command = [find("seatrial"), "--loglevel", "error", "launch", "-f", str(folder / "values.yaml")]
        command += ["--runDir", str(folder), "--agents", "1"]
        before_s = cpu_s(self.agent_pid)
        code, err = self._conduct(command, seconds + SPARE_S, watch)
        used_s = cpu_s(self.agent_pid) - before_s
        return Run(_measured(folder / "experiment.yaml", code, err), used_s)

    def _conduct(self, command: list[str], timeout_s: float, watch: Callable[[float], None]) -> tuple[int, str]:
        began = time.monotonic()
        output = self._folder / f"output-{self._runs}"
        # To a file: nobody reads a pipe while the run is watched.
        shell = ["/bin/sh", "-c", 'exec "$@" >"$0" 2>&1', str(output), *command]
        with started(shell, environment=self._environment) as process:
            while process.poll() is None:
                elapsed_s = time.monotonic() - began
                if elapsed_s > timeout_s:
                    raise NotRunError(f"the run did not end within {timeout_s:g} s")
                watch(elapsed_s)
                time.sleep(POLL_S)
        return process.returncode, output.read_text(encoding="utf-8", errors="replace")


@contextmanager
def rig(cores: Cores, folder: Path) -> Iterator[Rig]:
    """A private nats-server and one agent of ours, for the length of the block."""
    try:
        with _bus(folder) as url, _agent(url, cores) as pid:
            yield Rig(url, pid, folder)
    except CouldNotRunError as error:
        raise NotRunError(str(error)) from error


@contextmanager
def _bus(folder: Path) -> Iterator[str]:
    """A NATS server as a fleet has one: `launch` would give it less storage than `--nats` asks for."""
    command = [find("nats-server"), "--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir", str(folder)]
    command += ["--jetstream", "--store_dir", str(folder / "jetstream"), "--log", str(folder / "nats.log")]
    with started(command) as process:
        yield _address(folder / f"nats-server_{process.pid}.ports")


def _address(ports: Path) -> str:
    """Where the server listens: from the file that it writes when it is up."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with suppress(ValueError, LookupError, OSError):  # not there, or not fully written yet
            return str(json.loads(ports.read_text(encoding="utf-8"))["nats"][0])
        time.sleep(0.02)
    raise NotRunError(f"nats-server did not start within {START_S:g} s")


@contextmanager
def _agent(nats_url: str, cores: Cores) -> Iterator[int]:
    command = [find("seatrial-agent"), "--id", AGENT, "--any-target", "--end-with-stdin", "--loglevel", "error"]
    with started(command, core=cores.client, environment={"SEATRIAL_NATS": nats_url}) as process:
        yield process.pid  # taskset becomes the agent: the process is the same


def _measured(path: Path, code: int, output: str) -> Document:
    """The measured segment of a run that went well; `NotRunError` with what went wrong otherwise."""
    if not path.is_file():
        raise NotRunError(f"seatrial ended with {code}: {_why(output)}")
    document = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    result = document.get("result")
    if not result:
        raise NotRunError(f"seatrial ended with {code}: {_why(output)}")
    if result["failure"] or not result["runs"]:
        raise NotRunError(result.get("error") or _why(output))
    [segment] = [one for one in result["runs"][-1]["segments"] if not one["isWarmup"]]
    [target] = segment["targets"]
    account = target["account"]
    if account["errors"] or account["unsent"] or not account["closes"]:
        raise NotRunError(
            f"of {account['planned']} requests {account['errors']} went wrong and {account['unsent']} were not sent: "
            f"{target['errorClasses']}"
        )
    found: Document = segment
    return found


def _why(output: str) -> str:
    """The last that the controller said."""
    said = [line.strip() for line in output.splitlines() if line.strip()]
    with suppress(ValueError, LookupError):
        return str(json.loads(said[-1])["why"])
    return said[-1] if said else "it said nothing"
