"""What is said of where the time of requests went, and of their bytes and connections, the same in every format."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from controller.experiment.result import AgentResult, Distribution, Sample, SegmentResult, TargetResult
from controller.report.document import Place
from controller.report.numbers import figure, share, size
from controller.report.stages import connections_text, measured_length_s

PHASES = (
    ("connect", "connect", "of each new connection"),
    ("tls", "TLS", "of each new connection"),
    ("ttfb", "first byte", "sent until the first byte came"),
    ("body", "body", "first byte until done"),
)
TIMING_PARTS = ("p50", "p99", "max")
OF_CONNECTIONS = ("connect", "tls")
BARS = (("Each request", ("ttfb", "body")), ("Each new connection", OF_CONNECTIONS))
MOST_ADDRESSES = 8
TRACE_KINDS = 2
MOST_TRACES = 6


@dataclass(frozen=True)
class Phase:
    """One part of the time of a request, or of a connection."""

    key: str
    name: str
    note: str
    spread: Distribution


@dataclass(frozen=True)
class Bar:
    """How long something took on average, and the shares of its parts: key, name, msec, percent."""

    name: str
    mean_ms: float
    parts: tuple[tuple[str, str, float, float], ...]


def phases(place: Place) -> list[Phase]:
    """The timing split, as far as it was measured; the targets of a mix share their connections."""
    return [
        Phase(key, name, note, getattr(place.target.clocks, key))
        for key, name, note in PHASES
        if getattr(place.target.clocks, key).count and not (place.is_part and key in OF_CONNECTIONS)
    ]


def bars(place: Place) -> list[Bar]:
    """The averages of the timing split: unlike percentiles they add up."""
    found = {phase.key: phase for phase in phases(place) if phase.spread.mean is not None}
    made = []
    for name, keys in BARS:
        parts = [(found[key].key, found[key].name, found[key].spread.mean or 0.0) for key in keys if key in found]
        total = sum(mean for _, _, mean in parts)
        if 0 < total < math.inf:
            shares = tuple((key, label, mean, round(mean / total * 100, 2)) for key, label, mean in parts)
            made.append(Bar(name, total, shares))
    return made


def has_new_facts(place: Place) -> bool:
    """Whether the target tells more of its requests than results of old did."""
    return bool(phases(place) or place.target.redirects or place.target.addresses)


def facts(place: Place) -> list[tuple[str, str]]:
    """What went over the wire, and over which connections: name and value."""
    segment, target = place.segment, place.target
    seconds = measured_length_s(segment)
    found = [("Sent", _flow(target.bytes_out, seconds)), ("Received", _flow(target.bytes_in, seconds))]
    if target.redirects:
        found.append(("Redirects followed", figure(target.redirects, group=True)))
    return found if place.is_part else [*found, *_connection_facts(segment, target)]


def _connection_facts(segment: SegmentResult, target: TargetResult) -> list[tuple[str, str]]:
    found = [("Connections", _connections(segment)), ("Reconnects", figure(target.reconnects, group=True))]
    if target.remotes or target.addresses:
        found.append(("Served by", addresses_text(target)))
    return found


def _flow(count: int, seconds: float) -> str:
    return f"{size(count)} ({size(count / seconds, digits=3)}/s)" if count and seconds else size(count)


def _connections(segment: SegmentResult) -> str:
    text = connections_text(segment)
    return f"{text} with {figure(segment.streams)} streams each" if segment.streams > 1 else text


def addresses_text(target: TargetResult) -> str:
    """The remote addresses that answered, and how many the name has where that is known."""
    count = len(target.remotes)
    listed = ", ".join(target.remotes[:MOST_ADDRESSES])
    more = f" and {count - MOST_ADDRESSES} more" if count > MOST_ADDRESSES else ""
    if not target.addresses:
        return listed + more
    words = "the only address" if target.addresses == count == 1 else f"{count} of the name's {_addresses(target)}"
    return f"{words}: {listed}{more}" if count else f"none; the name has {_addresses(target)}"


def _addresses(target: TargetResult) -> str:
    return "1 address" if target.addresses == 1 else f"{target.addresses} addresses"


def tells_of_machine(agent: AgentResult) -> bool:
    """Whether the agent told more of the machine under it than agents of old did."""
    return any((agent.rss_mib is not None, agent.files_limit, agent.ports_limit, agent.throttled, agent.files))


def busiest(agents: Sequence[AgentResult]) -> list[AgentResult]:
    """Those that told of the machine under them, the ones that were held up or had most to do first."""
    told = [agent for agent in agents if tells_of_machine(agent)]
    return sorted(told, key=lambda agent: (-agent.throttled, -(agent.cpu_share or 0.0)))


def cpu_text(agent: AgentResult, absent: str) -> str:
    """The share of one core, and the quota where there is one: `48% (quota 50%)`."""
    if agent.cpu_share is None:
        return absent
    quota = f" (quota {share(agent.cpu_quota, 1)})" if agent.cpu_quota is not None else ""
    return f"{share(agent.cpu_share, 1)}{quota}"


def throttled_text(agent: AgentResult, absent: str) -> str:
    """How often and how long the CPU quota held it up."""
    return (
        f"{figure(agent.throttled, group=True)}×, {figure(agent.throttled_ms, digits=3)} ms"
        if agent.throttled
        else absent
    )


def used_text(used: int, limit: int, absent: str) -> str:
    """So many of a limit: `212 of 1,024`; of limits nobody reaches only what was used."""
    if not limit:
        return figure(used, group=True) if used else absent
    return f"{figure(used, group=True)} of {figure(limit, group=True)}"


def memory_text(agent: AgentResult, absent: str) -> str:
    """Resident memory at the end."""
    return absent if agent.rss_mib is None else f"{figure(agent.rss_mib, digits=3)} MiB"


def machine_text(agent: AgentResult) -> str:
    """All of that in one line."""
    pairs = (
        ("CPU", cpu_text(agent, "")),
        ("throttled", throttled_text(agent, "")),
        ("files", used_text(agent.files, agent.files_limit, "")),
        ("ports", used_text(agent.ports, agent.ports_limit, "")),
        ("memory", memory_text(agent, "")),
    )
    return ", ".join(f"{name} {text}" for name, text in pairs if text)


def traced(target: TargetResult) -> list[Sample]:
    """Some samples that can be looked up by their trace: the first ones of each kind."""
    seen: dict[str, int] = {}
    found = []
    for sample in target.samples:
        if sample.trace and seen.setdefault(sample.kind, 0) < TRACE_KINDS:
            seen[sample.kind] += 1
            found.append(sample)
    return found[:MOST_TRACES]


def sample_line(sample: Sample) -> str:
    """A sample that can be looked up, in one line."""
    status = f", status {sample.status}" if sample.status is not None else ""
    first = f", first byte after {figure(sample.ttfb_ms)} ms" if sample.ttfb_ms is not None else ""
    return f"{sample.kind} at {figure(sample.planned_s)} s: {figure(sample.response_ms)} ms{first}{status}, trace {sample.trace}"
