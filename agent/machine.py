"""What the machine lets this agent have: descriptors, ports, CPU quota, and how often the quota held it up.

All is read from /proc and the cgroup files, once a second. What a platform does not tell is 0. Who is to blame for what
is decided at the controller.
"""

import os
import resource
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import msgspec

from protocol.messages import Machine

NS_PER_US = 1000
_OPEN_MAX = 10_240  # the most that macOS takes where it names no limit
_PROC = Path("/proc")
_PORT_RANGE = _PROC / "sys/net/ipv4/ip_local_port_range"
Read = Callable[[Path], str]


@dataclass(frozen=True)
class Cgroup:
    """Where the CPU controller keeps its files for this process: its own folder, and those around it."""

    version: int
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class Throttling:
    """How often the CPU quota held the process up, and for how long, added up over its threads' cores."""

    count: int = 0
    ns: int = 0

    def __add__(self, other: "Throttling") -> "Throttling":
        return Throttling(self.count + other.count, self.ns + other.ns)

    def since(self, earlier: "Throttling") -> "Throttling":
        """What came on top; nothing if the counters began anew, as they do when a group is made again."""
        return Throttling(max(0, self.count - earlier.count), max(0, self.ns - earlier.ns))


def cgroup_of(cgroup: str, mountinfo: str) -> Cgroup | None:
    """Where to look, from /proc/self/cgroup and /proc/self/mountinfo; None without a CPU controller.

    A mount may show only a part of the hierarchy: a container sees its own group as the root.
    """
    paths = _memberships(cgroup)
    found: dict[int, Cgroup] = {}
    for line in mountinfo.splitlines():
        mount, _, kind = line.partition(" - ")
        fields, about = mount.split(), kind.split()
        if len(fields) < 5 or len(about) < 3:
            continue
        root, point = _unescaped(fields[3]), _unescaped(fields[4])
        if about[0] == "cgroup2" and "" in paths:
            found[2] = Cgroup(2, _upwards(paths[""], root, point))
        elif about[0] == "cgroup" and "cpu" in about[2].split(",") and "cpu" in paths:
            found[1] = Cgroup(1, _upwards(paths["cpu"], root, point))
    return found.get(1) or found.get(2)  # where both are mounted, version 1 has the CPU controller if it has a `cpu`


def quota_v2(cpu_max: str) -> float:
    """Cores allowed by a `cpu.max`; 0 means no quota."""
    words = cpu_max.split()
    if len(words) != 2 or words[0] == "max":
        return 0.0
    return _share(words[0], words[1])


def quota_v1(quota_us: str, period_us: str) -> float:
    """Cores allowed by `cpu.cfs_quota_us` and `cpu.cfs_period_us`; 0 means no quota."""
    return _share(quota_us.strip(), period_us.strip())


def throttling(cpu_stat: str) -> Throttling:
    """What a `cpu.stat` says, of either version."""
    values = {name: int(value) for name, _, value in map(_word_pair, cpu_stat.splitlines()) if value.isdigit()}
    ns = values.get("throttled_usec", 0) * NS_PER_US or values.get("throttled_time", 0)
    return Throttling(values.get("nr_throttled", 0), ns)


def ports_in(port_range: str) -> int:
    """How many ports a `low high` range has, both ends included; 0 if it is none."""
    words = port_range.split()
    if len(words) != 2 or not all(word.isdigit() for word in words):
        return 0
    return max(0, int(words[1]) - int(words[0]) + 1)


def raise_files_limit() -> int:
    """The number of descriptors this process may have open, after it was raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = [hard] if hard != resource.RLIM_INFINITY else [hard, _OPEN_MAX]
    for limit in wanted:
        if soft != resource.RLIM_INFINITY and (limit == resource.RLIM_INFINITY or limit > soft):
            with suppress(OSError, ValueError):  # macOS refuses more than its kernel has
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                break
    return files_limit()


def files_limit() -> int:
    """How many descriptors this process may have open; 0 means that there is no limit."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if soft == resource.RLIM_INFINITY else soft


def files_open() -> int:
    """How many descriptors are open, without listing them: of 10,000, that would stop the load for 20 ms.

    Linux tells from 6.2 on. Elsewhere it is the lowest one that is free: too few where there are gaps below others, and
    exact when none is left, which is when it matters.
    """
    with suppress(OSError):
        told = (_PROC / "self/fd").stat().st_size
        if told:
            return told
    try:
        lowest = os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return files_limit()
    os.close(lowest)
    return lowest


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace")


