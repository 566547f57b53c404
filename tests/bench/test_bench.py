"""What the bench makes of figures: read from peers' output, held against bars, written to the page. Nothing is timed here."""

import pytest
from machine import NotRunError
from peers import (
    H2LOAD,
    HEY,
    LOCUST,
    WRK,
    Closed,
    read_ab,
    read_h2load,
    read_hey,
    read_locust,
    read_s_time,
    read_wrk,
)
from processes import Ran
from scripted_target import delay_us, percentiles
from table import BEGIN, END, Limit, judged_row, markdown, not_run, ratio_row, write_page

LOAD = Closed("http://127.0.0.1:1/", 50, 5)
WRK_OUT = """Running 5s test @ http://127.0.0.1:1/
  508989 requests in 5.10s, 135.43MB read
Requests/sec:  99801.77
Transfer/sec:     26.55MB
"""
LOCUST_OUT = """Type,Name,Request Count,Failure Count,Requests/s
GET,/,100,0,20.0
,Aggregated,100,{failures},20.0
"""


@pytest.mark.parametrize(
    ("read", "out", "expected"),
    [
        (read_wrk, WRK_OUT, (99801.77, 508989)),
        (read_hey, "Summary:\n  Requests/sec:\t24600.5\n", (24600.5, 123002.5)),
        (
            read_h2load,
            "finished in 5.00s, 91200.20 req/s, 22MB/s\nrequests: 456001 total, 456051 started, 456001 done, 0 failed\n",
            (91200.20, 456001),
        ),
        (
            read_ab,
            "Complete requests:      463500\nRequests per second:    92700.10 [#/sec] (mean)\n",
            (92700.1, 463500),
        ),
        (
            read_s_time,
            "810 connections in 0.98s; 826 connections/user sec\n810 connections in 3 real seconds, 9",
            (270, 810),
        ),
        (read_locust, LOCUST_OUT.format(failures=0), (20.0, 100)),
    ],
    ids=["wrk", "hey", "h2load", "ab", "openssl s_time", "locust"],
)
def test_a_peers_own_words_are_understood(read, out, expected):
    assert read(out, LOAD) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("peer", "out"),
    [
        (WRK, WRK_OUT + "  Socket errors: connect 0, read 3, write 0, timeout 0\n"),
        (WRK, WRK_OUT + "  Non-2xx or 3xx responses: 7\n"),
        (HEY, "Requests/sec:\t24600.5\nError distribution:\n  [3]\tEOF\n"),
        (
            H2LOAD,
            "finished in 5.00s, 9.00 req/s\nrequests: 9 total, 9 started, 9 done, 8 succeeded, 10 failed, 0 errored\n",
        ),
        (LOCUST, LOCUST_OUT.format(failures=3)),
        (WRK, "unable to connect to 127.0.0.1:1 Connection refused\n"),
    ],
)
def test_a_peer_whose_requests_fail_gives_no_figure(peer, out):
    with pytest.raises(NotRunError):
        peer._made(Ran(0, out, "", 1.0), LOAD)


def test_ratios_are_taken_round_by_round():
    row = ratio_row("rate", [80, 150, 90], "wrk", [100, 100, 100], Limit(0.7, 1.0))

    assert (row.judged, row.bar, row.goal, row.met) == ("0.9 (0.8–1.5) ×", "≥ 0.7", "≥ 1", "bar")


@pytest.mark.parametrize(("value", "met"), [(19.0, "goal"), (20.0, "goal"), (60.0, "bar"), (60.5, "**no**")])
def test_what_should_be_small_is_met_from_below(value, met):
    assert judged_row("lag", [value], Limit(60, 20, is_upper=True, unit=" µs")).met == met


def test_the_page_keeps_what_was_written_by_hand(tmp_path):
    page = tmp_path / "performance.md"
    page.write_text(f"# By hand\n\n{BEGIN}\nold\n{END}\n\nBy hand too.\n")

    write_page(page, ["a machine"], [not_run("memory", "no\ntime | at all")])

    written = page.read_text()
    assert written.startswith(f"# By hand\n\n{BEGIN}")
    assert written.endswith(f"{END}\n\nBy hand too.\n")
    assert "- a machine\n" in written
    assert "| memory |" in written
    assert "not run: no time / at all |" in written
    assert "old" not in written


def test_every_row_has_as_many_cells_as_the_head():
    rows = [not_run("a", "b"), judged_row("c", [1.0], None, "/s")]

    assert {line.count("|") for line in markdown(rows).splitlines()} == {9}


def test_each_percentile_of_the_script_lies_inside_a_step():
    script = [float(delay_us(number)) for number in range(50_000)]

    assert percentiles(script) == {"50": 1000.0, "99": 5000.0, "99.9": 20000.0}


def test_percentiles_are_those_of_the_definition():
    assert percentiles([float(n) for n in range(1, 1001)]) == {"50": 500.0, "99": 990.0, "99.9": 999.0}
