from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.run import (
    MAX_EPOCHS,
    PREPARE_S,
    SETTLE_S,
    SILENCE_S,
    AgentAlive,
    AgentReady,
    AgentRefused,
    AgentStarted,
    Begin,
    BusBack,
    BusLost,
    Finish,
    OnLoss,
    Phase,
    Run,
    RunEnded,
    SendAskAgain,
    SendAssign,
    SendRestripe,
    SendStart,
    SendStop,
    SignedOff,
    StopAsked,
    Terms,
    Tick,
)

AGENTS = ("a", "b", "c")
STEP_S = 0.25


@dataclass
class Story:
    """A run, the time, and what it ordered so far."""

    terms: Terms
    now_s: float = 100.0
    ordered: list = field(default_factory=list)

    def __post_init__(self):
        self.run = Run(self.terms)

    def say(self, *events):
        """The commands that these events bring about, now."""
        commands = [command for event in events for command in self.run.on(event, self.now_s)]
        self.ordered += commands
        return commands

    def wait(self, seconds, *, alive=()):
        """The commands that the time brings about, while some agents go on with their heartbeats."""
        commands = []
        until = self.now_s + seconds
        while self.now_s < until:
            self.now_s = min(until, self.now_s + STEP_S)
            commands += self.say(*map(AgentAlive, alive), Tick())
        return commands

    def ready(self):
        self.say(Begin(), *map(AgentReady, self.terms.agents))
        return self

    def started(self, segment=0, epoch=0):
        """All agents have said that they will begin, and the instant is there."""
        living = self.run.living
        self.say(*(AgentStarted(agent, segment, epoch) for agent in living))
        self.wait(self.terms.lead_s, alive=living)
        assert self.run.phase is Phase.RUNNING
        return self

    def of(self, kind):
        return [command for command in self.ordered if isinstance(command, kind)]


def story(agents=AGENTS, segments_s=(60.0,), **terms):
    return Story(Terms(agents=agents, segments_s=segments_s, **terms))


def signed(agent, segment=0, epoch=0, ended="complete", missing=(), tried=10):
    return SignedOff(agent, segment, epoch, ended, tried, missing)


# --- it always ends ------------------------------------------------------------------------------------------------

agents = st.sampled_from(AGENTS)
numbers = st.integers(0, 3)
endings = st.sampled_from(["complete", "complete", "max-duration", "stopped", "lease"])
events = st.one_of(
    st.just(Begin()),
    st.builds(AgentReady, agents),
    st.builds(AgentReady, agents, st.just(("status 500",))),
    st.builds(AgentRefused, agents, st.just("busy")),
    st.builds(AgentStarted, agents, numbers, numbers),
    st.builds(AgentAlive, agents),
    st.builds(SignedOff, agents, numbers, numbers, endings, st.integers(0, 2), st.sampled_from([(), (1,), (2, 5)])),
    st.just(BusLost()),
    st.just(BusBack()),
    st.just(StopAsked()),
    st.just(Tick()),
)
terms = st.builds(
    Terms,
    agents=st.integers(1, 3).map(lambda count: AGENTS[:count]),
    segments_s=st.lists(st.sampled_from([0.0, 5.0, 20.0]), min_size=1, max_size=3),
    lead_s=st.sampled_from([0.05, 0.3, 1.0]),
    on_loss=st.sampled_from(OnLoss),
    lease_s=st.sampled_from([2.0, 10.0]),
    drain_s=st.sampled_from([0.0, 5.0]),
)
steps = st.sampled_from([0.0, 0.0, 0.05, 0.3, 1.0, 6.0, 40.0])


@st.composite
def courses(draw):
    """Events in no sensible order, some of them twice; or those of a run that goes well, some of them lost."""
    given_terms = draw(terms)
    if draw(st.booleans()):
        told = draw(st.lists(events, max_size=25))
    else:
        told = [Begin(), *map(AgentReady, given_terms.agents)]
        for segment in range(len(given_terms.segments_s)):
            for said in (AgentStarted, signed):
                told += [said(agent, segment, 0) for agent in given_terms.agents]
                told += [Tick()] * 4
        told = [event for event in told for _ in range(draw(st.sampled_from([1, 1, 1, 1, 0, 2])))]
        told = draw(st.permutations(told)) if draw(st.booleans()) else told
    return given_terms, [(event, draw(steps)) for event in told]


