"""What an experiment can ask of the HTTP/1.1 driver: connections, redirects, checks, templates, traces, timing."""

import asyncio
import ipaddress
import socket
import ssl
import subprocess

import msgspec
import pytest
from hostile_server import (
    CERTIFICATE,
    OK,
    Client,
    Peer,
    answering,
    client_of,
    facing,
    on_each_loop,
    server_tls,
    serving,
    target_of,
)

from agent.drivers.http1 import KEPT
from protocol.messages import Check, CheckKind, ErrorClass, Tls

PATIENT_NS = 8_000_000_000
OTHER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nadieu"


def redirect_to(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


def by_path(**answers: bytes):
    """A script that answers each request by its path, without the slash; OK where it knows none."""

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await peer.send(answers.get(request.split(b" ", 2)[1].decode().strip("/"), OK))

    return script


def first_lines(server) -> list[str]:
    return [request.partition(b"\r\n")[0].decode() for request in server.requests]


# --- connections ---------------------------------------------------------------------------------------------------


@on_each_loop
async def test_without_keep_alive_each_request_has_a_connection_of_its_own_and_says_so():
    async with facing(answering(OK), keep_alive=False) as (client, server):
        outcomes = [await client.ask() for _ in range(4)]

        assert [one.error for one in outcomes] == [None] * 4
        assert server.connections == 4
        assert all(b"\r\nConnection: close\r\n" in request for request in server.requests)


@on_each_loop
async def test_a_connection_serves_no_more_requests_than_allowed():
    async with facing(answering(OK), requests_per_connection=3) as (client, server):
        outcomes = [await client.ask() for _ in range(7)]

        assert [one.error for one in outcomes] == [None] * 7
        assert server.connections == 3
        assert client.driver.reconnects == 2


@on_each_loop
async def test_connections_grow_as_needed_up_to_the_most_allowed():
    async def slow(peer: Peer) -> None:
        while True:
            await peer.request()
            await asyncio.sleep(0.1)
            await peer.send(OK)

    async with serving(slow) as server:
        client = Client(target_of(server.url, timeout_ns=PATIENT_NS), connections=5, ahead=1)
        await client.driver.open()
        assert server.connections == 1

        started = [client.start() for _ in range(7)]
        await client.arrived(5)

        assert started == [True] * 5 + [False] * 2
        assert (server.connections, client.driver.most_open, client.driver.reconnects) == (5, 5, 0)
        await client.driver.close()


@on_each_loop
async def test_each_connection_that_was_made_is_timed():
    async with serving(answering(OK)) as server, client_of(server.url, 3) as client:
        made = client.driver.connected

        assert [one.remote for one in made] == [f"127.0.0.1:{server.port}"] * 3
        assert all(0 < one.connect_ns < PATIENT_NS and one.tls_ns is None for one in made)


@on_each_loop
async def test_tls_is_timed_apart_from_tcp(tmp_path):
    tls = Tls(is_verified=False)
    async with serving(answering(OK), tls=server_tls(tmp_path)) as server:
        url = server.url.replace("http", "https")
        async with client_of(url, 2, tls=tls, timeout_ns=PATIENT_NS) as client:
            assert (await client.ask()).error is None

            assert all(one.tls_ns > 0 and one.connect_ns > 0 for one in client.driver.connected)


@on_each_loop
async def test_all_addresses_of_a_name_are_used_in_turn(monkeypatch):
    async with serving(answering(OK)) as server:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{last}", server.port)) for last in (1, 2, 3, 1)]

        async def getaddrinfo(*_args, **_kwargs):
            return found

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
        client = Client(target_of(server.url.replace("127.0.0.1", "many.test")), connections=6)
        await client.driver.open()

        assert client.driver.addresses == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
        await client.driver.close()


@on_each_loop
async def test_ipv6_is_spoken():
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    async with serving(answering(OK), host="::1") as server, client_of(f"http://[::1]:{server.port}/") as client:
        outcome = await client.ask()

        assert (outcome.error, client.driver.connected[0].remote) == (None, f"[::1]:{server.port}")


@on_each_loop
async def test_a_large_body_arrives_whole_over_a_connection_that_is_used_again():
    body = bytes(range(256)) * 40_000
    async with facing(answering(OK), method="POST", body=body, timeout_ns=PATIENT_NS) as (client, server):
        outcomes = [await client.ask() for _ in range(3)]

        assert [one.error for one in outcomes] == [None] * 3
        assert all(request.endswith(body) for request in server.requests)
        assert server.connections == 1


@on_each_loop
async def test_an_answer_before_the_request_was_through_ends_the_connection():
    async def impatient(peer: Peer) -> None:
        await peer._reader.readuntil(b"\r\n\r\n")
        await peer.send(OK)
        await asyncio.sleep(60)

    body = b"x" * 30_000_000
    async with facing(impatient, method="POST", body=body, timeout_ns=PATIENT_NS) as (client, server):
        assert (await client.ask()).error is None
        assert (await client.ask()).error is None

        assert server.connections == 2


# --- clocks --------------------------------------------------------------------------------------------------------


@on_each_loop
async def test_the_first_byte_has_an_instant_of_its_own():
    async with facing(answering(OK[:20], OK[20:]), timeout_ns=PATIENT_NS) as (client, _server):
        outcome = await client.ask()

        assert outcome.sent_ns < outcome.first_ns < outcome.done_ns
        assert outcome.done_ns - outcome.first_ns > 5_000_000


@on_each_loop
async def test_no_answer_has_no_first_byte():
    async def deaf(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(60)

    async with facing(deaf) as (client, _server):
        outcome = await client.ask()

        assert (outcome.error, outcome.first_ns) == (ErrorClass.FIRST_BYTE_TIMEOUT, 0)


@on_each_loop
async def test_answers_that_all_differ_are_read_as_well_as_one_that_is_known():
    async def counting(peer: Peer) -> None:
        for number in range(2000):
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n%06d" % number)

    async with facing(counting, timeout_ns=PATIENT_NS) as (client, _server):
        outcomes = []
        for _ in range(1200):
            client.start(planned_ns=client.driver.now_ns())
            await client.arrived(len(outcomes) + 1)
            outcomes = client.outcomes

        assert {(one.error, one.status, one.bytes_in) for one in outcomes} == {(None, 200, len(OK) + 1)}
        assert len(client.driver.answers) <= KEPT


# --- redirects -----------------------------------------------------------------------------------------------------


@on_each_loop
async def test_redirects_are_not_followed_unless_asked_for():
    async with facing(by_path(old=redirect_to("/new")), path="old") as (client, server):
        outcome = await client.ask()

        assert (outcome.status, outcome.error, outcome.redirects) == (302, None, 0)
        assert len(server.requests) == 1


@on_each_loop
async def test_redirects_are_followed_on_the_same_connection_and_counted():
    script = by_path(old=redirect_to("/older"), older=redirect_to("new", 301))
    async with facing(script, path="old", redirects=5, timeout_ns=PATIENT_NS) as (client, server):
        outcomes = [await client.ask() for _ in range(2)]

        assert [(one.status, one.error, one.redirects) for one in outcomes] == [(200, None, 2)] * 2
        assert first_lines(server) == ["GET /old HTTP/1.1", "GET /older HTTP/1.1", "GET /new HTTP/1.1"] * 2
        assert server.connections == 1
        assert outcomes[0].bytes_in > 2 * len(OK)


@on_each_loop
async def test_a_redirected_request_counts_from_when_the_first_one_was_sent():
    async def slow(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await asyncio.sleep(0.03)
            await peer.send(OK if b"/new" in request else redirect_to("/new"))

    async with facing(slow, redirects=1, timeout_ns=PATIENT_NS) as (client, _server):
        outcome = await client.ask()

        assert outcome.done_ns - outcome.sent_ns > 55_000_000


@on_each_loop
async def test_a_circle_of_redirects_ends():
    async with facing(answering(redirect_to("/")), redirects=4, timeout_ns=PATIENT_NS) as (client, server):
        outcome = await client.ask()

        assert (outcome.status, outcome.redirects) == (302, 4)
        assert len(server.requests) == 5


@on_each_loop
async def test_a_redirect_to_another_origin_takes_no_credentials_along():
    async with serving(answering(OTHER)) as other, serving(answering(redirect_to(f"{other.url}there"))) as server:
        options = {"headers": (("Authorization", "Bearer secret"),), "redirects": 2, "timeout_ns": PATIENT_NS}
        async with client_of(server.url, **options) as client:
            outcomes = [await client.ask() for _ in range(3)]

        assert [(one.status, one.redirects) for one in outcomes] == [(200, 1)] * 3
        assert b"secret" in server.requests[0]
        assert all(b"secret" not in request for request in other.requests)
        assert first_lines(other) == ["GET /there HTTP/1.1"] * 3
        assert (server.connections, other.connections) == (1, 1)


@on_each_loop
async def test_a_redirect_to_where_the_agent_must_not_go_is_an_error():
    def admit(address: str) -> None:
        if ipaddress.ip_address(address) == ipaddress.ip_address("127.0.0.9"):
            raise PermissionError("127.0.0.9 must not be loaded")

    async with serving(answering(redirect_to("http://127.0.0.9:1/"))) as server:
        client = Client(target_of(server.url, redirects=1, timeout_ns=PATIENT_NS), admit=admit)
        await client.driver.open()
        outcome = await client.ask()
        await client.driver.close()

    assert (outcome.error, outcome.redirects) == (ErrorClass.LOCAL, 1)
    assert "must not be loaded" in outcome.text


@on_each_loop
async def test_a_redirect_to_a_dead_port_is_refused():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with facing(answering(redirect_to(f"http://127.0.0.1:{port}/")), redirects=1) as (client, _server):
        outcome = await client.ask()

        assert (outcome.error, outcome.redirects) == (ErrorClass.REFUSED, 1)


# --- checks, templates, traces -------------------------------------------------------------------------------------


@on_each_loop
@pytest.mark.parametrize(
    ("check", "is_fine"),
    [
        (Check(CheckKind.CONTAINS, "hell"), True),
        (Check(CheckKind.CONTAINS, "heaven"), False),
        (Check(CheckKind.REGEX, "^h.*o$"), True),
        (Check(CheckKind.MAX_BYTES, "5"), True),
        (Check(CheckKind.MAX_BYTES, "4"), False),
        (Check(CheckKind.JSON_PATH, "$.a", "1"), False),
    ],
)
async def test_a_failed_check_is_an_error_of_its_own_class(check, is_fine):
    async with facing(answering(OK), checks=(check,)) as (client, server):
        outcomes = [await client.ask() for _ in range(3)]  # the first is parsed, the others are known

        assert [one.error for one in outcomes] == [None if is_fine else ErrorClass.CHECK] * 3
        assert all(bool(one.text) is not is_fine for one in outcomes)
        assert server.connections == 1


@on_each_loop
async def test_a_check_sees_the_whole_of_a_body_that_comes_in_pieces():
    body = b'{"items": [' + b"1," * 5000 + b'1], "status": "ok"}'
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    check = Check(CheckKind.JSON_PATH, "$.status", '"ok"')
    async with facing(answering(head + body[:100], body[100:]), checks=(check,), timeout_ns=PATIENT_NS) as (client, _):
        assert [(await client.ask()).error for _ in range(2)] == [None, None]


@on_each_loop
async def test_an_error_status_is_that_and_no_failed_check():
    wrong = b"HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\nhello"
    async with facing(answering(wrong), checks=(Check(CheckKind.CONTAINS, "x"),)) as (client, _server):
        assert (await client.ask()).error is ErrorClass.STATUS


@on_each_loop
async def test_each_request_is_filled_in_by_its_number_and_row():
    rows = msgspec.msgpack.encode([{"name": "Ada"}, {"name": "Bob"}])
    options = {"path": "{{ number }}", "is_template": True, "rows": rows, "body": b"hi {{ row.name }}", "method": "PUT"}
    async with facing(answering(OK), **options) as (client, server):
        for _ in range(3):
            await client.ask()

        assert first_lines(server) == [f"PUT /{number} HTTP/1.1" for number in range(3)]
        assert [request.rpartition(b"\r\n")[2] for request in server.requests] == [b"hi Ada", b"hi Bob", b"hi Ada"]


@on_each_loop
async def test_a_share_of_the_requests_carries_a_trace_that_is_told_with_it():
    async with facing(answering(OK), trace_period=3) as (client, server):
        outcomes = [await client.ask() for _ in range(7)]

        sent = [b"\r\ntraceparent: 00-" in request for request in server.requests]
        assert sent == [True, False, False, True, False, False, True]
        for outcome, request in zip(outcomes, server.requests, strict=True):
            assert bool(outcome.trace) == (b"traceparent" in request)
            assert outcome.trace.encode() in request


# --- TLS -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def client_certificate(tmp_path_factory):
    """A certificate that signed itself, and its key."""
    folder = tmp_path_factory.mktemp("client")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=client"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return (folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes()


@on_each_loop
async def test_a_server_that_wants_a_certificate_is_shown_one(tmp_path, client_certificate):
    cert, key = client_certificate
    context = server_tls(tmp_path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=cert.decode())
    async with serving(answering(OK), tls=context) as server:
        url = server.url.replace("http", "https")
        shown, hidden = Tls(cert=cert, key=key, is_verified=False), Tls(is_verified=False)
        async with client_of(url, tls=shown, timeout_ns=PATIENT_NS) as client:
            assert (await client.ask()).error is None
        async with client_of(url, tls=hidden, timeout_ns=PATIENT_NS) as client:
            assert (await client.ask()).error in (ErrorClass.TLS, ErrorClass.RESET)


@on_each_loop
async def test_a_certificate_is_checked_against_the_name_that_was_given_for_it(tmp_path):
    ca = CERTIFICATE[CERTIFICATE.index("-----BEGIN CERT") :].encode()
    async with serving(answering(OK), tls=server_tls(tmp_path)) as server:
        url = f"https://127.0.0.1:{server.port}/"
        async with client_of(url, tls=Tls(ca=ca, server_name="localhost"), timeout_ns=PATIENT_NS) as client:
            assert (await client.ask()).error is None
        async with client_of(url, tls=Tls(ca=ca, server_name="elsewhere"), timeout_ns=PATIENT_NS) as client:
            outcome = await client.ask()
            assert outcome.error is ErrorClass.TLS
            assert "elsewhere" in outcome.text


@on_each_loop
async def test_a_server_that_speaks_too_old_a_tls_is_an_error(tmp_path):
    context = server_tls(tmp_path)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(answering(OK), tls=context) as server:
        url = server.url.replace("http", "https")
        async with client_of(url, tls=Tls(is_verified=False, min_version="1.3"), timeout_ns=PATIENT_NS) as client:
            assert (await client.ask()).error in (ErrorClass.TLS, ErrorClass.RESET)
        async with client_of(url, tls=Tls(is_verified=False, min_version="1.2"), timeout_ns=PATIENT_NS) as client:
            assert (await client.ask()).error is None
