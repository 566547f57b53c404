"""The HTTP/1.1 driver against servers that misbehave: each request ends once, in the right class, in bounded memory."""

import asyncio
import errno
import gc
import socket
import time
import tracemalloc

import pytest
from hostile_server import (
    CERTIFICATE,
    OK,
    TIMEOUT_S,
    Client,
    Peer,
    answering,
    client_of,
    facing,
    on_each_loop,
    once,
    server_tls,
    serving,
    target_of,
)

from agent.drivers.http1 import request_of
from protocol.messages import TIMEOUTS, ErrorClass, StatusRange, Target, Tls

MIB = 1 << 20
PATIENT_NS = 8_000_000_000  # where nothing is to time out, however busy the machine is
CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"


async def hang(peer: Peer) -> None:
    await peer.request()
    await asyncio.sleep(60)


def stalling_after(data: bytes):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)
        await asyncio.sleep(60)

    return script


def resetting_after(data: bytes):
    async def script(peer: Peer) -> None:
        await peer.request()
        if data:
            await peer.send(data)
            await asyncio.sleep(0.01)
        peer.reset()

    return script


def dripping(data: bytes, pause_s: float):
    async def script(peer: Peer) -> None:
        await peer.request()
        for byte in data:
            await peer.send(bytes([byte]))
            await asyncio.sleep(pause_s)

    return script


def endless(start: bytes, piece: bytes):
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(start)
        while True:
            await peer.send(piece)

    return script


