import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st
from message_strategies import HOUR_NS, histogram_of, samples_ns

from protocol.histogram import (
    LENGTH,
    MAX_US,
    MIN_US,
    SIGNIFICANT_DIGITS,
    Histogram,
    from_hdr,
    highest_of,
    index_of,
    lowest_of,
    merged,
    to_hdr,
)

quick = settings(deadline=None, max_examples=40)
ORACLE = HdrHistogram(MIN_US, MAX_US, SIGNIFICANT_DIGITS)
values_us = (
    st.integers(0, MAX_US) | st.integers(0, 5000) | st.integers(0, 31).map(lambda power: min(1 << power, MAX_US))
)
many_ns = st.lists(samples_ns, max_size=60)
percents = st.sampled_from(["50", "75", "90", "95", "99", "99.9", "99.99", "0.1", "100"])


def rounded_up_us(ns):
    return -(-ns // 1000)


def nearest_rank(samples, percent):
    return sorted(samples)[max(1, math.ceil(Fraction(percent) * len(samples) / 100)) - 1]


@quick
@given(values_us)
def test_the_layout_is_that_of_hdrhistogram(us):
    index = index_of(us)

    assert index == ORACLE._counts_index_for(us)
    assert lowest_of(index) == ORACLE.get_lowest_equivalent_value(us)
    assert highest_of(index) == ORACLE.get_highest_equivalent_value(us)


def test_there_is_a_bucket_for_everything_up_to_an_hour():
    assert ORACLE.counts_len == LENGTH
    assert index_of(MAX_US) < LENGTH


@quick
@given(st.integers(0, LENGTH - 2))
def test_each_bucket_begins_where_the_one_before_ends(index):
    assert lowest_of(index + 1) == highest_of(index) + 1
    assert index_of(lowest_of(index)) == index_of(highest_of(index)) == index


@quick
@given(many_ns)
def test_recording_many_is_recording_each(samples):
    counts = Counter(index_of(rounded_up_us(ns)) for ns in samples)

    histogram = histogram_of(samples)

    assert {int(index): int(histogram.counts[index]) for index in np.flatnonzero(histogram.counts)} == counts
    assert histogram.count == len(samples)
    assert histogram.sum_ns == sum(samples)
    assert histogram.sum_squares == sum(ns * ns for ns in samples)
    assert (histogram.min_ns, histogram.max_ns) == (min(samples, default=0), max(samples, default=0))
    assert histogram.overflow == 0


def test_one_sample_at_a_time_gives_the_same_histogram():
    samples = [0, 1, 999, 1000, 1001, 2_048_001, 3_000_000_000]
    one_by_one = Histogram()

    for sample in samples:
        one_by_one.record(sample)

    assert one_by_one == histogram_of(samples)


@quick
@given(st.lists(many_ns, max_size=5), st.randoms())
def test_merged_is_the_histogram_of_all_raw_samples_bit_for_bit_in_any_order(parts, random):
    whole = histogram_of([ns for part in parts for ns in part])
    pieces = [histogram_of(part) for part in parts]
    travelled = [piece.pack() if random.random() < 0.5 else piece for piece in pieces]
    random.shuffle(travelled)

    assert merged(travelled).pack() == whole.pack()


@quick
@given(many_ns, many_ns, many_ns)
def test_merging_does_not_care_how_the_sums_are_bracketed(first, second, third):
    a, b, c = map(histogram_of, (first, second, third))

    assert merged([merged([a, b]), c]) == merged([a, merged([b, c])])


@quick
@given(many_ns)
def test_what_travels_arrives_whole(samples):
    histogram = histogram_of(samples)

    assert merged([histogram.pack()]) == histogram


def test_samples_out_of_range_are_counted_and_shown():
    histogram = histogram_of([-5, HOUR_NS, HOUR_NS + 1, 3 * HOUR_NS])

    assert histogram.overflow == 2
    assert (histogram.min_ns, histogram.max_ns) == (0, HOUR_NS)
    assert histogram.count == int(histogram.counts.sum()) == 4
    assert merged([histogram, histogram.pack()]).overflow == 4


@quick
@given(st.lists(samples_ns, min_size=1, max_size=80), percents)
def test_a_percentile_is_exact_to_three_digits_and_never_above_the_maximum(samples, percent):
    exact = nearest_rank(samples, percent)

    shown = histogram_of(samples).percentile_ns(percent)

    assert exact <= shown <= max(samples)
    assert shown - exact <= max(1000, exact // 1000)


@pytest.mark.parametrize(("percent", "rank"), [("99.9", 999), (99.9, 999), ("99.99", 1000), (50, 500), ("0.01", 1)])
def test_a_percentile_is_read_as_a_decimal_number(percent, rank):
    histogram = histogram_of([1000 * us for us in range(1, 1001)])

    assert histogram.percentile_ns(percent) == 1000 * rank


def test_the_hundredth_percentile_is_the_exact_maximum():
    assert histogram_of([1, 123_456_789]).percentile_ns(100) == 123_456_789


@quick
@given(st.lists(samples_ns, min_size=1, max_size=40))
def test_mean_and_standard_deviation_are_exact(samples):
    mean = Fraction(sum(samples), len(samples))
    variance = sum((ns - mean) ** 2 for ns in samples) / len(samples)

    histogram = histogram_of(samples)

    assert histogram.mean_ns == float(mean)
    assert histogram.stddev_ns == math.sqrt(variance)


@pytest.mark.parametrize("figure", ["mean_ns", "stddev_ns"])
def test_there_is_no_figure_without_samples(figure):
    with pytest.raises(ValueError, match="no samples"):
        getattr(Histogram(), figure)
    with pytest.raises(ValueError, match="no samples"):
        Histogram().percentile_ns(50)


def test_a_cleared_histogram_is_a_new_one():
    histogram = histogram_of([1, HOUR_NS + 1])

    histogram.clear()

    assert histogram == Histogram()
    assert histogram.pack() == Histogram().pack()


def test_sums_of_squares_do_not_overflow():
    histogram = histogram_of([HOUR_NS] * 1000)

    assert histogram.sum_squares == 1000 * HOUR_NS**2
    assert histogram.stddev_ns == 0
    assert merged([histogram.pack()]).sum_squares == 1000 * HOUR_NS**2


@settings(deadline=None, max_examples=15)
@given(many_ns)
def test_other_tools_read_the_same_buckets(samples):
    histogram = histogram_of(samples)

    found = from_hdr(to_hdr(histogram))

    assert {index_of(us): count for us, count in found} == {
        index_of(low): count for low, _high, count in histogram.buckets_us()
    }


def test_hdrhistogram_decodes_ours_to_the_same_percentiles():
    histogram = histogram_of([1000 * us for us in range(1, 10_001)])

    theirs = HdrHistogram.decode(to_hdr(histogram).encode("ascii"))

    assert theirs.get_total_count() == 10_000
    for percent in (50, 90, 99):
        assert theirs.get_value_at_percentile(percent) == index_highest_us(histogram, percent)


def index_highest_us(histogram, percent):
    return highest_of(index_of(histogram.percentile_ns(percent) // 1000))
