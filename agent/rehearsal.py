"""What an agent does before the load begins: the initial calls as Iter8 has them, and a second's end without a second."""

from collections.abc import Sequence

import numpy as np

from agent.machine import Machinery
from agent.outcome import Outcome
from agent.record import Recorder
from protocol import codec
from protocol.messages import Segment, Shard, Target

FOREVER_NS = 1 << 62
_IS_FINE = frozenset({418})  # as Fortio, which counts a teapot as success


class Watching(Recorder):
    """Records initial calls; `wrong` says of each that was not answered well what came instead."""

    def __init__(self, targets: Sequence[Target]) -> None:
        super().__init__(-1, targets, is_open=False)
        self.slow_ns = [-1] * len(targets)
        self.wrong: list[str] = []

    def done(self, outcome: Outcome) -> None:
        """For drivers: a call ended. All are told in full, because none is faster than the slowest so far."""
        super().done(outcome)
        self.slow_ns[outcome.target] = -1
        if outcome.error is not None and outcome.status not in _IS_FINE:
            url = self._targets[outcome.target].url
            self.wrong.append(f"{url}: {outcome.error} {outcome.status or outcome.text}".strip())


def rehearse(segments: Sequence[Segment], machinery: Machinery) -> None:
    """Do once what each second ends with: the first time costs milliseconds, which the load should not meet."""
    for segment in segments:
        recorder = Recorder(0, segment.targets, segment.phases_ns)
        for at_ns in range(1, 200):
            recorder.good(0, at_ns, at_ns, at_ns, 3_000_000 * at_ns, 200, 1, 1)
        recorder.unsent(0, np.ones(1, dtype=np.int64), 2)
        codec.encode(Shard("", 0, "", "", 0, 0, 0, recorder.cut(FOREVER_NS), machinery.interval()))