def check_orders(ordered, given_terms):
    """What holds for the orders of any run."""
    finished = [command for command in ordered if isinstance(command, Finish)]
    assert len(finished) == 1
    assert ordered[-1] is finished[0]
    starts = [(one.segment, one.epoch) for one in ordered if isinstance(one, SendStart)]
    assert starts == sorted(set(starts))
    assert {segment for segment, _epoch in starts} == set(
        range(max((segment for segment, _ in starts), default=-1) + 1)
    )
    for one in ordered:
        if isinstance(one, SendStart | SendRestripe):
            assert one.agents
            assert set(one.agents) <= set(given_terms.agents)
    restripes = [one.epoch for one in ordered if isinstance(one, SendRestripe)]
    assert restripes == sorted(set(restripes))
    asked = [(one.agent, one.segment) for one in ordered if isinstance(one, SendAskAgain)]
    assert all(asked.count(one) <= 2 for one in asked)


@settings(deadline=None, max_examples=150)
@given(courses())
def test_a_run_ends_whatever_is_lost_doubled_or_late(course):
    given_terms, told = course
    story = Story(given_terms)
    for event, step_s in told:
        story.now_s += step_s
        story.say(event)
    story.say(Begin())

    while story.run.phase is not Phase.OVER and story.now_s < 5000:
        story.wait(5)

    assert story.run.phase is Phase.OVER
    assert story.now_s < 5000
    check_orders(story.ordered, given_terms)
    assert story.say(*(event for event, _step in told), StopAsked(), Tick()) == []
    assert set(story.run.ended_by_segment) == {one.segment for one in story.of(SendStart)}


# --- preparing and starting ----------------------------------------------------------------------------------------


def test_a_run_begins_by_claiming_its_agents():
    assert story().say(Begin()) == [SendAssign("a"), SendAssign("b"), SendAssign("c")]


def test_it_starts_when_the_last_agent_is_ready():
    run = story(lead_s=0.3)
    run.say(Begin(), AgentReady("a"), AgentReady("b"), AgentReady("b"))

    assert run.say(AgentReady("c")) == [SendStart(AGENTS, 0, 0, 0.3)]


def test_to_begin_twice_is_to_begin_once():
    run = story()

    assert run.say(Begin(), Begin()) == [SendAssign("a"), SendAssign("b"), SendAssign("c")]


def test_an_agent_that_refuses_ends_it():
    run = story()
    run.say(Begin(), AgentReady("a"))

    assert run.say(AgentRefused("b", "busy with run 7")) == [Finish(RunEnded.FAILED, "b refused: busy with run 7")]


def test_a_refusal_after_it_was_ready_changes_nothing():
    run = story().ready()

    assert run.say(AgentRefused("b", "what?")) == []


def test_initial_calls_that_went_wrong_end_it():
    run = story()
    run.say(Begin())

    (finish,) = run.say(AgentReady("a", ("status 500", "status 503")))

    assert finish.ended is RunEnded.FAILED
    assert "the first calls went wrong: status 500 (2 on a)" in finish.why


def test_agents_that_do_not_answer_end_it_and_are_named():
    run = story()
    run.say(Begin(), AgentReady("b"))

    assert run.wait(PREPARE_S, alive=("a", "c")) == []
    assert run.wait(1, alive=("a", "c")) == [Finish(RunEnded.FAILED, "no answer from a, c within 30 s")]


def test_agents_of_which_nothing_is_heard_before_the_start_are_not_waited_for():
    run = story()
    run.say(Begin(), AgentReady("b"))

    assert run.wait(5, alive=("a",)) == []
    assert run.wait(0.5, alive=("a",)) == [
        Finish(RunEnded.FAILED, "lost c before the start: nothing was heard from it")
    ]


@pytest.mark.parametrize("begun", [False, True])
def test_a_bus_that_stays_away_ends_it(begun):
    run = story(bus_patience_s=5.0)
    run.ready().started() if begun else run.say(Begin())
    run.say(BusLost())

    run.wait(5)
    ordered = run.wait(1)
    assert ordered[-1] == Finish(RunEnded.AGENT_LOST if begun else RunEnded.FAILED, "the bus was away for 5 s")


def test_an_agent_whose_lease_ran_out_counts_as_lost():
    run = story().ready().started()
    run.say(signed("b", ended="lease"))

    assert "b" in run.run.lost


def test_it_runs_when_all_have_said_that_they_will_begin():
    run = story(lead_s=1.0).ready()
    run.say(*(AgentStarted(agent, 0, 0) for agent in AGENTS))

    run.wait(0.75)
    assert run.run.phase is Phase.STARTING
    run.wait(0.25)
    assert run.run.phase is Phase.RUNNING
    assert run.of(SendStop) == []


