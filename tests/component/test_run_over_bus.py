"""A whole run without a network: conductor, fleet and services on a memory bus with faults, in virtual time."""

import asyncio

import pytest
from fake_driver import Fate, always
from virtual_time import clock, in_virtual_time
from world import NAMESPACE, a_world, closed_account, closed_segment, open_segment

from controller.account import measured
from controller.run import OnLoss, RunEnded
from protocol import subjects
from protocol.codec import decode_to_controller, encode
from protocol.errors import BusError
from protocol.memory_bus import Faults
from protocol.messages import Assign, Done, ErrorClass, Refused, Release, Restripe, Start, Stop
from protocol.schedule import Timetable

HANG_S = 300  # no run of this file may take longer


def at(seconds: float, act) -> None:
    clock().call_later(seconds, act)


# --- as it should be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agents", [1, 2, 5])
@in_virtual_time
async def test_the_totals_are_what_the_target_saw(agents):
    segment = open_segment(rate=70, seconds=4)
    async with a_world(agents) as world:
        conducted = await world.conduct(segment)

        found = closed_account(conducted)
        assert conducted.ended is RunEnded.COMPLETE
        assert (found.planned, found.ok, found.unaccounted) == (280, 280, 0)
        assert world.planned() == [Timetable(segment.shape).due_ns(k) for k in range(280)]
        assert measured(conducted, 0).samples() == 280


@pytest.mark.parametrize("agents", [1, 2, 5])
@in_virtual_time
async def test_closed_load_is_shared_out_exactly(agents):
    async with a_world(agents) as world:
        conducted = await world.conduct(closed_segment(count=333, connections=11))

        found = closed_account(conducted)
        assert (found.planned, found.ok, len(world.sent())) == (333, 333, 333)


@in_virtual_time
async def test_closed_load_with_a_duration_counts_what_it_made():
    async with a_world(2) as world:
        conducted = await world.conduct(closed_segment(count=None, seconds=3))

        found = closed_account(conducted)
        assert found.planned == found.ok == len(world.sent()) > 1000


@in_virtual_time
async def test_errors_are_counted_in_their_classes_over_all_agents():
    def behave(number: int) -> Fate:
        return Fate(0.01, ErrorClass.RESET if number % 10 == 0 else ErrorClass.STATUS if number % 10 == 1 else None)

    async with a_world(2, behave=behave) as world:
        conducted = await world.conduct(open_segment(100, 4))

    tally = measured(conducted, 0).tally
    assert closed_account(conducted).errors == 80
    assert tally.classes == {"reset": 40, "status": 40}
    assert tally.statuses == {200: 320, 503: 40}


@in_virtual_time
async def test_segments_run_one_after_the_other():
    first = open_segment(100, 2, url="http://127.0.0.1:1/a")
    second = closed_segment(150, url="http://127.0.0.1:1/b")
    async with a_world(2) as world:
        conducted = await world.conduct(first, second)

        assert [closed_account(conducted, number).ok for number in (0, 1)] == [200, 150]
        assert len(world.sent(first.targets[0].url)) == 200
        assert len(world.sent(second.targets[0].url)) == 150
        assert max(sent for _planned, sent in world.sent(first.targets[0].url)) < min(
            sent for _planned, sent in world.sent(second.targets[0].url)
        )
        assert conducted.ended_by_segment == {0: RunEnded.COMPLETE, 1: RunEnded.COMPLETE}


@in_virtual_time
async def test_agents_begin_together_however_wrong_their_clocks_are():
    async with a_world(3, Faults(delay_s=0.002), skew_s=(0, 90, -3600)) as world:
        await asyncio.sleep(3)
        await world.conduct(open_segment(30, 2))

        firsts = [min(sent - planned for planned, sent in agent.sent()) for agent in world.agents]
        assert max(firsts) - min(firsts) < 5_000_000


@in_virtual_time
async def test_agents_are_free_for_the_next_run():
    async with a_world(2) as world:
        for number in range(3):
            conducted = await world.conduct(open_segment(50, 1), run_id=f"run-{number}")
            await asyncio.sleep(1.1)

            assert closed_account(conducted).ok == 50
        assert len(world.sent()) == 150


# --- a bus with faults ---------------------------------------------------------------------------------------------

