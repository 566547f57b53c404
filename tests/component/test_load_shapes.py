"""Stages, users, think time, mixes, measured windows and abortOn, over agents on one bus, in virtual time."""

from collections import Counter
from dataclasses import replace

import msgspec
import pytest
from fake_driver import Fate, always
from virtual_time import in_virtual_time
from world import a_world, closed_account

from controller.account import Selection, account, measured, running, selections
from controller.events import RunEnded
from controller.experiment.abort import AbortOn
from controller.plan import LoadSegment, Phase
from protocol.arrivals import NS_PER_S
from protocol.messages import ErrorClass, Http2, Target
from protocol.schedule import Arrival, Mix, Shape, Stage, Timetable

A, B, C = "http://127.0.0.1:1/a", "http://127.0.0.1:1/b", "http://127.0.0.2:1/c"
LIMITS = (20_000_000, 50_000_000)


def stage(begin: float, end: float, seconds: float) -> Stage:
    return Stage(str(begin), str(end), int(seconds * NS_PER_S))


def segment(shape: Shape, urls=(A,), *, connections=50, weights=None, phases=(), max_s=120.0, **options) -> LoadSegment:
    names = [url.rpartition("/")[2] for url in urls]
    targets = tuple(
        Target(endpoint=name, url=url, limits_ns=LIMITS, weight=weight)
        for name, url, weight in zip(names, urls, weights or [1] * len(urls), strict=True)
    )
    is_mix = len(urls) > 1
    return LoadSegment(
        name="mix" if is_mix else "http",
        providers=tuple(f"http-{name}" if is_mix else "http" for name in names),
        targets=targets,
        shape=shape,
        connections=connections,
        max_length_ns=int(max_s * NS_PER_S),
        phases=phases,
        total="http" if is_mix else "",
        **options,
    )


def phases_of(*stages: tuple[str, float, float, bool]) -> tuple[Phase, ...]:
    return tuple(
        Phase(int(starts_s * NS_PER_S), int(ends_s * NS_PER_S), name, is_measured)
        for name, starts_s, ends_s, is_measured in stages
    )


# --- open load -----------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_stages_are_sent_by_their_timetable_over_all_agents():
    shape = Shape(stages=(stage(0, 100, 3), stage(100, 100, 2), stage(20, 20, 2)))
    async with a_world(3) as world:
        conducted = await world.conduct(segment(shape))

        timetable = Timetable(shape)
        assert world.planned(A) == [timetable.due_ns(k) for k in range(390)]
        assert closed_account(conducted).ok == timetable.planned == 390


@in_virtual_time
async def test_each_stage_has_a_measurement_of_its_own_that_adds_up():
    shape = Shape(stages=(stage(50, 50, 2), stage(50, 150, 2), stage(100, 100, 1)))
    phases = phases_of(("low", 0, 2, True), ("ramp", 2, 4, True), ("high", 4, 5, True))
    async with a_world(2) as world:
        conducted = await world.conduct(segment(shape, phases=phases))

    counts = {name: account(conducted, 0, part).ok for name, part in selections(conducted.plan.segments[0]).items()}
    assert counts == {"http": 400, "http@low": 100, "http@ramp": 200, "http@high": 100}
    assert all(account(conducted, 0, part).closes for part in selections(conducted.plan.segments[0]).values())


@in_virtual_time
async def test_what_is_planned_outside_of_the_measured_window_is_accounted_for_and_in_no_metric():
    shape = Shape(rate_per_s="100", duration_ns=5 * NS_PER_S)
    phases = phases_of(("", 0, 1, False), ("", 1, 4, True), ("", 4, 5, False))

    def slow_at_the_ends(number: int) -> Fate:
        return Fate(0.01 if 100 <= number < 400 else 1.0)

    async with a_world(1, behave=slow_at_the_ends) as world:
        conducted = await world.conduct(segment(shape, phases=phases, connections=500))

    only = selections(conducted.plan.segments[0])["http"]
    facts = measured(conducted, 0, only)
    assert closed_account(conducted).ok == 500
    assert facts.requests == 300
    assert facts.latency("max") == pytest.approx(10, abs=3)