def head(*lines: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 " + status + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


# --- what goes wrong, and the class it ends in ---------------------------------------------------------------------

WRONG = {
    "closes before the response": (once(), ErrorClass.RESET),
    "closes in the headers": (once(b"HTTP/1.1 200 OK\r\nCont"), ErrorClass.RESET),
    "closes in the body": (once(head(b"Content-Length: 10"), b"hello"), ErrorClass.RESET),
    "closes in a chunk": (once(head(b"Transfer-Encoding: chunked"), b"a\r\nhel"), ErrorClass.RESET),
    "closes between chunks": (once(head(b"Transfer-Encoding: chunked"), b"5\r\nhello\r\n"), ErrorClass.RESET),
    "resets before the response": (resetting_after(b""), ErrorClass.RESET),
    "resets in the headers": (resetting_after(b"HTTP/1.1 200 OK\r\n"), ErrorClass.RESET),
    "resets in the body": (resetting_after(head(b"Content-Length: 10") + b"hello"), ErrorClass.RESET),
    "resets a body without length": (resetting_after(b"HTTP/1.0 200 OK\r\n\r\nhello"), ErrorClass.RESET),
    "says nothing": (hang, ErrorClass.FIRST_BYTE_TIMEOUT),
    "stalls in the headers": (stalling_after(b"HTTP/1.1 200"), ErrorClass.BODY_TIMEOUT),
    "stalls in the body": (stalling_after(head(b"Content-Length: 10") + b"hello"), ErrorClass.BODY_TIMEOUT),
    "stalls in a body without length": (stalling_after(head() + b"hello"), ErrorClass.BODY_TIMEOUT),
    "stalls after an interim response": (stalling_after(head(status=b"100 Continue")), ErrorClass.BODY_TIMEOUT),
    "drips its headers": (dripping(head(*[b"A: b"] * 50), 0.02), ErrorClass.BODY_TIMEOUT),
    "promises more than it sends": (answering(head(b"Content-Length: 6") + b"hello"), ErrorClass.BODY_TIMEOUT),
    "speaks something else": (once(b"220 mail.example ESMTP\r\n\r\n"), ErrorClass.PROTOCOL),
    "sends random bytes": (once(bytes(range(256))), ErrorClass.PROTOCOL),
    "sends zeros": (once(bytes(1000)), ErrorClass.PROTOCOL),
    "sends a header without a colon": (once(head(b"no colon here")), ErrorClass.PROTOCOL),
    "sends no number as length": (once(head(b"Content-Length: five") + b"hello"), ErrorClass.PROTOCOL),
    "sends a negative length": (once(head(b"Content-Length: -5") + b"hello"), ErrorClass.PROTOCOL),
    "sends two lengths": (once(head(b"Content-Length: 5", b"Content-Length: 6") + b"hello!"), ErrorClass.PROTOCOL),
    "sends a chunk of no size": (once(head(b"Transfer-Encoding: chunked") + b"xyz\r\nhello"), ErrorClass.PROTOCOL),
    "sends endless headers": (endless(b"HTTP/1.1 200 OK\r\n", b"A: " + b"b" * 1000 + b"\r\n"), ErrorClass.PROTOCOL),
    "sends one endless header": (endless(b"HTTP/1.1 200 OK\r\nA: ", b"b" * 10_000), ErrorClass.PROTOCOL),
    "sends an endless status line": (endless(b"HTTP/1.1 200 ", b"b" * 10_000), ErrorClass.PROTOCOL),
    "sends endless interim responses": (endless(b"", head(status=b"102 Processing") * 500), ErrorClass.PROTOCOL),
    "sends endless trailers": (
        endless(head(b"Transfer-Encoding: chunked") + b"0\r\n", b"A: " + b"b" * 10_000 + b"\r\n"),
        ErrorClass.PROTOCOL,
    ),
    "sends one endless trailer": (
        endless(head(b"Transfer-Encoding: chunked") + b"0\r\nA: ", b"b" * 10_000),
        ErrorClass.PROTOCOL,
    ),
    "sends an endless chunk size": (
        endless(head(b"Transfer-Encoding: chunked") + b"5;", b"x=" + b"y" * 10_000),
        ErrorClass.PROTOCOL,
    ),
    "changes the protocol": (
        answering(head(b"Upgrade: websocket", b"Connection: Upgrade", status=b"101 Switching Protocols")),
        ErrorClass.PROTOCOL,
    ),
    "announces more than 64 MiB": (stalling_after(head(b"Content-Length: 67108865")), ErrorClass.TOO_LARGE),
    "announces 10 GB": (stalling_after(head(b"Content-Length: 10000000000") + b"x" * 99), ErrorClass.TOO_LARGE),
    "answers with an error": (answering(head(b"Content-Length: 0", status=b"503 Busy")), ErrorClass.STATUS),
}


@pytest.mark.parametrize("name", WRONG)
@on_each_loop
async def test_a_server_that(name):
    """Two in a row: what went wrong leaves no slot taken."""
    script, expected = WRONG[name]
    timeout_ns = int(TIMEOUT_S * 1e9) if expected in TIMEOUTS else PATIENT_NS
    async with facing(script, timeout_ns=timeout_ns) as (client, server):
        for _ in range(2):
            outcome = await client.ask()

            assert outcome.error is expected, outcome.text
            assert outcome.text or expected is ErrorClass.STATUS
            assert outcome.done_ns >= outcome.sent_ns > 0
            assert len(outcome.body) <= 1024 + len(OK)
        assert len(server.requests) == 2
        assert len(client.driver._open) <= 1


@on_each_loop
async def test_time_outs_are_kept_to_their_length():
    async with facing(hang) as (client, _server):
        outcome = await client.ask()

        assert TIMEOUT_S - 0.002 <= (outcome.done_ns - outcome.sent_ns) / 1e9 < TIMEOUT_S + 1


@on_each_loop
async def test_a_port_where_nobody_listens():
    async with serving(hang) as server:
        url = server.url
    async with client_of(url) as client:
        for _ in range(2):
            outcome = await client.ask()

            assert outcome.error is ErrorClass.REFUSED
            assert outcome.text


@on_each_loop
async def test_a_server_that_accepts_no_more_connections():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.settimeout(0)
            filler.connect_ex(listener.getsockname())
        await asyncio.sleep(0.02)
        async with client_of(f"http://127.0.0.1:{listener.getsockname()[1]}/") as client:
            outcome = await client.ask()
        for filler in fillers:
            filler.close()

    assert outcome.error is ErrorClass.CONNECT_TIMEOUT
    assert TIMEOUT_S - 0.002 <= (outcome.done_ns - outcome.sent_ns) / 1e9 < TIMEOUT_S + 1


class Broken:
    """An event loop's method that fails."""

    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    async def __call__(self, *_args: object, **_kwargs: object) -> None:
        raise self._failure


@pytest.mark.parametrize("number", [socket.EAI_NONAME, socket.EAI_AGAIN])
async def test_a_name_that_does_not_resolve(monkeypatch, number):
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "getaddrinfo", Broken(socket.gaierror(number, "no such name")))
    async with client_of("http://no.such.name.invalid/") as client:
        for _ in range(2):
            outcome = await client.ask()

            assert outcome.error is ErrorClass.DNS
            assert "no such name" in outcome.text


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example"])
@on_each_loop
async def test_a_name_that_cannot_be_one(host):
    async with client_of(f"http://{host}/") as client:
        assert (await client.ask()).error is ErrorClass.DNS


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EMFILE, ErrorClass.LOCAL),
        (errno.ENFILE, ErrorClass.LOCAL),
        (errno.EADDRNOTAVAIL, ErrorClass.LOCAL),
        (errno.ENOBUFS, ErrorClass.LOCAL),
        (errno.ECONNREFUSED, ErrorClass.REFUSED),
        (errno.ECONNRESET, ErrorClass.RESET),
        (errno.EHOSTUNREACH, ErrorClass.UNREACHABLE),
        (errno.ENETUNREACH, ErrorClass.UNREACHABLE),
        (errno.ETIMEDOUT, ErrorClass.CONNECT_TIMEOUT),
    ],
)
async def test_a_connection_that_the_system_refuses(monkeypatch, number, expected):
    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", Broken(OSError(number, "that is how it is")))
    async with client_of("http://127.0.0.1:9/") as client:
        for _ in range(2):
            assert (await client.ask()).error is expected


