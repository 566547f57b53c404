"""A machine as a place for agents: what was found, held against the load. Pure; `facts` does the looking."""

from collections.abc import Mapping
from dataclasses import dataclass

from controller.doctor.line import Line, Load, counted, fail, ok, warn
from controller.tasks.crew import RATE_PER_AGENT
from protocol.histogram import merged
from protocol.messages import Machine

SPARE_FILES = 64  # the agent's own: the bus, the timer, logs, libraries
TIME_WAIT_S = 60
BUSY = 0.5  # of the cores
LATE_NS = 1_000_000
LATE_TIMER_NS = 3_000_000  # where the pacer has nothing finer than steps of a millisecond
MIB = 1 << 20
STATES = {"01": "established", "06": "time-wait"}


@dataclass(frozen=True)
class Ports:
    """The local ports that connections may take, and those of them that are taken, by (remote port, state)."""

    low: int
    high: int
    taken: Mapping[tuple[int, str], int]

    @property
    def size(self) -> int:
        """How many there are."""
        return max(0, self.high - self.low + 1)

    def in_use(self, remote_port: int | None, state: str = "") -> int:
        """How many are taken, towards a remote port (None: any), in a state (empty: any)."""
        return sum(
            count
            for (port, its_state), count in self.taken.items()
            if remote_port in (None, port) and state in ("", its_state)
        )


def taken_ports(tables: str, low: int, high: int) -> dict[tuple[int, str], int]:
    """Local ports of the range in use, by (remote port, state), from the rows of /proc/net/tcp and tcp6."""
    found: dict[tuple[int, str], int] = {}
    for row in tables.splitlines():
        words = row.split()
        if len(words) < 4 or not words[0].rstrip(":").isdigit():
            continue
        local, remote, state = (int(words[1][-4:], 16), int(words[2][-4:], 16), words[3])
        if low <= local <= high and remote:
            key = (remote, STATES.get(state, "other"))
            found[key] = found.get(key, 0) + 1
    return found


def files(limit: int, load: Load, *, is_macos: bool = False) -> Line:
    """Whether an agent may open what it needs; the limit is the one after the agent has raised it, 0 is none."""
    what = "open files"
    certain, most = (load.each(count) + SPARE_FILES for count in (load.certain, load.connections))
    told = f"an agent may open {limit:,}" if limit else "no limit"
    fix = f"as root: ulimit -n {most}; of a service: LimitNOFILE={most}; of a container: --ulimit nofile={most}"
    if is_macos:
        fix = f"sudo sysctl -w kern.maxfilesperproc={most}; ulimit -n {most}"
    if limit and limit < certain:
        return fail(what, f"{told}, {counted(load.each(load.certain), 'connection')} and its own need {certain:,}", fix)
    if limit and limit < most:
        return warn(what, f"{told}, up to {counted(load.each(load.connections), 'connection')} need {most:,}", fix)
    return ok(what, told if not load.certain else f"{told}, up to {most:,} are needed")


def ports(found: Ports | None, load: Load, addresses: int = 1, *, is_reused: bool = False) -> Line:
    """Whether there are local ports for all connections; each of the target's addresses has the range to itself."""
    what = "local ports"
    if found is None:
        return ok(what, "this platform doesn't tell which there are")
    used, waiting = found.in_use(load.port), found.in_use(load.port, "time-wait")
    towards = "" if load.port is None else f" towards port {load.port}"
    told = f"{found.size:,} ({found.low} to {found.high}), {used:,} in use{towards}, {waiting:,} of them in TIME_WAIT"
    free = found.size * max(1, addresses) - used
    widen = 'sudo sysctl -w net.ipv4.ip_local_port_range="1024 65535"'
    if load.certain > free:
        return fail(what, f"{told}; {counted(load.certain, 'connection')} need one each", widen)
    if load.connections > free:
        return warn(what, f"{told}; up to {counted(load.connections, 'connection')} need one each", widen)
    if not load.keep_alive:
        return _ports_of_short_connections(f"{told}; ", load, free, widen, is_reused=is_reused)
    if load.port is not None and waiting > found.size // 2:
        return warn(what, told, f"wait {TIME_WAIT_S} s, or: sudo sysctl -w net.ipv4.tcp_tw_reuse=1")
    return ok(what, told)


def _ports_of_short_connections(told: str, load: Load, free: int, widen: str, *, is_reused: bool) -> Line:
    """A connection a request leaves its port in TIME_WAIT where this side closes first."""
    what = "local ports"
    if is_reused:
        return ok(what, f"{told}those in TIME_WAIT are used again after 1 s")
    most = free // TIME_WAIT_S
    if load.rate_per_s is None or load.rate_per_s > most:
        asked = "without a rate" if load.rate_per_s is None else f"at {load.rate_per_s:,g} requests/s"
        return warn(
            what,
            f"{told}one connection a request {asked} may use them up: they last for {most:,} requests/s",
            f"keepAlive: true; or sudo sysctl -w net.ipv4.tcp_tw_reuse=1; or {widen}",
        )
    return ok(what, f"{told}enough for {most:,} requests/s with one connection each")


def cores(count: int, quota: float, load: Load) -> Line:
    """Whether each agent has a core: it is one process, and fills one."""
    what = "cores"
    usable = min(count, quota) if quota else count
    told = counted(count, "core")
    told += f", of which the CPU quota allows {quota:g}" if quota else ", no CPU quota"
    carried = int(usable * RATE_PER_AGENT)
    if usable < load.agents:
        told += f"; {counted(load.agents, 'agent')} {'wants' if load.agents == 1 else 'want'} a core each"
        if quota and quota < load.agents <= count:
            fix = f"of a container: --cpus={load.agents}; in Kubernetes: resources.limits.cpu={load.agents}"
            return warn(what, told, fix)
        return warn(what, told, f"--agents {max(1, int(usable))}, or a fleet on more machines: --nats URL")
    if load.rate_per_s is not None and load.rate_per_s > carried:
        told += f"; {load.rate_per_s:,g} requests/s were asked for, they carry about {carried:,}"
        return warn(what, told, "a lower rate, or a fleet on more machines: --nats URL")
    return ok(what, told)


def busy(load_average: float, count: int) -> Line:
    """Whether something else is at work here."""
    told = f"load average {load_average:.1f} on {counted(count, 'core')} in the last minute"
    if load_average > BUSY * count:
        return warn("other work", told, "see what runs: top; end it, or wait until it is done")
    return ok("other work", told)


def pacer(machine: Machine) -> Line:
    """How late a waker like the agent's pacer was, in a sample."""
    what = "timer"
    late = merged([machine.loop_delay])
    if not late.count:
        return fail(what, "it never fired", "run this again; if it stays so, look at the machine's clock: dmesg")
    p99_ns = late.percentile_ns(99)
    told = f"{machine.pacer}, p50 {late.percentile_ns(50) / 1e3:,.0f} µs and p99 {p99_ns / 1e3:,.0f} µs late"
    if p99_ns > (LATE_NS if machine.pacer == "timerfd" else LATE_TIMER_NS):
        return warn(what, told, "end other work here; on a virtual machine, look at stolen time: vmstat 1")
    return ok(what, told)


def space(what: str, path: str, free: int, *, least: int, wanted: int) -> Line:
    """Whether a folder has room, in bytes."""
    told = f"{free // MIB:,} MiB free in {path}"
    if free < least:
        return fail(what, f"{told}, at least {least // MIB:,} MiB are needed", f"make room: df -h {path}")
    if free < wanted:
        return warn(what, f"{told}, a long run may need {wanted // MIB:,} MiB", f"make room: df -h {path}")
    return ok(what, told)