@in_virtual_time
async def test_poisson_arrivals_are_the_same_for_any_number_of_agents():
    shape = Shape(rate_per_s="80", duration_ns=4 * NS_PER_S, arrival=Arrival.POISSON, seed=5)
    planned = []
    for agents in (1, 3):
        async with a_world(agents) as world:
            found = closed_account(await world.conduct(segment(shape)))
            planned.append(world.planned(A))
            assert found.planned == found.ok == len(planned[-1])

    assert planned[0] == planned[1] == [Timetable(shape).due_ns(k) for k in range(len(planned[0]))]


# --- closed load ---------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_users_who_think_send_that_much_less():
    shape = Shape(duration_ns=10 * NS_PER_S, think_ns=90_000_000)
    async with a_world(2, behave=always(0.01)) as world:
        conducted = await world.conduct(segment(shape, connections=4))

        found = closed_account(conducted)
        assert found.ok == pytest.approx(400, abs=8)  # 4 users, one request each 100 ms
        assert max(driver.most_in_flight for agent in world.agents for _url, driver in agent.drivers) <= 2


@in_virtual_time
async def test_the_time_of_a_thought_is_in_no_clock():
    shape = Shape(duration_ns=3 * NS_PER_S, think_ns=200_000_000)
    async with a_world(1, behave=always(0.01)) as world:
        conducted = await world.conduct(segment(shape, connections=2))

    facts = measured(conducted, 0)
    assert facts.value("service-max") == pytest.approx(10, abs=1)
    assert facts.value("wait-max") == pytest.approx(0, abs=2)


@in_virtual_time
async def test_users_without_a_stream_take_turns_and_their_wait_is_told():
    """Ten users on a server that serves two at once: 0.1 s of service, and 0.4 s until it is a user's turn."""
    shape = Shape(duration_ns=10 * NS_PER_S)
    async with a_world(1, behave=always(0.1)) as world:
        world[0].room_for = 2
        conducted = await world.conduct(segment(shape, connections=10))

    facts = measured(conducted, 0)
    assert closed_account(conducted).ok == pytest.approx(200, abs=4)
    assert facts.value("wait-p50") == pytest.approx(400, abs=5)
    assert facts.value("service-max") == pytest.approx(100, abs=1)


@in_virtual_time
async def test_a_user_who_thinks_leaves_its_stream_to_one_who_waits_at_once():
    shape = Shape(duration_ns=10 * NS_PER_S, think_ns=50_000_000)
    async with a_world(1, behave=always(0.103)) as world:
        world[0].room_for = 1
        conducted = await world.conduct(segment(shape, connections=4))

    assert closed_account(conducted).ok == pytest.approx(10 / 0.103, abs=1)  # one after the other, without a gap


@in_virtual_time
async def test_users_come_and_go_by_stages():
    shape = Shape(users=(stage(2, 2, 3), stage(6, 6, 3), stage(1, 1, 3)))
    phases = phases_of(("few", 0, 3, True), ("many", 3, 6, True), ("one", 6, 9, True))
    async with a_world(2, behave=always(0.1)) as world:
        conducted = await world.conduct(segment(shape, phases=phases, connections=6))

    parts = selections(conducted.plan.segments[0])
    tried = {name: account(conducted, 0, part).tried for name, part in parts.items()}
    assert tried["http@few"] == pytest.approx(60, abs=4)
    assert tried["http@many"] == pytest.approx(180, abs=10)
    assert tried["http@one"] == pytest.approx(30, abs=4)
    assert closed_account(conducted).tried == sum(tried[f"http@{name}"] for name in ("few", "many", "one"))


@in_virtual_time
async def test_users_grow_along_a_ramp():
    shape = Shape(users=(stage(0, 10, 10),))
    async with a_world(1, behave=always(0.1)) as world:
        found = closed_account(await world.conduct(segment(shape, connections=10)))

    assert found.ok == pytest.approx(10 * 10 / 2 / 0.1, rel=0.15)