FAULTS = {
    "requests are dropped": {"drop_requests": 0.1},
    "answers are dropped": {"drop_answers": 0.1},
    "appends are dropped": {"drop_appends": 0.3},
    "acks are dropped": {"drop_acks": 0.3},
    "requests are doubled": {"double_requests": 0.5},
    "appends are late and out of order": {"reorder": 0.5},
    "everything is late": {"delay_s": 0.1},
    "everything at once": {
        "drop_requests": 0.03,
        "drop_answers": 0.03,
        "drop_appends": 0.1,
        "drop_acks": 0.1,
        "double_requests": 0.2,
        "delay_s": 0.02,
        "reorder": 0.3,
    },
}
HARMLESS = {"requests are doubled", "appends are late and out of order", "everything is late"}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", FAULTS)
@in_virtual_time
async def test_on_a_bus_with_faults_a_run_gives_the_same_totals_or_says_why_not(name, seed):
    async with a_world(3, Faults(seed=seed, **FAULTS[name])) as world:
        async with asyncio.timeout(HANG_S):
            conducted = await world.conduct(open_segment(60, 5))

        assert conducted.ended is not RunEnded.FAILED or conducted.why
        assert conducted.ended is not RunEnded.AGENT_LOST or conducted.lost
        if conducted.ended is RunEnded.FAILED:
            assert name not in HARMLESS
            return
        found = closed_account(conducted)
        assert found.planned == 300
        assert found.tried <= len(world.sent()) <= found.tried + found.unaccounted
        assert len(set(world.planned())) == len(world.planned())
        if name in HARMLESS:
            assert conducted.ended is RunEnded.COMPLETE
        if conducted.ended is RunEnded.COMPLETE:
            assert (found.ok, len(world.sent())) == (300, 300)


@in_virtual_time
async def test_a_lost_order_is_given_again():
    """One request in five is lost, and still nearly every run comes to its end: an order is not given only once."""
    ended = []
    for seed in range(8):
        async with a_world(2, Faults(seed=seed, drop_requests=0.2)) as world:
            ended.append((await world.conduct(open_segment(20, 2))).ended)

    assert ended.count(RunEnded.COMPLETE) >= 6


@pytest.mark.parametrize("down_s", [3, 12])
@in_virtual_time
async def test_a_bus_that_is_down_for_a_while_costs_nothing(down_s):
    """Silence says nothing about agents while the bus is down; their leases bridge it."""
    async with a_world(2) as world:
        conductor = await world.conductor(open_segment(100, 10))

        def set_down(is_down: bool) -> None:  # noqa: FBT001 it reads well
            world.bus.faults.is_down = is_down

        at(3, lambda: set_down(True))
        at(3 + down_s, lambda: set_down(False))
        conducted = await conductor.conduct()

        assert conducted.ended is RunEnded.COMPLETE
        assert not conducted.lost
        assert closed_account(conducted).ok == len(world.sent()) == 1000


# --- agents that are lost ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_run_ends_soon_after_an_agent_falls_silent():
    async with a_world(3) as world:
        conductor = await world.conductor(open_segment(90, 60))
        at(4, world[1].kill)
        began_s = clock().time()
        conducted = await conductor.conduct()

        found = closed_account(conducted)
        assert conducted.ended is RunEnded.AGENT_LOST
        assert set(conducted.lost) == {"agent-2"}
        assert clock().time() - began_s < 4 + 6.5
        assert found.planned == 5400
        assert found.unaccounted > 0
        assert found.withdrawn > 0
        assert found.tried <= len(world.sent()) <= found.tried + found.unaccounted


@in_virtual_time
async def test_the_only_agent_lost_ends_the_run():
    async with a_world(1) as world:
        conductor = await world.conductor(open_segment(50, 60), on_loss=OnLoss.DEGRADE)
        at(4, world[0].kill)
        began_s = clock().time()
        conducted = await conductor.conduct()

        found = closed_account(conducted)
        assert conducted.ended is RunEnded.AGENT_LOST
        assert clock().time() - began_s < 4 + 6.5
        assert found.tried <= len(world.sent()) <= found.tried + found.unaccounted


