import pytest

from controller.errors import BadInputError
from controller.experiment.chart import from_values
from controller.experiment.spec import from_document
from controller.experiment.values import merge_values

URL = "http://127.0.0.1:8000/"


def mistakes_of(values, **options):
    with pytest.raises(BadInputError) as raised:
        from_values(values, **options)

    return str(raised.value).splitlines()[1:]


def test_iter8s_tutorial_becomes_its_experiment():
    sets = [
        "tasks={http,assess}",
        f"http.url={URL}",
        "http.numRequests=1000",
        "assess.SLOs.upper.http/latency-mean=50",
        "assess.SLOs.upper.http/error-count=0",
    ]
    document = from_values(merge_values([], sets, [], []))

    assert document == {
        "spec": [
            {"task": "http", "with": {"url": URL, "numRequests": 1000}},
            {
                "task": "assess",
                "with": {
                    "SLOs": {
                        "upper": [
                            {"metric": "http/latency-mean", "limit": 50},
                            {"metric": "http/error-count", "limit": 0},
                        ]
                    }
                },
            },
        ]
    }
    assert len(from_document(document).slos) == 2


def test_words_match_in_any_case_and_chart_words_are_taken():
    values = {
        "Tasks": ["http"],
        "HTTP": {"url": URL},
        "runner": "none",
        "logLevel": "info",
        "name": "my-test",
        "resources": {},
        "iter8Image": "x",
    }

    assert from_values(values) == {
        "metadata": {"name": "my-test"},
        "spec": [{"task": "http", "with": {"url": URL}}],
    }


def test_a_task_listed_twice_stands_twice():
    assert len(from_values({"tasks": ["http", "http"], "http": {"url": URL}})["spec"]) == 2


@pytest.mark.parametrize(
    ("values", "mistake"),
    [
        ({}, "tasks is empty: expected a list such as {http,assess}"),
        ({"tasks": []}, "tasks is empty: expected a list such as {http,assess}"),
        ({"tasks": "http"}, 'tasks: expected a list such as {http,assess}, got "http"'),
        ({"tasks": ["htpp"]}, 'tasks[0]: unknown task "htpp"; did you mean http?'),
        ({"tasks": [5]}, "tasks[0]: expected http or assess, got 5"),
        ({"tasks": [["http"]]}, "tasks[0]: expected http or assess, got a list"),
        ({"tasks": ["slack"]}, 'tasks[0]: "slack" is not supported by this version; supported are http and assess'),
        ({"tasks": ["http"], "htp": {}}, "htp: unknown field; did you mean http?"),
        (
            {"tasks": ["http"], "assess": {}},
            'assess: has values, but tasks does not name it: add "assess" to tasks, or take them out',
        ),
        ({"tasks": ["http"], "http": 5}, "http: expected a map of the task's values, got 5"),
        (
            {"tasks": ["http"], "runner": "job"},
            'runner: "job" needs Kubernetes: launch runs the experiment here, with runner=none',
        ),
        ({"tasks": ["http"], "runner": "x"}, 'runner: expected none, got "x"'),
    ],
)
def test_values_that_go_nowhere_are_mistakes(values, mistake):
    assert mistakes_of(values) == [mistake]


def test_every_mistake_in_values_is_told_at_once():
    assert len(mistakes_of({"tasks": ["grpc", "http"], "runner": "job", "x": 1, "assess": {}})) == 4


def test_lenient_drops_values_that_nobody_knows():
    assert from_values({"tasks": ["http"], "my": 1}, lenient=True) == {"spec": [{"task": "http", "with": {}}]}


def test_the_users_values_are_left_alone():
    values = {"tasks": ["http", "assess"], "assess": {"slos": {"Upper": {"http/error-rate": 0}}}}
    from_values(values)

    assert values["assess"] == {"slos": {"Upper": {"http/error-rate": 0}}}
