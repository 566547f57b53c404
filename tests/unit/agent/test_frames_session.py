"""A session's answers to a server: the same for each way its bytes are cut, right at every edge, never an exception."""

from collections import Counter
from itertools import pairwise

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from h2_server import (
    REQUEST,
    SETTINGS_ACK,
    data,
    drained,
    encoded,
    goaway,
    headers,
    ready,
    reset,
    settings,
    split,
    told,
    window_update,
)
from hypothesis import given
from hypothesis import strategies as st

from agent.drivers.blocks import MAX_HEAD, Head, Heads, block_of
from agent.drivers.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    MAX_FRAME,
    PADDED,
    PREFACE,
    PRIORITY,
    Code,
    Frame,
    Setting,
    frame,
    settings_of,
)
from agent.drivers.session import UNLIMITED, WINDOW, Reset, Session

OK = Head(200, ((b":status", b"200"),))
PING = frame(Frame.PING, 0, 0, b"12345678")


# --- properties ----------------------------------------------------------------------------------------------------

numbers = st.sampled_from([0, 1, 1, 1, 3, 3, 5, 7, 2])
bodies = st.binary(max_size=40)
fields = st.lists(
    st.tuples(st.sampled_from(["a", "content-length", "B", "te"]), st.sampled_from(["1", "x y"])), max_size=2
)
frames = st.one_of(
    st.builds(
        lambda number, given_fields, status, end, cut: (
            headers(number, *given_fields, status=status, end=end)
            if not cut
            else frame(Frame.HEADERS, END_STREAM * end, number, encoded(*given_fields, status=status)[:3])
            + frame(Frame.CONTINUATION, END_HEADERS, number, encoded(*given_fields, status=status)[3:])
        ),
        numbers,
        fields,
        st.sampled_from(["200", "200", "204", "103", "101", ""]),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(lambda number, body, end: data(number, body, end=end), numbers, bodies, st.booleans()),
    st.builds(window_update, numbers, st.sampled_from([0, 1, 10, 2**31 - 1])),
    st.builds(reset, numbers, st.sampled_from([0, 2, 7, 99])),
    st.builds(
        lambda size, most: settings(initial_window_size=size, max_concurrent_streams=most),
        st.integers(0, 99),
        st.integers(0, 9),
    ),
    st.builds(goaway, st.sampled_from([0, 1, 3, 9]), st.sampled_from([0, 2])),
    st.just(PING),
    st.just(SETTINGS_ACK),
    st.builds(frame, st.integers(0, 12), st.integers(0, 255), numbers, bodies),
)


def after(pieces: list[bytes]):
    """All that a session with three open streams makes of bytes that come in pieces."""
    session = ready(streams=3)
    events = [event for piece in pieces for event in told(session.receive(piece))]
    return events, session.fault, drained(session), sorted(session.streams), session.is_closing, session.max_streams


def cut(wire: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(wire), *(place % (len(wire) + 1) for place in places)})
    return [wire[start:end] for start, end in pairwise(edges)]


@given(st.lists(frames, max_size=12).map(b"".join), st.lists(st.integers(0, 10_000), max_size=30))
def test_however_the_bytes_are_cut_they_bring_about_the_same(wire, places):
    whole = after([wire])

    assert after(cut(wire, places)) == whole
    assert after([wire[at : at + 1] for at in range(len(wire))]) == whole


@given(st.lists(st.one_of(frames, st.binary(max_size=30)), max_size=12).map(b"".join))
def test_garbage_raises_nothing_and_each_stream_ends_at_most_once(wire):
    events, _fault, _written, still_open, _is_closing, _most = after([wire])
    ends = Counter(number for number, _what, is_end in events if is_end)

    assert set(ends.values()) <= {1}
    assert not set(ends) & set(still_open)
    assert set(ends) | set(still_open) == {1, 3, 5}
    assert all(
        not is_end or at == max(i for i, one in enumerate(events) if one[0] == number)
        for at, (number, _what, is_end) in enumerate(events)
    )


@given(st.binary(max_size=200))
def test_what_speaks_something_else_is_refused_or_waited_for(wire):
    session: Session[str] = Session(Heads())
    session.receive(wire)

    assert session.fault or len(wire) < 9 or wire[3] == Frame.SETTINGS