# --- mixes ---------------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_mix_sends_each_request_to_the_target_that_its_number_picks():
    shape = Shape(rate_per_s="200", duration_ns=5 * NS_PER_S, seed=3)
    async with a_world(3) as world:
        conducted = await world.conduct(segment(shape, (A, B, C), weights=(6, 3, 1)))

        picks = Counter(Mix([6, 3, 1], 3).pick(number) for number in range(1000))
        sent = Counter()
        for agent in world.agents:
            for _url, driver in agent.drivers:
                sent.update(driver.targets)
        assert sent == picks
        accounts = {name: account(conducted, 0, part) for name, part in selections(conducted.plan.segments[0]).items()}
        assert [accounts[f"http-{name}"].ok for name in "abc"] == [picks[0], picks[1], picks[2]]
        assert accounts["http"].ok == 1000
        assert all(one.closes for one in accounts.values())


@in_virtual_time
async def test_the_two_origins_of_a_mix_do_not_wait_for_each_other():
    shape = Shape(rate_per_s="100", duration_ns=4 * NS_PER_S, seed=1)

    async with a_world(1) as world:
        world[0].behave_of = {C: always(30), A: always(0.01)}
        conducted = await world.conduct(segment(shape, (A, C), connections=3, max_s=20))

        accounts = {name: account(conducted, 0, part) for name, part in selections(conducted.plan.segments[0]).items()}
        assert accounts["http-a"].ok == accounts["http-a"].planned > 100
        assert measured(conducted, 0, selections(conducted.plan.segments[0])["http-a"]).latency("max") < 20
        assert accounts["http-c"].unsent == accounts["http-c"].planned - 3
        assert all(one.closes for one in accounts.values())


@in_virtual_time
async def test_beside_http2_each_request_over_http1_has_a_connection_of_its_own():
    shape = Shape(rate_per_s="200", duration_ns=2 * NS_PER_S, seed=1)
    mix = segment(shape, (A, C), connections=2, streams=50)
    over_http2 = msgspec.structs.replace(mix.targets[0], http2=Http2.PRIOR_KNOWLEDGE)
    async with a_world(1, behave=always(0.4)) as world:
        conducted = await world.conduct(replace(mix, targets=(over_http2, mix.targets[1])))

        assert closed_account(conducted).ok == 400
        busy = [driver.most_in_flight for _url, driver in world[0].drivers if driver.sent]
        assert len(busy) == 2
        assert min(busy) > 25  # about 100/s for 0.4 s each
        assert measured(conducted, 0).latency("max") < 450


@in_virtual_time
async def test_users_of_a_closed_mix_pick_by_weight_too():
    shape = Shape(count=600, seed=9)
    async with a_world(2) as world:
        conducted = await world.conduct(segment(shape, (A, C), weights=(1, 3), connections=6))

    picks = Counter(Mix([1, 3], 9).pick(number) for number in range(600))
    parts = selections(conducted.plan.segments[0])
    assert [account(conducted, 0, parts[f"http-{name}"]).ok for name in "ac"] == [picks[0], picks[1]]
    assert closed_account(conducted).ok == 600


@in_virtual_time
async def test_what_a_stopped_mix_leaves_is_withdrawn_of_each_target():
    shape = Shape(rate_per_s="100", duration_ns=10 * NS_PER_S, seed=2)
    async with a_world(2) as world:
        conductor = await world.conductor(segment(shape, (A, B, C)))
        import asyncio

        asyncio.get_running_loop().call_later(6, conductor.stop, "enough")
        conducted = await conductor.conduct()

    parts = selections(conducted.plan.segments[0])
    whole = closed_account(conducted)
    each = [account(conducted, 0, parts[f"http-{name}"]) for name in "abc"]
    assert whole.withdrawn == sum(one.withdrawn for one in each) > 300
    assert [one.planned for one in each] == [one.tried + one.unsent + one.withdrawn for one in each]
    assert all(one.closes for one in each)


@in_virtual_time
async def test_of_a_lost_agents_mix_each_target_may_have_had_what_was_due():
    shape = Shape(rate_per_s="100", duration_ns=20 * NS_PER_S, seed=2)
    async with a_world(2) as world:
        conductor = await world.conductor(segment(shape, (A, B)))
        import asyncio

        asyncio.get_running_loop().call_later(5, world[1].kill)
        conducted = await conductor.conduct()

    parts = selections(conducted.plan.segments[0])
    whole = closed_account(conducted)
    each = [account(conducted, 0, parts[f"http-{name}"]) for name in "ab"]
    assert whole.unaccounted == sum(one.unaccounted for one in each) > 0
    assert all(one.planned == one.tried + one.unsent + one.withdrawn + one.unaccounted for one in each)


