from decimal import Decimal

import pytest
from measured_samples import MS, Raw, Sample, measured, slo, tallied

from controller.assess import limits_ns
from controller.experiment.assess import Side, Slo
from controller.experiment.metrics import metric_name
from controller.stages import Stage, best_stage, meets
from controller.windows import BySecond

FAST = slo("latency-p50", upper="50ms")


def stage(name, load, took_ms=10, count=10, slos=(FAST,), seconds=None):
    facts = {"http": measured(Raw((Sample(took_ms * MS),) * count), slos)}
    return Stage(name, Decimal(load), facts, {} if seconds is None else {"http": seconds})


def test_the_best_stage_has_the_most_load_of_those_that_met_the_slos():
    stages = [stage("a", 100), stage("b", 300), stage("c", 200), stage("d", 400, took_ms=60)]

    assert [meets([FAST], one, None) for one in stages] == [True, True, True, False]
    assert best_stage([FAST], stages, None) == "b"
    assert best_stage([FAST], stages[3:], None) == ""


def test_an_undecided_stage_has_not_met_them_and_a_violated_one_is_not_undecided():
    rare = slo("latency-p99", upper="50ms")
    thin, slow = (stage("x", 9, took_ms=took, slos=[FAST, rare]) for took in (10, 60))

    assert meets([FAST, rare], thin, None) is None
    assert meets([FAST, rare], slow, None) is False
    assert best_stage([FAST, rare], [thin], None) == ""


@pytest.mark.parametrize(
    "other",
    [
        slo("request-count", lower=1000),
        Slo(Side.UPPER, 0, metric_name("http@x/latency-p50"), Decimal(1), 1),
        Slo(Side.UPPER, 0, metric_name("http-get/latency-p50"), Decimal(1), 1),
    ],
    ids=str,
)
def test_slos_that_say_nothing_about_a_stage_are_left_out(other):
    """Counts that the whole must reach, other stages, and what was not loaded in it."""
    one = stage("x", 9, slos=[FAST, other])

    assert meets([FAST, other], one, None) is True
    assert meets([other], one, None) is None


def test_no_stage_is_best_without_slos():
    assert best_stage([], [stage("a", 1)], None) == ""


def test_an_slo_with_a_window_is_judged_on_the_worst_one_of_the_stage():
    judged = slo("latency-p50", upper="50ms", window_s=1)
    limits = limits_ns([judged], ["http"])
    tallies = {
        second: tallied(Raw((Sample(took * MS),) * 10), limits) for second, took in enumerate([10, 60, 10, 10, 10], 3)
    }

    quick = {second: tally for second, tally in tallies.items() if second > 4}
    bad, good = (
        BySecond(seconds, is_open=True, limits_ns=limits, starts_s=starts_s, ends_s=8.0)
        for seconds, starts_s in ((tallies, 3.0), (quick, 5.0))
    )

    assert meets([judged], stage("x", 9, slos=[judged], seconds=bad), None) is False
    assert meets([judged], stage("x", 9, slos=[judged], seconds=good), None) is True
    assert meets([judged], stage("x", 9, slos=[judged]), None) is None