@pytest.mark.parametrize("late_s", [0.0, 0.05])
def test_a_start_that_an_agent_has_not_acknowledged_a_tenth_of_a_second_before_is_called_off(late_s):
    run = story(lead_s=1.0).ready()
    run.say(AgentStarted("a", 0, 0), AgentStarted("b", 0, 0))
    run.now_s += 0.89

    assert run.say(Tick()) == []
    run.now_s += 0.0101 + late_s
    assert run.say(Tick()) == [SendStop(AGENTS, "start called off", 0), SendStart(AGENTS, 0, 1, 1.0)]


def test_an_acknowledgement_of_a_start_that_was_called_off_counts_for_nothing():
    run = story().ready()
    run.say(AgentStarted("a", 0, 0), AgentStarted("b", 0, 0))
    run.wait(1)
    run.say(AgentStarted("a", 0, 1), AgentStarted("b", 0, 1), AgentStarted("c", 0, 0))

    assert SendStart(AGENTS, 0, 2, 1.0) in run.wait(1)


def test_there_are_three_starts_at_most():
    run = story().ready()
    run.say(AgentStarted("a", 0, 0))

    ordered = run.wait(10)

    assert [one.epoch for one in run.of(SendStart)] == list(range(MAX_EPOCHS))
    assert ordered[-2:] == [SendStop(AGENTS, "not started"), Finish(RunEnded.FAILED, "no start from a, b, c")]


def test_each_segment_has_its_three_starts():
    run = story(segments_s=(60.0, 60.0)).ready()
    run.say(AgentStarted("a", 0, 0))
    run.wait(2)
    run.started(epoch=2)
    run.say(*(signed(agent, epoch=2) for agent in AGENTS))
    run.say(AgentStarted("a", 1, 2))

    run.wait(1)

    assert [one.epoch for one in run.of(SendStart) if one.segment == 1] == [2, 3]
    assert run.of(Finish) == []


def test_an_agent_that_began_a_start_that_was_called_off_fails_the_run():
    run = story().ready()
    run.wait(1)

    assert run.say(signed("b", epoch=0, ended="stopped", tried=3)) == [
        Finish(RunEnded.FAILED, "b began an epoch that was called off")
    ]


def test_signing_off_a_start_that_was_called_off_is_not_signing_off_the_next():
    run = story(agents=("a", "b")).ready()
    run.wait(1)
    run.say(*(signed(agent, epoch=0, ended="stopped", tried=0) for agent in ("a", "b")))
    run.started(epoch=1)

    assert run.wait(1, alive=("a", "b")) == []
    assert run.say(signed("a", epoch=1), signed("b", epoch=1)) == [Finish(RunEnded.COMPLETE, "")]


# --- running -------------------------------------------------------------------------------------------------------


def test_it_is_complete_when_all_have_signed_off():
    run = story().ready().started()

    assert run.say(signed("a"), signed("b"), signed("b")) == []
    assert run.say(signed("c")) == [Finish(RunEnded.COMPLETE, "")]
    assert run.run.ended_by_segment == {0: RunEnded.COMPLETE}


@pytest.mark.parametrize(
    ("said", "ended"),
    [
        ("max-duration", RunEnded.MAX_DURATION),
        ("stopped", RunEnded.AGENT_LOST),
        ("complete", RunEnded.COMPLETE),
    ],
)
def test_how_it_ended_is_what_its_agents_say(said, ended):
    run = story().ready().started()

    (finish,) = run.say(signed("a"), signed("b", ended=said), signed("c"))

    assert finish.ended is ended


def test_segments_go_one_after_the_other_each_with_its_own_start():
    run = story(segments_s=(60.0, 60.0, 60.0)).ready()

    for segment in range(3):
        run.started(segment)
        run.say(*(signed(agent, segment) for agent in AGENTS))

    assert [(one.segment, one.agents) for one in run.of(SendStart)] == [(0, AGENTS), (1, AGENTS), (2, AGENTS)]
    assert run.ordered[-1] == Finish(RunEnded.COMPLETE, "")
    assert run.run.ended_by_segment == dict.fromkeys(range(3), RunEnded.COMPLETE)


def test_a_late_word_about_an_earlier_segment_changes_nothing():
    run = story(segments_s=(60.0, 60.0)).ready().started()
    run.say(*map(signed, AGENTS))
    run.started(1)

    assert run.say(*map(signed, AGENTS), AgentStarted("a", 0, 0)) == []
    assert run.run.phase is Phase.RUNNING