class WindowKeeper:
    """A server that opens its windows as it is told, and counts what may come."""

    def __init__(self, session: Session[str], window: int) -> None:
        self.session = session
        self.initial = window
        self.connection = 65_535
        self.windows: dict[int, int] = {}
        self.heard: dict[int, bytes] = {}
        self.ended: set[int] = set()

    def listen(self) -> None:
        for kind, flags, number, payload in split(drained(self.session)):
            if kind is Frame.HEADERS:
                self.windows[number], self.heard[number] = self.initial, b""
            elif kind is Frame.DATA:
                assert number not in self.ended
                self.connection -= len(payload)
                self.windows[number] -= len(payload)
                assert self.connection >= 0
                assert self.windows[number] >= 0 or not payload
                assert len(payload) <= MAX_FRAME
                self.heard[number] += payload
            if kind in (Frame.HEADERS, Frame.DATA) and flags & END_STREAM:
                self.ended.add(number)

    def open(self, number: int, step: int) -> None:
        if number == 0:
            self.connection += step
        elif number in self.session.streams:
            self.windows[number] += step
        else:
            return
        assert self.session.receive(window_update(number, step)) == []

    def resize(self, window: int) -> None:
        for number in self.windows:
            self.windows[number] += window - self.initial
        self.initial = window
        assert self.session.receive(settings(initial_window_size=window)) == []


steps = st.one_of(
    st.tuples(st.just("open"), st.sampled_from([0, 1, 3, 5]), st.integers(1, 40_000)),
    st.tuples(st.just("resize"), st.integers(0, 70_000)),
    st.tuples(st.just("request"), st.integers(0, 50_000)),
)


@given(st.lists(steps, max_size=25), st.integers(0, 70_000))
def test_bodies_keep_to_both_windows_whatever_the_server_does_and_arrive_whole_in_the_end(script, window):
    session = ready(settings(initial_window_size=window), streams=0)
    server = WindowKeeper(session, window)
    sent: dict[int, bytes] = {}
    for what, *how in script:
        if what == "open":
            server.open(*how)
        elif what == "resize":
            server.resize(*how)
        else:
            body = bytes(how[0] % 251 for _ in range(how[0]))
            sent[session.open("", REQUEST, body).id] = body
        server.listen()
    server.open(0, 2_000_000)
    for number in list(session.streams):
        server.open(number, 200_000)
    server.listen()

    assert session.fault is None
    assert server.heard == sent
    assert server.ended == set(sent)
    assert {stream.id for stream in session.sent} == set(sent)


