from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_samples import dues, kolmogorov_smirnov, stages, together_ns

from protocol.arrivals import Course, Evenly, Ramp, Scattered, Varying
from protocol.schedule import NS_PER_S, Arrival, Shape, Stage, Timetable

quick = settings(deadline=None, max_examples=100)


def cumulative(listed, elapsed_ns):
    """The rate added up from the start to an instant, exactly."""
    total = Fraction(0)
    for stage in listed:
        ns = min(max(elapsed_ns, 0), stage.duration_ns)
        begin, end = Fraction(stage.begin), Fraction(stage.end)
        if ns:
            total += (2 * begin + (end - begin) * Fraction(ns, stage.duration_ns)) * ns / (2 * NS_PER_S)
        elapsed_ns -= stage.duration_ns
    return total


def length_ns(listed):
    return sum(stage.duration_ns for stage in listed)


@quick
@given(stages())
def test_request_k_is_due_when_the_cumulative_rate_reaches_k(listed):
    near = Fraction(1, 10**9)

    for k, due in enumerate(dues(Timetable(Shape(stages=listed)))):
        assert cumulative(listed, due - 1) - near <= k <= cumulative(listed, due + 2) + near


@quick
@given(stages())
def test_stages_hold_what_their_rates_add_up_to(listed):
    total = cumulative(listed, length_ns(listed))

    timetable = Timetable(Shape(stages=listed))

    assert timetable.planned == -(-total.numerator // total.denominator)
    assert timetable.length_ns == length_ns(listed)
    assert all(due < timetable.length_ns for due in dues(timetable))


@quick
@given(stages())
def test_nothing_is_due_in_a_stage_without_a_rate(listed):
    pause = Stage("0", "0", 3 * NS_PER_S)
    paused = (pause, listed[0], pause, *listed[1:], pause)
    first, second = 3 * NS_PER_S, 3 * NS_PER_S + listed[0].duration_ns
    last = length_ns(paused) - 3 * NS_PER_S

    found = dues(Timetable(Shape(stages=paused)))

    assert len(found) == Timetable(Shape(stages=listed)).planned
    assert all(first <= due < second or second + 3 * NS_PER_S <= due < last for due in found)


@quick
@given(
    st.decimals(min_value="0.01", max_value=20_000, places=2).map(str), st.integers(0, 300), st.sampled_from(Arrival)
)
def test_one_stage_that_holds_a_rate_is_that_rate(rate, requests, arrival):
    duration_ns = int(requests * NS_PER_S / Fraction(rate))

    staged = dues(Timetable(Shape(stages=(Stage(rate, rate, duration_ns),), arrival=arrival)))
    constant = dues(Timetable(Shape(rate_per_s=rate, duration_ns=duration_ns, arrival=arrival)))

    assert len(staged) == len(constant)
    assert all(abs(one - other) <= 1 for one, other in zip(staged, constant, strict=True))


@pytest.mark.parametrize("rate", ["1", "1000", "20000", "12.5"])
def test_what_is_due_at_a_whole_ns_is_due_then_however_long_the_run(rate):
    timetable = Timetable(Shape(stages=(Stage("0", rate, 8 * NS_PER_S), Stage(rate, rate, 10_000 * NS_PER_S))))
    start = int(4 * Fraction(rate))
    ks = [start, start + 1, start + 7, timetable.planned // 2, timetable.planned - 1]

    assert [timetable.due_ns(k) for k in ks] == [
        8 * NS_PER_S + int((k - start) * NS_PER_S / Fraction(rate)) for k in ks
    ]


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("0", "20000"),
        ("20000", "0"),
        ("10000", "10000.0001"),
        ("10000.0001", "10000"),
        ("1", "20000"),
        ("9999", "20000"),
    ],
)
def test_long_ramps_stay_in_order_and_on_their_curve(begin, end):
    listed = (Stage(begin, end, 600 * NS_PER_S),)
    timetable = Timetable(Shape(stages=listed))

    found = timetable.due_many(0, 1, timetable.planned)

    assert np.all(np.diff(found) >= 0)
    for k in range(0, timetable.planned, timetable.planned // 50):
        assert cumulative(listed, int(found[k]) - 1) - Fraction(1, 10**6) <= k
        assert k <= cumulative(listed, int(found[k]) + 2) + Fraction(1, 10**6)


@pytest.mark.parametrize("agents", [1, 3, 50])
@pytest.mark.parametrize(
    "listed",
    [
        (Stage("0", "2000", 5 * NS_PER_S), Stage("0", "0", NS_PER_S), Stage("2000", "500", 5 * NS_PER_S)),
        (Stage("100", "900", 20 * NS_PER_S),),
    ],
    ids=["up, pause, down", "up"],
)
def test_poisson_arrivals_on_ramps_follow_the_cumulative_rate(listed, agents):
    timetable = Timetable(Shape(stages=listed, arrival=Arrival.POISSON, seed=5))
    total = cumulative(listed, length_ns(listed))

    found = together_ns(timetable, agents)
    places = [float(cumulative(listed, int(due))) for due in found]

    assert len(found) == timetable.planned
    assert abs(len(found) - total) < 4 * float(total) ** 0.5
    assert kolmogorov_smirnov(np.array(places) / float(total)) < 1.95
    assert kolmogorov_smirnov(1 - np.exp(-np.diff(places))) < 1.95


@pytest.mark.parametrize(
    ("busy", "idle"),
    [
        (Stage("6196.377", "6196.377", 826_208_580), Stage("0.00007", "0.00007", 7_146_109_790_571)),
        (Stage("12042.876", "12042.876", 780_249_217), Stage("0.0003", "0.0003", 1_851_435_239_694)),
    ],
    ids=["the last one begins a block", "the last one is due at the very end"],
)
def test_rounding_moves_no_request_out_of_its_stage_or_its_count(busy, idle):
    timetable = Timetable(Shape(stages=(busy, idle)))
    last = timetable.planned - 1

    due = timetable.due_ns(last)

    assert busy.duration_ns <= due < timetable.length_ns
    assert [timetable.due_count(due + off) for off in (-1, 0)] == [last, last + 1]


@pytest.mark.parametrize("end", ["3.950", "17.286", "0.012", "3.358", "0.331"])
def test_the_first_request_of_a_ramp_from_nothing_is_due_at_once(end):
    assert Timetable(Shape(stages=(Stage("0", end, 1_127_843_333_205),))).due_ns(0) == 0


class Misjudging(Course):
    """A course whose estimates are far worse than rounding makes them."""

    off = 0

    def reached(self, elapsed_ns):
        return max(0.0, super().reached(elapsed_ns) + self.off)


@pytest.mark.parametrize("places", [Evenly(), Scattered(4)], ids=["even", "poisson"])
@pytest.mark.parametrize("off", [-2500, -1, 0, 1, 2500])
def test_what_is_due_is_counted_exactly_however_rough_the_estimate(places, off):
    course = Misjudging([Ramp(Fraction(0), Fraction(3000), 4 * NS_PER_S)])
    course.off = off
    arrivals = Varying(course, places, None)
    listed = arrivals.due_many(0, 1, arrivals.planned)
    instants = range(0, 4 * NS_PER_S, 7_654_321)

    assert [arrivals.due_count(instant) for instant in instants] == listed.searchsorted(instants, "right").tolist()
