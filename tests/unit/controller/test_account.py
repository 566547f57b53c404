from dataclasses import dataclass

import msgspec
import pytest
from fleet_samples import MS, START_S, Paper, conducted_of, load, open_shape, plan_of
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.account import account, agent_account, measured
from controller.plan import split
from controller.run import OnLoss, RunEnded
from protocol.messages import Clock
from protocol.schedule import NS_PER_S, Shape

quick = settings(deadline=None, max_examples=30)
rates = st.sampled_from(["7", "3.3", "1/2", "50"])


def adds_up(account):
    parts = account.tried + account.unsent + account.withdrawn + account.unaccounted
    return account.planned == parts and account.tried == account.ok + account.errors


@quick
@given(st.integers(1, 4), rates, st.integers(0, 3), st.none() | st.integers(0, 3 * NS_PER_S))
def test_nothing_that_was_planned_vanishes(agents, rate, unsent, stopped_ns):
    plan = plan_of(open_shape(rate), agents=agents)
    papers = [
        Paper(plan, index, took_ms=(1, 7, 35), stopped_ns=stopped_ns, unsent=unsent) for index in range(plan.agents)
    ]

    found = account(conducted_of(plan, [one for paper in papers for one in paper.told]), 0)

    assert found.closes
    assert adds_up(found)
    assert found.planned == plan.segments[0].planned
    assert found.tried == sum(len(paper.responses) for paper in papers)
    assert found.unaccounted == 0


@quick
@given(st.integers(1, 4), st.integers(1, 60))
def test_a_closed_load_of_a_number_of_requests_adds_up_too(agents, count):
    plan = plan_of(Shape(count=count), agents=agents)
    papers = [Paper(plan, index) for index in range(plan.agents)]

    found = account(conducted_of(plan, [one for paper in papers for one in paper.told]), 0)

    assert (found.planned, found.tried, found.closes) == (count, count, True)


def test_a_closed_load_of_a_duration_is_as_long_as_its_answers_made_it():
    plan = plan_of(Shape(duration_ns=NS_PER_S))

    found = account(conducted_of(plan, Paper(plan, 0).told), 0)

    assert (found.planned, found.tried, found.closes) == (50, 50, True)


@dataclass(frozen=True)
class Loss:
    """A run in which agent-0 was last heard of at an instant, and then went on for a while, unheard."""

    on_loss: OnLoss
    rate: str
    agents: int
    told_s: int  # so many of its shards arrived
    unheard_s: float
    lease_s: float = 10.0

    def __post_init__(self):
        object.__setattr__(self, "plan", plan_of(open_shape(self.rate, 20), agents=self.agents))

    def conducted(self):
        heard_s = float(self.told_s)
        stopped_s = heard_s + 5.0 if self.on_loss is OnLoss.FAIL else None
        stopped_ns = None if stopped_s is None else int(stopped_s * NS_PER_S)
        papers = [Paper(self.plan, index, stopped_ns=stopped_ns) for index in range(1, self.plan.agents)]
        lost = Paper(self.plan, 0)
        told = [one for paper in papers for one in paper.told] + lost.shards[: self.told_s]
        return conducted_of(
            self.plan,
            told,
            lost={"agent-0": START_S + heard_s},
            on_loss=self.on_loss,
            lease_s=self.lease_s,
            stopped_s=None if stopped_s is None else START_S + stopped_s,
            ended=RunEnded.AGENT_LOST if self.on_loss is OnLoss.FAIL else RunEnded.COMPLETE,
        )

    def sent_by_lost(self):
        until_s = self.told_s + min(self.unheard_s, 5.0 if self.on_loss is OnLoss.FAIL else self.lease_s)
        part = self.plan.part(0, 0)
        return sum(part.due_ns(j) <= until_s * NS_PER_S for j in range(part.planned))


losses = st.builds(
    Loss,
    on_loss=st.sampled_from([OnLoss.FAIL, OnLoss.DEGRADE]),
    rate=rates,
    agents=st.integers(2, 4),
    told_s=st.integers(0, 19),
    unheard_s=st.floats(0, 12),
)


@quick
@given(losses)
def test_what_a_lost_agent_may_have_done_is_unaccounted(loss):
    conducted = loss.conducted()

    found, lost = account(conducted, 0), agent_account(conducted, 0, "agent-0")

    assert adds_up(found)
    assert adds_up(lost)
    assert found.closes
    assert found.planned == loss.plan.segments[0].planned
    assert lost.tried <= loss.sent_by_lost() + 1  # a cut tells of a second that it was heard after
    assert lost.tried + lost.unaccounted >= loss.sent_by_lost()
    assert all(agent_account(conducted, 0, agent).unaccounted == 0 for agent in conducted.agents[1:])
    assert measured(conducted, 0).unaccounted == found.unaccounted


