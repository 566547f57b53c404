"""Which driver carries which targets of a segment: those of one origin, asked for in one way, share its connections."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from agent.outcome import Driver
from protocol.messages import Target


@dataclass(frozen=True)
class Pool:
    """A driver and the targets, by their index in the segment, that go over it."""

    driver: Driver
    targets: frozenset[int]

    @property
    def first(self) -> int:
        """The target that connections are counted for."""
        return min(self.targets)


class Reins(NamedTuple):
    """What a way of making load asks of the load: may anything start at this instant, is all over, and "I am done"."""

    is_barred: Callable[[int], bool]
    finish_if_idle: Callable[[], None]
    complete: Callable[[], None]


def grouped(targets: Sequence[Target]) -> list[tuple[int, ...]]:
    """The targets, by index, that can share connections: the same origin, and the same way to get there."""
    found: dict[object, list[int]] = {}
    for index, target in enumerate(targets):
        parts = urlsplit(target.url)
        way = (parts.scheme, parts.hostname, parts.port, target.tls, target.http2)
        connection = (target.keep_alive, target.requests_per_connection)
        found.setdefault((way, connection), []).append(index)
    return [tuple(group) for group in found.values()]
