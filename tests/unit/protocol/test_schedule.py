from bisect import bisect_right
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import ProtocolError
from protocol.schedule import NS_PER_S, Part, Shape, Stripe, Timetable, share

quick = settings(deadline=None, max_examples=40)
rates = st.one_of(
    st.sampled_from(["1/3", "0.1", "0.001", "500", "333.333", "7/11", "1e2", "99.99", "1000000"]),
    st.fractions(min_value=Fraction(1, 997), max_value=10_000, max_denominator=997).map(str),
    st.decimals(min_value="0.01", max_value=5000, places=3).map(str),
)
counted = st.builds(lambda rate, count: Timetable(Shape(rate_per_s=rate, count=count)), rates, st.integers(0, 400))


@st.composite
def timed(draw):
    """As long as it likes, but with no more than some hundreds of requests."""
    rate = draw(rates)
    longest = int(400 * NS_PER_S / Fraction(rate))
    return Timetable(Shape(rate_per_s=rate, duration_ns=draw(st.integers(0, longest))))


timetables = counted | timed()


def part(timetable, index, of):
    return Part(timetable, (Stripe(index, of),))


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
@given(timetables)
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
    dues = [timetable.due_ns(k) for k in range(timetable.planned)]
    instants = {max(0, due + off) for due in dues for off in (-1, 0, 1)} | {0, timetable.length_ns}

    assert timetable.due_count(-1) == 0
    assert all(timetable.due_count(instant) == bisect_right(dues, instant) for instant in instants)


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
