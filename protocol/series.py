"""Adds up what was counted: the same sums for an agent's totals, for shards joined in a spool, and for the merge."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from protocol.histogram import Histogram
from protocol.messages import Evidence, Series, SeriesKey

_Key = TypeVar("_Key", str, int)
SLOWEST_KEPT = 10
FAILED_KEPT = 5  # of each class of error
REMOTES_KEPT = 64
BODY_KEPT = 1024


@dataclass
class Tally:
    """The sum of any number of `Series` of one key."""

    key: SeriesKey
    planned: int = 0
    ok: int = 0
    errors: int = 0
    unsent: int = 0
    withdrawn: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    reconnects: int = 0
    redirects: int = 0
    connections: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    started: Counter[int] = field(default_factory=Counter)
    histograms: dict[str, Histogram] = field(default_factory=dict)
    over: dict[str, list[int]] = field(default_factory=dict)
    remotes: dict[str, None] = field(default_factory=dict)
    slow: list[Evidence] = field(default_factory=list)
    failed: list[Evidence] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """Requests for which a connection was sought."""
        return self.ok + self.errors

    def add(self, series: Series) -> None:
        """Count another interval, or another agent."""
        self.planned += series.planned
        self.ok += series.ok
        self.errors += series.errors
        self.unsent += series.unsent
        self.withdrawn += series.withdrawn
        self.bytes_in += series.bytes_in
        self.bytes_out += series.bytes_out
        self.reconnects += series.reconnects
        self.redirects += series.redirects
        self.connections += series.connections
        self.classes.update(series.classes)
        self.statuses.update(series.statuses)
        self.started.update(series.started)
        for name, packed in series.histograms.items():
            self.histogram(name).merge(packed)
        for name, counts in series.over.items():
            self.over[name] = _added(self.over.get(name, []), counts)
        for remote in series.remotes[:REMOTES_KEPT]:
            self.remotes[remote] = None
        self.slow = slowest((*self.slow, *series.slow))
        self.failed = first_failures((*self.failed, *series.failed))

    def histogram(self, name: str) -> Histogram:
        """The histogram of a `clock.fate`, empty if nothing was recorded in it."""
        if name not in self.histograms:
            self.histograms[name] = Histogram()
        return self.histograms[name]

    def series(self) -> Series:
        """The sum, ready to travel."""
        return Series(
            key=self.key,
            planned=self.planned,
            ok=self.ok,
            errors=self.errors,
            unsent=self.unsent,
            withdrawn=self.withdrawn,
            classes=_sorted(self.classes),
            statuses=_sorted(self.statuses),
            started=_sorted(self.started),
            histograms={name: one.pack() for name, one in sorted(self.histograms.items()) if one.count},
            over={name: tuple(counts) for name, counts in sorted(self.over.items())},
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            reconnects=self.reconnects,
            redirects=self.redirects,
            connections=self.connections,
            remotes=tuple(sorted(self.remotes)[:REMOTES_KEPT]),
            slow=tuple(self.slow),
            failed=tuple(self.failed),
        )


def slowest(evidence: Iterable[Evidence]) -> list[Evidence]:
    """The slowest few by response, each once."""
    unique = {(one.agent, one.planned_ns, one.done_ns): one for one in evidence}.values()
    return sorted(unique, key=lambda one: (one.planned_ns - one.done_ns, one.agent, one.planned_ns))[:SLOWEST_KEPT]


def first_failures(evidence: Iterable[Evidence]) -> list[Evidence]:
    """The first few of each class of error, each once."""
    unique = {(one.agent, one.planned_ns, one.done_ns): one for one in evidence}.values()
    kept: list[Evidence] = []
    seen: Counter[str] = Counter()
    for one in sorted(unique, key=lambda one: (one.done_ns, one.agent, one.planned_ns)):
        if seen[one.error] < FAILED_KEPT:
            seen[one.error] += 1
            kept.append(one)
    return kept


def split(series: Iterable[Series], max_bytes: int) -> list[tuple[Series, ...]]:
    """The same series in groups that each stay below a size when encoded; one that is too large is cut by histogram.

    The pieces of a series add up to it. A single histogram is never cut: at most 240 KB.
    """
    groups: list[tuple[Series, ...]] = []
    group: list[Series] = []
    size = 0
    for piece in (piece for one in series for piece in _pieces(one, max_bytes)):
        weight = len(msgspec.msgpack.encode(piece))
        if group and size + weight > max_bytes:
            groups.append(tuple(group))
            group, size = [], 0
        group.append(piece)
        size += weight
    if group or not groups:
        groups.append(tuple(group))
    return groups


def _pieces(series: Series, max_bytes: int) -> Iterable[Series]:
    if len(msgspec.msgpack.encode(series)) <= max_bytes:
        return (series,)
    head = msgspec.structs.replace(series, histograms={})
    return (head, *(Series(key=series.key, histograms={name: one}) for name, one in series.histograms.items()))


def _sorted(counts: Counter[_Key]) -> dict[_Key, int]:
    return dict(sorted(counts.items()))


def _added(mine: list[int], theirs: tuple[int, ...]) -> list[int]:
    longer, shorter = (mine, theirs) if len(mine) >= len(theirs) else (list(theirs), tuple(mine))
    return [count + (shorter[i] if i < len(shorter) else 0) for i, count in enumerate(longer)]
