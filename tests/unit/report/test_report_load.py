"""What reports tell of stages, mixes, windows, timing, traffic, machines and aborts."""

import json
import re
from xml.etree import ElementTree as ET

import load_samples
import pytest
import report_samples as samples

from controller.experiment.result import Bound
from controller.report import FORMATS, render, slos, stages, traffic
from controller.report.charts import charts_of
from controller.report.document import Place, places
from controller.report.metrics import metric_rows
from controller.report.numbers import size

NEW_WORDS = ("Stages", "Mix", "Highest stage", "Where the time went", "Aborted", "ABORTED", "Throttled", "trace")


def words(markup):
    return re.sub(r"\s+", " ", re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", markup, flags=re.DOTALL))


def place_in(segment):
    return Place(1, samples.run(segment), segment, segment.targets[0])


def properties(document):
    root = ET.fromstring(render(document, "junit"))  # noqa: S314 our own report
    return {one.get("name"): one.get("value") for one in root.iter("property")}


@pytest.mark.parametrize("form", ["text", "html", "junit", "markdown"])
@pytest.mark.parametrize("story", samples.STORIES, ids=lambda story: story.__name__)
def test_what_a_run_did_not_use_is_not_in_its_report(story, form):
    text = words(render(story(), form)) if form == "html" else render(story(), form)

    assert not [word for word in NEW_WORDS if word in text]


@pytest.mark.parametrize("form", ["text", "html", "junit", "markdown"])
def test_the_highest_stage_that_met_the_slos_is_named(form):
    assert "Highest stage that met the SLOs: 300 (300/s)." in render(load_samples.staged(), form)


@pytest.mark.parametrize(
    ("met", "sentence"),
    [
        ((False,) * 5, "No stage met the SLOs."),
        ((False, None, False, False, False), "No stage surely met the SLOs."),
        ((None,) * 5, ""),
    ],
)
def test_where_no_stage_is_known_to_have_met_the_slos_the_report_says_so(met, sentence):
    one = samples.target("", 100)
    part = samples.segment(one.model_copy(update={"stages": load_samples.stages(one, met=met)}))

    assert stages.best_stage(part) == sentence


def test_each_stage_has_a_row_with_its_load_and_its_mark():
    text = render(load_samples.staged(), "text")

    rows = [line for line in text.splitlines() if line.endswith(("| ✓", "| ?", "| ✗"))]
    assert [[cell.strip() for cell in row.split("|")][:3] for row in rows] == [
        ["100", "100/s", "1200"],
        ["to 300", "100→300/s", "2400"],
        ["300", "300/s", "3600"],
        ["to 500", "300→500/s", "4800"],
        ["500", "500/s", "6000"],
    ]
    assert [row[-1] for row in rows] == ["✓", "✓", "✓", "?", "✗"]


def test_stages_of_closed_load_count_users_and_are_marked_only_if_they_were_judged():
    text = render(load_samples.users(), "text")

    assert "| 100→300 users | 2400" in text
    assert "| p99 ms | Errors\n" in text


def test_a_mix_has_a_row_for_each_endpoint_and_one_for_all():
    text = render(load_samples.mixed(), "text")

    assert "  home     | 6      | 10800 (60%)  | 180 " in text
    assert "  total    | 10     | 18000 (100%) | 300 " in text
    markdown = render(load_samples.mixed(), "markdown")
    assert "| mix (total) | 18,000 | 100 (0.556%) | 298.4 of 300 (100–500) |" in markdown
    assert "| home, weight 6 | 10,800 | 60 (0.556%) | 180 |" in markdown


def test_an_slo_on_windows_names_its_worst_window():
    text = render(load_samples.staged(), "text")

    assert "http/latency-p99 (msec) <= 50 in each 10s | 85.4" in text
    assert "- http/error-rate <= 0.01 in each 10s: worst 10s window (30–40 s)\n" in text
    assert "in each 10s; worst 10s window (50–60 s) | 85.4 |" in render(load_samples.staged(), "markdown")


def test_the_value_of_a_window_does_not_stand_for_the_whole_run():
    windowed = samples.slo("http/wait-p99", 5, 4.1, window="10s", worst_window=(0.0, 10.0), value_is_lower_bound=True)
    document = samples.report(samples.result(outcome=samples.Outcome.PASS, judged=(windowed,)))

    assert [(row.name, row.values) for row in metric_rows(document)] == [("http/wait-p99", ("unavailable",))]


def test_values_that_cut_off_requests_reach_are_marked_for_every_clock():
    one = samples.target("", 1000, censored=100)
    info = samples.MetricInfo(description="", units="msec", type="Gauge")
    names = ("http/service-p99", "http/wait-p99", "http/latency-p50")
    known = samples.Insights(
        metrics_info=dict.fromkeys(names, info), non_hist_metric_values=(dict.fromkeys(names, (9.0,)),)
    )
    run = samples.run(samples.segment(one))
    document = samples.report(samples.result(run, outcome=samples.Outcome.NONE, insights=known))

    assert {row.name: row.values[0][:1] for row in metric_rows(document)} == {
        "http/service-p99 (msec)": "≥",
        "http/wait-p99 (msec)": "9",
        "http/latency-p50 (msec)": "9",
    }


def test_metrics_of_stages_stand_in_their_own_table_unless_an_slo_names_them():
    document = load_samples.staged()
    known = document.result.insights
    info = {**known.metrics_info, "http@100/latency-p50": samples.MetricInfo(description="", type="Gauge")}
    result = document.result.model_copy(update={"insights": known.model_copy(update={"metrics_info": info})})
    document = samples.report(result)

    names = [row.name for row in metric_rows(document)]
    assert "http@300/latency-p99" in names
    assert "http@100/latency-p50" not in names
    assert "http@100/latency-p50" in [row.name for row in metric_rows(document, of_stages=True)]


def test_bytes_are_read_as_sizes_on_their_own_side_of_the_limit():
    assert size(None) == "unavailable"
    assert size(999) == "999 B"
    assert size(22_212_000) == "22.21 MB"
    assert size(1_000_100, beside=1e6) == "1.0001 MB"
    slo = samples.slo("http/bytes-in", 30e6, 22_212_000, unit="bytes", bound=Bound.UPPER)
    assert (slos.condition(slo), slos.value_text(slo)) == ("http/bytes-in <= 30 MB", "22.21 MB")
    assert slos.margin_text(slo) == "+7.79 MB (26%)"


@pytest.mark.parametrize("form", FORMATS)
def test_an_aborted_run_says_why(form):
    text = render(load_samples.mixed(), form)

    why = "http-search/latency-p99 was 121.4 ms, abortOn allows 100 ms"
    assert why in re.sub(r"\s+", " ", text)
    if form != "json":
        assert "The run was aborted after 60.3 of 90 s of mix" in re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("form", ["text", "html", "markdown"])
def test_an_abort_is_said_before_anything_else(form):
    text = render(load_samples.mixed(), form)

    assert text.index("The run was aborted") < text.index("1 of 3 SLOs is violated")


def test_the_parts_of_the_time_add_up_to_their_bar():
    place = next(places(load_samples.staged()))
    one = place.target

    request, connection = traffic.bars(place)
    assert sum(percent for *_, percent in request.parts) == pytest.approx(100, abs=0.02)
    assert request.mean_ms == pytest.approx(one.clocks.ttfb.mean + one.clocks.body.mean)
    assert [key for key, *_ in connection.parts] == ["connect", "tls"]


def test_without_tls_the_connection_is_all_there_is():
    one = load_samples.detailed(samples.target("", 100), 8.0)
    plain = one.model_copy(update={"clocks": one.clocks.model_copy(update={"tls": samples.spread(0, 1.0)})})

    place = place_in(samples.segment(plain))
    assert [phase.name for phase in traffic.phases(place)] == ["connect", "first byte", "body"]
    assert traffic.bars(place)[1].parts == (("connect", "connect", pytest.approx(0.36, rel=0.1), 100.0),)


def test_the_targets_of_a_mix_share_their_connections():
    total, *parts = list(places(load_samples.mixed(), warmups=False, totals=True))

    assert [phase.key for phase in traffic.phases(total)] == ["connect", "tls", "ttfb", "body"]
    assert [name for name, _ in traffic.facts(total)][-3:] == ["Connections", "Reconnects", "Served by"]
    for part in parts:
        assert [phase.key for phase in traffic.phases(part)] == ["ttfb", "body"]
        assert [name for name, _ in traffic.facts(part)] == ["Sent", "Received", "Redirects followed"]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({}, "10.0.0.1"),
        ({"addresses": 1}, "the only address: 10.0.0.1"),
        ({"addresses": 3}, "1 of the name's 3 addresses: 10.0.0.1"),
        ({"addresses": 2, "remotes": ()}, "none; the name has 2 addresses"),
        ({"remotes": tuple(f"10.0.0.{last}" for last in range(1, 11))}, "10.0.0.7, 10.0.0.8 and 2 more"),
    ],
)
def test_addresses_that_answered_stand_beside_those_of_the_name(more, text):
    one = samples.target("", 10, **{"remotes": ("10.0.0.1",), **more})

    assert traffic.addresses_text(one).endswith(text)