@in_virtual_time
async def test_an_agent_lost_under_closed_load_leaves_unaccounted_requests():
    async with a_world(2, behave=always(0.1)) as world:
        conductor = await world.conductor(closed_segment(count=2000, connections=4))
        at(4, world[1].kill)
        conducted = await conductor.conduct()

        found = closed_account(conducted)
        assert conducted.ended is RunEnded.AGENT_LOST
        assert found.unaccounted > 0
        assert found.tried <= len(world.sent()) <= found.tried + found.unaccounted


@in_virtual_time
async def test_a_run_that_may_degrade_goes_on_without_a_lost_agent():
    async with a_world(3) as world:
        conductor = await world.conductor(open_segment(90, 20), on_loss=OnLoss.DEGRADE)
        at(4, world[1].kill)
        conducted = await conductor.conduct()

        found = closed_account(conducted)
        assert conducted.ended is RunEnded.COMPLETE
        assert set(conducted.lost) == {"agent-2"}
        assert [len(world[number].sent()) for number in (0, 2)] == [600, 600]
        assert found.unaccounted > 0
        assert found.tried <= len(world.sent()) <= found.tried + found.unaccounted


@in_virtual_time
async def test_the_load_of_a_lost_agent_goes_to_the_others_and_no_request_is_sent_twice():
    segment = open_segment(90, 40)
    async with a_world(3) as world:
        conductor = await world.conductor(segment, on_loss=OnLoss.REDISTRIBUTE)
        at(5, world[1].kill)
        conducted = await conductor.conduct()

        boundary = conducted.parts[0, "agent-1"].stripes[-1].first
        planned = world.planned()
        timetable = Timetable(segment.shape)
        assert conducted.ended is RunEnded.COMPLETE
        assert 0 < boundary < 90 * 20
        assert len(set(planned)) == len(planned)
        assert set(planned) >= {timetable.due_ns(k) for k in range(boundary, 3600)}
        found = closed_account(conducted)
        assert found.planned == 3600
        assert found.withdrawn == 0
        assert found.tried <= len(world.sent()) <= found.tried + found.unaccounted


@in_virtual_time
async def test_an_agent_that_is_cut_off_goes_on_till_its_lease_ends_and_shares_no_request_with_its_heirs():
    segment = open_segment(90, 40)
    async with a_world(3) as world:
        conductor = await world.conductor(segment, on_loss=OnLoss.REDISTRIBUTE)
        at(5, lambda: setattr(world[1].line, "is_cut", True))
        at(30, lambda: setattr(world[1].line, "is_cut", False))
        conducted = await conductor.conduct()

        planned = world.planned()
        boundary = conducted.parts[0, "agent-1"].stripes[-1].first
        timetable = Timetable(segment.shape)
        assert conducted.ended is RunEnded.COMPLETE
        assert max(due for due, _sent in world[1].sent()) < timetable.due_ns(boundary)
        assert len(set(planned)) == len(planned)
        assert set(planned) >= {timetable.due_ns(k) for k in range(boundary, 3600)}
        found = closed_account(conducted)
        assert found.tried <= len(world.sent()) <= found.tried + found.unaccounted


@pytest.mark.parametrize("is_order", [True, False])
@in_virtual_time
async def test_an_heir_that_was_not_reached_in_time_ends_the_run_and_no_request_is_sent_twice(is_order):
    async with a_world(3) as world:
        conductor = await world.conductor(open_segment(90, 60), on_loss=OnLoss.REDISTRIBUTE)
        at(5, world[1].kill)
        Losing(world, Restripe, 60, is_order=is_order)
        conducted = await conductor.conduct()

        assert conducted.ended is RunEnded.AGENT_LOST
        assert clock().time() < 1000 + 30
        assert len(set(world.planned())) == len(world.planned())


@in_virtual_time
async def test_one_lost_order_does_not_keep_an_heir_from_its_part():
    async with a_world(3) as world:
        conductor = await world.conductor(open_segment(90, 40), on_loss=OnLoss.REDISTRIBUTE)
        at(5, world[1].kill)
        Losing(world, Restripe, 0.2, is_order=True)
        conducted = await conductor.conduct()

        assert conducted.ended is RunEnded.COMPLETE
        assert closed_account(conducted).unaccounted > 0
        assert len(set(world.planned())) == len(world.planned())


