"""Timetables of every kind, small enough to look at each request; and the statistic of Kolmogorov and Smirnov."""

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from protocol.schedule import NS_PER_S, Arrival, Part, Shape, Stage, Stripe, Timetable

MOST = 400
seeds = st.integers(0, (1 << 64) - 1)
arrivals = st.sampled_from(list(Arrival))
rates = st.one_of(
    st.sampled_from(["1/3", "0.1", "0.001", "500", "333.333", "7/11", "1e2", "99.99", "1000000"]),
    st.fractions(min_value=Fraction(1, 997), max_value=10_000, max_denominator=997).map(str),
    st.decimals(min_value="0.01", max_value=5000, places=3).map(str),
)
levels = st.one_of(
    st.sampled_from(["0", "0.01", "1", "1000", "1000.001", "20000"]),
    st.decimals(min_value=0, max_value=5000, places=3).map(str),
)


@st.composite
def constant(draw):
    """A rate with a count, or with a duration that holds no more than some hundreds of requests."""
    rate, arrival, seed = draw(rates), draw(arrivals), draw(seeds)
    if draw(st.booleans()):
        return Shape(rate_per_s=rate, count=draw(st.integers(0, MOST)), arrival=arrival, seed=seed)
    longest = int(MOST * NS_PER_S / Fraction(rate))
    return Shape(rate_per_s=rate, duration_ns=draw(st.integers(0, longest)), arrival=arrival, seed=seed)


@st.composite
def stages(draw, most=MOST):
    """Some ramps and holds, joined or not, with no more than so many requests each."""
    made = []
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(levels)
        end = draw(st.one_of(st.just(begin), levels))
        longest = int(most * NS_PER_S / max(Fraction(begin), Fraction(end), Fraction(1)))
        made.append(Stage(begin, end, draw(st.integers(0, longest))))
    return tuple(made)


@st.composite
def staged(draw):
    """Stages of rates, now and then cut short by a count."""
    count = draw(st.none() | st.integers(0, 2 * MOST))
    return Shape(stages=draw(stages()), count=count, arrival=draw(arrivals), seed=draw(seeds))


shapes = constant() | staged()
timetables = shapes.map(Timetable)


def part(timetable, index, of):
    return Part(timetable, (Stripe(index, of),))


def dues(timetable):
    return [timetable.due_ns(k) for k in range(timetable.planned)]


def together_ns(timetable, agents):
    """What so many agents send, as they compute it, block by block."""
    found = []
    for index in range(agents):
        own = part(timetable, index, agents)
        found += [own.due_block(j, 500)[0] for j in range(0, own.planned, 500)]
    return np.sort(np.concatenate(found))


def kolmogorov_smirnov(probabilities):
    """How far values, given as their own probabilities, are from being uniform: x sqrt(n), 1.95 is passed once in 1,000."""
    ordered = np.sort(np.asarray(probabilities))
    n = len(ordered)
    steps = np.arange(n + 1) / n
    return max(np.max(steps[1:] - ordered), np.max(ordered - steps[:-1])) * np.sqrt(n)