async def test_an_address_that_must_not_be_loaded_is_not():
    def forbid(address: str) -> None:
        raise PermissionError(f"{address} must not be loaded")

    async with serving(answering(OK)) as server:
        client = Client(target_of(server.url), admit=forbid)
        with pytest.raises(PermissionError):
            await client.driver.open()
        with pytest.raises(PermissionError):
            await client.driver.resolve()
        outcome = await client.ask()
        await client.driver.close()

        assert outcome.error is ErrorClass.LOCAL
        assert "must not be loaded" in outcome.text
        assert not server.connections


# --- TLS -----------------------------------------------------------------------------------------------------------


@on_each_loop
async def test_tls_spoken_to_a_server_without():
    async with serving(answering(OK)) as server, client_of(f"https://127.0.0.1:{server.port}/") as client:
        server_hears_garbage = await client.ask()

    assert server_hears_garbage.error in {ErrorClass.TLS, ErrorClass.CONNECT_TIMEOUT}


@on_each_loop
async def test_tls_spoken_to_a_server_that_answers_in_plain_text():
    async def plain(peer: Peer) -> None:
        await peer.send(OK)
        await asyncio.sleep(60)

    async with serving(plain) as server, client_of(f"https://127.0.0.1:{server.port}/") as client:
        for _ in range(2):
            assert (await client.ask()).error is ErrorClass.TLS


@on_each_loop
async def test_a_certificate_that_nobody_vouches_for(tmp_path):
    async with (
        serving(answering(OK), tls=server_tls(tmp_path)) as server,
        client_of(f"https://127.0.0.1:{server.port}/", timeout_ns=PATIENT_NS) as client,
    ):
        for _ in range(2):
            outcome = await client.ask()

            assert outcome.error is ErrorClass.TLS
            assert "certificate" in outcome.text.lower()


