"""HTTP/2 against real servers: nginx, nghttpd and hypercorn, with prior knowledge and over TLS with ALPN."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from http2_servers import HELLO, LARGE, RealServer, hypercorn, nghttpd, nginx

from agent.drivers.http2 import Http2Driver
from agent.outcome import Outcome, Room
from protocol.messages import ErrorClass, Http2, StatusRange, Target, Tls

SERVERS = {"nginx": nginx, "nghttpd": nghttpd, "hypercorn": hypercorn}
PATIENCE_S = 60.0


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as found:
        yield found


@pytest.fixture(scope="module")
def only_nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    with nginx(tmp_path_factory.mktemp("only-nginx")) as found:
        yield found


class Client:
    """A driver under closed load: each outcome starts the next request, until so many are done."""

    def __init__(self, target: Target, room: Room) -> None:
        self.outcomes: list[Outcome] = []
        self.driver = Http2Driver([target], room, user_agent="seatrial/test", now_ns=time.perf_counter_ns)
        self.driver.done = self._done  # slow_ns says that all is told in full
        self._left = 0
        self._finished = asyncio.Event()

    async def ask(self, count: int, at_once: int = 1) -> list[Outcome]:
        self._left = count
        for _ in range(min(at_once, count)):
            self._start()
        async with asyncio.timeout(PATIENCE_S):
            await self._finished.wait()
        await self.driver.close()
        return self.outcomes

    def _start(self) -> None:
        if self._left and self.driver.start(0, time.perf_counter_ns(), self._left):
            self._left -= 1

    def _done(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._start()
        if not self._left and not in_flight(self.driver):
            self._finished.set()


def in_flight(driver: Http2Driver) -> int:
    streams = sum(len(one.session.streams) for one in (*driver._open, *driver._retired))
    return streams + len(driver.waiting)


def asked(
    server: RealServer,
    path: str,
    *,
    count: int = 1,
    at_once: int = 1,
    port: str = "plain",
    room: Room | None = None,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
    **options: object,
) -> tuple[list[Outcome], Http2Driver]:
    """What became of so many requests, on the loop that agents run on."""
    is_tls = port in ("tls", "old")
    known = {
        "http2": Http2.ALPN if is_tls else Http2.PRIOR_KNOWLEDGE,
        "error_ranges": (StatusRange(400, 999),),
        "tls": Tls(ca=server.certificate) if is_tls else Tls(),
    }
    target = Target(
        endpoint="",
        url=server.url(port, path),
        timeout_ns=10_000_000_000,
        **{**known, **options},
    )

    async def run() -> tuple[list[Outcome], Http2Driver]:
        client = Client(target, room or Room(1, 1, at_once))
        await client.driver.open()
        async with asyncio.TaskGroup() as group:
            if meanwhile:
                group.create_task(meanwhile())
            await client.ask(count, at_once)
        return client.outcomes, client.driver

    return uvloop.run(run())


def ends(outcomes: list[Outcome]) -> Counter[tuple[ErrorClass | None, int, str]]:
    return Counter((one.error, one.status, one.text) for one in outcomes)


FINE = (None, 200, "")


@pytest.mark.parametrize("port", ["plain", "tls"])
def test_many_requests_at_once_over_few_connections(server, port):
    outcomes, driver = asked(server, "index.html", count=1600, at_once=64, port=port, room=Room(2, 2, 32))

    assert ends(outcomes) == {FINE: 1600}  # hypercorn drops what is under way on a connection's thousandth request
    assert {bytes(one.body) for one in outcomes} == {HELLO}
    assert len(driver.connected) == 2
    assert all((one.tls_ns is not None) == (port == "tls") for one in driver.connected)
    assert all(one.done_ns >= one.first_ns >= one.sent_ns >= one.planned_ns for one in outcomes)
    assert driver.reconnects == 0


@pytest.mark.parametrize("port", ["plain", "tls"])
def test_large_bodies_come_whole_many_at_once(server, port):
    outcomes, _driver = asked(server, "large", count=40, at_once=8, port=port)

    assert ends(outcomes) == {FINE: 40}
    assert {bytes(one.body) for one in outcomes} == {LARGE[:1024]}
    assert all(len(LARGE) < one.bytes_in < len(LARGE) * 1.02 for one in outcomes)


@pytest.mark.parametrize("port", ["plain", "tls"])
def test_uploads_larger_than_any_window_go_whole_many_at_once(server, port):
    outcomes, _driver = asked(server, "upload", count=24, at_once=8, port=port, method="POST", body=LARGE)

    assert ends(outcomes) == {FINE: 24}
    assert all(len(LARGE) < one.bytes_out < len(LARGE) * 1.02 for one in outcomes)
    for one in outcomes:
        heard = bytes(one.body)
        # nghttpd gives the upload back, the others say how long it was.
        assert heard in (LARGE[:1024], b"%d" % len(LARGE))


@pytest.mark.parametrize("port", ["plain", "tls"])
def test_head_and_what_is_not_there(server, port):
    heads, _driver = asked(server, "index.html", count=20, at_once=5, port=port, method="HEAD")
    missing, _driver = asked(server, "no-such-file", count=20, at_once=5, port=port)

    assert ends(heads) == {FINE: 20}
    assert ends(missing) == {(ErrorClass.STATUS, 404, ""): 20}


def test_one_connection_a_request(server):
    outcomes, driver = asked(server, "index.html", count=30, at_once=3, room=Room(3, 3, 8), keep_alive=False)

    assert ends(outcomes) == {FINE: 30}
    assert len(driver.connected) in range(30, 34)


def test_nginx_ends_connections_after_so_many_requests_and_none_goes_wrong(only_nginx):
    outcomes, driver = asked(only_nginx, "index.html", port="short", count=2000, at_once=32, method="GET")

    assert ends(outcomes) == {FINE: 2000}
    assert driver.reconnects >= 15


def test_nginx_allows_few_streams_and_none_is_refused(only_nginx):
    outcomes, driver = asked(only_nginx, "index.html", port="few", count=400, at_once=32, room=Room(2, 2, 32))

    assert ends(outcomes) == {FINE: 400}
    assert len(driver.connected) == 2


def test_nginx_sends_trailers_and_redirects(only_nginx):
    trailers, _driver = asked(only_nginx, "trailers", count=50, at_once=10)
    redirects, _driver = asked(only_nginx, "redirect", count=50, at_once=10, redirects=3)

    assert ends(trailers) == {FINE: 50}
    assert {bytes(one.body) for one in trailers} == {b"with trailers"}
    assert ends(redirects) == {FINE: 50}
    assert {(one.redirects, bytes(one.body)) for one in redirects} == {(1, HELLO)}


def test_nginx_without_http2_is_named(only_nginx):
    outcomes, _driver = asked(only_nginx, "index.html", port="old")

    assert [one.error for one in outcomes] == [ErrorClass.TLS]
    assert "h2" in outcomes[0].text or "protocol" in outcomes[0].text.lower()


def test_nginx_is_reloaded_under_load_and_no_request_goes_wrong(only_nginx):
    """Uploads, which may not be sent twice: what its old workers did not take is sent again, and only that."""

    async def reload() -> None:
        for _ in range(3):
            await asyncio.sleep(0.1)
            only_nginx.process.send_signal(signal.SIGHUP)

    outcomes, driver = asked(
        only_nginx, "upload", count=4000, at_once=16, room=Room(2, 2, 8), method="POST", body=b"x", meanwhile=reload
    )

    assert ends(outcomes) == {FINE: 4000}
    assert driver.reconnects >= 2


def test_a_certificate_that_nobody_vouches_for(server):
    outcomes, _driver = asked(server, "index.html", port="tls", tls=Tls())

    assert [one.error for one in outcomes] == [ErrorClass.TLS]
    assert "certificate" in outcomes[0].text.lower()


def test_a_missing_program_is_told_with_its_package(monkeypatch, tmp_path: Path):
    monkeypatch.setattr("shutil.which", lambda _name, **_where: None)

    with (
        pytest.raises(AssertionError, match="nghttpd is missing: install the system package nghttp2-server"),
        nghttpd(tmp_path),
    ):
        pass
