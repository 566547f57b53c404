import pytest
import report_samples as samples
from hypothesis import given
from hypothesis import strategies as st

from controller.experiment.result import Series
from controller.report.charts import charts_of, rebinned
from controller.report.charts_time import intervals

buckets = st.lists(
    st.tuples(st.floats(0.001, 1e4), st.floats(1, 1.2), st.integers(1, 10**6)).map(
        lambda drawn: (drawn[0], drawn[0] * drawn[1], drawn[2])
    ),
    min_size=1,
    max_size=20,
)


@given(buckets)
def test_rebinning_loses_no_request(given_buckets):
    bins = rebinned(given_buckets, 0.001, 2e4)

    assert sum(count for _, count in bins) == pytest.approx(sum(count for _, _, count in given_buckets))


def chart(target, key, slos=()):
    return next(one for one in charts_of(target, slos, "t") if one.key == f"t-{key}")


def test_the_percentile_curve_rises_to_the_slowest_request():
    target = samples.target("", 3000)

    for line in chart(target, "percentiles").data:
        assert line["y"] == sorted(line["y"])
        assert line["x"] == sorted(line["x"])
    assert chart(target, "percentiles").data[0]["y"][-1] == pytest.approx(target.clocks.response.max, rel=1e-5)
    assert [line["name"] for line in chart(target, "percentiles").data] == ["response", "service"]


def test_an_upper_latency_limit_is_drawn_and_named():
    limit = samples.slo("http/latency-p99", 20, 30.1)

    layout = chart(samples.target("", 3000), "histogram", [limit]).layout
    assert [shape["x0"] for shape in layout["shapes"]] == [20]
    assert [label["text"] for label in layout["annotations"]] == ["p99"]


def test_an_interval_that_did_not_arrive_is_a_band_and_a_gap():
    lag = chart(samples.target("", 3000, missing=(17,)), "lag")

    assert [(shape["x0"], shape["x1"]) for shape in lag.layout["shapes"]] == [(16.5, 17.5)]
    assert lag.data[0]["y"][17] is None
    assert "did not arrive" in lag.summary


def test_nothing_measured_is_nothing_drawn():
    assert charts_of(samples.target("", 0, seconds=0), [], "t") == []


@given(st.lists(st.integers(0, 1000), max_size=2000))
def test_the_table_over_time_is_short_and_holds_every_request(counts):
    rows = intervals(Series(ok=tuple(counts)))

    assert len(rows) <= 40
    assert sum(int(row[3].replace(",", "")) for row in rows) == sum(counts)


def test_where_nobody_knows_what_was_planned_nothing_is_said_of_it():
    target = samples.target("", 3000)
    unplanned = target.model_copy(update={"series": target.series.model_copy(update={"planned": ()})})

    assert " of 3,000 planned" in chart(target, "throughput").summary
    assert "planned" not in chart(unplanned, "throughput").summary
