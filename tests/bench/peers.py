"""Other load generators: how each is asked for a closed load, and where it prints what it reached."""

import csv
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from machine import Cores, NotRunError, first_version, program
from processes import Ran, run

SPARE_S = 30.0  # for a peer's own start and end
_LOCUSTFILE = """
from locust import FastHttpUser, constant, task
class User(FastHttpUser):
    wait_time = constant(0)
    @task
    def get(self):
        self.client.get("/")
"""


@dataclass(frozen=True)
class Closed:
    """A closed load: as many requests as connections (times streams) are always in flight."""

    url: str
    connections: int
    seconds: int
    streams: int = 1


@dataclass(frozen=True)
class Made:
    """What a generator reached."""

    rate_per_s: float
    requests: float
    cpu_s: float

    @property
    def cpu_us(self) -> float:
        """CPU time per request, in µs."""
        return self.cpu_s * 1e6 / max(self.requests, 1)


@dataclass(frozen=True)
class Peer:
    """Another load generator."""

    name: str
    program: str
    about: tuple[str, ...]  # arguments that make it tell its version; hey has none
    command: Callable[[Closed], Sequence[str]]
    read: Callable[[str, Closed], tuple[float, float]]  # output -> requests per second, requests
    bad: str = ""  # what its output holds when requests failed

    def version(self) -> str:
        """Its version; `NotRunError` if it is not installed."""
        binary = program(self.program)
        return first_version([binary, *self.about]) if self.about else ""

    def load(self, load: Closed, cores: Cores) -> Made:
        """Make a load on the client's core."""
        command = self.command(load)
        ran = run([program(command[0]), *command[1:]], load.seconds + SPARE_S, core=cores.client)
        return self._made(ran, load)

    def _made(self, ran: Ran, load: Closed) -> Made:
        failed = re.search(self.bad, ran.out) if self.bad else None
        if failed:
            raise NotRunError(f"{self.name}: requests failed: {failed[0].strip()}")
        try:
            rate, requests = self.read(ran.out, load)
        except (LookupError, ValueError) as error:
            said = (ran.err.strip() or ran.out.strip()).splitlines()[-1:]
            raise NotRunError(f"{self.name} told no rate, but ended with {ran.code}: {said}") from error
        return Made(rate, requests, ran.cpu_s)


def number(pattern: str, text: str) -> float:
    """The number that a pattern's first group finds; `LookupError` if there is none."""
    found = re.search(pattern, text)
    if found is None:
        raise LookupError(pattern)
    return float(found[1])


def read_wrk(out: str, _load: Closed) -> tuple[float, float]:
    """What wrk says."""
    return number(r"Requests/sec:\s+([\d.]+)", out), number(r"(\d+) requests in", out)


def read_hey(out: str, load: Closed) -> tuple[float, float]:
    """What hey says; it tells no count."""
    rate = number(r"Requests/sec:\s+([\d.]+)", out)
    return rate, rate * load.seconds


def read_h2load(out: str, _load: Closed) -> tuple[float, float]:
    """What h2load says."""
    return number(r"finished in [\d.]+m?s, ([\d.]+) req/s", out), number(r"requests: \d+ total.* (\d+) done", out)


def read_ab(out: str, _load: Closed) -> tuple[float, float]:
    """What ab says."""
    return number(r"Requests per second:\s+([\d.]+)", out), number(r"Complete requests:\s+(\d+)", out)


def read_s_time(out: str, _load: Closed) -> tuple[float, float]:
    """What `openssl s_time` says: connections over real time, not over its own CPU time."""
    count = number(r"(\d+) connections in \d+ real seconds", out)
    return count / number(r"\d+ connections in (\d+) real seconds", out), count


def _wrk(load: Closed) -> list[str]:
    return ["wrk", "-t1", f"-c{load.connections}", f"-d{load.seconds}s", load.url]


def _hey(load: Closed) -> list[str]:
    return ["hey", "-cpus", "1", "-z", f"{load.seconds}s", "-c", str(load.connections), load.url]


def _h2load(load: Closed) -> list[str]:
    version = ["--h1"] if load.streams == 1 else ["-m", str(load.streams)]
    return ["h2load", *version, "-t1", "-c", str(load.connections), "-D", str(load.seconds), load.url]


