from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_samples import seeds

from protocol.errors import ProtocolError
from protocol.schedule import NS_PER_S, Mix, Shape, Stage, Stripe, Users, most

quick = settings(deadline=None, max_examples=100)
numbers_of_users = st.integers(0, 60).map(str) | st.decimals(min_value=0, max_value=30, places=2).map(str)
some_users = st.lists(
    st.builds(Stage, numbers_of_users, numbers_of_users, st.integers(0, 5000) | st.integers(0, 60 * NS_PER_S)),
    min_size=1,
    max_size=4,
).map(lambda listed: Shape(users=tuple(listed)))
weights = st.lists(st.integers(0, 50), min_size=1, max_size=6).filter(any)


def alone(shape):
    return Users(shape, Stripe(0, 1), 4)


def interpolated(shape, elapsed_ns):
    """The users that the stages ask for at an instant, rounded, halves up."""
    for stage in shape.users:
        if elapsed_ns < stage.duration_ns:
            begin, end = Fraction(stage.begin), Fraction(stage.end)
            return floor(begin + (end - begin) * Fraction(elapsed_ns, stage.duration_ns) + Fraction(1, 2))
        elapsed_ns -= stage.duration_ns
    return 0


@quick
@given(some_users, st.integers(1, 50), st.data())
def test_the_agents_users_add_up_to_what_the_stages_ask_for(shape, agents, data):
    length_ns = sum(stage.duration_ns for stage in shape.users)
    elapsed = data.draw(st.integers(0, length_ns + 2))

    shares = [Users(shape, Stripe(index, agents), 4).at(elapsed) for index in range(agents)]

    assert sum(shares) == interpolated(shape, elapsed)
    assert max(shares) - min(shares) <= 1
    assert alone(shape).length_ns == length_ns


@quick
@given(some_users)
def test_users_change_at_the_instants_that_are_named_and_at_no_other(shape):
    users = alone(shape)
    elapsed, steps = 0, [0]
    while (following := users.next_change_ns(elapsed)) is not None:
        assert following > elapsed
        assert users.at(following - 1) == users.at(elapsed)
        elapsed = following
        steps.append(elapsed)

    assert users.at(elapsed) == 0
    assert elapsed == users.length_ns
    assert most(shape, 4) == max(interpolated(shape, step) for step in steps)


def test_a_ramp_of_users_takes_them_on_one_by_one():
    users = alone(Shape(users=(Stage("0", "2", NS_PER_S), Stage("2", "2", NS_PER_S), Stage("2", "0", NS_PER_S))))
    changes = {ms: users.at(ms * 1_000_000) for ms in (0, 249, 250, 749, 750, 1999, 2000, 2250, 2251, 2751, 2999, 3000)}

    assert changes == {
        0: 0,
        249: 0,
        250: 1,
        749: 1,
        750: 2,
        1999: 2,
        2000: 2,
        2250: 2,
        2251: 1,
        2751: 0,
        2999: 0,
        3000: 0,
    }
    assert [users.next_change_ns(ms * 1_000_000) for ms in (-5, 0, 300, 800, 2999)] == [
        0,
        250_000_000,
        750_000_000,
        1_000_000_000,
        3_000_000_000,
    ]


def test_without_stages_there_is_a_user_for_each_connection_for_ever():
    users = [Users(Shape(duration_ns=5), Stripe(index, 3), 10) for index in range(3)]

    assert [one.at(10**15) for one in users] == [4, 3, 3]
    assert {(one.length_ns, one.next_change_ns(0)) for one in users} == {(None, None)}
    assert most(Shape(duration_ns=5), 10) == 10


@quick
@given(weights, seeds, st.lists(st.integers(0, 1 << 50), max_size=30))
def test_a_request_is_for_the_same_target_whoever_asks(weights, seed, numbers):
    mix = Mix(weights, seed)
    picked = [mix.pick(number) for number in numbers]

    assert mix.picks(np.array(numbers, dtype=np.int64)).tolist() == picked
    assert all(weights[target] for target in picked)


@pytest.mark.parametrize("weights", [[1, 1], [3, 1, 2], [1, 0, 99], [10**20, 10**20]])
def test_targets_are_picked_by_weight_for_every_agent(weights):
    mix, agents, each = Mix(weights, 7), 5, 20_000

    for index in range(agents):
        picked = mix.picks(np.arange(each, dtype=np.int64) * agents + index)

        shares = np.bincount(picked, minlength=len(weights)) / each
        wanted = np.array([weight / sum(weights) for weight in weights])
        assert np.all(np.abs(shares - wanted) <= 4 * np.sqrt(wanted * (1 - wanted) / each))


def test_neighbouring_requests_are_picked_independently():
    picked = Mix([1, 1], 11).picks(np.arange(100_000))

    assert abs(np.corrcoef(picked[1:], picked[:-1])[0, 1]) < 4 / 100_000**0.5


def test_one_target_has_every_request():
    mix = Mix([5], 3)

    assert [mix.pick(number) for number in range(5)] == [0] * 5
    assert mix.picks(np.arange(5)).tolist() == [0] * 5


def test_picks_are_the_same_for_ever():
    """Controllers and agents of different releases meet in one run: these values change with the protocol's version."""
    assert [Mix([3, 1, 2], 42).pick(number) for number in range(24)] == [
        *(0, 2, 0, 0, 1, 0, 0, 0, 0, 2, 2, 2),
        *(0, 2, 0, 0, 0, 0, 1, 2, 2, 0, 0, 2),
    ]


@pytest.mark.parametrize("weights", [[], [0, 0], [3, -1]])
def test_weights_are_not_negative_and_not_all_nothing(weights):
    with pytest.raises(ProtocolError, match="expected none below 0, and one above"):
        Mix(weights, 1)
