"""The HTTP/2 driver against servers that misbehave: each request ends once, in the right class, in bounded memory."""

import asyncio
import gc
import ssl
import time
import tracemalloc
from itertools import pairwise

import pytest
from h2_server import data, encoded, goaway, headers, reset, settings, window_update
from hostile_http2 import Http2Client, Http2Peer, answering, client_of, facing, hello, speaking
from hostile_server import (
    CERTIFICATE,
    TIMEOUT_S,
    Peer,
    on_each_loop,
    once,
    server_tls,
    serving,
    target_of,
)

from agent.drivers.blocks import MAX_HEAD
from agent.drivers.frames import END_HEADERS, END_STREAM, MAX_FRAME, Code, Frame, frame
from protocol.messages import TIMEOUTS, Check, CheckKind, ErrorClass, Http2, StatusRange, Tls

MIB = 1 << 20
PATIENT_NS = 8_000_000_000  # where nothing is to time out, however busy the machine is
FOREVER_S = 60
PING = frame(Frame.PING, 0, 0, b"12345678")


async def hang(peer: Http2Peer) -> None:
    while True:
        await peer.request()


def stalling_after(*pieces):
    async def script(peer: Http2Peer) -> None:
        while True:
            number = (await peer.request()).number
            await peer.send(b"".join(piece(number) for piece in pieces))

    return script


def closing_after(*pieces, is_reset: bool = False):
    async def script(peer: Http2Peer) -> None:
        number = (await peer.request()).number
        await peer.send(b"".join(piece(number) for piece in pieces))
        await asyncio.sleep(0.01)
        if is_reset:
            peer.reset()

    return script


def stuck_after(*pieces):
    """A script that answers the first request in part, and then nothing more on its connection."""

    async def script(peer: Http2Peer) -> None:
        await stalling_once(peer, *pieces)
        await hang(peer)

    return script


async def stalling_once(peer: Http2Peer, *pieces) -> None:
    number = (await peer.request()).number
    await peer.send(b"".join(piece(number) for piece in pieces))