@pytest.mark.parametrize(
    ("more", "facts"),
    [
        ({}, []),
        ({"connections_open": 8}, []),
        ({"arrival": "poisson"}, ["Poisson arrivals from seed 7"]),
        ({"arrival": "poisson", "load": "closed"}, []),
        ({"connections": 1024, "connections_open": 37}, ["37 of at most 1,024 connections came to be used"]),
        ({"streams": 16}, ["up to 16 requests at once on each connection (HTTP/2 streams)"]),
        ({"measured_from_s": 5.0}, ["only requests planned from 5 s on are measured"]),
        ({"measured_to_s": 20.0}, ["only requests planned before 20 s are measured"]),
        ({"measured_from_s": 5.0, "measured_to_s": 20.0}, ["only requests planned from 5 to 20 s are measured"]),
    ],
)
def test_the_shape_of_the_load_is_said_where_it_is_not_the_usual_one(more, facts):
    part = samples.segment(samples.target("", 10), **more)

    assert stages.shape_facts(samples.run(part), part) == facts


def test_rates_of_bytes_are_over_the_part_that_is_measured():
    one = load_samples.detailed(samples.target("", 1000), 8.0, bytes_in=2_000_000)
    part = samples.segment(one, measured_from_s=10.0, measured_to_s=20.0)

    assert dict(traffic.facts(place_in(part)))["Received"] == "2 MB (200 kB/s)"