def test_missing_shards_are_asked_for_once_and_then_waited_for():
    run = story().ready().started()
    run.say(signed("a"), signed("b"))

    assert run.say(signed("c", missing=(3, 4))) == [SendAskAgain("c", 0, (3, 4))]
    assert run.say(signed("c", missing=(4,)), Tick()) == []
    assert run.say(signed("c")) == [Finish(RunEnded.COMPLETE, "")]


def test_shards_that_never_come_are_given_up():
    run = story().ready().started()
    run.say(signed("a"), signed("b"), signed("c", missing=(3,)))

    assert run.wait(SETTLE_S) == []
    assert run.wait(1) == [Finish(RunEnded.COMPLETE, "")]


def test_the_missing_shards_of_a_late_manifest_are_asked_for_too():
    run = story(agents=("a",), segments_s=(10.0,)).ready().started()
    run.wait(11, alive=("a",))

    assert run.say(signed("a", missing=(3,))) == [SendAskAgain("a", 0, (3,))]
    assert run.wait(SETTLE_S, alive=("a",)) == []
    assert run.wait(1) == [Finish(RunEnded.COMPLETE, "")]


def test_a_manifest_that_is_long_due_is_asked_for_and_then_given_up():
    run = story(agents=("a", "b"), segments_s=(10.0,)).ready().started()
    run.say(signed("a"))

    ordered = run.wait(30, alive=("b",))

    assert ordered == [
        SendStop(("b",), "too late"),
        SendAskAgain("b", 0, ()),
        SendStop(("a",), "no manifest from b"),
        Finish(RunEnded.AGENT_LOST, ""),
    ]
    assert set(run.run.lost) == {"b"}


def test_a_manifest_that_comes_when_asked_for_completes_the_run():
    run = story(agents=("a", "b"), segments_s=(10.0,)).ready().started()
    run.say(signed("a"))
    run.wait(11, alive=("b",))

    assert run.say(signed("b")) == [Finish(RunEnded.COMPLETE, "")]


# --- losses --------------------------------------------------------------------------------------------------------


def test_silence_is_a_loss_and_ends_the_run_early():
    run = story().ready().started()

    assert run.wait(SILENCE_S - 1.1, alive=("a", "b")) == []
    assert run.wait(1.5, alive=("a", "b")) == [SendStop(("a", "b"), "lost c")]
    assert set(run.run.lost) == {"c"}
    assert run.say(signed("a", ended="stopped"), signed("b", ended="stopped")) == [Finish(RunEnded.AGENT_LOST, "")]


def test_who_has_signed_off_may_be_silent():
    run = story(agents=("a", "b")).ready().started()
    run.say(signed("a"))

    assert run.wait(30, alive=("b",)) == []
    assert run.run.lost == {}


def test_while_the_bus_is_lost_silence_says_nothing():
    run = story().ready().started()
    run.say(BusLost())

    assert run.wait(30) == []
    run.say(BusBack())
    assert run.wait(SILENCE_S - 0.5) == []
    assert run.run.lost == {}
    assert run.wait(1, alive=("a", "b")) == [SendStop(("a", "b"), "lost c")]


def test_a_run_that_has_lost_everybody_ends():
    run = story(on_loss=OnLoss.DEGRADE).ready().started()

    run.wait(SILENCE_S + 1)

    assert run.ordered[-1] == Finish(RunEnded.AGENT_LOST, "")


def test_degraded_a_run_goes_on_with_the_others():
    run = story(on_loss=OnLoss.DEGRADE, segments_s=(60.0, 60.0)).ready().started()

    assert run.wait(20, alive=("a", "b")) == []
    assert run.run.living == ("a", "b")
    run.say(signed("a"))
    assert run.say(signed("b")) == [SendStart(("a", "b"), 1, 0, 1.0)]


def test_a_lost_agent_that_comes_back_stays_lost():
    run = story(on_loss=OnLoss.DEGRADE).ready().started()
    run.wait(6, alive=("a", "b"))

    assert run.say(AgentAlive("c"), signed("c"), signed("a")) == []
    assert run.say(signed("b")) == [Finish(RunEnded.COMPLETE, "")]
    assert run.run.living == ("a", "b")


def redistributing(**terms):
    return story(on_loss=OnLoss.REDISTRIBUTE, lease_s=10.0, segments_s=(300.0,), **terms).ready().started()


