"""Load: starts whatever is due, and its account always adds up. In virtual time, over a driver without sockets."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from fake_driver import TARGET, Behaviour, FakeDriver, Fate, always, due
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import clock, in_virtual_time

from agent.load import Ended, Lease, Load
from agent.open_load import begun_in_time
from agent.pool import Pool
from agent.record import Recorder
from agent.wake import LoopTimer
from protocol.messages import ErrorClass, Segment, SeriesKey
from protocol.schedule import NS_PER_S, Part, Shape, Stripe, Timetable
from protocol.series import Tally

PULSE_S = 0.02
ALL = Stripe(0, 1)


@dataclass
class Rig:
    """One load on a fake driver, pulsed as a duty does it."""

    shape: Shape
    connections: int = 10
    behave: Behaviour = field(default_factory=always)
    stripe: Stripe = ALL
    count: int | None = None
    max_length_s: float = 600
    lease_s: float = 600

    def __post_init__(self) -> None:
        loop = clock()
        self.driver = FakeDriver(self.connections, self.behave, start_of=lambda: self.start_ns)
        self.recorder = Recorder(0, (TARGET,), is_open=self.shape.is_open)
        self.start_ns = 0
        self.lease = Lease(loop.now_ns() + int(self.lease_s * 1e9))
        segment = Segment(
            name="",
            targets=(TARGET,),
            shape=self.shape,
            stripe=self.stripe,
            connections=self.connections,
            max_length_ns=int(self.max_length_s * 1e9),
            count=self.count,
        )
        self.load = Load(
            segment,
            [Pool(self.driver, frozenset({0}))],
            self.recorder,
            self.lease,
            now_ns=loop.now_ns,
            make_waker=lambda wake: LoopTimer(loop, wake, loop.now_ns),
        )

    @property
    def planned(self) -> list[int]:
        return self.driver.planned

    async def run(self, *interruptions: tuple[float, Callable[[], None]]) -> Tally:
        """The totals after the end; each interruption happens so long after the start."""
        loop = clock()
        self.start_ns = loop.now_ns()
        self.load.begin(self.start_ns)
        for at_s, act in interruptions:
            loop.call_later(at_s, act)
        while not self.load.finished.is_set():
            await asyncio.sleep(PULSE_S)
            self.load.watch()
        await self.load.close_account()
        self.recorder.cut(1 << 62)
        return self.recorder.totals.get(SeriesKey(), Tally(SeriesKey()))

    def sent_at_s(self) -> list[float]:
        return [(sent_ns - self.start_ns) / 1e9 for _planned, sent_ns in self.driver.sent]


def closes(total: Tally) -> bool:
    histogrammed = sum(total.histogram(f"response.{fate}").count for fate in ("ok", "error", "cut"))
    return total.planned == total.tried + total.unsent + total.withdrawn and histogrammed == total.tried + total.unsent


def open_load(rate: int, seconds: float) -> Shape:
    return Shape(rate_per_s=str(rate), duration_ns=int(seconds * 1e9))


# --- open load -----------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_open_load_starts_each_request_when_it_is_due_and_no_other():
    rig = Rig(open_load(100, 2.5))

    total = await rig.run()

    assert rig.planned == due(100, 250)
    assert all(sent_s == pytest.approx(k / 100, abs=1e-6) for k, sent_s in enumerate(rig.sent_at_s()))
    assert (total.planned, total.ok, total.unsent, total.withdrawn) == (250, 250, 0, 0)
    assert total.started == {0: 100, 1: 100, 2: 50}
    assert rig.load.ended is Ended.COMPLETE
    assert rig.load.elapsed_ns == pytest.approx(2.5e9, abs=5e6)


@in_virtual_time
async def test_open_load_never_waits_for_an_answer():
    rig = Rig(open_load(100, 1), connections=100, behave=always(30))

    total = await rig.run()

    assert rig.sent_at_s() == pytest.approx([k / 100 for k in range(100)], abs=1e-6)
    assert total.ok == 100


@in_virtual_time
async def test_agents_with_a_stripe_each_send_every_request_once():
    rigs = [Rig(open_load(70, 2), stripe=Stripe(index, 3)) for index in range(3)]

    totals = await asyncio.gather(*(rig.run() for rig in rigs))

    assert sorted(planned for rig in rigs for planned in rig.planned) == sorted(
        Timetable(open_load(70, 2)).due_ns(k) for k in range(140)
    )
    assert sum(total.ok for total in totals) == 140


@in_virtual_time
async def test_a_backlog_is_sent_in_planned_order_as_connections_come_free():
    rig = Rig(open_load(100, 1), connections=2, behave=always(0.05))

    total = await rig.run()

    assert rig.planned == due(100, 100)
    assert rig.driver.most_in_flight == 2
    assert rig.load.elapsed_ns == pytest.approx(50 * 0.05e9, rel=0.01)
    assert total.ok == 100
    assert total.histogram("wait.ok").max_ns == pytest.approx(1.46e9, rel=0.02)
    assert total.histogram("lag.ok").max_ns < 1000


@in_virtual_time
async def test_the_response_of_a_request_that_waited_counts_from_when_it_was_due():
    rig = Rig(open_load(10, 1), connections=1, behave=lambda number: Fate(2 if number == 0 else 0.001))

    total = await rig.run()

    assert total.histogram("response.ok").max_ns == pytest.approx(2e9, rel=0.01)
    assert sum(count for low, _high, count in total.histogram("response.ok").buckets_us() if low > 1_000_000) == 10
    assert sum(count for low, _high, count in total.histogram("service.ok").buckets_us() if low > 1_000_000) == 1


@in_virtual_time
async def test_what_is_left_at_the_maximal_duration_is_unsent():
    rig = Rig(open_load(100, 1), connections=1, behave=always(0.5), max_length_s=1.9)

    total = await rig.run()

    assert rig.load.ended is Ended.MAX_DURATION
    assert (total.ok, total.unsent, total.withdrawn) == (4, 96, 0)
    assert total.histogram("response.cut").min_ns == pytest.approx(0.91e9, abs=0.03e9)
    assert closes(total)


@in_virtual_time
async def test_when_stopped_what_was_due_is_unsent_and_what_was_not_is_withdrawn():
    rig = Rig(open_load(100, 10), connections=1, behave=always(0.5))

    total = await rig.run((1.005, lambda: rig.load.stop(Ended.STOPPED)))

    assert rig.load.ended is Ended.STOPPED
    assert (total.ok, total.unsent, total.withdrawn) == (3, 98, 899)
    assert closes(total)


@in_virtual_time
async def test_what_is_in_flight_when_stopped_still_ends():
    rig = Rig(open_load(10, 10), behave=always(2))

    total = await rig.run((0.55, lambda: rig.load.stop(Ended.STOPPED)))

    assert total.ok == 6
    assert rig.load.elapsed_ns == pytest.approx(2.5e9, rel=0.02)


@in_virtual_time
async def test_nothing_is_sent_after_the_lease_has_ended():
    rig = Rig(open_load(100, 10), lease_s=3)

    total = await rig.run()

    assert rig.load.ended is Ended.LEASE
    assert max(rig.sent_at_s()) <= 3
    assert total.tried in {300, 301}
    assert closes(total)


@in_virtual_time
async def test_answers_that_come_after_the_lease_do_not_let_the_backlog_go_on():
    rig = Rig(open_load(100, 10), connections=1, behave=always(0.6), lease_s=1)

    await rig.run()

    assert max(rig.sent_at_s()) <= 1


@in_virtual_time
async def test_a_renewed_lease_lets_the_load_go_on():
    rig = Rig(open_load(100, 4), lease_s=3)

    def renew() -> None:
        rig.lease.until_ns += 3 * NS_PER_S

    total = await rig.run((2, renew))

    assert rig.load.ended is Ended.COMPLETE
    assert total.ok == 400


@in_virtual_time
async def test_whoever_was_frozen_for_long_sends_nothing_before_a_controller_answers():
    rig = Rig(open_load(10, 30))

    total = await rig.run((10.05, lambda: clock().freeze(6)), (18, rig.load.resume))

    sent_s = rig.sent_at_s()
    assert not [at_s for at_s in sent_s if 10.06 < at_s < 18]
    assert (
        total.tried == 300
    )  # afterwards all of it is sent, later than it was due: that is our lag, and is shown as such
    assert total.histogram("lag.ok").max_ns == pytest.approx(7.9e9, rel=0.02)
    assert closes(total)


@in_virtual_time
async def test_a_short_freeze_holds_nothing():
    rig = Rig(open_load(10, 10), connections=100)

    total = await rig.run((5.05, lambda: clock().freeze(4)))

    assert not rig.load.is_held
    assert total.ok == 100
    assert total.started.get(6, 0) == 0  # nothing was begun in time in a second that was slept through


@in_virtual_time
async def test_a_load_that_is_held_can_be_stopped():
    rig = Rig(open_load(10, 60), connections=100)

    total = await rig.run((10.05, lambda: clock().freeze(6)), (17, lambda: rig.load.stop(Ended.STOPPED)))

    assert (total.ok, total.unsent) == (101, 70)
    assert closes(total)


@in_virtual_time
async def test_a_load_that_is_held_ends_with_the_lease():
    rig = Rig(open_load(10, 60), lease_s=12)

    total = await rig.run((10.05, lambda: clock().freeze(6)))

    assert rig.load.ended is Ended.LEASE
    assert total.ok == 101


@in_virtual_time
async def test_a_load_that_begins_later_starts_nothing_before():
    rig = Rig(open_load(100, 1))
    start_ns = rig.start_ns = clock().now_ns() + 2 * NS_PER_S
    rig.load.begin(start_ns)
    await asyncio.sleep(1.9)
    rig.load.watch()
    assert not rig.driver.sent

    await rig.load.finished.wait()

    assert min(sent_ns for _planned, sent_ns in rig.driver.sent) >= start_ns
    assert rig.planned == due(100, 100)


@in_virtual_time
async def test_from_a_boundary_on_another_stripe_is_sent():
    rig = Rig(open_load(100, 4), stripe=Stripe(1, 2))

    total = await rig.run((1, lambda: rig.load.restripe(Stripe(0, 1, 200))))

    mine = [*range(1, 200, 2), *range(200, 400)]
    assert rig.planned == due(100, 0, mine)
    assert (total.planned, total.ok) == (300, 300)


@in_virtual_time
async def test_a_second_restripe_builds_on_the_first():
    rig = Rig(open_load(100, 4), stripe=Stripe(0, 4))

    total = await rig.run(
        (0.5, lambda: rig.load.restripe(Stripe(1, 3, 100))), (1.5, lambda: rig.load.restripe(Stripe(0, 1, 300)))
    )

    assert rig.planned == due(100, 0, [*range(0, 100, 4), *range(100, 300, 3), *range(300, 400)])
    assert total.planned == total.ok == len(rig.planned)


@pytest.mark.parametrize("first", [0, 50, 100])
@in_virtual_time
async def test_it_is_too_late_for_another_stripe_from_a_request_that_is_due(first):
    rig = Rig(open_load(100, 4), stripe=Stripe(1, 2))
    taken = []

    total = await rig.run((1, lambda: taken.append(rig.load.restripe(Stripe(0, 1, first)))))

    assert taken == [False]
    assert rig.planned == due(100, 0, range(1, 400, 2))
    assert (total.planned, total.ok) == (200, 200)


@in_virtual_time
async def test_it_is_too_late_for_another_stripe_after_the_end():
    rig = Rig(open_load(100, 1), stripe=Stripe(1, 2))
    await rig.run()

    assert not rig.load.restripe(Stripe(0, 1, 1000))


# --- closed load ---------------------------------------------------------------------------------------------------


@in_virtual_time
async def test_closed_load_keeps_all_connections_busy_and_stops_at_its_count():
    rig = Rig(Shape(count=100), connections=8, behave=always(0.1), count=100)

    total = await rig.run()

    assert rig.driver.most_in_flight == 8
    assert rig.load.elapsed_ns == pytest.approx(1.3e9, rel=0.02)  # 12 full rounds of 8, and one of 4
    assert (total.planned, total.ok) == (100, 100)
    assert rig.load.ended is Ended.COMPLETE
    assert closes(total)


@in_virtual_time
async def test_closed_load_ends_with_the_answer_that_its_duration_cuts_into():
    rig = Rig(Shape(duration_ns=1_050_000_000), connections=3, behave=always(0.1))

    total = await rig.run()

    assert total.planned == total.ok == 33
    assert max(rig.sent_at_s()) < 1.05
    assert rig.load.elapsed_ns == pytest.approx(1.1e9, rel=0.001)
    assert rig.load.ended is Ended.COMPLETE


@in_virtual_time
async def test_what_closed_load_has_left_at_the_maximal_duration_is_unsent():
    rig = Rig(Shape(count=100), connections=1, behave=always(0.5), count=100, max_length_s=2.1)

    total = await rig.run()

    assert (total.planned, total.ok, total.unsent, total.withdrawn) == (100, 5, 95, 0)
    assert closes(total)


@in_virtual_time
async def test_what_closed_load_has_left_when_stopped_is_withdrawn():
    rig = Rig(Shape(count=100), connections=1, behave=always(0.5), count=100)

    total = await rig.run((2.1, lambda: rig.load.stop(Ended.STOPPED)))

    assert (total.planned, total.ok, total.unsent, total.withdrawn) == (100, 5, 0, 95)
    assert closes(total)


@in_virtual_time
async def test_closed_load_of_no_requests_ends_at_once():
    rig = Rig(Shape(count=0), count=0)

    total = await rig.run()

    assert (total.planned, total.tried) == (0, 0)


# --- the account ---------------------------------------------------------------------------------------------------

fates = st.builds(
    Fate,
    service_s=st.sampled_from([0.001, 0.05, 1.0, 3.0]),
    error=st.sampled_from([None, None, ErrorClass.STATUS, ErrorClass.RESET, ErrorClass.FIRST_BYTE_TIMEOUT]),
)
shapes = st.one_of(
    st.builds(open_load, st.integers(1, 80), st.sampled_from([0.5, 1, 2, 4])),
    st.builds(lambda rate, count: Shape(rate_per_s=str(rate), count=count), st.integers(1, 80), st.integers(1, 150)),
    st.builds(lambda count: Shape(count=count), st.integers(1, 150)),
    st.builds(lambda seconds: Shape(duration_ns=seconds * NS_PER_S), st.integers(1, 3)),
)
events = st.lists(
    st.tuples(st.floats(0, 8), st.sampled_from(["stop", "freeze", "resume", "restripe", "renew"])), max_size=4
)


@settings(max_examples=120, deadline=None)
@given(
    shape=shapes,
    connections=st.integers(1, 6),
    pattern=st.lists(fates, min_size=1, max_size=8),
    max_length_s=st.sampled_from([1.5, 6.0, 60.0]),
    lease_s=st.sampled_from([2.5, 600.0]),
    happenings=events,
)
def test_the_account_adds_up_whatever_happens(shape, connections, pattern, max_length_s, lease_s, happenings):
    @in_virtual_time
    async def run() -> None:
        rig = Rig(
            shape,
            connections,
            lambda number: pattern[number % len(pattern)],
            count=None if shape.is_open else shape.count,
            max_length_s=max_length_s,
            lease_s=lease_s,
        )
        timetable = Timetable(shape)

        def restripe() -> None:
            if shape.is_open:  # as a controller does it: from what is due in a second on
                first = timetable.due_count(clock().now_ns() - rig.start_ns + NS_PER_S)
                rig.load.restripe(Stripe(0, 2, first))

        acts = {
            "stop": lambda: rig.load.stop(Ended.STOPPED),
            "freeze": lambda: clock().freeze(6),
            "resume": rig.load.resume,
            "restripe": restripe,
            "renew": lambda: setattr(rig.lease, "until_ns", clock().now_ns() + NS_PER_S),
        }
        total = await asyncio.wait_for(
            rig.run(*((at_s, acts[name]) for at_s, name in happenings), (20, acts["stop"])), 60
        )

        assert closes(total)
        assert total.tried == len(rig.planned)
        assert total.tried + total.unsent + total.withdrawn <= (timetable.planned if shape.is_open else 1 << 62)
        assert rig.planned == sorted(rig.planned)
        assert len(set(rig.planned)) == len(rig.planned) or not shape.is_open
        assert rig.driver.most_in_flight <= connections
        assert all(sent_ns - rig.start_ns >= planned for planned, sent_ns in rig.driver.sent)

    run()


# --- begun in time -------------------------------------------------------------------------------------------------


def part_of(rate: int, seconds: int, stripe: Stripe = ALL) -> Part:
    return Part(Timetable(open_load(rate, seconds)), (stripe,))


def test_requests_started_no_later_than_100_ms_after_they_were_due_count_for_their_second():
    assert begun_in_time(part_of(10, 2), 0, 10, 950_000_000) == {0: 1}  # k=9 is due at 0.9 s
    assert begun_in_time(part_of(10, 2), 9, 10, 1_000_000_000) == {0: 1}
    assert begun_in_time(part_of(10, 2), 9, 10, 1_000_000_001) == {}


def test_a_batch_over_the_turn_of_a_second_counts_for_both():
    assert begun_in_time(part_of(100, 2), 95, 106, 1_050_000_000) == {0: 5, 1: 6}


@given(st.integers(1, 500), st.integers(1, 4), st.integers(0, 3), st.integers(0, 2_500_000_000))
def test_begun_in_time_is_what_a_count_one_by_one_says(rate, of, index, at_ns):
    part = part_of(rate, 3, Stripe(index % of, of))
    until = part.due_count(at_ns)
    expected: dict[int, int] = {}
    for j in range(until):
        if part.due_ns(j) >= at_ns - 100_000_000:
            second = part.due_ns(j) // NS_PER_S
            expected[second] = expected.get(second, 0) + 1

    assert begun_in_time(part, 0, until, at_ns) == expected
