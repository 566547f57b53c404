from bisect import bisect_right
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_samples import dues, part, rates, shapes, timetables

from protocol.errors import ProtocolError
from protocol.schedule import NS_PER_S, Arrival, Shape, Stage, Stripe, Timetable, cut_short, share, stage_starts_ns

quick = settings(deadline=None, max_examples=60)
counted = st.builds(lambda rate, count: Timetable(Shape(rate_per_s=rate, count=count)), rates, st.integers(0, 400))


@st.composite
def timed(draw):
    """As long as it likes, but with no more than some hundreds of requests."""
    rate = draw(rates)
    longest = int(400 * NS_PER_S / Fraction(rate))
    return Timetable(Shape(rate_per_s=rate, duration_ns=draw(st.integers(0, longest))))


even = counted | timed()


def requests(part):
    return [part.request(j) for j in range(part.planned)]


@quick
@given(timetables, st.integers(1, 50))
def test_any_number_of_agents_sends_the_same_requests_at_the_same_instants(timetable, agents):
    alone = [(k, timetable.due_ns(k)) for k in range(timetable.planned)]
    parts = [part(timetable, index, agents) for index in range(agents)]

    together = sorted((one.request(j), one.due_ns(j)) for one in parts for j in range(one.planned))

    assert together == alone


@quick
@given(even)
def test_requests_are_due_at_their_place_by_the_exact_rate(timetable):
    rate = Fraction(timetable.shape.rate_per_s)

    assert all(timetable.due_ns(k) == int(Fraction(k) / rate * NS_PER_S) for k in range(timetable.planned))


@quick
@given(timed())
def test_a_duration_holds_the_requests_that_are_due_before_its_end(timetable):
    duration, planned = timetable.shape.duration_ns, timetable.planned

    assert all(timetable.due_ns(k) < duration for k in range(planned))
    assert Fraction(planned) / Fraction(timetable.shape.rate_per_s) * NS_PER_S >= duration


@quick
@given(timetables)
def test_so_many_are_due_as_have_their_instant_behind_them(timetable):
    listed = dues(timetable)
    instants = {max(0, due + off) for due in listed for off in (-1, 0, 1)} | {0, timetable.length_ns, 1 << 62}

    assert timetable.due_count(-1) == 0
    assert all(timetable.due_count(instant) == bisect_right(listed, instant) for instant in instants)
    assert timetable.due_count(timetable.length_ns) == timetable.planned


@quick
@given(timetables)
def test_no_request_is_due_before_the_one_in_front_of_it_or_after_the_end(timetable):
    listed = dues(timetable)

    assert listed == sorted(listed)
    assert all(0 <= due <= timetable.length_ns for due in listed)


@quick
@given(timetables, st.data())
def test_many_due_times_at_once_are_those_one_by_one(timetable, data):
    first = data.draw(st.integers(0, timetable.planned))
    step = data.draw(st.integers(1, 50))
    count = len(range(first, timetable.planned, step))

    together = timetable.due_many(first, step, count)

    assert together.tolist() == [timetable.due_ns(k) for k in range(first, timetable.planned, step)]


@pytest.mark.parametrize(
    ("rate", "first"),
    [("123456789.123456789", 10**12), ("99999999999999999/7", 5), ("1e-6", 1), ("99999999.9999999", 10**16)],
)
def test_many_due_times_are_exact_where_the_numbers_are_too_large_for_a_machine_word(rate, first):
    timetable = Timetable(Shape(rate_per_s=rate, count=10**18))

    assert timetable.due_many(first, 7, 150).tolist() == [timetable.due_ns(first + 7 * each) for each in range(150)]


@quick
@given(timetables, st.integers(1, 7), st.data())
def test_a_block_of_own_requests_is_those_one_by_one(timetable, agents, data):
    own = part(timetable, data.draw(st.integers(0, agents - 1)), agents)
    first = data.draw(st.integers(0, timetable.planned))
    own = own.restriped(Stripe(data.draw(st.integers(0, 2)), 3, first)).restriped(Stripe(0, 2, first + 20))
    j = data.draw(st.integers(0, own.planned + 2))
    count = data.draw(st.integers(0, 200))

    due, numbers = own.due_block(j, count)

    wanted = range(j, min(j + count, own.planned))
    assert numbers.tolist() == [own.request(each) for each in wanted]
    assert due.tolist() == [own.due_ns(each) for each in wanted]


@quick
@given(shapes, st.data())
def test_a_timetable_that_is_cut_short_is_the_same_up_to_there(shape, data):
    whole = Timetable(shape)
    count = data.draw(st.integers(0, whole.planned + 5))

    cut = Timetable(cut_short(shape, count))

    assert dues(cut) == dues(whole)[:count]


@quick
@given(timetables, st.integers(1, 7), st.data())
def test_an_agents_own_due_requests_are_those_among_all(timetable, agents, data):
    own = part(timetable, data.draw(st.integers(0, agents - 1)), agents)
    elapsed = data.draw(st.integers(0, timetable.length_ns + 1))
    k = data.draw(st.integers(0, timetable.planned + 3))

    assert own.due_count(elapsed) == sum(timetable.due_ns(one) <= elapsed for one in requests(own))
    assert own.own_before(k) == sum(one < k for one in requests(own))


