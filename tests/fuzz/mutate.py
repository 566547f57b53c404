"""Bends what servers send: by whole pieces, then by bytes. The same seed makes the same inputs.

Not guided by coverage: most of what is fuzzed is compiled code that no tracer of Python sees, and this needs nothing
but Python, on every version and machine.
"""

import random
from collections.abc import Sequence
from itertools import pairwise

MOST_BYTES = 1 << 15  # far below what limits in the code under test are about: those have tests of their own
Pieces = tuple[bytes, ...]


class Mutator:
    """An endless source of inputs."""

    def __init__(self, corpus: Sequence[Pieces], words: Pieces, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 the same inputs again are wanted
        self._corpus = corpus
        self._words = words
        self._pieces = [piece for pieces in corpus for piece in pieces]

    def one(self) -> bytes:
        """The next input."""
        pieces = list(self.random.choice(self._corpus))
        for _ in range(self.random.choice((0, 0, 1, 1, 2, 4))):
            self._bend_pieces(pieces)
        data = bytearray(b"".join(pieces))
        for _ in range(self.random.choice((0, 0, 1, 1, 2, 3, 8))):
            self._bend_bytes(data)
        return bytes(data[:MOST_BYTES])

    def chunks(self, data: bytes) -> list[bytes]:
        """The input, cut anywhere."""
        count = min(len(data), self.random.choice((1, 2, 3, 10)))
        cuts = [0, *sorted(self.random.randrange(len(data)) for _ in range(count)), len(data)]
        return [data[start:end] for start, end in pairwise(cuts) if start < end]

    def _bend_pieces(self, pieces: list[bytes]) -> None:
        draw = self.random
        at = draw.randrange(len(pieces) + 1)
        other = draw.randrange(len(pieces)) if pieces else 0
        match draw.randrange(5):
            case 0:
                pieces.insert(at, draw.choice(self._pieces))
            case 1:
                pieces[at:] = draw.choice(self._corpus)
            case 2 if pieces:
                del pieces[other]
            case 3 if pieces:
                pieces.insert(at, pieces[other])
            case 4 if pieces:
                pieces[other] *= draw.choice((2, 3, 50))

    def _bend_bytes(self, data: bytearray) -> None:
        draw = self.random
        at = draw.randrange(len(data) + 1)
        length = draw.choice((1, 1, 2, 4, 30))
        match draw.randrange(6):
            case 0:
                data[at:at] = draw.choice(self._words)
            case 1:
                data[at : at + length] = draw.choice(self._words)
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = draw.randbytes(length)
            case 4:
                del data[at:]
            case _ if at < len(data):
                data[at] ^= 1 << draw.randrange(8)
