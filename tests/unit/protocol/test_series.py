from itertools import zip_longest
from random import Random

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from message_strategies import evidence, series_of

from protocol.histogram import Histogram
from protocol.messages import Evidence, Series, SeriesKey
from protocol.series import FAILED_KEPT, REMOTES_KEPT, SLOWEST_KEPT, Tally, split

quick = settings(deadline=None, max_examples=20)
KEY = SeriesKey(segment=1)


@st.composite
def distinct(draw):
    """Series of one key whose evidence is of different requests, as that of real agents is."""
    found = draw(st.lists(series_of(st.just(KEY), evidence), max_size=4))
    place = iter(range(10_000))

    def own(several):
        return tuple(msgspec.structs.replace(one, planned_ns=next(place)) for one in several)

    return [msgspec.structs.replace(one, slow=own(one.slow), failed=own(one.failed)) for one in found]


def added(several):
    tally = Tally(KEY)
    for one in several:
        tally.add(one)
    return tally.series()


@quick
@given(distinct(), st.randoms())
def test_a_sum_does_not_depend_on_the_order(several, random):
    shuffled = random.sample(several, len(several))

    assert added(shuffled) == added(several)


@quick
@given(distinct(), st.data())
def test_a_sum_of_sums_is_the_sum(several, data):
    at = data.draw(st.integers(0, len(several)))

    assert added([added(several[:at]), added(several[at:])]) == added(several)


COUNTS = ("planned", "ok", "errors", "unsent", "withdrawn", "bytes_in", "bytes_out", "reconnects")


@quick
@given(distinct())
def test_every_count_adds_up(several):
    total = added(several)

    for name in COUNTS:
        assert getattr(total, name) == sum(getattr(one, name) for one in several)
    for name in ("classes", "statuses", "started"):
        keys = {key for one in several for key in getattr(one, name)}
        assert getattr(total, name) == {key: sum(getattr(one, name).get(key, 0) for one in several) for key in keys}
    for name in {name for one in several for name in one.over}:
        columns = zip_longest(*(one.over.get(name, ()) for one in several), fillvalue=0)
        assert total.over[name] == tuple(map(sum, columns))
    assert sum(one.count for one in total.histograms.values()) == sum(
        packed.count for one in several for packed in one.histograms.values()
    )
    assert total.remotes == tuple(sorted({remote for one in several for remote in one.remotes}))
    assert total.key == KEY


@quick
@given(distinct())
def test_adding_nothing_changes_nothing(several):
    assert added([*several, Series(KEY)]) == added(several)


def an_evidence(number, *, took=1, error=""):
    return Evidence(planned_ns=number, started_ns=number, sent_ns=number, done_ns=number + took, error=error)


def test_only_the_slowest_of_all_are_kept():
    parts = [Series(KEY, slow=tuple(an_evidence(n * 100 + i, took=n * 7 + i) for i in range(10))) for n in range(5)]

    total = added(parts)

    every = [one.done_ns - one.planned_ns for part in parts for one in part.slow]
    assert [one.done_ns - one.planned_ns for one in total.slow] == sorted(every, reverse=True)[:SLOWEST_KEPT]


def test_the_first_failures_of_each_class_are_kept():
    parts = [
        Series(KEY, failed=tuple(an_evidence(100 * n + i, error=error) for i in range(4)))
        for n, error in enumerate(["reset", "status", "reset", "reset"])
    ]

    total = added(reversed(parts))

    assert [one.planned_ns for one in total.failed if one.error == "reset"] == [0, 1, 2, 3, 200][:FAILED_KEPT]
    assert [one.planned_ns for one in total.failed if one.error == "status"] == [100, 101, 102, 103]


def test_evidence_that_was_told_twice_is_shown_once():
    part = Series(KEY, slow=(an_evidence(1),), failed=(an_evidence(2, error="reset"),))

    total = added([part, part])

    assert (total.slow, total.failed) == (part.slow, part.failed)


def test_remote_addresses_are_bounded():
    parts = [Series(KEY, remotes=tuple(f"10.0.{n}.{i}:80" for i in range(60))) for n in range(3)]

    assert len(added(parts).remotes) == REMOTES_KEPT
    assert added(parts) == added(reversed(parts))


def a_wide_histogram(random):
    histogram = Histogram()
    histogram.record_many(np.array([int(10 ** (random.random() * 12)) for _ in range(100)], dtype=np.int64))
    return histogram.pack()


@settings(deadline=None, max_examples=12)
@given(distinct(), st.integers(5000, 9000), st.integers(0, 2**32))
def test_pieces_add_up_to_the_whole_and_stay_below_the_limit(several, limit, seed):
    random = Random(seed)  # noqa: S311 repeatable, not secret
    bare = [msgspec.structs.replace(one, slow=(), failed=()) for one in several]
    wide = [
        msgspec.structs.replace(one, histograms={f"{name}.ok": a_wide_histogram(random) for name in "abcdef"})
        for one in bare
    ]

    groups = split(wide, limit)

    assert added(piece for group in groups for piece in group) == added(wide)
    assert all(sum(len(msgspec.msgpack.encode(piece)) for piece in group) <= limit for group in groups)


def test_what_fits_into_one_message_is_not_split():
    small = Series(KEY, ok=1)

    assert split([small, small], 10_000) == [(small, small)]
    assert split([], 10_000) == [()]