def field_list(count: int):
    return (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":authority", b"a.test"),
        (b":path", b"/"),
        *[(b"x", b"y" * 900)] * count,
    )


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 100_000)), min_size=1, max_size=6), st.integers(1, 70_000))
def test_an_independent_server_hears_what_was_asked_and_is_heard(requests, window):
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    server.local_settings = h2.settings.Settings(
        client=False, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
    )
    server.initiate_connection()
    session: Session[int] = Session(Heads())
    session.receive(server.data_to_send())
    bodies_sent = {
        session.open(at, block_of(field_list(count)), b"b" * size).id: size for at, (count, size) in enumerate(requests)
    }
    heard: Counter[int] = Counter()
    fields_heard: dict[int, int] = {}
    events = []
    while wire := session.take():
        for event in server.receive_data(wire):
            if isinstance(event, h2.events.RequestReceived):
                fields_heard[event.stream_id] = len(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                heard[event.stream_id] += len(event.data)
                server.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                server.send_headers(event.stream_id, [(":status", "200"), ("server", "h2")])
                server.send_data(event.stream_id, b"hello", end_stream=True, pad_length=7)
        events += session.receive(server.data_to_send())

    assert session.fault is None
    assert {number: heard[number] for number in bodies_sent} == bodies_sent
    assert fields_heard == {2 * at + 1: 4 + count for at, (count, _size) in enumerate(requests)}
    answers = Counter((what.status if isinstance(what, Head) else what, is_end) for _stream, what, is_end in events)
    assert answers == {(200, False): len(requests), (b"hello", True): len(requests)}
    assert not session.streams


# --- what is sent --------------------------------------------------------------------------------------------------


def test_it_begins_with_the_preface_and_settings_that_keep_no_state():
    wire = Session(Heads()).take()
    (first, second) = split(wire)

    assert wire.startswith(PREFACE)
    assert first[0] is Frame.SETTINGS
    assert settings_of(0, 0, first[3]) | {} == {
        Setting.HEADER_TABLE_SIZE: 0,
        Setting.ENABLE_PUSH: 0,
        Setting.INITIAL_WINDOW_SIZE: WINDOW,
        Setting.MAX_HEADER_LIST_SIZE: MAX_HEAD,
    }
    assert second == (Frame.WINDOW_UPDATE, 0, 0, (WINDOW - 65_535).to_bytes(4, "big"))


def test_all_that_is_opened_between_two_takes_goes_out_at_once():
    session = ready(streams=0)
    streams = [session.open(owner, REQUEST, body) for owner, body in (("a", b""), ("b", b"body"), ("c", b""))]

    assert [(kind, flags, number) for kind, flags, number, _payload in split(session.take())] == [
        (Frame.HEADERS, END_HEADERS | END_STREAM, 1),
        (Frame.HEADERS, END_HEADERS, 3),
        (Frame.HEADERS, END_HEADERS | END_STREAM, 5),
        (Frame.DATA, END_STREAM, 3),
    ]
    assert [stream.owner for stream in session.sent] == ["a", "c", "b"]
    assert [stream.bytes_out for stream in streams] == [
        9 + 1 + len(REQUEST),
        2 * 9 + len(REQUEST) + 4,
        9 + len(REQUEST),
    ]
    assert session.take() == b""


def test_a_header_block_too_long_for_a_frame_is_continued():
    session = ready(streams=0)
    block = block_of(field_list(50))
    stream = session.open("", block)
    wire = session.take()

    parts = list(split(wire))
    assert [(kind, flags) for kind, flags, _number, _payload in parts] == [
        (Frame.HEADERS, END_STREAM),
        (Frame.CONTINUATION, 0),
        (Frame.CONTINUATION, END_HEADERS),
    ]
    assert b"".join(payload for *_rest, payload in parts) == b"\x20" + block
    assert stream.bytes_out == len(wire)


def test_larger_frames_are_sent_where_the_server_takes_them():
    session = ready(settings(max_frame_size=40_000), streams=0)
    session.open("", REQUEST, bytes(50_000))

    assert [len(payload) for kind, _f, _n, payload in split(drained(session)) if kind is Frame.DATA] == [40_000, 10_000]


def test_a_body_may_come_in_parts_and_end_with_nothing():
    session = ready(streams=0)
    stream = session.open("", REQUEST, b"one", is_whole=False)
    first = list(split(session.take()))
    session.send(stream, b"two", is_whole=False)
    session.send(stream, b"three", is_whole=False)
    second = list(split(session.take()))
    assert not session.sent
    session.send(stream, b"", is_whole=True)
    third = list(split(session.take()))

    assert [(flags, payload) for _k, flags, _n, payload in first[1:] + second + third] == [
        (0, b"one"),
        (0, b"twothree"),
        (END_STREAM, b""),
    ]
    assert session.sent == [stream]


def test_an_empty_end_needs_no_window():
    session = ready(settings(initial_window_size=0), streams=0)
    stream = session.open("", REQUEST, is_whole=False)
    session.send(stream, b"", is_whole=True)

    assert [flags for kind, flags, _n, _p in split(session.take()) if kind is Frame.DATA] == [END_STREAM]


def test_what_is_granted_is_granted_again():
    session = ready()
    session.receive(headers(1))
    for _ in range(WINDOW // 2 // MAX_FRAME - 1):
        session.receive(data(1, bytes(MAX_FRAME)))
    assert session.take() == b""
    session.receive(data(1, bytes(MAX_FRAME)))

    step = (WINDOW // 2).to_bytes(4, "big")
    assert list(split(session.take())) == [(Frame.WINDOW_UPDATE, 0, 0, step), (Frame.WINDOW_UPDATE, 0, 1, step)]


def test_a_cancelled_stream_is_reset_and_forgotten():
    session = ready(streams=2)
    stream = session.streams[1]
    session.cancel(stream)
    session.cancel(stream)

    assert list(split(session.take())) == [(Frame.RST_STREAM, 0, 1, b"\0\0\0\x08")]
    late = headers(1) + data(1, b"late", end=True) + reset(1, 0) + window_update(1, 5)
    assert told(session.receive(late + headers(3, end=True))) == [(3, OK, True)]
    assert session.fault is None


# --- what is heard -------------------------------------------------------------------------------------------------


def test_a_response_with_interim_ones_and_trailers():
    session = ready()
    hint = headers(1, ("link", "</a.css>"), status="103")
    wire = hint + headers(1) + data(1, b"hel") + data(1, b"lo") + headers(1, ("grpc-status", "0"), status="", end=True)
    events = session.receive(wire)

    assert [(what.status if isinstance(what, Head) else what, is_end) for _s, what, is_end in events] == [
        (103, False),
        (200, False),
        (b"hel", False),
        (b"lo", False),
        (0, True),
    ]
    assert events[-1][1].headers == ((b"grpc-status", b"0"),)
    assert events[0][0].head.status == 200
    assert events[0][0].bytes_in == len(wire)


def test_padding_and_priority_are_no_part_of_a_response():
    session = ready()
    block = encoded()
    wire = frame(Frame.HEADERS, END_HEADERS | PADDED | PRIORITY, 1, b"\x03" + bytes(5) + block + bytes(3))
    events = session.receive(wire + frame(Frame.DATA, PADDED | END_STREAM, 1, b"\x02hello\0\0"))

    assert told(events) == [(1, OK, False), (1, b"hello", True)]


def test_a_block_in_pieces_is_one():
    session = ready()
    block = encoded(("a", "b" * 100))
    wire = frame(Frame.HEADERS, END_STREAM, 1, block[:9]) + frame(Frame.CONTINUATION, 0, 1, block[9:50])
    events = session.receive(
        wire + frame(Frame.CONTINUATION, 0, 1, b"") + frame(Frame.CONTINUATION, END_HEADERS, 1, block[50:])
    )

    assert [(what.status, is_end) for _s, what, is_end in events] == [(200, True)]


def test_a_reset_after_a_complete_answer_is_no_event():
    session = ready()

    assert told(session.receive(headers(1, end=True) + reset(1, Code.NO_ERROR))) == [(1, OK, True)]
    assert session.fault is None


def test_a_reset_before_that_says_why():
    session = ready()

    assert told(session.receive(headers(1) + reset(1, Code.INTERNAL_ERROR))) == [
        (1, OK, False),
        (1, Reset(2, "the server reset the stream: INTERNAL_ERROR"), True),
    ]


def test_an_answer_before_the_whole_request_was_heard_ends_both():
    session = ready(settings(initial_window_size=5), streams=0)
    session.open("", REQUEST, b"more than five")
    drained(session)
    events = session.receive(headers(1, status="413", end=True))

    assert [what.status for _s, what, _e in events] == [413]
    assert list(split(drained(session))) == [(Frame.RST_STREAM, 0, 1, b"\0\0\0\x08")]
    assert not session.streams
    assert told(session.receive(window_update(1, 100))) == []
    assert session.take() == b""


def test_going_away_refuses_what_came_later_and_ends_what_came_before():
    session = ready(streams=3)
    events = session.receive(goaway(3, Code.NO_ERROR, b"see you") + headers(1, end=True) + headers(3, end=True))

    said = "the server went away: NO_ERROR, 'see you'"
    assert told(events) == [(5, Reset(Code.REFUSED_STREAM, said), True), (1, OK, True), (3, OK, True)]
    assert session.is_closing
    assert session.room == 0
    assert session.said == said
    assert session.fault is None


def test_the_server_s_limit_of_streams_is_the_room():
    session = ready(settings(max_concurrent_streams=3), streams=2)
    assert session.room == 1

    session.receive(settings(max_concurrent_streams=1))
    assert session.room == -1

    session.receive(settings(max_concurrent_streams=100) + headers(1, end=True))
    assert session.room == 99
    assert ready(streams=0).room == UNLIMITED


def test_settings_and_pings_are_acknowledged():
    session = ready()
    session.receive(settings() + PING + frame(Frame.PING, ACK, 0, b"12345678"))

    assert list(split(session.take())) == [(Frame.SETTINGS, ACK, 0, b""), (Frame.PING, ACK, 0, b"12345678")]


@pytest.mark.parametrize("kind", [Frame.PRIORITY, 0xA, 0xC, 0xFF])
def test_frames_that_mean_nothing_to_us_are_skipped(kind):
    session = ready()

    assert told(session.receive(frame(kind, 0xFF, 1, b"whatever") + headers(1, end=True))) == [(1, OK, True)]


# --- malformed: one stream -----------------------------------------------------------------------------------------

STREAM_FAULTS = {
    "no status": headers(1, ("a", "b"), status=""),
    "a change of protocol": headers(1, status="101"),
    "an interim response that ends": headers(1, status="100", end=True),
    "a body before headers": data(1, b"x", end=True),
    "trailers before the end": headers(1) + headers(1, ("a", "b"), status=""),
    "trailers with a status": headers(1) + headers(1, status="200", end=True),
    "a malformed header": headers(1, ("Capital", "x")),
    "a malformed trailer": headers(1) + headers(1, ("connection", "x"), status="", end=True),
    "a window opened by nothing": window_update(1, 0),
    "a window opened too far": window_update(1, 2**31 - 1),
    "interim responses without an end": headers(1, ("x", "y" * 1000), status="103") * 400,
    "a list of headers too long": frame(Frame.HEADERS, END_HEADERS, 1, encoded() + b"\x90" * 8000),
}


@pytest.mark.parametrize("name", STREAM_FAULTS)
def test_the_stream_alone_is_ended_by(name):
    session = ready(streams=2)
    events = session.receive(STREAM_FAULTS[name] + headers(3, end=True))

    number, what, is_end = told(events)[-2]
    assert (number, is_end, what.is_ours) == (1, True, True)
    assert what.text
    assert told(events)[-1] == (3, OK, True)
    assert session.fault is None
    assert [(kind, number) for kind, _f, number, _p in split(session.take())] == [(Frame.RST_STREAM, 1)]


# --- malformed: the connection -------------------------------------------------------------------------------------

CONNECTION_FAULTS = {
    "a frame too long": (frame(Frame.DATA, 0, 1, bytes(MAX_FRAME + 1)), Code.FRAME_SIZE_ERROR),
    "a stream that nobody opened": (headers(9), Code.PROTOCOL_ERROR),
    "a body on a stream that nobody opened": (data(9, b"x"), Code.PROTOCOL_ERROR),
    "a stream of the server's": (headers(2), Code.PROTOCOL_ERROR),
    "headers on no stream": (headers(0), Code.PROTOCOL_ERROR),
    "a body on no stream": (data(0, b""), Code.PROTOCOL_ERROR),
    "a reset of no stream": (reset(0, 0), Code.PROTOCOL_ERROR),
    "a reset of a stream to come": (reset(9, 0), Code.PROTOCOL_ERROR),
    "a window of a stream to come": (window_update(9, 1), Code.PROTOCOL_ERROR),
    "a reset of the wrong size": (frame(Frame.RST_STREAM, 0, 1, b"abc"), Code.FRAME_SIZE_ERROR),
    "a ping of the wrong size": (frame(Frame.PING, 0, 0, b"1234567"), Code.FRAME_SIZE_ERROR),
    "a ping on a stream": (frame(Frame.PING, 0, 1, b"12345678"), Code.PROTOCOL_ERROR),
    "a window of the wrong size": (frame(Frame.WINDOW_UPDATE, 0, 0, b"abc"), Code.FRAME_SIZE_ERROR),
    "the connection's window opened by nothing": (window_update(0, 0), Code.PROTOCOL_ERROR),
    "the connection's window opened too far": (window_update(0, 2**31 - 1), Code.FLOW_CONTROL_ERROR),
    "settings on a stream": (frame(Frame.SETTINGS, 0, 1, b""), Code.PROTOCOL_ERROR),
    "settings of the wrong size": (frame(Frame.SETTINGS, 0, 0, b"abc"), Code.FRAME_SIZE_ERROR),
    "an acknowledgement that says more": (frame(Frame.SETTINGS, ACK, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
    "a server that pushes": (settings(enable_push=1), Code.PROTOCOL_ERROR),
    "a push": (frame(Frame.PUSH_PROMISE, 0, 1, bytes(4) + encoded()), Code.PROTOCOL_ERROR),
    "a window of no size": (settings(initial_window_size=2**31), Code.FLOW_CONTROL_ERROR),
    "frames too small": (settings(max_frame_size=100), Code.PROTOCOL_ERROR),
    "frames too large": (settings(max_frame_size=2**24), Code.PROTOCOL_ERROR),
    "streams' windows opened too far": (
        window_update(1, 2**31 - 1 - 65_535) + settings(initial_window_size=65_536),
        Code.FLOW_CONTROL_ERROR,
    ),
    "going away on a stream": (frame(Frame.GOAWAY, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "going away in too few words": (frame(Frame.GOAWAY, 0, 0, bytes(7)), Code.PROTOCOL_ERROR),
    "a continuation of nothing": (frame(Frame.CONTINUATION, END_HEADERS, 1, b""), Code.PROTOCOL_ERROR),
    "another frame within a block": (frame(Frame.HEADERS, 0, 1, b"") + PING, Code.PROTOCOL_ERROR),
    "another stream within a block": (
        frame(Frame.HEADERS, 0, 1, b"") + frame(Frame.CONTINUATION, 0, 3, b""),
        Code.PROTOCOL_ERROR,
    ),
    "a block that can't be read": (frame(Frame.HEADERS, END_HEADERS, 1, b"\xff"), Code.COMPRESSION_ERROR),
    "a block that needs a table": (frame(Frame.HEADERS, END_HEADERS, 1, b"\x88\xbe"), Code.COMPRESSION_ERROR),
    "more padding than frame": (frame(Frame.DATA, PADDED, 1, b"\x09x"), Code.PROTOCOL_ERROR),
    "a block without an end": (
        frame(Frame.HEADERS, 0, 1, encoded()) + frame(Frame.CONTINUATION, 0, 1, bytes(MAX_FRAME)) * 20,
        Code.ENHANCE_YOUR_CALM,
    ),
    "empty continuations without an end": (
        frame(Frame.HEADERS, 0, 1, encoded()) + frame(Frame.CONTINUATION, 0, 1, b"") * 2000,
        Code.ENHANCE_YOUR_CALM,
    ),
    "pings without an end": (PING * 30_000, Code.ENHANCE_YOUR_CALM),
    "settings without an end": (settings() * 30_000, Code.ENHANCE_YOUR_CALM),
}


@pytest.mark.parametrize("name", CONNECTION_FAULTS)
def test_the_connection_is_ended_by(name):
    wire, code = CONNECTION_FAULTS[name]
    session = ready(streams=2)
    events = session.receive(wire)

    assert session.fault is not None, events
    assert session.fault.code is code
    assert session.fault.text
    assert session.room == 0
    assert session.receive(headers(3, end=True)) == []
    *_others, last = split(session.take())
    assert last[0] is Frame.GOAWAY
    assert last[3][4:8] == code.to_bytes(4, "big")


@pytest.mark.parametrize(
    "wire",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 mail.example ESMTP\r\n", headers(1), SETTINGS_ACK, PING, bytes(9)],
    ids=["HTTP/1.1", "mail", "headers", "an acknowledgement", "a ping", "zeros"],
)
def test_a_server_that_does_not_begin_with_settings_speaks_no_http2(wire):
    session: Session[str] = Session(Heads())
    session.receive(wire)

    assert session.fault is not None
    assert session.fault.text.startswith("the server speaks no HTTP/2: it began with ")
    assert not session.is_ready


def test_what_came_before_a_fault_is_told():
    session = ready(streams=2)

    assert told(session.receive(headers(1, end=True) + headers(9))) == [(1, OK, True)]
    assert session.fault is not None
    assert sorted(session.streams) == [3]


def test_a_flood_that_is_answered_as_it_comes_is_borne():
    session = ready()
    for _ in range(100):
        session.receive(PING * 1000)
        session.take()

    assert session.fault is None


def test_the_last_stream_that_numbers_allow_closes_the_session():
    session = ready(streams=0)
    session._next = 2**31 - 3
    session.open("", REQUEST)
    assert not session.is_closing
    session.open("", REQUEST)

    assert session.is_closing
    assert session.room == 0