def test_charts_over_time_show_where_stages_begin_and_what_they_are_called():
    part = load_samples.mixed().result.runs[0].segments[1]

    for chart in charts_of(part.total, (), "t", part)[2:]:
        edges = [shape["x0"] for shape in chart.layout["shapes"] if shape["type"] == "line"]
        bands = [(shape["x0"], shape["x1"]) for shape in chart.layout["shapes"] if shape["type"] == "rect"]
        assert edges == [12, 24, 36, 48]
        assert [label["text"] for label in chart.layout["annotations"]] == ["100", "to 300", "300", "to 500", "500"]
        assert bands == [(6, 60)]
        assert chart.layout["xaxis"]["range"] == [0, 60]
        assert "planned within 6–60 s" in chart.summary


def test_the_worst_window_of_a_latency_is_a_band_with_its_limit():
    limit = samples.slo("http/latency-p99", 20, 30.1, window="10s", worst_window=(10.0, 20.0))

    made = {chart.key: chart for chart in charts_of(samples.target("", 3000), [limit], "t")}
    band, line = made["t-latency"].layout["shapes"]
    assert (band["x0"], band["x1"], line["y0"]) == (10, 20, 20)
    assert "latency-p99: worst 10s window (10–20 s) at 30.1 ms" in made["t-latency"].summary
    assert made["t-histogram"].layout["shapes"] == []