@in_virtual_time
async def test_an_agent_that_is_through_with_its_part_inherits_nothing():
    """Requests are due each 5 s. The last of agent-1 is request 9, at 45 s; 10 was for agent-2, lost since 37 s."""
    async with a_world(3) as world:
        conductor = await world.conductor(open_segment(0.2, 60), on_loss=OnLoss.REDISTRIBUTE)
        at(37, world[1].kill)
        conducted = await conductor.conduct()

        found = closed_account(conducted)
        assert conducted.ended is RunEnded.COMPLETE
        assert [len(agent.sent()) for agent in world.agents] == [4, 3, 5]
        assert found.tried <= len(world.sent()) <= found.tried + found.unaccounted


@in_virtual_time
async def test_closed_load_whose_agent_is_lost_ends_even_where_it_was_to_be_redistributed():
    async with a_world(2, behave=always(0.1)) as world:
        conductor = await world.conductor(closed_segment(2000, connections=4), on_loss=OnLoss.REDISTRIBUTE)
        at(5, world[1].kill)
        async with asyncio.timeout(HANG_S):
            conducted = await conductor.conduct()

        found = closed_account(conducted)
        assert found.unaccounted > 0


@in_virtual_time
async def test_an_agent_that_dies_before_the_start_ends_the_run_with_a_reason():
    async with a_world(2) as world:
        conductor = await world.conductor(open_segment(50, 5))
        world[1].kill()
        async with asyncio.timeout(HANG_S):
            conducted = await conductor.conduct()

        assert conducted.ended is RunEnded.FAILED
        assert "agent-2" in conducted.why
        assert not world.sent()


@in_virtual_time
async def test_an_agent_that_dies_between_its_promise_and_the_start_ends_the_run_with_a_reason():
    async with a_world(2) as world:
        conductor = await world.conductor(open_segment(50, 5))
        at(0.05, world[1].kill)
        async with asyncio.timeout(HANG_S):
            conducted = await conductor.conduct()

        assert conducted.ended in {RunEnded.FAILED, RunEnded.AGENT_LOST}
        assert conducted.why or conducted.lost


@in_virtual_time
async def test_an_agent_that_is_told_to_leave_hands_the_rest_back_exactly():
    async with a_world(2, behave=always(0.5)) as world:
        conductor = await world.conductor(open_segment(100, 20, connections=200))
        at(5, world[1].service.leave)
        conducted = await conductor.conduct()

        found = closed_account(conducted)
        assert found.unaccounted == 0
        assert found.tried == len(world.sent())
        assert found.withdrawn > 0
        assert conducted.ended is not RunEnded.COMPLETE


# --- orders --------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_an_agent_that_is_busy_refuses_another_run():
    async with a_world(2) as world:
        first = asyncio.create_task(world.conduct(open_segment(50, 10), run_id="run-1"))
        await asyncio.sleep(3)

        other = await world.conduct(open_segment(50, 2), run_id="run-2", agents=["agent-1", "agent-2"])

        assert other.ended is RunEnded.FAILED
        assert "busy with run run-1" in other.why
        assert closed_account(await first).ok == 500
        assert len(world.sent()) == 500


@in_virtual_time
async def test_busy_agents_are_not_free():
    async with a_world(2) as world:
        running = asyncio.create_task(world.conduct(open_segment(50, 5)))
        await asyncio.sleep(3)
        assert world.fleet.free == []

        await running
        await asyncio.sleep(1.1)

        assert [hello.agent for hello in world.fleet.free] == ["agent-1", "agent-2"]


async def ask(world, order, agent: str = "agent-1"):
    return decode_to_controller(await world.bus.request(subjects.agent(NAMESPACE, agent), encode(order), deadline_s=5))


@pytest.mark.parametrize(
    "order", [Stop("run-1", 0, "now"), Release("run-1", 0), Start("run-1", 0, 9, 0, 0), Assign("r", 0, 0, "n", (), 1)]
)
@in_virtual_time
async def test_an_order_of_a_lower_term_is_refused_and_changes_nothing(order):
    async with a_world(1) as world:
        running = asyncio.create_task(world.conduct(open_segment(50, 5)))
        await asyncio.sleep(3)

        answer = await ask(world, order)

        assert isinstance(answer, Refused)
        assert "term 0 is over" in answer.why
        assert closed_account(await running).ok == 250