def test_a_lost_agents_part_goes_to_the_others_when_its_lease_has_surely_ended():
    run = redistributing()
    heard_s = run.run._heard["c"]

    while not run.of(SendRestripe):
        run.wait(STEP_S, alive=("a", "b"))

    (order,) = run.of(SendRestripe)
    assert (order.agents, order.segment, order.epoch) == (("a", "b"), 0, 1)
    assert run.now_s - heard_s > 10.0
    assert run.now_s - heard_s < 13.0
    assert run.wait(30, alive=("a", "b")) == []
    assert run.say(signed("a", epoch=1), signed("b", epoch=1)) == [Finish(RunEnded.COMPLETE, "")]


def test_a_second_loss_is_redistributed_as_well():
    run = redistributing()
    run.wait(20, alive=("a", "b"))

    run.wait(20, alive=("a",))

    assert [(one.agents, one.epoch) for one in run.of(SendRestripe)] == [(("a", "b"), 1), (("a",), 2)]


def test_no_part_is_redistributed_while_any_lost_agent_may_still_be_at_it():
    run = redistributing()
    run.wait(3, alive=("a", "b"))
    b_heard_s = run.run._heard["b"]

    while not run.of(SendRestripe):
        run.wait(STEP_S, alive=("a",))

    assert run.now_s > b_heard_s + 10.0
    assert [one.agents for one in run.of(SendRestripe)] == [("a",)]


def test_an_agent_that_had_nothing_more_to_do_may_sign_off_with_the_epoch_it_knew():
    run = redistributing()
    run.wait(15, alive=("a", "b"))
    assert run.of(SendRestripe)

    assert run.say(signed("a", epoch=0), signed("b", epoch=1)) == [Finish(RunEnded.COMPLETE, "")]


# --- stopping ------------------------------------------------------------------------------------------------------


def test_before_anything_was_started_a_stop_ends_it_at_once():
    assert story().say(StopAsked("interrupted")) == [Finish(RunEnded.INTERRUPTED, "interrupted")]
    run = story()
    run.say(Begin(), AgentReady("a"))
    assert run.say(StopAsked("interrupted")) == [Finish(RunEnded.INTERRUPTED, "interrupted")]


def test_a_stop_lets_agents_finish_what_is_in_flight():
    run = story(segments_s=(60.0, 60.0)).ready().started()

    assert run.say(StopAsked("interrupted"), StopAsked("again")) == [SendStop(AGENTS, "interrupted")]
    run.say(signed("a", ended="stopped"), signed("b", ended="stopped"))
    assert run.say(signed("c", ended="stopped")) == [Finish(RunEnded.INTERRUPTED, "")]
    assert run.run.ended_by_segment == {0: RunEnded.INTERRUPTED}


def test_a_stop_while_starting_starts_nothing():
    run = story().ready()
    run.say(*(AgentStarted(agent, 0, 0) for agent in AGENTS))

    assert run.say(StopAsked()) == [SendStop(AGENTS, "interrupted")]
    assert run.wait(2, alive=AGENTS) == []
    run.say(*(signed(agent, ended="stopped", tried=0) for agent in AGENTS))
    assert run.ordered[-1] == Finish(RunEnded.INTERRUPTED, "")


def test_a_stop_before_anybody_acknowledged_the_start_waits_for_nobody():
    run = story().ready()
    run.say(StopAsked())

    run.wait(STEP_S)

    assert run.ordered[-1] == Finish(RunEnded.INTERRUPTED, "")


def test_agents_that_do_not_stop_are_given_up():
    run = story(agents=("a", "b"), drain_s=8.0).ready().started()
    run.say(StopAsked(), signed("a", ended="stopped"))

    assert run.wait(8, alive=("b",)) == []
    run.wait(2 * SETTLE_S + 1, alive=("b",))
    assert run.ordered[-1] == Finish(RunEnded.INTERRUPTED, "")
    assert set(run.run.lost) == {"b"}


def test_a_loss_during_a_stop_does_not_change_why_it_was_stopped():
    run = story(agents=("a", "b")).ready().started()
    run.say(StopAsked(), signed("a", ended="stopped"))

    run.wait(SILENCE_S + 1)

    assert run.ordered[-1] == Finish(RunEnded.INTERRUPTED, "")


def test_after_the_end_nothing_is_ordered_any_more():
    run = story(agents=("a",)).ready().started()
    run.say(signed("a"))

    assert run.say(Begin(), AgentReady("a"), signed("a"), StopAsked(), BusBack(), Tick()) == []
