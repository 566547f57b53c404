import pytest

from controller.experiment.spec import from_document
from controller.tasks.crew import agents_for

STAGES = [{"rate": 25_000, "duration": "10s"}, {"rate": 100, "duration": "1s"}]


def agents_of(asked=None, **settings):
    return agents_for(
        from_document({"spec": [{"task": "http", "with": {"url": "http://h/"} | settings}]}).spec[0], asked
    )


@pytest.mark.parametrize(
    ("settings", "agents"),
    [
        ({}, 1),
        ({"rate": 10_000, "duration": "1s"}, 1),
        ({"rate": 10_000.5, "duration": "1s"}, 2),
        ({"stages": STAGES}, 3),
        ({"rate": 30_000, "connections": 2, "duration": "1s"}, 2),
        ({"rate": 30_000, "numRequests": 2}, 2),
        ({"qps": -1, "connections": 1000}, 1),
        ({"mix": True, "rate": 20_000, "duration": "1s", "endpoints": {"a": {}, "b": {}}}, 2),
    ],
)
def test_the_fewest_agents_carry_the_highest_rate(settings, agents):
    assert agents_of(**settings) == agents


@pytest.mark.parametrize(
    ("settings", "agents"),
    [
        ({"stages": [{"users": 5, "duration": "1s"}]}, 5),
        ({"qps": -1, "numRequests": 500}, 4),
        ({"rate": 3, "duration": "1s"}, 3),
        ({"rate": 300, "duration": "1s"}, 8),
    ],
)
def test_no_agent_is_without_a_connection_and_a_request(settings, agents):
    assert agents_of(asked=8, **settings) == agents
