from agent.outcome import Outcome
from agent.rehearsal import Watching
from protocol.messages import ErrorClass, Target

TARGETS = [Target(endpoint=name, url=f"http://127.0.0.1/{name}") for name in ("a", "b")]


def told(*outcomes: Outcome) -> list[str]:
    watching = Watching(TARGETS)
    for one in outcomes:
        watching.done(one)
    return watching.wrong


def test_a_first_call_is_wrong_where_it_is_an_error_and_is_told_with_its_own_url():
    wrong = told(
        Outcome(0, 1, 1, 2, status=200),
        Outcome(1, 1, 1, 3, ErrorClass.STATUS, status=500),
        Outcome(0, 1, 1, 4, ErrorClass.REFUSED, text="nobody listens"),
    )

    assert wrong == ["http://127.0.0.1/b: status 500", "http://127.0.0.1/a: refused nobody listens"]


def test_what_the_error_ranges_allow_is_fine_and_so_is_a_teapot():
    assert told(Outcome(0, 1, 1, 2, status=302), Outcome(0, 1, 1, 3, ErrorClass.STATUS, status=418)) == []


def test_every_first_call_is_told_in_full():
    watching = Watching(TARGETS)
    for at_ns in range(1, 100):
        watching.done(Outcome(0, at_ns, at_ns, 2 * at_ns, status=200))

    assert watching.slow_ns == [-1, -1]