@dataclass
class Machinery:
    """The gauges of one segment: `interval` each second, `total` at its end.

    Both give a `Machine` with its throttling, descriptors, ports, quota and memory filled in, and the rest left alone.
    """

    read: Read = _read
    _cgroup: Cgroup | None = None
    _first: Throttling = field(default_factory=Throttling)
    _last: Throttling = field(default_factory=Throttling)
    _most: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        self._cgroup = self._find_cgroup()
        self._first = self._last = self._throttling()
        self._quota = self._cpu_quota()
        self._ports_limit = ports_in(self._text(_PORT_RANGE))

    def interval(self, ports: int = 0) -> Machine:
        """What holds since the last call, or since the start; `ports` is how many sockets to targets are open."""
        throttled = self._throttling()
        machine = Machine(
            throttled=throttled.since(self._last).count,
            throttled_ns=throttled.since(self._last).ns,
            files=files_open(),
            files_limit=files_limit(),
            ports=ports,
            ports_limit=self._ports_limit,
            cpu_quota=self._quota,
            rss=self._rss(),
        )
        self._last = throttled
        self._most = msgspec.structs.replace(
            machine,
            files=max(machine.files, self._most.files),
            ports=max(machine.ports, self._most.ports),
            rss=max(machine.rss, self._most.rss),
        )
        return machine

    def total(self, ports: int = 0) -> Machine:
        """The same since the start: throttling in all, and the most of what goes up and down."""
        self.interval(ports)
        throttled = self._last.since(self._first)
        return msgspec.structs.replace(self._most, throttled=throttled.count, throttled_ns=throttled.ns)

    def _find_cgroup(self) -> Cgroup | None:
        return cgroup_of(self._text(_PROC / "self/cgroup"), self._text(_PROC / "self/mountinfo"))

    def _throttling(self) -> Throttling:
        """Of all groups that the process is in: each may have a quota of its own, and holds up all inside it."""
        folders = self._cgroup.folders if self._cgroup else ()
        return sum((throttling(self._text(folder / "cpu.stat")) for folder in folders), Throttling())

    def _cpu_quota(self) -> float:
        if self._cgroup is None:
            return 0.0
        quotas = [self._quota_of(folder, self._cgroup.version) for folder in self._cgroup.folders]
        return min((quota for quota in quotas if quota), default=0.0)

    def _quota_of(self, folder: Path, version: int) -> float:
        if version == 2:
            return quota_v2(self._text(folder / "cpu.max"))
        return quota_v1(self._text(folder / "cpu.cfs_quota_us"), self._text(folder / "cpu.cfs_period_us"))

    def _rss(self) -> int:
        words = self._text(_PROC / "self/statm").split()
        if len(words) > 1 and words[1].isdigit():
            return int(words[1]) * resource.getpagesize()
        # The most so far stands for the present where that is not told; in bytes on macOS, else in KiB.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def _text(self, path: Path) -> str:
        try:
            return self.read(path)
        except OSError:  # another platform, or a group that has gone
            return ""


def _memberships(cgroup: str) -> Mapping[str, str]:
    """The path of the process's group by controller; that of version 2 has no name."""
    paths: dict[str, str] = {}
    for line in cgroup.splitlines():
        _number, _, rest = line.partition(":")
        names, colon, path = rest.partition(":")
        if colon:
            paths.update(dict.fromkeys(names.split(","), path))
    return paths


def _upwards(path: str, root: str, point: str) -> tuple[Path, ...]:
    """The folder of a group below a mount point, and those above it; the mount point alone where it lies elsewhere."""
    inside = PurePosixPath(path)
    below = inside.relative_to(root) if inside.is_relative_to(root) else PurePosixPath()
    if ".." in below.parts:
        below = PurePosixPath()
    own = Path(point) / below
    return (own, *[parent for parent in own.parents if parent.is_relative_to(point)])


def _unescaped(text: str) -> str:
    """A path as mountinfo writes it: spaces and backslashes are octal there."""
    return text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def _share(quota: str, period: str) -> float:
    if not quota.isdigit() or not period.isdigit() or not int(period):
        return 0.0
    return int(quota) / int(period)


def _word_pair(line: str) -> tuple[str, str, str]:
    return line.strip().partition(" ")