# --- windows, abortOn ----------------------------------------------------------------------------------------------


@in_virtual_time
async def test_by_second_everything_adds_up_to_the_whole():
    from controller.merge import Merge

    shape = Shape(rate_per_s="100", duration_ns=5 * NS_PER_S)
    async with a_world(2) as world:
        conductor = await world.conductor(segment(shape))
        conductor.conducted.merge = Merge([0])
        conducted = await conductor.conduct()

    seconds = conducted.merge.whole_seconds(0, Selection().holds)
    assert sum(seconds[second].ok for second in seconds) == 500
    assert sum(seconds[second].histogram("response.ok").count for second in seconds) == 500
    assert not {one for agent in conducted.agents for one in conducted.merge.unclear(agent, 0, 5)}


@in_virtual_time
async def test_abort_on_ends_the_run_on_all_agents_within_two_seconds():
    def failing(number: int) -> Fate:
        return Fate(0.01, ErrorClass.STATUS if number >= 150 else None)  # of each agent: from 3 s on

    shape = Shape(rate_per_s="100", duration_ns=60 * NS_PER_S)
    limit = AbortOn.model_validate({"metric": "http/error-rate", "upper": 0.1})
    async with a_world(2, behave=failing) as world:
        conductor = await world.conductor(segment(shape), abort_on=(limit,))
        conducted = await conductor.conduct()

        found = closed_account(conducted)
        assert conducted.ended is RunEnded.ABORTED
        assert conducted.aborted.startswith("abortOn: http/error-rate is ")
        assert found.withdrawn > 5000
        # Above 10 % after 3.34 s; then a shard has to come.
        assert found.tried < 100 * (3.34 + 2)
        assert len(world.sent(A)) == found.tried


@in_virtual_time
async def test_abort_on_waits_for_requests_enough():
    shape = Shape(rate_per_s="10", duration_ns=8 * NS_PER_S)
    limit = AbortOn.model_validate({"metric": "http/error-rate", "upper": 0.1, "minRequests": 1000})
    async with a_world(1, behave=always(0.01, ErrorClass.STATUS)) as world:
        conducted = await (await world.conductor(segment(shape), abort_on=(limit,))).conduct()

    assert conducted.ended is RunEnded.COMPLETE
    assert closed_account(conducted).errors == 80


@in_virtual_time
async def test_abort_on_judges_percentiles_by_exact_counts():
    shape = Shape(rate_per_s="100", duration_ns=60 * NS_PER_S)
    limit = AbortOn.model_validate({"metric": "http/latency-p50", "upper": "20ms"})
    slow, fast = always(0.021), always(0.019)
    for behave, ended in ((slow, RunEnded.ABORTED), (fast, RunEnded.COMPLETE)):
        async with a_world(1, behave=behave) as world:
            conductor = await world.conductor(segment(shape), abort_on=(limit,))
            conducted = await conductor.conduct()
        assert conducted.ended is ended
        assert running(conducted, 0)["http"].requests >= 100


@in_virtual_time
async def test_a_rate_that_is_held_ends_no_run():
    shape = Shape(rate_per_s="200", duration_ns=6 * NS_PER_S)
    limit = AbortOn.model_validate({"metric": "http/rate", "lower": 199})
    async with a_world(2, behave=always(0.3)) as world:
        conducted = await (await world.conductor(segment(shape, connections=400), abort_on=(limit,))).conduct()

    assert conducted.ended is RunEnded.COMPLETE


@in_virtual_time
async def test_a_rate_that_is_not_reached_ends_the_run():
    shape = Shape(rate_per_s="200", duration_ns=60 * NS_PER_S)
    limit = AbortOn.model_validate({"metric": "http/rate", "lower": 100})
    async with a_world(2, behave=always(1)) as world:
        conducted = await (await world.conductor(segment(shape, connections=40), abort_on=(limit,))).conduct()

    assert conducted.ended is RunEnded.ABORTED