def endless_on_stream(first, piece):
    async def script(peer: Http2Peer) -> None:
        number = (await peer.request()).number
        await peer.send(first(number))
        repeated = piece(number) * max(1, 60_000 // len(piece(number)))
        while True:
            await peer.send(repeated)

    return script


def raw(number: int) -> bytes:
    return frame(Frame.HEADERS, 0, number, encoded())


# --- what goes wrong, and the class it ends in ---------------------------------------------------------------------

WRONG = {
    "closes before the response": (closing_after(), ErrorClass.RESET),
    "closes after the headers": (closing_after(headers), ErrorClass.RESET),
    "closes in a frame": (closing_after(lambda n: hello(n)[:-2]), ErrorClass.RESET),
    "closes in the body": (closing_after(headers, lambda n: data(n, b"hel")), ErrorClass.RESET),
    "resets the connection": (closing_after(is_reset=True), ErrorClass.RESET),
    "resets the connection in the body": (closing_after(headers, is_reset=True), ErrorClass.RESET),
    "resets the stream": (answering(lambda n: reset(n, Code.INTERNAL_ERROR)), ErrorClass.RESET),
    "resets the stream in the body": (
        answering(headers, lambda n: data(n, b"hel"), lambda n: reset(n, Code.CANCEL)),
        ErrorClass.RESET,
    ),
    "resets the stream without an error before the end": (
        answering(headers, lambda n: reset(n, Code.NO_ERROR)),
        ErrorClass.RESET,
    ),
    "refuses every stream": (answering(lambda n: reset(n, Code.REFUSED_STREAM)), ErrorClass.RESET),
    "goes away with an error": (
        closing_after(lambda n: goaway(n, Code.ENHANCE_YOUR_CALM, b"too many")),
        ErrorClass.RESET,
    ),
    "says nothing": (hang, ErrorClass.FIRST_BYTE_TIMEOUT),
    "stalls in the headers": (stuck_after(raw), ErrorClass.FIRST_BYTE_TIMEOUT),
    "stalls after the headers": (stalling_after(headers), ErrorClass.BODY_TIMEOUT),
    "stalls in the body": (stalling_after(headers, lambda n: data(n, b"hel")), ErrorClass.BODY_TIMEOUT),
    "stalls after an interim response": (stalling_after(lambda n: headers(n, status="103")), ErrorClass.BODY_TIMEOUT),
    "only pings": (stalling_after(lambda _n: PING * 10), ErrorClass.FIRST_BYTE_TIMEOUT),
    "sends more than it announced": (answering(lambda n: hello(n, ("content-length", "4"))), ErrorClass.PROTOCOL),
    "sends less than it announced": (answering(lambda n: hello(n, ("content-length", "6"))), ErrorClass.PROTOCOL),
    "sends a body with 204": (answering(lambda n: hello(n, status="204")), ErrorClass.PROTOCOL),
    "sends no status": (answering(lambda n: headers(n, status="", end=True)), ErrorClass.PROTOCOL),
    "changes the protocol": (answering(lambda n: headers(n, status="101")), ErrorClass.PROTOCOL),
    "sends a body before headers": (answering(lambda n: data(n, b"x", end=True)), ErrorClass.PROTOCOL),
    "sends a header of HTTP/1.1": (answering(lambda n: hello(n, ("connection", "close"))), ErrorClass.PROTOCOL),
    "sends a header in capitals": (answering(lambda n: hello(n, ("Server", "x"))), ErrorClass.PROTOCOL),
    "answers on another stream": (answering(lambda n: hello(n + 2)), ErrorClass.PROTOCOL),
    "answers on a stream of its own": (answering(lambda _n: hello(2)), ErrorClass.PROTOCOL),
    "pushes": (answering(lambda n: frame(Frame.PUSH_PROMISE, 4, n, bytes(4) + encoded())), ErrorClass.PROTOCOL),
    "sends garbage": (answering(lambda _n: bytes(range(256)) * 2), ErrorClass.PROTOCOL),
    "sends a frame too long": (answering(lambda n: data(n, bytes(MAX_FRAME + 1))), ErrorClass.PROTOCOL),
    "sends what can't be decoded": (answering(lambda n: frame(1, END_HEADERS, n, b"\xff\xff")), ErrorClass.PROTOCOL),
    "uses a table that we don't keep": (answering(lambda n: frame(1, END_HEADERS, n, b"\xbe")), ErrorClass.PROTOCOL),
    "sends endless continuations": (
        endless_on_stream(raw, lambda n: frame(Frame.CONTINUATION, 0, n, b"\0\1a\1b" * 100)),
        ErrorClass.PROTOCOL,
    ),
    "sends endless empty continuations": (
        endless_on_stream(raw, lambda n: frame(Frame.CONTINUATION, 0, n, b"")),
        ErrorClass.PROTOCOL,
    ),
    "unfolds a small block to endless headers": (
        answering(lambda n: frame(Frame.HEADERS, END_HEADERS, n, encoded() + b"\x90" * 9000)),
        ErrorClass.PROTOCOL,
    ),
    "announces more than 64 MiB": (
        stalling_after(lambda n: headers(n, ("content-length", "67108865"))),
        ErrorClass.TOO_LARGE,
    ),
    "answers with an error": (answering(lambda n: hello(n, status="503")), ErrorClass.STATUS),
}


@pytest.mark.parametrize("name", WRONG)
@on_each_loop
async def test_a_server_that(name):
    """Two in a row: what went wrong leaves no stream taken."""
    script, expected = WRONG[name]
    timeout_ns = int(TIMEOUT_S * 1e9) if expected in TIMEOUTS else PATIENT_NS
    async with facing(speaking(script), timeout_ns=timeout_ns) as (client, server):
        for _ in range(2):
            outcome = await client.ask()

            assert outcome.error is expected, outcome.text
            assert outcome.text or expected is ErrorClass.STATUS
            assert outcome.done_ns >= outcome.sent_ns > 0
            assert len(outcome.body) <= 1024
        assert len(server.requests) >= 2
        assert len(client.driver._open) <= 1


@on_each_loop
async def test_a_server_that_stalls_in_a_frame():
    """What of the frame came is no answer yet; the connection is stuck, and so is what is sent on it next."""
    async with facing(speaking(stuck_after(lambda n: hello(n)[:-2]))) as (client, server):
        outcomes = [await client.ask() for _ in range(2)]

        assert [one.error for one in outcomes] == [ErrorClass.BODY_TIMEOUT, ErrorClass.FIRST_BYTE_TIMEOUT]
        assert server.connections == 1


@on_each_loop
async def test_a_server_that_sends_endless_interim_responses():
    script = endless_on_stream(lambda _n: b"", lambda n: headers(n, status="103"))
    async with facing(speaking(script), timeout_ns=PATIENT_NS) as (client, _server):
        outcome = await client.ask()

        assert outcome.error is ErrorClass.PROTOCOL
        assert MAX_HEAD <= outcome.bytes_in < 2 * MAX_HEAD


STREAM_ONLY = [
    "resets the stream",
    "says nothing",
    "stalls in the body",
    "sends more than it announced",
    "sends no status",
    "sends a header in capitals",
    "announces more than 64 MiB",
    "answers with an error",
]


@pytest.mark.parametrize("name", STREAM_ONLY)
@on_each_loop
async def test_the_connection_and_other_streams_survive_a_stream_that(name):
    script, expected = WRONG[name]

    async def both(peer: Http2Peer) -> None:
        first = await peer.request()
        work = asyncio.ensure_future(script(peer))
        await asyncio.wait([work], timeout=2 * TIMEOUT_S)
        work.cancel()
        await peer.send(hello(first.number))
        await asyncio.sleep(FOREVER_S)

    async with serving(speaking(both)) as server:
        short = target_of(server.url, http2=Http2.PRIOR_KNOWLEDGE)
        long = target_of(server.url, http2=Http2.PRIOR_KNOWLEDGE, timeout_ns=PATIENT_NS)
        client = Http2Client(long, short, streams=2)
        await client.driver.open()
        assert client.start(0)
        await asyncio.sleep(0.02)
        assert client.start(1)
        await client.arrived(2)
        await client.driver.close()

        assert [(one.target, one.error) for one in client.outcomes] == [(1, expected), (0, None)]
        assert server.connections == 1


# --- connecting ----------------------------------------------------------------------------------------------------


@on_each_loop
async def test_a_port_where_nobody_listens():
    async with serving(speaking(hang)) as server:
        url = server.url
    async with client_of(url, streams=3) as client:
        for _ in range(3):
            assert client.start()
        await client.arrived(3)

        assert {one.error for one in client.outcomes} == {ErrorClass.REFUSED}
        assert all(one.done_ns >= one.sent_ns > 0 and one.text for one in client.outcomes)


@on_each_loop
async def test_a_server_that_speaks_http1_is_named():
    async with facing(once(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as (client, _server):
        for _ in range(2):
            outcome = await client.ask()

            # The reader of the scripted server waits for a whole HTTP/1.1 head, and the preface is one.
            assert outcome.error is ErrorClass.PROTOCOL
            assert "speaks no HTTP/2: it began with 'HTTP/1.1 400 Bad Request" in outcome.text


@on_each_loop
async def test_a_server_that_never_tells_its_settings():
    async def silent(_peer: Peer) -> None:
        await asyncio.sleep(FOREVER_S)

    async with facing(silent) as (client, _server):
        outcome = await client.ask()

        assert outcome.error is ErrorClass.CONNECT_TIMEOUT
        assert "no HTTP/2 settings" in outcome.text


@on_each_loop
async def test_a_server_that_goes_away_at_once():
    async def script(peer: Http2Peer) -> None:
        await peer.send(goaway(0, Code.ENHANCE_YOUR_CALM))
        await asyncio.sleep(FOREVER_S)

    async with facing(speaking(script)) as (client, _server):
        for _ in range(2):
            outcome = await client.ask()

            assert outcome.error is ErrorClass.RESET
            assert "ENHANCE_YOUR_CALM" in outcome.text


@on_each_loop
async def test_an_address_that_must_not_be_loaded_is_not():
    def forbid(address: str) -> None:
        raise PermissionError(f"{address} must not be loaded")

    async with serving(speaking(hang)) as server:
        client = Http2Client(target_of(server.url, http2=Http2.PRIOR_KNOWLEDGE), admit=forbid)
        with pytest.raises(PermissionError):
            await client.driver.open()
        outcome = await client.ask()
        await client.driver.close()

        assert outcome.error is ErrorClass.LOCAL
        assert "must not be loaded" in outcome.text
        assert not server.connections


@on_each_loop
async def test_connections_are_made_ahead_and_as_needed_and_told():
    async with serving(speaking(hang)) as server, client_of(server.url, 3, 2, ahead=1) as client:
        assert len(client.driver.connected) == 1
        started = [client.start() for _ in range(8)]
        await asyncio.sleep(0.05)

        assert started == [True] * 6 + [False] * 2
        assert server.connections == 3
        assert len(server.requests) == 6
        assert client.driver.most_open == 3
        assert client.driver.reconnects == 0
        assert {one.remote for one in client.driver.connected} == {f"127.0.0.1:{server.port}"}
        assert all(one.connect_ns > 0 and one.tls_ns is None for one in client.driver.connected)


# --- TLS -----------------------------------------------------------------------------------------------------------


def tls_of(tmp_path, *protocols: str) -> ssl.SSLContext:
    context = server_tls(tmp_path)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


TRUSTED = Tls(ca=CERTIFICATE[CERTIFICATE.index("-----BEGIN CERT") :].encode())


@pytest.mark.parametrize("protocols", [(), ("http/1.1",)], ids=["none", "HTTP/1.1"])
@on_each_loop
async def test_a_server_that_does_not_choose_http2(tmp_path, protocols):
    async with serving(speaking(hang), tls=tls_of(tmp_path, *protocols)) as server:
        url = f"https://localhost:{server.port}/"
        async with client_of(url, tls=TRUSTED, http2=Http2.ALPN, timeout_ns=PATIENT_NS) as client:
            for _ in range(2):
                outcome = await client.ask()

                assert outcome.error is ErrorClass.TLS
                assert "h2 was expected" in outcome.text or "alert" in outcome.text.lower()


@pytest.mark.parametrize(
    ("protocols", "http2"), [(("h2", "http/1.1"), Http2.ALPN), ((), Http2.PRIOR_KNOWLEDGE)], ids=["alpn", "prior"]
)
@on_each_loop
async def test_a_server_that_is_trusted_and_speaks_http2(tmp_path, protocols, http2):
    async with serving(speaking(answering(hello)), tls=tls_of(tmp_path, *protocols)) as server:
        url = f"https://localhost:{server.port}/"
        async with client_of(url, tls=TRUSTED, http2=http2, timeout_ns=PATIENT_NS) as client:
            outcomes = [await client.ask() for _ in range(3)]

            assert [(one.error, one.status) for one in outcomes] == [(None, 200)] * 3
            assert server.requests[0].headers[1] == (b":scheme", b"https")
            assert client.driver.connected[0].tls_ns > 0
            assert server.connections == 1


@on_each_loop
async def test_a_certificate_that_nobody_vouches_for(tmp_path):
    async with (
        serving(speaking(hang), tls=tls_of(tmp_path, "h2")) as server,
        client_of(f"https://localhost:{server.port}/", http2=Http2.ALPN, timeout_ns=PATIENT_NS) as client,
    ):
        outcome = await client.ask()

        assert outcome.error is ErrorClass.TLS
        assert "certificate" in outcome.text.lower()


# --- what is fine, however odd -------------------------------------------------------------------------------------

FINE = {
    "answers in one piece": (answering(hello), 200, b"hello"),
    "sends headers and body apart": (answering(headers, lambda n: data(n, b"hello", end=True)), 200, b"hello"),
    "announces the length": (answering(lambda n: hello(n, ("content-length", "5"))), 200, b"hello"),
    "sends a body in parts": (
        answering(lambda n: headers(n) + data(n, b"hel"), lambda n: data(n, b"lo") + data(n, b"", end=True)),
        200,
        b"hello",
    ),
    "sends no body": (answering(lambda n: headers(n, end=True)), 200, b""),
    "sends trailers": (
        answering(lambda n: headers(n) + data(n, b"hello"), lambda n: headers(n, ("a", "b"), status="", end=True)),
        200,
        b"hello",
    ),
    "sends 204": (answering(lambda n: headers(n, status="204", end=True)), 204, b""),
    "sends 304 with the length of what it leaves out": (
        answering(lambda n: headers(n, ("content-length", "100"), status="304", end=True)),
        304,
        b"",
    ),
    "sends interim responses first": (
        answering(lambda n: headers(n, status="100") + headers(n, status="103"), hello),
        200,
        b"hello",
    ),
    "pads": (
        answering(lambda n: headers(n) + frame(Frame.DATA, END_STREAM | 8, n, b"\x03hello" + bytes(3))),
        200,
        b"hello",
    ),
    "continues its headers": (
        answering(
            lambda n: frame(Frame.HEADERS, END_STREAM, n, encoded(("a", "b"))[:3]),
            lambda n: frame(Frame.CONTINUATION, END_HEADERS, n, encoded(("a", "b"))[3:]),
        ),
        200,
        b"",
    ),
    "resets after the whole answer": (answering(lambda n: hello(n) + reset(n, Code.NO_ERROR)), 200, b"hello"),
    "pings in between": (answering(lambda n: PING + hello(n) + PING), 200, b"hello"),
    "sends frames of extensions": (answering(lambda n: frame(0xEE, 255, n, b"?") + hello(n)), 200, b"hello"),
    "redirects": (answering(lambda n: headers(n, ("location", "/x"), status="302", end=True)), 302, b""),
    "sends something new each time": (answering(lambda n: hello(n, ("x-request-id", f"{n}-{n}"))), 200, b"hello"),
}


@pytest.mark.parametrize("name", FINE)
@on_each_loop
async def test_a_decent_server_that(name):
    """Three in a row: on one connection, and known responses are read as unknown ones are."""
    script, status, body = FINE[name]
    async with facing(speaking(script), timeout_ns=PATIENT_NS) as (client, server):
        client.driver.slow_ns = [-1]
        for _ in range(3):
            outcome = await client.ask()

            assert (outcome.error, outcome.status, bytes(outcome.body)) == (None, status, body)
            assert outcome.done_ns >= outcome.first_ns >= outcome.sent_ns > 0
            assert outcome.remote == f"127.0.0.1:{server.port}"
        assert server.connections == 1
        assert client.driver.reconnects == 0


@on_each_loop
async def test_what_is_ordinary_is_told_in_short_and_what_is_slow_in_full():
    async with facing(speaking(answering(hello)), timeout_ns=PATIENT_NS) as (client, server):
        client.driver.slow_ns = [1 << 62]
        short = await client.ask(planned_ns=time.perf_counter_ns())
        client.driver.slow_ns = [0]
        full = await client.ask(planned_ns=time.perf_counter_ns())

        assert (short.remote, bytes(short.body)) == ("", b"")
        assert (full.remote, bytes(full.body)) == (f"127.0.0.1:{server.port}", b"hello")
        assert (short.bytes_in, short.status, short.error) == (full.bytes_in, full.status, full.error)
        assert short.bytes_in == len(hello(1))
        assert short.bytes_out == full.bytes_out + 1  # a connection's first header block says that no table is kept
        assert short.done_ns >= short.first_ns >= short.sent_ns > 0


@on_each_loop
async def test_many_requests_share_a_connection_and_each_gets_its_own_answer():
    async def backwards(peer: Http2Peer) -> None:
        asked = [await peer.request() for _ in range(20)]
        await peer.send(b"".join(hello(one.number, body=dict(one.headers)[b":path"]) for one in reversed(asked)))
        await asyncio.sleep(FOREVER_S)

    async with serving(speaking(backwards)) as server:
        known = {"http2": Http2.PRIOR_KNOWLEDGE, "timeout_ns": PATIENT_NS}
        client = Http2Client(*[target_of(f"{server.url}{at}", **known) for at in range(20)], streams=20)
        await client.driver.open()
        assert all(client.start(at) for at in range(20))
        await client.arrived(20)
        await client.driver.close()

        assert [(one.target, bytes(one.body)) for one in client.outcomes] == [
            (at, b"/%d" % at) for at in reversed(range(20))
        ]
        assert server.connections == 1


@on_each_loop
async def test_head_has_no_body_whatever_its_headers_say():
    script = answering(lambda n: headers(n, ("content-length", "10000000000"), end=True))
    async with facing(speaking(script), method="HEAD") as (client, server):
        assert [(await client.ask()).error for _ in range(2)] == [None] * 2
        assert server.requests[0].headers[0] == (b":method", b"HEAD")


@on_each_loop
async def test_each_target_has_its_own_judgement():
    async with serving(speaking(answering(lambda n: hello(n, status="404")))) as server:
        known = {"http2": Http2.PRIOR_KNOWLEDGE}
        client = Http2Client(
            target_of(server.url, **known), target_of(server.url, error_ranges=(StatusRange(500, 999),), **known)
        )
        await client.driver.open()
        outcomes = [await client.ask(target) for target in (0, 1, 0, 1)]
        await client.driver.close()

    assert [one.error for one in outcomes] == [ErrorClass.STATUS, None, ErrorClass.STATUS, None]
    assert [one.status for one in outcomes] == [404] * 4


@on_each_loop
async def test_a_check_sees_the_whole_body_and_its_failure_is_an_error():
    def large(number: int) -> bytes:
        return headers(number) + data(number, b"x" * 9000) + data(number, b"x" * 9000) + data(number, b"end", end=True)

    async with serving(speaking(answering(large))) as server:
        known = {"http2": Http2.PRIOR_KNOWLEDGE, "timeout_ns": PATIENT_NS}
        client = Http2Client(
            target_of(server.url, checks=(Check(CheckKind.CONTAINS, "xxend"),), **known),
            target_of(server.url, checks=(Check(CheckKind.CONTAINS, "no such"),), **known),
            target_of(server.url, checks=(Check(CheckKind.MAX_BYTES, "18003"),), **known),
            target_of(server.url, checks=(Check(CheckKind.MAX_BYTES, "18002"),), **known),
        )
        await client.driver.open()
        outcomes = [await client.ask(target) for target in range(4)]
        await client.driver.close()

    assert [one.error for one in outcomes] == [None, ErrorClass.CHECK, None, ErrorClass.CHECK]
    assert "no such" in outcomes[1].text


@on_each_loop
async def test_an_endless_body_is_given_up_and_memory_stays_flat():
    async def script(peer: Http2Peer) -> None:
        number = (await peer.request()).number
        await peer.send(headers(number))
        piece = data(number, bytes(MAX_FRAME)) * 16
        for _ in range(300):
            await peer.send(piece)
        await asyncio.sleep(FOREVER_S)

    async with facing(speaking(script), timeout_ns=PATIENT_NS) as (client, server):
        gc.collect()
        tracemalloc.start()
        outcome = await client.ask()
        _now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert outcome.error is ErrorClass.TOO_LARGE
        assert 64 * MIB < outcome.bytes_in < 70 * MIB
        assert len(outcome.body) == 1024
        assert peak < 16 * MIB
        assert server.connections == 1


# --- flow control, time-outs ---------------------------------------------------------------------------------------


@on_each_loop
async def test_a_body_larger_than_any_window_arrives_whole():
    body = bytes(range(256)) * 4000
    async with facing(speaking(answering(hello)), method="POST", body=body, timeout_ns=PATIENT_NS) as (client, server):
        outcomes = [await client.ask() for _ in range(3)]

        assert [one.error for one in outcomes] == [None] * 3
        assert [one.body for one in server.requests] == [body] * 3
        assert (b"content-length", b"1024000") in server.requests[0].headers
        assert outcomes[1].bytes_out > len(body)


@on_each_loop
async def test_sent_is_when_the_last_byte_went_out():
    async def slow(peer: Http2Peer) -> None:
        peer._grants = False
        await peer.heard(Frame.DATA)
        await asyncio.sleep(0.1)
        await peer.send(window_update(1, 100))
        await peer.heard(Frame.DATA)
        await peer.send(hello(1))
        await asyncio.sleep(FOREVER_S)

    script = speaking(slow, initial_window_size=50)
    async with facing(script, method="POST", body=bytes(100), timeout_ns=PATIENT_NS) as (client, _server):
        began_ns = time.perf_counter_ns()
        outcome = await client.ask()

        assert outcome.error is None
        assert outcome.sent_ns - began_ns > 90_000_000
        assert outcome.done_ns - outcome.sent_ns < 90_000_000


@on_each_loop
async def test_a_server_that_takes_no_more_of_a_body_is_timed_out():
    async def script(peer: Http2Peer) -> None:
        peer._grants = False
        while True:
            await peer.frame()

    async with facing(speaking(script), method="POST", body=bytes(100_000)) as (client, server):
        outcome = await client.ask()

        assert outcome.error is ErrorClass.FIRST_BYTE_TIMEOUT
        assert server.connections == 1


@on_each_loop
async def test_a_server_that_does_not_read_is_left_for_a_new_connection():
    """Nothing more is put on a connection that is stuffed; what is on it ends, and so does the connection."""

    async def deaf(peer: Http2Peer) -> None:
        await peer.send(window_update(0, 2**30))
        await asyncio.sleep(FOREVER_S)

    script = speaking(deaf, initial_window_size=2**31 - 1)
    async with facing(script, streams=2, method="POST", body=bytes(40 * MIB)) as (client, server):
        for connections in (1, 2):
            assert client.start()
            await asyncio.sleep(0.05)
            assert not client.start()
            await client.arrived(connections)
            await asyncio.sleep(0.02)

            assert client.outcomes[-1].error is ErrorClass.FIRST_BYTE_TIMEOUT
            assert client.outcomes[-1].bytes_out < 20 * MIB
            assert server.connections == connections
            assert not client.driver._open


@on_each_loop
async def test_a_time_out_ends_the_stream_and_tells_the_server():
    heard = []

    async def script(peer: Http2Peer) -> None:
        number = (await peer.request()).number
        heard.append(await peer.heard(Frame.RST_STREAM))
        await peer.send(hello(number))  # too late, and of no interest
        await answering(hello)(peer)

    async with facing(speaking(script)) as (client, server):
        late = await client.ask()
        fine = await client.ask()

        assert late.error is ErrorClass.FIRST_BYTE_TIMEOUT
        assert TIMEOUT_S - 0.002 <= (late.done_ns - late.sent_ns) / 1e9 < TIMEOUT_S + 1
        assert fine.error is None
        assert heard == [(Frame.RST_STREAM, 0, 1, b"\0\0\0\x08")]
        assert server.connections == 1


@on_each_loop
async def test_after_a_stall_of_our_own_what_came_in_meanwhile_is_no_time_out():
    async with facing(speaking(answering(hello))) as (client, _server):
        assert client.start()
        await asyncio.sleep(0.001)
        time.sleep(2 * TIMEOUT_S)  # noqa: ASYNC251 the process stands still, and the answer waits in the socket
        await client.arrived(1)

        assert client.outcomes[0].error is None


# --- streams and connections ---------------------------------------------------------------------------------------


@on_each_loop
async def test_no_more_streams_than_the_server_allows():
    most = 0

    async def counting(peer: Http2Peer) -> None:
        nonlocal most
        while True:
            asked = [await peer.request() for _ in range(2)]
            most = max(most, len(asked))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await peer.frame()
            await peer.send(b"".join(hello(one.number) for one in asked))

    async with facing(speaking(counting, max_concurrent_streams=2), streams=10) as (client, server):
        started = [client.start() for _ in range(4)]
        await client.arrived(2)

        assert started == [True, True, False, False]
        assert server.connections == 1


@on_each_loop
async def test_what_was_started_before_the_limit_was_known_waits_for_a_stream():
    async with serving(speaking(answering(hello), max_concurrent_streams=1)) as server:
        client = Http2Client(target_of(server.url, http2=Http2.PRIOR_KNOWLEDGE), streams=5)
        assert [client.start() for _ in range(6)] == [True] * 5 + [False]  # never opened: it connects when asked
        await client.arrived(5)
        await client.driver.close()

        assert [one.error for one in client.outcomes] == [None] * 5
        assert server.connections == 1


@on_each_loop
async def test_a_server_that_allows_no_streams_at_all():
    async with serving(speaking(hang, max_concurrent_streams=0)) as server:
        client = Http2Client(target_of(server.url, http2=Http2.PRIOR_KNOWLEDGE), ahead=0)
        await client.driver.open()
        outcome = await client.ask()

        assert outcome.error is ErrorClass.CONNECT_TIMEOUT
        assert "no stream was free" in outcome.text
        assert not client.start()
        await client.driver.close()


@on_each_loop
async def test_a_limit_that_is_raised_is_used():
    async def script(peer: Http2Peer) -> None:
        asked = [await peer.request()]
        await peer.send(settings(max_concurrent_streams=3))
        asked += [await peer.request() for _ in range(2)]
        await peer.send(b"".join(hello(one.number) for one in asked))
        await asyncio.sleep(FOREVER_S)

    async with facing(speaking(script, max_concurrent_streams=1), streams=9) as (client, server):
        assert [client.start() for _ in range(2)] == [True, False]
        await asyncio.sleep(0.03)
        assert [client.start() for _ in range(3)] == [True, True, False]
        await client.arrived(3)

        assert [one.error for one in client.outcomes] == [None] * 3
        assert server.connections == 1


@on_each_loop
async def test_a_server_that_goes_away_gracefully_costs_a_reconnect_and_no_error():
    async def both(peer: Http2Peer) -> None:
        nonlocal connections
        connections += 1
        asked = [await peer.request() for _ in range(3 if connections == 1 else 2)]
        if connections == 1:
            await peer.send(goaway(asked[0].number) + hello(asked[0].number))
            return
        await peer.send(b"".join(hello(one.number) for one in asked))
        await asyncio.sleep(FOREVER_S)

    connections = 0
    async with facing(speaking(both), method="POST", streams=3, timeout_ns=PATIENT_NS) as (client, server):
        for _ in range(3):
            assert client.start()
        await client.arrived(3)

        assert [one.error for one in client.outcomes] == [None] * 3
        assert len(server.requests) == 5
        assert server.connections == 2
        assert client.driver.reconnects == 1


@on_each_loop
async def test_a_refused_stream_goes_again_whatever_its_method():
    async def script(peer: Http2Peer) -> None:
        for _ in range(3):
            await peer.send(reset((await peer.request()).number, Code.REFUSED_STREAM))
        await answering(hello)(peer)

    async with facing(speaking(script), method="POST", body=b"once", timeout_ns=PATIENT_NS) as (client, server):
        outcome = await client.ask()

        assert outcome.error is None
        assert [one.body for one in server.requests] == [b"once"] * 4
        assert server.connections == 1


@on_each_loop
async def test_a_request_that_may_have_been_acted_upon_is_not_sent_again():
    async with facing(speaking(closing_after())) as (client, server):
        outcome = await client.ask()
        await asyncio.sleep(0.02)

        assert outcome.error is ErrorClass.RESET
        assert len(server.requests) == 1


@on_each_loop
async def test_a_server_that_closes_an_idle_connection_costs_a_reconnect_and_no_error():
    async with facing(speaking(closing_after(hello)), timeout_ns=PATIENT_NS) as (client, server):
        for _ in range(3):
            outcome = await client.ask()
            await asyncio.sleep(0.03)

            assert outcome.error is None
        assert server.connections == 3
        assert client.driver.reconnects == 2


@pytest.mark.parametrize(("options", "each"), [({"keep_alive": False}, 1), ({"requests_per_connection": 2}, 2)])
@on_each_loop
async def test_a_connection_carries_no_more_requests_than_asked(options, each):
    heard = []

    async def script(peer: Http2Peer) -> None:
        asked = [(await peer.request()).number for _ in range(each)]
        await peer.send(b"".join(map(hello, asked)))
        heard.append((await peer.heard(Frame.GOAWAY))[3][4:8])

    async with facing(speaking(script), streams=4, timeout_ns=PATIENT_NS, **options) as (client, server):
        for batch in range(1, 4):
            assert all(client.start() for _ in range(each))
            await client.arrived(each * batch)
        await asyncio.sleep(0.02)

        assert [one.error for one in client.outcomes] == [None] * 3 * each
        assert server.connections == 3
        assert heard == [bytes(4)] * 3
        assert client.driver.reconnects == 2
        assert not client.driver._retired


@on_each_loop
async def test_an_outcome_may_start_the_next_request():
    async with facing(speaking(answering(hello)), connections=2, streams=3, timeout_ns=PATIENT_NS) as (client, server):
        count_only = client.driver.done
        left = 200

        def done(outcome) -> None:
            nonlocal left
            count_only(outcome)
            if left:
                left -= 1
                assert client.start()

        client.driver.done = done
        for _ in range(6):
            assert client.start()
        await client.arrived(206)

        assert [one.error for one in client.outcomes] == [None] * 206
        assert server.connections == 2
        done_at = [one.done_ns for one in client.outcomes]
        assert done_at == sorted(done_at)


@on_each_loop
async def test_an_outcome_of_a_refused_connection_may_start_the_next_request():
    async with serving(speaking(hang)) as server:
        url = server.url
    async with client_of(url, streams=2) as client:
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
    async with facing(speaking(hang), connections=2, streams=2) as (client, server):
        assert client.start()
        await asyncio.sleep(0.02)
        seen = server.connections
        await client.driver.close()
        await asyncio.sleep(0.01)

        assert not client.start()
        await asyncio.sleep(TIMEOUT_S + 0.05)
        assert client.outcomes == []
        assert server.connections == seen


# --- redirects -----------------------------------------------------------------------------------------------------


def leading(*path: str, **fields: str):
    """A script that answers each path with a redirect to the next, and the last with 200."""
    onward = dict(pairwise(path))

    async def script(peer: Http2Peer) -> None:
        while True:
            asked = await peer.request()
            location = onward.get(dict(asked.headers)[b":path"].decode())
            if location:
                await peer.send(hello(asked.number, ("location", location), status=fields.get("status", "302")))
            else:
                await peer.send(hello(asked.number))

    return speaking(script)


@on_each_loop
async def test_redirects_are_followed_as_far_as_asked_on_the_same_connection():
    async with facing(leading("/", "/a", "/b?c=d"), redirects=2, timeout_ns=PATIENT_NS) as (client, server):
        outcome = await client.ask()

        assert (outcome.error, outcome.status, outcome.redirects) == (None, 200, 2)
        assert [dict(one.headers)[b":path"] for one in server.requests] == [b"/", b"/a", b"/b?c=d"]
        assert server.connections == 1
        assert outcome.bytes_in > 3 * len(hello(1))
        assert outcome.done_ns >= outcome.first_ns >= outcome.sent_ns > 0


@on_each_loop
async def test_a_redirect_too_many_is_told_as_it_came():
    async with facing(leading("/", "/a", "/b"), redirects=1, timeout_ns=PATIENT_NS) as (client, server):
        outcome = await client.ask()

        assert (outcome.error, outcome.status, outcome.redirects) == (None, 302, 1)
        assert len(server.requests) == 2


@on_each_loop
async def test_a_redirect_to_another_origin_is_told_as_it_came():
    async with facing(leading("/", "http://127.0.0.1:9/"), redirects=5, timeout_ns=PATIENT_NS) as (client, server):
        outcome = await client.ask()

        assert (outcome.error, outcome.status, outcome.redirects) == (None, 302, 0)
        assert len(server.requests) == 1


@on_each_loop
async def test_a_redirected_post_repeats_its_body_or_asks_anew_as_the_status_says():
    for status, method, body in (("307", b"POST", b"once"), ("303", b"GET", b"")):
        script = leading("/", "/a", status=status)
        async with facing(script, redirects=1, method="POST", body=b"once", timeout_ns=PATIENT_NS) as (client, server):
            assert (await client.ask()).status == 200

            assert dict(server.requests[1].headers)[b":method"] == method
            assert server.requests[1].body == body


# --- what is sent --------------------------------------------------------------------------------------------------


@on_each_loop
async def test_a_get_names_its_host_and_who_asks():
    async with facing(speaking(answering(hello)), path="a/b?q=1&r=%20", headers=(("X-One", "1"),)) as (client, server):
        for _ in range(2):
            await client.ask()

        assert [one.headers for one in server.requests] == [
            (
                (b":method", b"GET"),
                (b":scheme", b"http"),
                (b":authority", b"127.0.0.1:%d" % server.port),
                (b":path", b"/a/b?q=1&r=%20"),
                (b"user-agent", b"seatrial/test"),
                (b"accept", b"*/*"),
                (b"x-one", b"1"),
            )
        ] * 2


@on_each_loop
async def test_a_host_that_is_given_is_the_authority_and_headers_of_http1_are_not_sent():
    given = (("Host", "other.test"), ("Connection", "close"), ("TE", "trailers"), ("Transfer-Encoding", "chunked"))
    async with facing(speaking(answering(hello)), headers=given) as (client, server):
        assert (await client.ask()).error is None

        heard = dict(server.requests[0].headers)
        assert heard[b":authority"] == b"other.test"
        assert not set(heard) & {b"host", b"connection", b"te", b"transfer-encoding"}


@on_each_loop
async def test_templates_are_filled_in_for_each_request_and_traces_sent_with_some():
    async with facing(
        speaking(answering(hello)), path="{{ number }}", is_template=True, trace_period=2, timeout_ns=PATIENT_NS
    ) as (client, server):
        client.driver.slow_ns = [-1]
        outcomes = [await client.ask() for _ in range(4)]

        heard = [dict(one.headers) for one in server.requests]
        assert [one[b":path"] for one in heard] == [b"/0", b"/1", b"/2", b"/3"]
        assert [b"traceparent" in one for one in heard] == [True, False, True, False]
        assert [bool(one.trace) for one in outcomes] == [True, False, True, False]
        assert outcomes[2].trace.encode() in heard[2][b"traceparent"]


@on_each_loop
async def test_a_header_block_larger_than_a_frame_is_continued():
    given = tuple((f"x-{at}", "y" * 1000) for at in range(40))
    heard = []

    async def script(peer: Http2Peer) -> None:
        while True:
            kind, flags, number, payload = await peer.frame()
            if kind in (Frame.HEADERS, Frame.CONTINUATION):
                heard.append((kind, len(payload)))
                if flags & END_HEADERS:
                    await peer.send(hello(number))

    async with facing(speaking(script), headers=given, timeout_ns=PATIENT_NS) as (client, _server):
        assert (await client.ask()).error is None

        assert [kind for kind, _size in heard] == [Frame.HEADERS, Frame.CONTINUATION, Frame.CONTINUATION]
        assert all(size <= MAX_FRAME for _kind, size in heard)
        assert sum(size for _kind, size in heard) < MAX_HEAD
