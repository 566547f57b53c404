from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.experiment.spec import from_document
from protocol.schedule import NS_PER_S, Shape, Timetable
from protocol.schedule import Stage as PlannedStage

URL = "http://127.0.0.1:8000/"
HOLD = {"rate": 50, "from": 50, "duration": "4s"}


def endpoint_of(**settings):
    (endpoint,) = from_document({"spec": [{"task": "http", "with": {"url": URL} | settings}]}).spec[0].resolved()
    return endpoint


def courses(endpoint):
    return [(stage.name, stage.begin, stage.end, stage.duration_s) for stage in endpoint.stages]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [("1", 0, 100, 10.0), ("2", 100, 100, 20.0), ("down", 30, 0, 5.0)]),
        ({"rate": 40}, [("1", 40, 100, 10.0), ("2", 100, 100, 20.0), ("down", 30, 0, 5.0)]),
        ({"qps": 0}, [("1", 0, 100, 10.0), ("2", 100, 100, 20.0), ("down", 30, 0, 5.0)]),
    ],
)
def test_a_stage_begins_where_the_one_before_ends_and_the_first_at_the_tasks_rate(settings, expected):
    stages = [
        {"rate": 100, "duration": "10s"},
        {"rate": 100, "duration": "20s"},
        {"from": 30, "rate": 0, "duration": "5s", "name": "down"},
    ]
    endpoint = endpoint_of(stages=stages, **settings)

    assert courses(endpoint) == expected
    assert (endpoint.rate_per_s, endpoint.is_open, endpoint.is_users) == (None, True, False)
    assert (endpoint.num_requests, endpoint.duration_s, endpoint.planned_length_s) == (None, None, 35.0)
    assert (endpoint.max_duration_s, endpoint.peak_rate_per_s) == (65.0, 100)


@pytest.mark.parametrize(
    ("settings", "begin", "connections", "ahead"),
    [
        ({}, 1, 50, 1),
        ({"connections": 20}, 20, 50, 20),
        ({"qps": -1}, 1, 50, 1),
        ({"http2": True, "streams": 8}, 1, 7, 1),
        ({"http2": True, "streams": 8, "connections": 2}, 16, 7, 2),
    ],
)
def test_stages_of_users_are_closed_load_on_as_many_connections_as_carry_the_most(settings, begin, connections, ahead):
    endpoint = endpoint_of(stages=[{"users": 50, "duration": "10s"}, {"users": 5, "duration": "1s"}], **settings)

    assert courses(endpoint) == [("1", begin, 50, 10.0), ("2", 50, 5, 1.0)]
    assert (endpoint.is_open, endpoint.is_users, endpoint.peak_rate_per_s) == (False, True, None)
    assert (endpoint.connections, endpoint.ahead) == (connections, ahead)
    assert (endpoint.planned_requests, endpoint.planned_length_s) == (None, 11.0)


def test_a_step_is_a_hold_for_each_rate_and_none_beyond_the_last():
    endpoint = endpoint_of(step={"from": 0.5, "to": 2, "by": 0.7, "duration": "10s"})

    assert courses(endpoint) == [
        ("0.5", Decimal("0.5"), Decimal("0.5"), 10.0),
        ("1.2", Decimal("1.2"), Decimal("1.2"), 10.0),
        ("1.9", Decimal("1.9"), Decimal("1.9"), 10.0),
    ]


def test_a_spike_jumps_and_falls_back():
    spike = {"base": 10, "peak": 200, "before": "30s", "duration": "5s", "after": "1m"}

    assert courses(endpoint_of(spike=spike)) == [
        ("before", 10, 10, 30.0),
        ("spike", 200, 200, 5.0),
        ("after", 10, 10, 60.0),
    ]


@pytest.mark.parametrize(
    ("settings", "stage", "measured"),
    [
        ({"stages": [HOLD]}, "", 200),
        ({"stages": [HOLD, {"rate": 0, "duration": "2s"}]}, "", 250),
        ({"stages": [HOLD, {"rate": 0, "duration": "2s"}]}, "2", 50),
        ({"stages": [HOLD], "measure": {"from": "1s", "to": "3s"}}, "", 100),
        ({"stages": [HOLD, HOLD], "measure": {"from": "3s"}}, "1", 50),
        ({"stages": [HOLD, HOLD], "measure": {"from": "5s"}}, "1", 0),
        ({"stages": [HOLD, HOLD], "measure": {"to": "5s"}}, "2", 50),
        ({"rate": 10, "duration": "10s", "measure": {"from": "2s"}}, "", 80),
        ({"rate": 10, "numRequests": 55, "measure": {"from": "1s"}}, "", 45),
        ({"qps": -1, "numRequests": 55}, "", 55),
        ({"qps": -1, "numRequests": 55, "measure": {"from": "1s"}}, "", None),
        ({"qps": -1, "duration": "10s"}, "", None),
    ],
)
def test_how_many_requests_count_is_known_by_stage_and_window(settings, stage, measured):
    assert endpoint_of(**settings).measured_requests(stage) == measured


def test_a_warm_up_has_the_first_rate_above_0():
    assert endpoint_of(stages=[{"rate": 0, "duration": "1s"}, {"rate": 7, "duration": "1s"}]).warmup_rate_per_s == 7
    assert endpoint_of(rate=3).warmup_rate_per_s == 3
    assert endpoint_of(qps=-1).warmup_rate_per_s is None


stages = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(1, 4000)), min_size=1, max_size=6)


@given(stages.filter(lambda found: any(begin or end for begin, end, _ms in found)))
def test_the_number_of_requests_is_the_schedules_to_within_one(found):
    endpoint = endpoint_of(stages=[{"from": begin, "rate": end, "duration": f"{ms}ms"} for begin, end, ms in found])
    planned = tuple(
        PlannedStage(str(one.begin), str(one.end), int(one.duration_s * NS_PER_S)) for one in endpoint.stages
    )

    assert abs(Timetable(Shape(stages=planned)).planned - endpoint.planned_requests) <= 1