def test_markup_in_the_name_of_a_stage_is_text():
    one = samples.target("", 100)
    named = load_samples.stages(one)[0].model_copy(update={"name": "<b>|x|"})
    part = samples.segment(one.model_copy(update={"stages": (named,)}))
    document = samples.report(samples.result(samples.run(part), outcome=samples.Outcome.NONE))

    page = render(document, "html")
    labels = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)[1])[2]["layout"]["annotations"]
    assert labels[0]["text"] == "&lt;b&gt;|x|"
    assert "<b>" not in page.partition("<script")[0]
    assert "&lt;b&gt;\\|x\\|" in render(document, "markdown")


def test_traces_stand_beside_the_requests_they_are_of():
    text = re.sub(r"\s+", " ", render(load_samples.staged(), "text"))

    assert (
        "slow at 41.5 s: 183.2 ms, first byte after 180.4 ms, status 200, trace 4bf92f3577b34da6a3ce929d0e0e4736"
        in text
    )
    assert "trace <code>4bf92f3577b34da6<wbr>a3ce929d0e0e4736</code>" in render(load_samples.staged(), "html")


def test_of_many_agents_the_text_shows_the_busiest():
    agents = [samples.agent(n, cpu_share=n / 100, rss_mib=50.0) for n in range(1, 31)]
    agents.append(samples.agent(99, cpu_share=0.0, throttled=3, throttled_ms=120.0))
    run = samples.run(samples.segment(samples.target("", 10))).model_copy(update={"agents": tuple(agents)})
    text = render(samples.report(samples.result(run, outcome=samples.Outcome.NONE)), "text")

    rows = re.findall(r"^  (agent-\d+) ", text, re.MULTILINE)
    assert rows == ["agent-99", *(f"agent-{n}" for n in range(30, 21, -1))]
    assert "… and 21 more, less busy." in text


def test_junit_carries_what_was_measured_as_properties():
    found = properties(load_samples.mixed())

    assert found["mix home"] == "weight 6, 180/s"
    assert found["stage home 500"].endswith("errors 60 (1.67%), SLOs not met")
    assert found["timing mix (total) TLS"].startswith("p50 2.523 ms")
    assert "timing home TLS" not in found
    assert found["traffic home redirects followed"] == "12"
    assert found["agent agent-1"] == "CPU 31%, files 40 of 1,024, memory 59 MiB"


def test_the_slos_of_a_stage_belong_to_its_run_in_junit():
    root = ET.fromstring(render(load_samples.staged(), "junit"))  # noqa: S314 our own report

    groups = {case.get("name"): case.get("classname") for case in root.iter("testcase")}
    assert groups["http@300/latency-p99 (msec) <= 50"] == "run 1/http@300"


@pytest.mark.parametrize("story", load_samples.STORIES, ids=lambda story: story.__name__)
def test_tables_beyond_eighty_columns_are_rare_and_narrow(story):
    lines = render(story(), "text").splitlines()

    assert max(map(len, lines)) <= 100
    assert all("|" in line for line in lines if len(line) > 80)


def test_a_comment_holds_a_mix_of_thirty_endpoints_in_stages():
    one = load_samples.mixed().result.runs[0].segments[1]
    many = tuple(one.targets[0].model_copy(update={"endpoint": f"endpoint-{n}"}) for n in range(30))
    run = samples.run(one.model_copy(update={"targets": many}))
    text = render(samples.report(samples.result(run, outcome=samples.Outcome.NONE)), "markdown")

    assert len(text) < 32_000
    assert "… and " in text