@on_each_loop
async def test_a_certificate_that_is_trusted(tmp_path):
    async with serving(answering(OK), tls=server_tls(tmp_path)) as server:
        tls = Tls(ca=CERTIFICATE[CERTIFICATE.index("-----BEGIN CERT") :].encode())
        client = Client(target_of(f"https://localhost:{server.port}/", timeout_ns=PATIENT_NS, tls=tls))
        await client.driver.open()
        outcomes = [await client.ask() for _ in range(3)]
        await client.driver.close()
        await asyncio.sleep(0.01)

        assert [(one.error, one.status) for one in outcomes] == [(None, 200)] * 3
        assert server.connections == 1


# --- what is fine, however odd -------------------------------------------------------------------------------------

CHUNKED = head(b"Transfer-Encoding: chunked")
FINE = {
    "answers in one piece": (answering(OK), 200, b"hello"),
    "answers byte by byte": (dripping(OK, 0.0005), 200, b"hello"),
    "sends headers and body apart": (answering(OK[:-5], b"hello"), 200, b"hello"),
    "sends no body": (answering(head(b"Content-Length: 0")), 200, b""),
    "sends chunks": (answering(CHUNKED + b"2\r\nhe\r\n", b"3\r\nllo\r\n0\r\n\r\n"), 200, b"hello"),
    "sends trailers": (answering(CHUNKED + b"5\r\nhello\r\n0\r\nSum: 1\r\n", b"Age: 2\r\n\r\n"), 200, b"hello"),
    "sends 204": (answering(head(status=b"204 No Content")), 204, b""),
    "sends 304 with the length of what it leaves out": (
        answering(head(b"Content-Length: 100", status=b"304 Not Modified")),
        304,
        b"",
    ),
    "sends an interim response first": (answering(head(status=b"100 Continue") + OK), 200, b"hello"),
    "sends an interim response apart": (
        answering(head(b"Link: </a.css>", status=b"103 Early Hints"), OK),
        200,
        b"hello",
    ),
    "redirects": (answering(head(b"Location: /x", b"Content-Length: 0", status=b"302 Found")), 302, b""),
    "has a status of its own": (answering(head(b"Content-Length: 0", status=b"299 Strange")), 299, b""),
    "gives no reason": (answering(b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi"), 200, b"hi"),
}
FINE_BUT_CLOSES = {
    "says that it closes": (once(CLOSE), 200, b"hello"),
    "says that it closes and does not": (answering(CLOSE), 200, b"hello"),
    "speaks HTTP/1.0": (once(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"), 200, b"hello"),
    "ends an HTTP/1.0 body by closing": (once(b"HTTP/1.0 200 OK\r\n\r\n", b"hel", b"lo"), 200, b"hello"),
    "ends an HTTP/1.1 body by closing": (once(head(), b"hello"), 200, b"hello"),
    "ends an empty body by closing": (once(head()), 200, b""),
    "sends more than it promised": (answering(OK + b"surplus"), 200, b"hello"),
    "sends a response that nobody asked for": (answering(OK + OK), 200, b"hello"),
    "sends surplus chunks": (answering(CHUNKED + b"5\r\nhello\r\n0\r\n\r\nmore"), 200, b"hello"),
}


def body_of(outcome) -> bytes:
    return bytes(outcome.body[outcome.body_at :])


@pytest.mark.parametrize("name", FINE)
@on_each_loop
async def test_a_decent_server_that(name):
    """Three in a row: on one connection, and known responses are read as unknown ones are."""
    script, status, body = FINE[name]
    if name == "answers byte by byte":
        script = repeated(script)
    async with facing(script, timeout_ns=PATIENT_NS) as (client, server):
        for _ in range(3):
            outcome = await client.ask()

            assert (outcome.error, outcome.status, body_of(outcome)) == (None, status, body)
        assert server.connections == 1
        assert client.driver.reconnects == 0


def repeated(script):
    async def forever(peer: Peer) -> None:
        while True:
            await script(peer)

    return forever


@pytest.mark.parametrize("name", FINE_BUT_CLOSES)
@on_each_loop
async def test_after_a_server_that(name):
    """The next request takes a new connection: a reconnect, and no error."""
    script, status, body = FINE_BUT_CLOSES[name]
    async with facing(script, timeout_ns=PATIENT_NS) as (client, server):
        for _ in range(3):
            outcome = await client.ask()

            assert (outcome.error, outcome.status, body_of(outcome)) == (None, status, body)
        assert server.connections == 3
        assert client.driver.reconnects == 2


@on_each_loop
async def test_the_whole_of_a_large_response_is_counted_and_little_of_it_is_kept():
    size = 3 * MIB
    async with facing(answering(head(b"Content-Length: %d" % size) + bytes(size)), timeout_ns=PATIENT_NS) as (
        client,
        _server,
    ):
        outcome = await client.ask()

        assert outcome.error is None
        assert outcome.bytes_in == size + len(head(b"Content-Length: %d" % size))
        assert len(outcome.body) == 1024


@pytest.mark.parametrize("is_chunked", [True, False], ids=["chunked", "until close"])
@on_each_loop
async def test_an_endless_body_is_given_up_and_memory_stays_flat(is_chunked):
    piece = bytes(MIB)
    script = (
        endless(CHUNKED, b"%x\r\n" % MIB + piece + b"\r\n")
        if is_chunked
        else endless(b"HTTP/1.0 200 OK\r\n\r\n", piece)
    )
    async with facing(script, timeout_ns=PATIENT_NS) as (client, _server):
        gc.collect()
        tracemalloc.start()
        outcome = await client.ask()
        _now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert outcome.error is ErrorClass.TOO_LARGE
        assert 64 * MIB < outcome.bytes_in < 70 * MIB
        assert len(outcome.body) == 1024
        assert peak < 16 * MIB


@on_each_loop
async def test_head_has_no_body_whatever_its_headers_say():
    async with facing(answering(OK[:-5]), method="HEAD") as (client, server):
        outcomes = [await client.ask() for _ in range(3)]

        assert [(one.error, one.status, one.bytes_in) for one in outcomes] == [(None, 200, len(OK) - 5)] * 3
        assert server.connections == 1
        assert server.requests[0].startswith(b"HEAD / HTTP/1.1\r\n")


@on_each_loop
async def test_head_of_something_too_large_is_fine():
    async with facing(answering(head(b"Content-Length: 10000000000")), method="HEAD") as (client, _server):
        assert (await client.ask()).error is None


@on_each_loop
async def test_get_and_head_of_one_origin_are_not_taken_for_each_other():
    async def script(peer: Peer) -> None:
        while True:
            await peer.send(OK[:-5] if (await peer.request()).startswith(b"HEAD") else OK)

    async with serving(script) as server:
        client = Client(target_of(server.url), target_of(server.url, method="HEAD"))
        await client.driver.open()
        outcomes = [await client.ask(target) for target in (0, 0, 1, 1, 0, 1)]
        await client.driver.close()

        assert [one.error for one in outcomes] == [None] * 6
        assert [one.target for one in outcomes] == [0, 0, 1, 1, 0, 1]
        assert server.connections == 1


@on_each_loop
async def test_each_target_has_its_own_judgement_of_a_known_response():
    async with serving(answering(head(b"Content-Length: 0", status=b"404 Not Found"))) as server:
        client = Client(target_of(server.url), target_of(server.url, error_ranges=(StatusRange(500, 999),)))
        await client.driver.open()
        outcomes = [await client.ask(target) for target in (0, 1, 0, 1)]
        await client.driver.close()

    assert [one.error for one in outcomes] == [ErrorClass.STATUS, None, ErrorClass.STATUS, None]
    assert [one.status for one in outcomes] == [404] * 4


@on_each_loop
async def test_a_known_header_block_with_another_body_is_read_anew():
    bodies = iter([b"hello", b"hello", b"hel", b"world"])

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            body = next(bodies)
            await peer.send(OK[:-5] + body)
            if len(body) < 5:
                await asyncio.sleep(0.02)
                await peer.send(b"xx")

    async with facing(script) as (client, server):
        outcomes = [await client.ask() for _ in range(4)]

        assert [body_of(one) for one in outcomes] == [b"hello", b"hello", b"helxx", b"world"]
        assert server.connections == 1


# --- connections ---------------------------------------------------------------------------------------------------


@on_each_loop
async def test_a_server_that_closes_an_idle_connection_costs_a_reconnect_and_no_error():
    async with facing(once(OK)) as (client, server):
        for _ in range(3):
            outcome = await client.ask()
            await asyncio.sleep(0.02)

            assert outcome.error is None
        assert server.connections == 3
        assert client.driver.reconnects == 2


@on_each_loop
async def test_a_server_that_closes_after_each_answer_without_a_word_costs_no_errors():
    """The next request is on its way when the close arrives: it was never read, and goes again."""
    async with facing(once(OK)) as (client, server):
        count_only = client.driver.done

        def done(outcome) -> None:
            count_only(outcome)
            if len(client.outcomes) < 20:
                assert client.start()

        client.driver.done = done
        assert client.start()
        await client.arrived(20)

        assert [one.error for one in client.outcomes] == [None] * 20
        assert len(server.requests) == 20


@on_each_loop
async def test_a_request_that_may_have_been_acted_upon_is_not_sent_again():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()

    async with facing(script, method="POST") as (client, server):
        await client.ask()
        outcome = await client.ask()

        assert outcome.error is ErrorClass.RESET
        assert len(server.requests) == 2


@on_each_loop
async def test_after_a_stall_of_our_own_what_came_in_meanwhile_is_no_time_out():
    async with facing(answering(OK)) as (client, _server):
        assert client.start()
        await asyncio.sleep(0)
        time.sleep(2 * TIMEOUT_S)  # noqa: ASYNC251 the process stands still, and the answer waits in the socket
        await client.arrived(1)

        assert client.outcomes[0].error is None


@on_each_loop
async def test_data_that_nobody_asked_for_ends_a_connection():
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await asyncio.sleep(0.01)
        await peer.send(head(b"Content-Length: 0", status=b"500 Surprise"))
        await asyncio.sleep(60)

    async with facing(script) as (client, server):
        for _ in range(2):
            outcome = await client.ask()
            await asyncio.sleep(0.03)

            assert outcome.error is None
        assert server.connections == 2


@on_each_loop
async def test_connections_are_made_ahead_and_no_more_than_allowed():
    async with facing(hang, connections=3) as (client, server):
        await asyncio.sleep(0.01)
        assert server.connections == 3

        started = [client.start() for _ in range(5)]
        await client.arrived(3)

        assert started == [True, True, True, False, False]
        assert server.connections == 3
        assert {one.error for one in client.outcomes} == {ErrorClass.FIRST_BYTE_TIMEOUT}


@on_each_loop
async def test_requests_that_wait_for_a_connection_count_as_one_each():
    async with serving(hang) as server:
        client = Client(target_of(server.url), connections=2)  # never opened: it connects when asked
        started = [client.start() for _ in range(3)]
        await asyncio.sleep(0.05)
        assert server.connections == 2
        await client.driver.close()

        assert started == [True, True, False]
        assert client.outcomes == []


@on_each_loop
async def test_an_outcome_may_start_the_next_request():
    async with facing(answering(OK), connections=2) as (client, server):
        count_only = client.driver.done
        left = 100

        def done(outcome) -> None:
            nonlocal left
            count_only(outcome)
            if left:
                left -= 1
                assert client.start()

        client.driver.done = done
        for _ in range(2):
            assert client.start()
        await client.arrived(102)

        assert [one.error for one in client.outcomes] == [None] * 102
        assert server.connections == 2


@on_each_loop
async def test_an_outcome_of_a_refused_connection_may_start_the_next_request():
    async with serving(hang) as server:
        url = server.url
    async with client_of(url, 1) as client:
        count_only = client.driver.done

        def done(outcome) -> None:
            count_only(outcome)
            if len(client.outcomes) < 5:
                assert client.start()

        client.driver.done = done
        assert client.start()
        await client.arrived(5)

        assert {one.error for one in client.outcomes} == {ErrorClass.REFUSED}


@on_each_loop
async def test_after_its_end_a_driver_tells_and_starts_nothing():
    async with facing(hang, connections=2) as (client, server):
        assert client.start()
        await asyncio.sleep(0.02)
        seen = server.connections
        await client.driver.close()
        await asyncio.sleep(0.01)

        assert not client.start()
        await asyncio.sleep(0.02)
        assert client.outcomes == []
        assert server.connections == seen


@on_each_loop
async def test_a_server_that_was_away_is_found_again():
    async with serving(answering(OK)) as server:
        port = server.port
        client = Client(target_of(server.url))
        await client.driver.open()
        first = await client.ask()
    await asyncio.sleep(0.02)
    while_away = await client.ask()
    async with serving(answering(OK), port=port):
        back = await client.ask()
    await client.driver.close()

    assert [one.error for one in (first, while_away, back)] == [None, ErrorClass.REFUSED, None]


# --- what is sent --------------------------------------------------------------------------------------------------


@on_each_loop
async def test_a_get_names_its_host_and_who_asks():
    async with facing(answering(OK), path="a/b?q=1&r=%20") as (client, server):
        await client.ask()

        assert server.requests == [
            b"GET /a/b?q=1&r=%%20 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: seatrial/test\r\nAccept: */*\r\n\r\n"
            % server.port
        ]


@on_each_loop
async def test_a_post_carries_its_body_and_headers_on_every_request():
    body = bytes(range(256)) * 4000
    headers = (("Content-Type", "application/x-test"), ("X-One", "1"), ("X-One", "2"))
    async with facing(answering(OK), method="POST", headers=headers, body=body, timeout_ns=PATIENT_NS) as (
        client,
        server,
    ):
        outcomes = [await client.ask() for _ in range(3)]

        sent, _, sent_body = server.requests[0].partition(b"\r\n\r\n")
        assert server.requests == [server.requests[0]] * 3
        assert sent_body == body
        assert sent.startswith(b"POST / HTTP/1.1\r\n")
        for line in (b"Content-Length: 1024000", b"Content-Type: application/x-test", b"X-One: 1", b"X-One: 2"):
            assert sent.count(b"\r\n" + line) == 1
        assert outcomes[0].bytes_out == len(server.requests[0])


def wire_of(**options: object) -> bytes:
    given = {"endpoint": "", "url": "http://example.test/", **options}
    return request_of(Target(**given), "seatrial/test").wire


def test_headers_that_are_given_are_not_given_twice():
    wire = wire_of(headers=(("host", "other.test"), ("USER-AGENT", "me"), ("accept", "text/plain")))

    assert wire == b"GET / HTTP/1.1\r\nhost: other.test\r\nUSER-AGENT: me\r\naccept: text/plain\r\n\r\n"


def test_a_post_without_a_body_says_so():
    assert b"\r\nContent-Length: 0\r\n" in wire_of(method="POST")
    assert b"Content-Length" not in wire_of(method="GET")
    assert b"Content-Length" not in wire_of(method="DELETE")


def test_a_body_makes_any_method_say_how_long_it_is():
    assert wire_of(method="DELETE", body=b"abc").endswith(b"Content-Length: 3\r\n\r\nabc")


def test_credentials_and_fragments_of_a_url_are_not_sent():
    wire = wire_of(url="http://alice:secret@example.test:8080/x?y#z")

    assert wire.startswith(b"GET /x?y HTTP/1.1\r\nHost: example.test:8080\r\n")
    assert b"secret" not in wire


def test_an_ipv6_host_keeps_its_brackets():
    assert b"\r\nHost: [::1]:8080\r\n" in wire_of(url="http://[::1]:8080/")


def test_a_url_without_a_path_asks_for_the_root():
    assert wire_of(url="http://example.test").startswith(b"GET / HTTP/1.1\r\n")
    assert wire_of(url="http://example.test?a=b").startswith(b"GET /?a=b HTTP/1.1\r\n")