@in_virtual_time
async def test_the_same_order_again_gets_the_same_answer_and_changes_nothing():
    segment = open_segment(50, 5)
    async with a_world(1) as world:
        conductor = await world.conductor(segment)
        running = asyncio.create_task(conductor.conduct())
        await asyncio.sleep(3)
        order = conductor._order
        assign = Assign("run-1", world.term, 0, NAMESPACE, order.plan.assignment(0), 60_000_000_000)

        again = [await ask(world, assign), await ask(world, Start("run-1", world.term, 0, 0, 0))]

        assert again[0] == conductor.conducted.ready["agent-1"]
        assert again[1] == Done("agent-1")
        assert closed_account(await running).ok == len(world.sent()) == 250


@in_virtual_time
async def test_orders_for_a_run_that_an_agent_has_forgotten_do_no_harm():
    async with a_world(1) as world:
        assert isinstance(await ask(world, Stop("old", 9, "")), Done)
        assert isinstance(await ask(world, Release("old", 9)), Done)
        assert isinstance(await ask(world, Start("old", 9, 0, 0, 0)), Refused)


@in_virtual_time
async def test_garbage_is_refused():
    async with a_world(1) as world:
        for garbage in (b"", b"\xc1", b"hello", encode(Done("x"))):
            answer = await world.bus.request(subjects.agent(NAMESPACE, "agent-1"), garbage, deadline_s=5)

            assert isinstance(decode_to_controller(answer), Refused)


@in_virtual_time
async def test_an_interrupted_run_is_partial_and_its_account_adds_up():
    async with a_world(2, behave=always(0.5)) as world:
        conductor = await world.conductor(open_segment(100, 60, connections=200))
        at(4, lambda: conductor.stop("interrupted"))
        began_s = clock().time()
        conducted = await conductor.conduct()

        found = closed_account(conducted)
        assert conducted.ended is RunEnded.INTERRUPTED
        assert clock().time() - began_s < 6
        assert found.tried == len(world.sent())
        assert found.unaccounted == 0
        assert found.planned == 6000
        assert found.withdrawn > 5000


@pytest.mark.parametrize("at_s", [0.0, 0.5, 0.99])
@in_virtual_time
async def test_a_run_can_be_interrupted_before_it_has_begun(at_s):
    async with a_world(2) as world:
        conductor = await world.conductor(open_segment(100, 60))
        at(at_s, lambda: conductor.stop("interrupted"))
        began_s = clock().time()
        conducted = await conductor.conduct()
        await asyncio.sleep(5)

        assert conducted.ended is RunEnded.INTERRUPTED
        assert clock().time() - began_s < 10
        assert not world.sent()
        assert closed_account(conducted).withdrawn == 6000


@in_virtual_time
async def test_agents_whose_controller_is_gone_stop_with_their_lease_and_are_free_again():
    async with a_world(2) as world:
        running = asyncio.create_task(world.conduct(open_segment(50, 600), lease_s=10))
        await asyncio.sleep(5)
        running.cancel()
        world.bus.faults.drop_requests = 1  # it was killed: nobody releases the agents
        await asyncio.wait([running])
        sent_s = clock().time()
        await asyncio.sleep(60)
        world.bus.faults.drop_requests = 0
        await asyncio.sleep(3)

        assert max(sent for _due, sent in world.sent()) / 1e9 <= sent_s + 10
        assert len(world.fleet.free) == 2


@pytest.mark.parametrize("at_s", [0.0, 0.5, 1.5, 4.0])
@in_virtual_time
async def test_agents_that_are_released_send_nothing_more(at_s):
    """A controller that is cancelled releases them without a stop before."""
    async with a_world(2, behave=always(0.3)) as world:
        running = asyncio.create_task((await world.conductor(open_segment(50, 600))).conduct())
        await asyncio.sleep(at_s)
        running.cancel()
        await asyncio.wait([running])
        sent = len(world.sent())
        await asyncio.sleep(10)

        assert len(world.sent()) == sent
        assert len(world.fleet.free) == 2


