import asyncio
import ssl
import threading
import time

import numpy as np
import pytest

from controller.doctor import bus, checkup, machine, target
from controller.doctor.line import Level, Line, Load, fail, ok, summary, warn
from controller.doctor.machine import MIB, Ports
from controller.experiment.spec import from_document
from protocol.histogram import Histogram
from protocol.messages import Hello, Machine

# /proc/net/tcp: two connections to port 8000, one of them in TIME_WAIT; one to port 443; a listener; one that a server took
TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:9C40 0100007F:1F40 01 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:9C41 0100007F:1F40 06 00000000:00000000 03:00000000 00000000     0        0 0 3
   2: 0100007F:9C42 0A00000A:01BB 01 00000000:00000000 00:00000000 00000000     0        0 2 1
   3: 0100007F:9C43 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3 1
   4: 0100007F:1F40 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4 1
"""
TABLE6 = """  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:9C44 00000000000000000000000001000000:1F40 01 00000000:00000000
"""


def asked(**settings):
    return Load(**{"connections": 100, "certain": 100} | settings)


def free_ports(size, **taken):
    return Ports(10_000, 10_000 + size - 1, {(8000, state.replace("_", "-")): n for state, n in taken.items()})


def test_ports_are_counted_by_where_they_lead_and_their_state():
    found = machine.taken_ports(TABLE + TABLE6, 32768, 60999)

    assert found == {(8000, "established"): 2, (8000, "time-wait"): 1, (443, "established"): 1}
    assert Ports(32768, 60999, found).in_use(8000) == 3
    assert Ports(32768, 60999, found).in_use(8000, "time-wait") == 1
    assert Ports(32768, 60999, found).in_use(None) == 4
    assert machine.taken_ports("", 1, 2) == {}


@pytest.mark.parametrize(
    ("limit", "load", "level"),
    [
        (164, asked(), Level.OK),
        (163, asked(), Level.FAIL),
        (163, asked(agents=2), Level.OK),
        (500, asked(connections=1024, certain=4), Level.WARN),
        (67, asked(connections=1024, certain=4), Level.FAIL),
        (256, Load(), Level.WARN),
        (0, asked(connections=10**6, certain=10**6), Level.OK),
    ],
)
def test_open_files_are_held_against_the_connections_of_one_agent(limit, load, level):
    assert machine.files(limit, load).level is level


def test_the_fix_for_open_files_is_the_number_that_is_needed():
    line = machine.files(64, asked(connections=500, certain=500))

    assert "500 connections" in line.found
    assert "ulimit -n 564" in line.fix
    assert "kern.maxfilesperproc=564" in machine.files(64, asked(connections=500), is_macos=True).fix


@pytest.mark.parametrize(
    ("found", "load", "addresses", "level"),
    [
        (None, asked(), 1, Level.OK),
        (free_ports(100), asked(), 1, Level.OK),
        (free_ports(99), asked(), 1, Level.FAIL),
        (free_ports(99), asked(), 2, Level.OK),
        (free_ports(100, established=1), asked(port=8000), 1, Level.FAIL),
        (free_ports(100, established=1), asked(port=9000), 1, Level.OK),
        (free_ports(1000), asked(connections=1024, certain=4), 1, Level.WARN),
        (free_ports(1000, time_wait=501), asked(port=8000), 1, Level.WARN),
        (free_ports(6000), asked(keep_alive=False, rate_per_s=100), 1, Level.OK),
        (free_ports(6000), asked(keep_alive=False, rate_per_s=101), 1, Level.WARN),
        (free_ports(6000), asked(keep_alive=False), 1, Level.WARN),
    ],
)
def test_local_ports_are_held_against_connections_and_short_ones(found, load, addresses, level):
    line = machine.ports(found, load, addresses)

    assert line.level is level
    assert bool(line.fix) == (level is not Level.OK)


def test_ports_that_are_used_again_at_once_do_not_run_out():
    assert machine.ports(free_ports(200), asked(keep_alive=False), is_reused=True).level is Level.OK


@pytest.mark.parametrize(
    ("count", "quota", "load", "level", "fix"),
    [
        (2, 0.0, asked(agents=2), Level.OK, ""),
        (2, 0.0, asked(agents=3), Level.WARN, "--agents 2"),
        (4, 0.5, asked(agents=1), Level.WARN, "--cpus=1"),
        (4, 1.5, asked(agents=1), Level.OK, ""),
        (1, 0.5, asked(agents=2), Level.WARN, "--agents 1"),
        (2, 0.0, asked(rate_per_s=20_000), Level.OK, ""),
        (2, 0.0, asked(rate_per_s=20_001), Level.WARN, "lower rate"),
    ],
)
def test_each_agent_wants_a_core_that_a_quota_allows(count, quota, load, level, fix):
    line = machine.cores(count, quota, load)

    assert line.level is level
    assert fix in line.fix


def test_other_work_is_told_from_half_of_the_cores_on():
    assert machine.busy(1.0, 2).level is Level.OK
    assert machine.busy(1.1, 2).level is Level.WARN


@pytest.mark.parametrize(
    ("kind", "late_us", "level"),
    [
        ("timerfd", 900, Level.OK),
        ("timerfd", 1100, Level.WARN),
        ("timer", 1100, Level.OK),
        ("timer", 3100, Level.WARN),
    ],
)
def test_a_late_timer_is_told_by_what_its_kind_can_do(kind, late_us, level):
    late = Histogram()
    late.record_many(np.full(100, late_us * 1000, dtype=np.int64))

    assert machine.pacer(Machine(pacer=kind, loop_delay=late.pack())).level is level


def test_a_timer_that_never_fired_fails():
    assert machine.pacer(Machine(pacer="timerfd")).level is Level.FAIL


@pytest.mark.parametrize(("free", "level"), [(10, Level.FAIL), (16, Level.WARN), (128, Level.OK)])
def test_room_on_disk(free, level):
    assert machine.space("result folder", "/x", free * MIB, least=16 * MIB, wanted=128 * MIB).level is level


def hello(name, **about):
    return Hello(name, "i", cores=4, host="crane", **about)


def test_agents_at_work_are_not_free():
    here = [hello("a"), hello("b", busy_with="r1")]

    assert bus.agents(here, "default", Load(), "nats://h").level is Level.OK
    short = bus.agents(here, "blue", Load(agents=2), "nats://h")
    assert short.level is Level.FAIL
    assert "busy with run r1" in short.found
    assert short.fix.endswith("seatrial-agent --nats nats://h --namespace blue")


@pytest.mark.parametrize(
    ("offset_ms", "error_ms", "level"), [(3, 1, Level.OK), (-2000, 1, Level.WARN), (3, 60, Level.WARN)]
)
def test_clocks_that_are_apart_or_unsure_are_told(offset_ms, error_ms, level):
    here = [hello("a", clock_offset_ns=int(offset_ms * 1e6), clock_error_ns=int(error_ms * 1e6))]

    assert [line.level for line in bus.clocks(here)] == [level]


def test_nothing_is_said_of_clocks_that_are_not_known():
    assert bus.clocks([hello("a")]) == []


@pytest.mark.parametrize("url", ["nats://user:secret@h:4222", "nats://secret@h:4222", "nats://h:4222"])
def test_no_line_holds_what_a_server_was_logged_in_with(url):
    assert bus.redacted(url) == "nats://h:4222"


ISSUED = {
    "issuer": ((("countryName", "XX"),), (("organizationName", "Harbour CA"),)),
    "notAfter": "Jan 31 00:00:00 2030 GMT",
}


@pytest.mark.parametrize(("days", "level"), [(14, Level.OK), (13, Level.WARN)])
def test_a_certificate_that_ends_soon_is_told(days, level):
    now_s = ssl.cert_time_to_seconds(ISSUED["notAfter"]) - days * 86400

    line = target.certificate(ISSUED, "TLSv1.3", "h2", now_s)

    assert line.level is level
    assert f"TLSv1.3, HTTP/2, certificate by Harbour CA, {days} days left" in line.found


def test_a_certificate_that_is_not_checked_is_not_praised():
    assert "not checked" in target.certificate({}, "TLSv1.3", None, 0).found


def test_a_call_that_hangs_is_left_behind():
    released = threading.Event()
    began_s = time.monotonic()

    async def wait():
        await target.in_thread(released.wait, 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(wait())
    released.set()
    assert time.monotonic() - began_s < 5


def test_an_error_of_a_call_is_raised_where_it_is_awaited():
    def call():
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError, match="gone"):
        asyncio.run(target.in_thread(call, 5))


def experiment_of(**settings):
    return from_document({"spec": [{"task": "http", "with": {"url": "https://h/x?y=1", **settings}}]})


def test_what_is_checked_is_what_the_experiment_asks_for():
    load, aims = checkup.for_experiment(
        experiment_of(rate=25_000, connections=60, keepAlive=False, timeout="1s", tls={"insecure": True}), None
    )

    assert load == Load(agents=3, connections=60, certain=60, rate_per_s=25_000, keep_alive=False, port=443)
    (aim,) = aims
    assert (aim.host, aim.port, aim.path, aim.timeout_s) == ("h", 443, "/x?y=1", 1.0)
    assert aim.is_error(404)
    assert not aim.is_error(302)
    assert target.trust(aim.tls, ["h2"]).verify_mode == ssl.CERT_NONE


def test_open_load_without_connections_may_grow_and_need_not():
    load, _aims = checkup.for_experiment(experiment_of(rate=100), None)

    assert (load.connections, load.certain) == (1024, 4)


def test_one_url_is_asked_once():
    document = {
        "spec": [
            {"task": "http", "with": {"url": "http://h/", "endpoints": {"a": {}, "b": {}, "c": {"url": "http://g/"}}}}
        ]
    }

    _load, aims = checkup.for_experiment(from_document(document), None)

    assert [aim.url for aim in aims] == ["http://h/", "http://g/"]


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"url": "http://h/{{ row.id }}"}, "template"),
        ({"url": "http://h/", "headers": {"X": "{{ uuid }}"}}, "template"),
        ({"url": "http://h/", "http2": "prior-knowledge"}, "prior knowledge"),
        ({"url": "http://h/", "http2": "alpn"}, ""),
    ],
)
def test_what_can_not_be_asked_by_hand_is_not(about, words):
    unasked = target.Aim(**about).unasked

    assert words in unasked
    assert bool(unasked) == bool(words)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([ok("a", "b")], "1 ok, 0 warn, 0 fail: ready"),
        ([ok("a", "b"), warn("a", "b", "c")], "1 ok, 1 warn, 0 fail: ready, with reservations"),
        ([fail("a", "b", "c"), warn("a", "b", "c")], "0 ok, 1 warn, 1 fail: mend what fails first"),
    ],
)
def test_the_summary_counts(lines, words):
    assert summary(lines) == words


def test_a_line_begins_with_its_level():
    assert str(Line(Level.WARN, "timer", "late", "x")) == "warn  timer: late"
    assert str(ok("timer", "fine")) == "ok    timer: fine"