@st.composite
def epochs(draw):
    """A timetable, some agents, and boundaries at which those that are left take over."""
    timetable = draw(timetables)
    agents = draw(st.integers(1, 6))
    boundaries = sorted(draw(st.lists(st.integers(0, timetable.planned), max_size=3)))
    return timetable, agents, boundaries


@quick
@given(epochs(), st.randoms())
def test_restriping_neither_loses_nor_doubles_a_request(case, random):
    timetable, agents, boundaries = case
    parts = {agent: part(timetable, agent, agents) for agent in range(agents)}
    done = []
    for first in boundaries:
        lost = random.choice(sorted(parts))
        if len(parts) > 1:
            done += [k for k in requests(parts.pop(lost)) if k < first]
        order = sorted(parts)
        random.shuffle(order)
        for index, agent in enumerate(order):
            parts[agent] = parts[agent].restriped(Stripe(index, len(order), first))

    found = sorted(done + [k for one in parts.values() for k in requests(one)])

    assert found == list(range(timetable.planned))
    assert all(requests(one) == sorted(requests(one)) for one in parts.values())
    assert all(one.own_before(k) == sum(own < k for own in requests(one)) for one in parts.values() for k in boundaries)


def test_what_came_before_the_boundary_stays_the_same():
    timetable = Timetable(Shape(rate_per_s="10", count=20))
    old = part(timetable, 1, 4)

    new = old.restriped(Stripe(0, 2, 9))

    assert requests(new) == [1, 5, 10, 12, 14, 16, 18]
    assert [new.due_ns(j) for j in range(3)] == [100_000_000, 500_000_000, 1_000_000_000]


def test_there_is_no_request_after_the_last():
    own = part(Timetable(Shape(rate_per_s="10", count=3)), 0, 2)

    with pytest.raises(IndexError):
        own.request(2)


@quick
@given(st.integers(0, 10**9), st.integers(1, 60))
def test_shares_are_even_and_add_up(total, of):
    shares = [share(total, index, of) for index in range(of)]

    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize("rate", ["0", "-1", "-1/3"])
def test_a_rate_is_above_zero(rate):
    with pytest.raises(ProtocolError, match="expected more than 0"):
        _ = Timetable(Shape(rate_per_s=rate, count=1)).length_ns


def test_a_count_wins_over_a_duration():
    timetable = Timetable(Shape(rate_per_s="100", count=50, duration_ns=60 * NS_PER_S))

    assert (timetable.planned, timetable.length_ns) == (50, NS_PER_S // 2)


def test_a_count_ends_stages_just_after_the_last_request():
    stages = (Stage("10", "10", NS_PER_S), Stage("10", "0", NS_PER_S))

    assert Timetable(Shape(stages=stages, count=5)).length_ns == 400_000_001
    assert Timetable(Shape(stages=stages, count=500)).length_ns == 2 * NS_PER_S


def test_stages_begin_where_the_one_before_ends():
    stages = (Stage("1", "2", 5), Stage("2", "2", 7), Stage("9", "0", 3))

    assert stage_starts_ns(Shape(stages=stages)) == (5, 12)
    assert stage_starts_ns(Shape(users=stages[1:])) == (7,)
    assert stage_starts_ns(Shape(rate_per_s="1", count=1)) == ()


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (Stage("-1", "5", 1), "-1: expected 0, or from"),
        (Stage("5", "1e10", 1), "1e10: expected 0, or from"),
        (Stage("0", "1e-10", 1), "1e-10: expected 0, or from"),
        (Stage("0", "fast", 1), '"fast": expected a decimal number'),
        (Stage("1/0", "1", 1), '"1/0": expected a decimal number'),
        (Stage("0", "1", -1), "a stage of -1 ns: expected 0 or more"),
    ],
)
def test_a_stage_that_makes_no_sense_is_refused(stage, said):
    with pytest.raises(ProtocolError, match=said):
        _ = Timetable(Shape(stages=(stage,))).planned


long_stages = (Stage("0", "3000", NS_PER_S), Stage("3000", "3000", NS_PER_S), Stage("3000", "17.5", 2 * NS_PER_S))


@pytest.mark.parametrize(
    "shape",
    [
        Shape(rate_per_s="1234.567", count=6000),
        Shape(rate_per_s="3e9", count=6000),
        Shape(stages=long_stages),
        Shape(stages=long_stages, arrival=Arrival.POISSON, seed=1),
        Shape(stages=(Stage("1e9", "1e9", 6000),)),
        Shape(stages=(Stage("1e9", "1e9", 6000),), arrival=Arrival.POISSON, seed=1),
        Shape(rate_per_s="1e9", count=6000, arrival=Arrival.POISSON, seed=2),
        Shape(rate_per_s="1234.567", duration_ns=5 * NS_PER_S, arrival=Arrival.POISSON, seed=3),
    ],
)
def test_timetables_of_many_blocks_have_no_seams(shape):
    timetable = Timetable(shape)
    listed = timetable.due_many(0, 1, timetable.planned)
    instants = sorted({max(0, due + off) for due in listed.tolist() for off in (-1, 0, 1)})

    assert dues(timetable) == listed.tolist() == sorted(listed)
    assert [timetable.due_count(instant) for instant in instants] == listed.searchsorted(instants, "right").tolist()
    for step in (2, 1000, 1500, 3000):
        assert timetable.due_many(3, step, len(listed[3::step])).tolist() == listed[3::step].tolist()
