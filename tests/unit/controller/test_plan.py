import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.plan import LoadSegment, most_agents, split
from protocol.messages import Target
from protocol.schedule import NS_PER_S, Shape

SHAPE = Shape(rate_per_s="10", count=100)
quick = settings(deadline=None, max_examples=30)
rates = st.sampled_from(["1/3", "0.1", "500", "333.333", "7/11"]) | st.fractions(
    Fraction(1, 100), 1000, max_denominator=100
).map(str)
open_shapes = st.builds(
    lambda rate, planned: Shape(rate_per_s=rate, duration_ns=int(planned * NS_PER_S / Fraction(rate))),
    rates,
    st.integers(1, 300),
) | st.builds(Shape, rate_per_s=rates, count=st.integers(1, 300))
closed_shapes = st.builds(Shape, count=st.integers(1, 300)) | st.builds(Shape, duration_ns=st.integers(1, 10**11))


def load(shape, connections=4, **rest):
    target = Target(endpoint=rest.pop("endpoint", ""), url="http://127.0.0.1/")
    return LoadSegment("http", "http", target, shape, connections, max_length_ns=10**11, **rest)


loads = st.builds(load, open_shapes | closed_shapes, st.integers(1, 60))


@quick
@given(st.lists(loads, min_size=1, max_size=3), st.integers(1, 50))
def test_the_parts_of_all_agents_are_the_load_that_was_asked_for(segments, agents):
    plan = split(segments, agents)
    assignments = [plan.assignment(index) for index in range(plan.agents)]

    for number, segment in enumerate(segments):
        parts = [assignment[number] for assignment in assignments]
        assert sum(part.connections for part in parts) == segment.connections
        assert all(part.connections for part in parts)
        assert [(part.stripe.index, part.stripe.of) for part in parts] == [(i, plan.agents) for i in range(plan.agents)]
        if segment.shape.is_open:
            own = [plan.part(number, index) for index in range(plan.agents)]
            requests = sorted(one.request(j) for one in own for j in range(one.planned))
            assert requests == list(range(segment.planned))
        elif segment.shape.count is not None:
            assert sum(part.count for part in parts) == segment.shape.count
        else:
            assert all(part.count is None for part in parts)


@quick
@given(st.lists(loads, min_size=1, max_size=3), st.integers(1, 50))
def test_no_agent_is_without_a_connection_or_a_request(segments, agents):
    plan = split(segments, agents)

    assert 1 <= plan.agents <= agents
    assert plan.agents == min(agents, most_agents(segments))
    for number, segment in enumerate(segments):
        if segment.shape.is_open:
            assert all(plan.part(number, index).planned for index in range(plan.agents))


@quick
@given(loads, st.integers(1, 20))
def test_the_same_plan_has_the_same_hash(segment, agents):
    assert split([segment], agents).hash == split([segment], agents).hash


def test_any_other_plan_has_another_hash():
    shape = Shape(rate_per_s="10", count=100)
    plans = [
        split([load(shape)], 1),
        split([load(shape)], 2),
        split([load(shape, connections=5)], 2),
        split([load(Shape(rate_per_s="11", count=100))], 2),
        split([load(shape, endpoint="home")], 2),
        split([load(shape, is_warmup=True)], 2),
        split([load(shape), load(shape)], 2),
    ]

    assert len({plan.hash for plan in plans}) == len(plans)


def test_a_hash_is_the_same_in_every_process():
    program = "import test_plan; print(test_plan.split([test_plan.load(test_plan.SHAPE)], 2).hash)"
    environment = {"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parent)}

    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)

    assert said.stdout.strip() == split([load(SHAPE)], 2).hash


@pytest.mark.parametrize(
    ("shape", "rate", "planned", "length_s"),
    [
        (Shape(rate_per_s="10", count=100), 10.0, 100, 10.0),
        (Shape(rate_per_s="10", duration_ns=10 * NS_PER_S), 10.0, 100, 10.0),
        (Shape(count=100), None, 100, None),
        (Shape(duration_ns=10 * NS_PER_S), None, None, 10.0),
    ],
)
def test_a_segment_knows_what_the_plan_decides_and_what_the_answers_decide(shape, rate, planned, length_s):
    segment = load(shape)

    assert segment.rate_per_s == rate
    assert segment.planned == planned
    assert segment.length_ns == (None if length_s is None else length_s * NS_PER_S)