def forbid(driver_url: str):
    def admit(url: str) -> None:
        if url == driver_url:
            raise PermissionError(f"{url} must not be loaded: the policy allows nothing")

    return admit


@pytest.mark.parametrize("forbidden", ["a", "b"])
@in_virtual_time
async def test_an_agent_refuses_a_run_of_which_any_segment_goes_where_it_must_not(forbidden):
    urls = ["http://127.0.0.1:1/a", "http://127.0.0.1:1/b"]
    async with a_world(2) as world:
        world[1].admit = forbid(f"http://127.0.0.1:1/{forbidden}")
        conducted = await world.conduct(*(open_segment(50, 2, url=url) for url in urls))
        await asyncio.sleep(2)

        assert conducted.ended is RunEnded.FAILED
        assert "agent-2 refused: http://127.0.0.1:1/" in conducted.why
        assert not world.sent(urls[0])
        assert len(world.fleet.free) == 2


@in_virtual_time
async def test_a_segment_that_turns_out_to_go_where_it_must_not_does_not_end_the_agent():
    urls = ["http://127.0.0.1:1/a", "http://127.0.0.1:1/b"]
    async with a_world(1) as world:
        conductor = await world.conductor(*(open_segment(50, 2, url=url) for url in urls))
        at(2, lambda: setattr(world[0], "admit", forbid(urls[1])))  # its name resolves to something else by now
        conducted = await conductor.conduct()

        assert not world[0].task.done()
        assert conducted.ended is RunEnded.COMPLETE


# --- starts that are called off ------------------------------------------------------------------------------------


class Losing:
    """Loses, for a while from the first one on, what agents answer to an order of a kind, or the order itself."""

    def __init__(self, world, kind: type, seconds: float, *, is_order: bool = False, agent: str = "") -> None:
        self._mark = f"\xa4type{chr(0xA0 + len(kind.__name__))}{kind.__name__}".encode("latin-1")
        self._seconds = seconds
        self._is_order = is_order
        self._subject = subjects.agent(NAMESPACE, agent) if agent else ""
        self._until_s = 0.0
        self._request = world.bus.request
        world.bus.request = self.request

    async def request(self, subject: str, payload: bytes, *, deadline_s: float) -> bytes:
        if self._mark not in payload or self._subject not in {"", subject}:
            return await self._request(subject, payload, deadline_s=deadline_s)
        self._until_s = self._until_s or clock().time() + self._seconds
        if clock().time() > self._until_s:
            return await self._request(subject, payload, deadline_s=deadline_s)
        if not self._is_order:
            await self._request(subject, payload, deadline_s=deadline_s)
        await asyncio.sleep(deadline_s)
        raise BusError("lost on the way")


@in_virtual_time
async def test_a_start_whose_acknowledgement_is_lost_is_called_off_and_made_again():
    async with a_world(2) as world:
        conductor = await world.conductor(open_segment(50, 4))
        Losing(world, Start, 0.95, agent="agent-1")
        conducted = await conductor.conduct()

        assert conducted.ended is RunEnded.COMPLETE
        assert closed_account(conducted).ok == len(world.sent()) == 200


@in_virtual_time
async def test_an_agent_that_did_not_hear_that_its_start_was_called_off_sends_nothing_of_it():
    async with a_world(2) as world:
        conductor = await world.conductor(open_segment(50, 4))
        Losing(world, Start, 0.95, agent="agent-1")
        Losing(world, Stop, 60, is_order=True)
        conducted = await conductor.conduct()

        assert conducted.ended is RunEnded.COMPLETE
        assert closed_account(conducted).ok == len(world.sent()) == 200
        assert len(set(world.planned())) == 200


@in_virtual_time
async def test_an_agent_lost_after_a_start_that_was_called_off_is_unaccounted_all_the_same():
    async with a_world(2) as world:
        conductor = await world.conductor(open_segment(50, 20), on_loss=OnLoss.DEGRADE)
        Losing(world, Start, 0.95, agent="agent-1")
        at(8, world[1].kill)
        conducted = await conductor.conduct()

        found = closed_account(conducted)
        assert set(conducted.lost) == {"agent-2"}
        assert found.unaccounted > 0
        assert found.tried <= len(world.sent()) <= found.tried + found.unaccounted
