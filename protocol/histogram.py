"""The one latency histogram: HdrHistogram's layout for 1 µs to 1 hour at three significant digits.

Merging is integer addition, so the merge of any number of histograms, in any order, is the histogram of all raw
samples. Count, sum, sum of squares, minimum and maximum are exact and in nanoseconds; buckets are in microseconds,
rounded up. Leaves time and transport to others.

Source of the layout and of the V2 encoding: HdrHistogram, Gil Tene, http://hdrhistogram.org.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, sqrt
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

MIN_US = 1
MAX_US = 3_600_000_000
SIGNIFICANT_DIGITS = 3
SUB_BUCKETS = 2048
HALF = SUB_BUCKETS // 2
BUCKETS = 22  # 2048 << 21 is the first power that covers an hour
LENGTH = (BUCKETS + 1) * HALF

Ns = npt.NDArray[np.int64]
_LOW_BITS = 21
_LOW_MASK = (1 << _LOW_BITS) - 1


class Packed(msgspec.Struct, frozen=True):
    """A histogram as it travels: the buckets that are not empty, and the exact totals in nanoseconds."""

    indices: bytes = b""  # little-endian u16
    counts: bytes = b""  # little-endian u64
    count: int = 0
    sum_ns: int = 0
    sum_squares: bytes = b""  # big-endian unsigned, ns²: it may need more than 64 bits
    min_ns: int = 0
    max_ns: int = 0
    overflow: int = 0

    def __post_init__(self) -> None:
        """Refuse what no histogram packs to: such bytes must not get as far as a sum."""
        buckets = len(self.indices) // 2
        if len(self.indices) % 2 or len(self.counts) != 8 * buckets:
            raise ValueError(f"{len(self.indices)} bytes of indices and {len(self.counts)} of counts don't go together")
        if bool(buckets) != bool(self.count):
            raise ValueError(f"a count of {self.count} over {buckets} buckets")
        indices = np.frombuffer(self.indices, dtype="<u2")
        if buckets and int(indices[-1]) >= LENGTH:
            raise ValueError(f"an index beyond the {LENGTH} buckets of the layout")
        if buckets > 1 and not bool((indices[1:] > indices[:-1]).all()):
            raise ValueError("indices that don't ascend")


def index_of(us: int) -> int:
    """The bucket of a value in microseconds."""
    bucket = max(0, us.bit_length() - 11)
    return bucket * HALF + (us >> bucket)


def highest_of(index: int) -> int:
    """The largest value in microseconds that falls into a bucket."""
    bucket = max(0, index // HALF - 1)
    return ((index - bucket * HALF + 1) << bucket) - 1


def lowest_of(index: int) -> int:
    """The smallest value in microseconds that falls into a bucket."""
    bucket = max(0, index // HALF - 1)
    return (index - bucket * HALF) << bucket


def _indices_of(ns: Ns, largest_ns: int) -> Ns:
    us: Ns = -(-ns // 1000)
    if largest_ns <= (SUB_BUCKETS - 1) * 1000:  # below this a bucket is one microsecond wide
        return us
    # A double holds every integer below 2**53, so its exponent is the exact bit length here.
    exponent = np.frexp(us.astype(np.float64))[1].astype(np.int64)
    bucket = np.maximum(exponent - 11, 0)
    indices: Ns = bucket * HALF + (us >> bucket)
    return indices


def _sums_of_squares(ns: Ns, largest_ns: int) -> list[int]:
    """Of each row, exactly."""
    rows, columns = ns.shape
    if largest_ns * largest_ns * columns < 1 << 63:
        return [int(one) for one in np.einsum("ij,ij->i", ns, ns)]
    high, low = ns >> _LOW_BITS, ns & _LOW_MASK
    sums = [np.einsum("ij,ij->i", *pair) for pair in ((high, high), (high, low), (low, low))]
    return [
        (int(sums[0][row]) << (2 * _LOW_BITS)) + (int(sums[1][row]) << (_LOW_BITS + 1)) + int(sums[2][row])
        for row in range(rows)
    ]


@dataclass
class Histogram:
    """A distribution that only grows: `record_many` samples, or `merge` another one.

    `counts` reaches as far as the highest bucket in use, in steps: most latencies need a small part of the layout.
    """

    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(HALF, dtype=np.int64))
    count: int = 0
    sum_ns: int = 0
    sum_squares: int = 0
    min_ns: int = 0
    max_ns: int = 0
    overflow: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.pack() == other.pack()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def record(self, sample_ns: int) -> None:
        """Count one sample in nanoseconds; for many at once, `record_many` costs a hundredth each."""
        self.record_many(np.array([sample_ns], dtype=np.int64))

    def record_many(self, samples_ns: Ns) -> None:
        """Count samples in nanoseconds; negative ones count as 0, those over an hour as overflow and as one hour."""
        record_rows([self], samples_ns.reshape(1, -1))

    def merge(self, other: "Histogram | Packed") -> None:
        """Add another one's samples to these."""
        if not other.count:
            return
        if isinstance(other, Packed):
            indices = np.frombuffer(other.indices, dtype="<u2")
            self._reach(int(indices[-1]) + 1)
            self.counts[indices] += np.frombuffer(other.counts, dtype="<u8").astype(np.int64)
            self.sum_squares += int.from_bytes(other.sum_squares, "big")
        else:
            self._reach(len(other.counts))
            self.counts[: len(other.counts)] += other.counts
            self.sum_squares += other.sum_squares
        self.min_ns = other.min_ns if not self.count else min(self.min_ns, other.min_ns)
        self.max_ns = max(self.max_ns, other.max_ns)
        self.count += other.count
        self.sum_ns += other.sum_ns
        self.overflow += other.overflow

    def pack(self) -> Packed:
        """The same distribution, ready to travel."""
        if not self.count:
            return Packed()
        indices = np.flatnonzero(self.counts)
        return Packed(
            indices=indices.astype("<u2").tobytes(),
            counts=self.counts[indices].astype("<u8").tobytes(),
            count=self.count,
            sum_ns=self.sum_ns,
            sum_squares=self.sum_squares.to_bytes((self.sum_squares.bit_length() + 7) // 8, "big"),
            min_ns=self.min_ns,
            max_ns=self.max_ns,
            overflow=self.overflow,
        )

    def clear(self) -> None:
        """Forget all samples, keeping the memory."""
        self.counts.fill(0)
        self.count = self.sum_ns = self.sum_squares = self.min_ns = self.max_ns = self.overflow = 0

    def add(self, counts: npt.NDArray[np.int64], totals: "Totals") -> None:
        """Count samples that were put into buckets elsewhere."""
        self._reach(len(counts))
        self.counts[: len(counts)] += counts
        self.min_ns = totals.min_ns if not self.count else min(self.min_ns, totals.min_ns)
        self.max_ns = max(self.max_ns, totals.max_ns)
        self.count += totals.samples
        self.sum_ns += totals.sum_ns
        self.sum_squares += totals.sum_squares
        self.overflow += totals.overflow

    def _reach(self, length: int) -> None:
        if length > len(self.counts):
            longer = np.zeros(min(LENGTH, -(-length // HALF) * HALF), dtype=np.int64)
            longer[: len(self.counts)] = self.counts
            self.counts = longer

    def percentile_ns(self, percent: float | str | Fraction) -> int:
        """The smallest value that at least `percent` of the samples do not exceed, to the bucket's precision.

        The bucket's highest value, but never above the exact maximum. `percent` is read as a decimal number, so that
        99.9 means 999 in 1,000. Undefined without samples (`ValueError`).
        """
        if not self.count:
            raise ValueError("a percentile of no samples")
        rank = max(1, ceil(Fraction(str(percent)) * self.count / 100))
        index = int(np.searchsorted(np.cumsum(self.counts), rank))
        return min(highest_of(index) * 1000, self.max_ns)

    @property
    def mean_ns(self) -> float:
        """The exact mean; `ValueError` without samples."""
        if not self.count:
            raise ValueError("a mean of no samples")
        return self.sum_ns / self.count

    @property
    def stddev_ns(self) -> float:
        """The exact population standard deviation; `ValueError` without samples."""
        if not self.count:
            raise ValueError("a standard deviation of no samples")
        return sqrt(Fraction(self.sum_squares * self.count - self.sum_ns**2, self.count**2))

    def buckets_us(self) -> list[tuple[int, int, int]]:
        """The buckets that are not empty: lowest and highest value in microseconds, and the count."""
        return [(lowest_of(i), highest_of(i), int(self.counts[i])) for i in map(int, np.flatnonzero(self.counts))]


class Totals(NamedTuple):
    """The exact totals of some samples, in ns."""

    samples: int
    sum_ns: int
    sum_squares: int
    min_ns: int
    max_ns: int
    overflow: int


def record_rows(histograms: Sequence[Histogram], samples_ns: Ns) -> None:
    """Count each row of samples in its histogram: many spans of the same requests at once, at a fraction of the cost."""
    count = samples_ns.shape[1]
    if not count:
        return
    largest_ns = int(samples_ns.max())
    overflows = [0] * len(histograms)
    ns = samples_ns
    if largest_ns > MAX_US * 1000 or int(samples_ns.min()) < 0:
        overflows = (samples_ns > MAX_US * 1000).sum(axis=1).tolist()
        ns = np.clip(samples_ns, 0, MAX_US * 1000)
        largest_ns = min(largest_ns, MAX_US * 1000)
    indices = _indices_of(ns, largest_ns)
    squares = _sums_of_squares(ns, largest_ns)
    sums, least, most = ns.sum(axis=1).tolist(), ns.min(axis=1).tolist(), ns.max(axis=1).tolist()
    for row, histogram in enumerate(histograms):
        totals = Totals(count, sums[row], squares[row], least[row], most[row], overflows[row])
        histogram.add(np.bincount(indices[row]), totals)


def merged(histograms: Iterable[Histogram | Packed]) -> Histogram:
    """One histogram of all samples."""
    total = Histogram()
    for one in histograms:
        total.merge(one)
    return total


def to_hdr(histogram: Histogram) -> str:
    """The buckets in HdrHistogram's V2 compressed encoding, base64, in microseconds: what other tools read."""
    from hdrh.histogram import HdrHistogram  # noqa: PLC0415 only reports need it

    exchange = HdrHistogram(MIN_US, MAX_US, SIGNIFICANT_DIGITS)
    for low, _high, count in histogram.buckets_us():
        exchange.record_value(min(low, MAX_US), count)
    encoded: bytes = exchange.encode()
    return encoded.decode("ascii")


def from_hdr(text: str) -> list[tuple[int, int]]:
    """(value in microseconds, count) of each recorded bucket of an HdrHistogram V2 text of this layout."""
    from hdrh.histogram import HdrHistogram  # noqa: PLC0415 see to_hdr

    decoded = HdrHistogram.decode(text.encode("ascii"))
    values = ((item.value_iterated_to, item.count_added_in_this_iter_step) for item in decoded.get_recorded_iterator())
    return [(int(value), int(count)) for value, count in values]
