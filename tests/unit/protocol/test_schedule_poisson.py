from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_samples import kolmogorov_smirnov, part, seeds, together_ns

from protocol.arrivals import hashed, hashed_many
from protocol.schedule import NS_PER_S, Arrival, Shape, Stage, Timetable

quick = settings(deadline=None, max_examples=60)
LIMIT = 1.95  # of the statistic: once in 1,000


def poisson(rate="2000", seconds=20, seed=1, count=None):
    duration_ns = None if count is not None else seconds * NS_PER_S
    return Timetable(Shape(rate_per_s=rate, duration_ns=duration_ns, count=count, arrival=Arrival.POISSON, seed=seed))


def erlang(gaps, k):
    """The probability of a sum of k exponential gaps, each 1 on average, up to a value."""
    return 1 - np.exp(-gaps) * sum(gaps**i / factorial(i) for i in range(k))


@pytest.mark.parametrize("agents", [1, 2, 3, 7, 16, 50])
def test_gaps_are_exponential_over_any_number_of_agents(agents):
    found = together_ns(poisson(), agents)

    gaps = np.diff(found) * 2000 / NS_PER_S
    assert kolmogorov_smirnov(1 - np.exp(-gaps)) < LIMIT
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 4 / len(gaps) ** 0.5


@pytest.mark.parametrize("rate", ["0.37", "5", "1/3", "250000"])
def test_gaps_are_exponential_at_any_rate(rate):
    timetable = poisson(rate, count=20_000, seed=9)

    gaps = np.diff(timetable.due_many(0, 1, timetable.planned)) * float(timetable.due_count(timetable.length_ns))
    assert kolmogorov_smirnov(1 - np.exp(-gaps / gaps.sum() * len(gaps))) < LIMIT


@pytest.mark.parametrize("agents", [2, 5])
def test_each_of_several_agents_has_every_nth_arrival(agents):
    timetable = poisson(seconds=40)
    for index in range(agents):
        own = part(timetable, index, agents)

        gaps = np.diff(own.due_block(0, own.planned)[0]) * 2000 / NS_PER_S
        assert kolmogorov_smirnov(erlang(gaps, agents)) < LIMIT


def test_even_spacing_is_told_from_a_poisson_process():
    even = Timetable(Shape(rate_per_s="2000", duration_ns=NS_PER_S))
    gaps = np.diff(even.due_many(0, 1, even.planned)) * 2000 / NS_PER_S

    assert kolmogorov_smirnov(1 - np.exp(-gaps)) > 10


@pytest.mark.parametrize("per_window", [4, 100, 3000])
def test_counts_of_windows_have_the_mean_and_variance_of_a_poisson_distribution(per_window):
    windows = 2000
    timetable = poisson(str(per_window), seconds=windows, seed=3)

    counts = np.diff([timetable.due_count(second * NS_PER_S - 1) for second in range(windows + 1)])

    assert counts.sum() == timetable.planned
    assert abs(counts.mean() - per_window) < 4 * (per_window / windows) ** 0.5
    assert abs(counts.var() / per_window - 1) < 4 * ((2 + 1 / per_window) / windows) ** 0.5


def test_the_number_of_requests_in_a_duration_differs_from_seed_to_seed_as_it_should():
    planned = np.array([poisson("100", 100, seed).planned for seed in range(200)])

    assert abs(planned.mean() - 10_000) < 4 * (10_000 / 200) ** 0.5
    assert 0.6 < planned.var() / 10_000 < 1.5


@quick
@given(seeds, st.integers(0, 5000))
def test_a_count_is_met_exactly_and_ends_just_after_the_last_request(seed, count):
    timetable = poisson(seed=seed, count=count)

    assert timetable.planned == count
    assert timetable.length_ns == (timetable.due_ns(count - 1) + 1 if count else 0)


@quick
@given(seeds, st.integers(1, 4))
def test_a_duration_holds_the_requests_of_a_longer_one_up_to_its_end(seed, seconds):
    short, long = poisson(seconds=seconds, seed=seed), poisson(seconds=seconds + 3, seed=seed)

    assert short.planned == long.due_count(seconds * NS_PER_S - 1)
    assert short.due_many(0, 1, short.planned).tolist() == long.due_many(0, 1, short.planned).tolist()


def test_an_hour_at_a_high_rate_is_found_at_any_place():
    timetable = poisson("20000", 3600)

    k = timetable.due_count(1800 * NS_PER_S)
    assert timetable.due_ns(k - 1) <= 1800 * NS_PER_S < timetable.due_ns(k)
    assert abs(timetable.planned - 72_000_000) < 4 * 72_000_000**0.5
    assert abs(k - 36_000_000) < 4 * 36_000_000**0.5


def test_arrivals_are_the_same_for_ever():
    """Controllers and agents of different releases meet in one run: these values change with the protocol's version."""
    constant = poisson("100", seed=42, count=5000)
    ramp = Shape(stages=(Stage("0", "500", 4 * NS_PER_S),), arrival=Arrival.POISSON, seed=42)

    assert constant.due_many(0, 999, 6).tolist() == [
        6_718_590,
        10_130_491_514,
        19_451_208_333,
        29_526_974_981,
        39_839_895_924,
        49_980_522_034,
    ]
    assert constant.length_ns == 50_015_921_043
    assert Timetable(ramp).planned == 985
    assert Timetable(ramp).due_many(0, 246, 4).tolist() == [103_680_979, 1_966_196_158, 2_797_060_487, 3_472_648_851]


def test_the_hash_is_splitmix64():
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]

    assert [hashed(1234567, counter) for counter in range(4)] == published


@quick
@given(seeds, st.lists(st.integers(0, (1 << 62) - 1), max_size=20))
def test_hashes_are_the_same_one_by_one_and_together(key, counters):
    together = hashed_many(key, np.array(counters, dtype=np.int64))

    assert together.tolist() == [hashed(key, counter) for counter in counters]
