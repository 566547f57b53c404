from measured_samples import MS, Raw, Sample, measured

from controller.abort import first_violated, sentence
from controller.experiment.abort import AbortOn
from protocol.messages import Fate

GOOD, BAD = Sample(10 * MS), Sample(10 * MS, fate=Fate.ERROR)
ERRORS = AbortOn.model_validate({"metric": "http/error-rate", "upper": "50%"})
SLOW = AbortOn.model_validate({"metric": "http/latency-p90", "upper": "50ms", "minRequests": 10})


def violated(abort_on, measured):
    """The sentence of the first limit that is violated; empty if none is."""
    found = first_violated(abort_on, measured)
    return "" if found is None else sentence(found, measured[found.slo.metric.provider])


def facts(*samples, **raw):
    return {"http": measured(Raw(tuple(samples), **raw), [ERRORS.slo, SLOW.slo])}


def test_a_limit_counts_once_there_are_requests_enough():
    assert violated([ERRORS], facts(*[BAD] * 99)) == ""
    assert violated([ERRORS], facts(*[BAD] * 60, *[GOOD] * 40)) == (
        "abortOn: http/error-rate is 0.6, above 0.5, after 100 requests"
    )


def test_a_limit_that_is_kept_or_only_just_reached_ends_nothing():
    assert violated([ERRORS, SLOW], facts(*[BAD] * 50, *[GOOD] * 50)) == ""


def test_the_first_limit_that_is_violated_is_the_one_that_is_told():
    late = [Sample(60 * MS, fate=Fate.ERROR)] * 1000

    assert first_violated([ERRORS, SLOW], facts(*late)) is ERRORS
    assert first_violated([SLOW, ERRORS], facts(*late)) is SLOW
    assert sentence(SLOW, facts(*late)["http"]).endswith("above 50 msec, after 1,000 requests")


def test_what_may_be_our_own_lateness_or_a_lost_agents_ends_nothing():
    assert violated([SLOW], facts(*[Sample(45 * MS, lag=10 * MS)] * 100)) == ""
    assert violated([SLOW], facts(*[Sample(60 * MS)] * 11, *[GOOD] * 89, unaccounted=20)) == ""
    assert violated([SLOW], facts(*[Sample(60 * MS)] * 11, *[GOOD] * 89)) != ""


def test_what_has_not_begun_or_has_no_value_ends_nothing():
    stage = AbortOn.model_validate({"metric": "http@peak/error-rate", "upper": 0})
    rate = AbortOn.model_validate({"metric": "http/rate", "lower": 5, "minRequests": 1})

    assert violated([stage], facts(BAD)) == ""
    assert violated([rate], facts(GOOD, elapsed_s=0.0)) == ""
    assert violated([rate], facts(GOOD, elapsed_s=1.0)) == "abortOn: http/rate is 1/s, below 5/s, after 1 request"