def test_all_that_a_lost_agent_told_is_counted():
    plan = plan_of(open_shape("10", 20), agents=2)
    lost, other = Paper(plan, 0), Paper(plan, 1)
    told = [*lost.shards[:4], *other.told]

    found = agent_account(conducted_of(plan, told, lost={"agent-0": START_S + 4.0}, lease_s=10.0), 0, "agent-0")

    assert (found.planned, found.tried, found.unaccounted, found.withdrawn) == (100, 20, 51, 29)


def test_an_agent_that_was_lost_is_believed_by_its_shards_only():
    plan = plan_of(open_shape("10", 4), agents=2)
    lost, other = Paper(plan, 0), Paper(plan, 1)
    told = [*lost.shards[:2], lost.manifest, *other.told]

    found = agent_account(conducted_of(plan, told, lost={"agent-0": START_S + 2.0}), 0, "agent-0")

    assert (found.tried, found.unaccounted) == (10, 10)
    assert adds_up(found)


def test_a_lost_agents_share_of_a_closed_load_is_unaccounted():
    plan = plan_of(Shape(count=100), agents=2)
    lost, other = Paper(plan, 0), Paper(plan, 1)

    found = account(conducted_of(plan, other.told, lost={"agent-0": START_S}), 0)

    assert (found.planned, found.tried, found.unaccounted) == (100, 50, 50)
    assert adds_up(found)
    assert lost.total.ok == 50


def test_a_segment_that_was_never_begun_is_withdrawn():
    plan = plan_of(open_shape(), open_shape("7"), agents=2)
    papers = [Paper(plan, index) for index in range(2)]
    conducted = conducted_of(plan, [one for paper in papers for one in paper.told], started_s={0: START_S})

    found = account(conducted, 1)

    assert (found.planned, found.withdrawn, found.closes) == (21, 21, True)


def altered(series, **changes):
    return msgspec.structs.replace(series, **changes)


def without_a_sample(series):
    """One sample of the response histogram has got lost."""
    name = f"{Clock.RESPONSE}.ok"
    packed = series.histograms[name]
    return altered(series, histograms={**series.histograms, name: altered(packed, count=packed.count - 1)})


TAMPERED = {
    "a lost sample": without_a_sample,
    "a histogram that is not there": lambda series: altered(series, histograms={}),
    "a doubled count": lambda series: altered(series, ok=2 * series.ok),
    "an error too few": lambda series: altered(series, errors=series.errors - 1),
    "an unsent one that nobody recorded": lambda series: altered(series, unsent=1, planned=series.planned + 1),
    "a plan too large": lambda series: altered(series, planned=series.planned + 1),
    "a plan too large, withdrawn": lambda series: altered(series, planned=series.planned + 1, withdrawn=1),
    "a plan too small": lambda series: altered(series, planned=series.planned - 1, ok=series.ok - 1),
}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED)
@pytest.mark.parametrize("shape", [open_shape(), Shape(count=30), Shape(duration_ns=NS_PER_S)])
def test_an_account_that_does_not_add_up_does_not_close(shape, tamper):
    plan = plan_of(shape, agents=2)
    first, second = (Paper(plan, index, took_ms=(1, 7)) for index in range(2))
    wrong = msgspec.structs.replace(first.manifest, series=(tamper(first.total),))

    good = account(conducted_of(plan, [*first.told, *second.told]), 0)
    bad = account(conducted_of(plan, [*first.shards, wrong, *second.told]), 0)

    assert good.closes
    is_its_own_plan = shape == Shape(duration_ns=NS_PER_S) and tamper is TAMPERED["a plan too small"]
    assert not bad.closes or is_its_own_plan


def test_a_manifest_of_another_plan_does_not_close():
    plan = plan_of(open_shape("10"), agents=2)
    other = split([load(open_shape("12"))], 2)
    told = [*Paper(plan, 0).told, *Paper(other, 1).told]

    assert not account(conducted_of(plan, told), 0).closes


def test_latencies_are_those_of_all_agents_together():
    plan = plan_of(open_shape("10"), agents=2)
    papers = [Paper(plan, 0, took_ms=(1,)), Paper(plan, 1, took_ms=(9,))]

    facts = measured(conducted_of(plan, [one for paper in papers for one in paper.told]), 0)

    assert facts.latency("mean") == 5
    assert facts.latency("max") == 9
    assert facts.histogram(Clock.RESPONSE).max_ns == 9 * MS
