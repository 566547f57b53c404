"""Every message of the wire, as hypothesis makes them up."""

from typing import get_args

import numpy as np
from hypothesis import strategies as st

from protocol import messages as m
from protocol.histogram import MAX_US, Histogram
from protocol.schedule import Shape, Stripe

HOUR_NS = MAX_US * 1000
words = st.text(max_size=12)
counts = st.integers(0, 2**40)
instants = st.integers(-(2**62), 2**62)
small = st.integers(0, 5)
samples_ns = st.one_of(
    st.integers(0, HOUR_NS),
    st.integers(0, 5_000_000),
    st.integers(0, MAX_US).map(lambda us: us * 1000),
    st.sampled_from([0, 1, 999, 1000, 1001, 2_047_000, 2_047_001, 2_048_000, HOUR_NS - 1, HOUR_NS]),
)


def histogram_of(samples):
    histogram = Histogram()
    histogram.record_many(np.array(samples, dtype=np.int64))
    return histogram


packed = st.lists(samples_ns, max_size=8).map(lambda samples: histogram_of(samples).pack())
keys = st.builds(m.SeriesKey, segment=small, stage=small, version=small, target=small)
shapes = st.builds(
    Shape,
    rate_per_s=st.none() | st.sampled_from(["500", "0.1", "1/3"]),
    count=st.none() | counts,
    duration_ns=st.none() | counts,
)
stripes = st.builds(Stripe, index=small, of=st.integers(1, 50), first=counts)
targets = st.builds(
    m.Target,
    endpoint=words,
    url=words,
    version=small,
    method=words,
    headers=st.lists(st.tuples(words, words), max_size=3).map(tuple),
    body=st.binary(max_size=20),
    body_blob=words,
    timeout_ns=counts,
    error_ranges=st.lists(st.builds(m.StatusRange, lower=small, upper=small), max_size=2).map(tuple),
    limits_ns=st.lists(counts, max_size=3).map(tuple),
)
segments = st.builds(
    m.Segment,
    name=words,
    targets=st.lists(targets, max_size=2).map(tuple),
    shape=shapes,
    stripe=stripes,
    connections=small,
    max_length_ns=counts,
    count=st.none() | counts,
    is_warmup=st.booleans(),
    initial_calls=st.booleans(),
)
evidence = st.builds(
    m.Evidence,
    planned_ns=instants,
    started_ns=instants,
    sent_ns=instants,
    done_ns=instants,
    error=st.sampled_from(["", *m.ErrorClass]).map(str),
    status=st.integers(0, 599),
    text=words,
    remote=words,
    agent=words,
    body=st.binary(max_size=8),
)
names = st.builds(lambda clock, fate: f"{clock}.{fate}", st.sampled_from(m.Clock), st.sampled_from(m.Fate))


def series_of(key=keys, proof=evidence):
    return st.builds(
        m.Series,
        key=key,
        planned=counts,
        ok=counts,
        errors=counts,
        unsent=counts,
        withdrawn=counts,
        classes=st.dictionaries(st.sampled_from(m.ErrorClass).map(str), counts, max_size=4),
        statuses=st.dictionaries(st.integers(100, 599), counts, max_size=4),
        started=st.dictionaries(st.integers(0, 100), counts, max_size=4),
        histograms=st.dictionaries(names, packed, max_size=3),
        over=st.dictionaries(names, st.lists(counts, max_size=3).map(tuple), max_size=3),
        bytes_in=counts,
        bytes_out=counts,
        reconnects=counts,
        remotes=st.lists(words, max_size=4, unique=True).map(lambda remotes: tuple(sorted(remotes))),
        slow=st.lists(proof, max_size=3).map(tuple),
        failed=st.lists(proof, max_size=3).map(tuple),
    )


series = series_of()
machines = st.builds(m.Machine, cpu_ns=counts, wall_ns=counts, loop_delay=packed, pacer=words)
_serieses = st.lists(series, max_size=2).map(tuple)
_who = {"agent": words, "incarnation": words}
_where = {"run_id": words, "epoch": small}
_order = {"run_id": words, "term": counts}
_clock = {"clock_offset_ns": instants, "clock_error_ns": instants}

to_controller = {
    m.Hello: st.builds(
        m.Hello,
        **_who,
        **_clock,
        cores=small,
        host=words,
        pid=counts,
        busy_with=words,
        labels=st.dictionaries(words, words, max_size=3),
    ),
    m.Ready: st.builds(
        m.Ready,
        **_who,
        **_clock,
        initial_errors=st.lists(words, max_size=3).map(tuple),
        resolved=st.lists(words, max_size=3).map(tuple),
    ),
    m.Refused: st.builds(m.Refused, agent=words, why=words, busy_with=words),
    m.Done: st.builds(m.Done, agent=words),
    m.Heartbeat: st.builds(m.Heartbeat, run_id=words, **_who, epoch=small, segment=st.integers(-1, 5), tried=counts),
    m.Shard: st.builds(
        m.Shard,
        **_where,
        **_who,
        seq=st.integers(-1, 1000),
        segment=small,
        second=counts,
        series=_serieses,
        machine=machines,
        seconds=small,
    ),
    m.Manifest: st.builds(
        m.Manifest,
        **_where,
        **_who,
        segment=small,
        last_seq=st.integers(-1, 1000),
        ended=words,
        elapsed_ns=counts,
        series=_serieses,
        machine=machines,
        part=small,
        parts=small,
    ),
}
to_agent = {
    m.Welcome: st.builds(m.Welcome, term=counts, controller_at_ns=instants),
    m.Renewed: st.builds(m.Renewed, term=counts, controller_at_ns=instants, is_over=st.booleans()),
    m.Assign: st.builds(
        m.Assign,
        **_order,
        epoch=small,
        namespace=words,
        segments=st.lists(segments, max_size=2).map(tuple),
        lease_ns=counts,
        user_agent=words,
        index=small,
    ),
    m.Start: st.builds(m.Start, **_order, epoch=small, segment=small, start_at_ns=instants),
    m.Restripe: st.builds(m.Restripe, **_order, epoch=small, segment=small, stripe=stripes),
    m.Stop: st.builds(m.Stop, **_order, why=words),
    m.AskAgain: st.builds(m.AskAgain, **_order, segment=small, seqs=st.lists(counts, max_size=4).map(tuple)),
    m.Release: st.builds(m.Release, **_order),
}
assert set(to_controller) == set(get_args(m.ToController)), "every message to the controller is made up here"
assert set(to_agent) == set(get_args(m.ToAgent)), "every message to agents is made up here"
