"""How many of an open load's requests fall to which phase and target: what the agent counts as planned, and what the
controller expects of it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from protocol.schedule import Mix, Part

CHUNK = 50_000
Spread = Counter[tuple[int, int]]  # (phase, target) -> requests


def spreads(
    part: Part, weights: Sequence[int], seed: int, phases_ns: Sequence[int], first: int, until: int
) -> Iterator[Spread]:
    """The own requests from `first` up to `until` by phase and target, in portions that add up."""
    mix = Mix(weights, seed)
    starts = [0, *(part.due_count(start_ns - 1) for start_ns in phases_ns)]
    for phase, (start, end) in enumerate(zip(starts, [*starts[1:], until], strict=True)):
        begin, stop = max(start, first), min(end, until)
        if len(weights) == 1:
            if begin < stop:
                yield Counter({(phase, 0): stop - begin})
            continue
        for j in range(begin, stop, CHUNK):
            _due, numbers = part.due_block(j, min(CHUNK, stop - j))
            counts = np.bincount(mix.picks(numbers), minlength=len(weights)).tolist()
            yield Counter({(phase, target): count for target, count in enumerate(counts) if count})


def spread(part: Part, weights: Sequence[int], seed: int, phases_ns: Sequence[int], first: int, until: int) -> Spread:
    """All of them in one."""
    total: Spread = Counter()
    for portion in spreads(part, weights, seed, phases_ns, first, until):
        total.update(portion)
    return total