def _ab(load: Closed) -> list[str]:
    count = str(load.seconds * 200_000)  # more than it can send: the time decides
    return ["ab", "-q", "-k", "-t", str(load.seconds), "-n", count, "-c", str(load.connections), load.url]


def _ab_new(load: Closed) -> list[str]:
    return [word for word in _ab(load) if word != "-k"]


def _h2load_new(load: Closed) -> list[str]:
    """One request per client, so one handshake each; all of them at once, as it has no other way."""
    count = str(min(500 * load.seconds, 4000))
    return ["h2load", "--h1", "-t1", "-m1", "-n", count, "-c", count, load.url]


def _s_time(load: Closed) -> list[str]:
    address = load.url.removeprefix("https://").rstrip("/")
    return ["openssl", "s_time", "-new", "-connect", address, "-www", "/", "-time", str(load.seconds)]


WRK = Peer("wrk", "wrk", ("-v",), _wrk, read_wrk, r"Socket errors:.*|Non-2xx.*")
HEY = Peer("hey", "hey", (), _hey, read_hey, r"Error distribution:[\s\S]*")
H2LOAD = Peer("h2load", "h2load", ("--version",), _h2load, read_h2load, r"[1-9]\d* (failed|errored|timeout)")
AB = Peer("ab", "ab", ("-V",), _ab, read_ab, r"Non-2xx responses:.*|Failed requests:\s+[1-9].*")
AB_NEW = Peer("ab", "ab", ("-V",), _ab_new, read_ab, r"Non-2xx responses:.*|Failed requests:\s+[1-9].*")
H2LOAD_NEW = Peer("h2load", "h2load", ("--version",), _h2load_new, read_h2load, r"[1-9]\d* (failed|errored|timeout)")
S_TIME = Peer("openssl s_time", "openssl", ("version",), _s_time, read_s_time)


class Locust(Peer):
    """Locust's FastHttpUser; it writes what it reached to a file."""

    def load(self, load: Closed, cores: Cores) -> Made:
        """See `Peer`."""
        binary = locust_program()
        with tempfile.TemporaryDirectory(prefix="seatrial-bench-") as name:
            folder = Path(name)
            (folder / "user.py").write_text(_LOCUSTFILE, encoding="utf-8")
            users = str(load.connections)
            command = [binary, "-f", str(folder / "user.py"), "--headless", "-u", users, "-r", users]
            command += ["-t", f"{load.seconds}s", "-H", load.url.rstrip("/"), "--csv", str(folder / "told")]
            ran = run([*command, "--only-summary"], load.seconds + SPARE_S, core=cores.client)
            told = folder / "told_stats.csv"
            out = told.read_text(encoding="utf-8") if told.exists() else ""
        return self._made(Ran(ran.code, out, ran.err, ran.cpu_s), load)

    def version(self) -> str:
        """See `Peer`."""
        return first_version([locust_program(), "--version"])


def locust_program() -> str:
    """Locust, beside this Python or on the PATH."""
    beside = Path(sys.executable).with_name("locust")
    return str(beside) if beside.is_file() else program("locust")


def read_locust(out: str, _load: Closed) -> tuple[float, float]:
    """What locust writes for all requests together."""
    [total] = [row for row in csv.DictReader(out.splitlines()) if row["Name"] == "Aggregated"]
    if int(total["Failure Count"]):
        raise ValueError(f"{total['Failure Count']} requests failed")
    return float(total["Requests/s"]), float(total["Request Count"])


LOCUST = Locust("locust FastHttpUser", "locust", ("--version",), lambda _load: [], read_locust)
ALL = (WRK, HEY, H2LOAD, AB, LOCUST, S_TIME)


def installed(peers: Sequence[Peer] = ALL) -> tuple[dict[str, str], dict[str, str]]:
    """Of the peers, those that are here with their versions, and those that are not with the reason."""
    here: dict[str, str] = {}
    missing: dict[str, str] = {}
    for peer in peers:
        try:
            here[peer.name] = peer.version()
        except NotRunError as error:
            missing[peer.name] = str(error)
    return here, missing
