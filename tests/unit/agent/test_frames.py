"""Frames and header blocks as bytes: what goes in comes out, and what is malformed is named."""

import pytest
from h2_server import encoded, split
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from agent.drivers.blocks import MAX_HEAD, BlockError, Heads, block_of
from agent.drivers.frames import (
    END_HEADERS,
    PADDED,
    PRIORITY,
    BrokenError,
    Code,
    Frame,
    Setting,
    frame,
    name_of,
    settings_frame,
    settings_of,
    unpadded,
)

names = st.text("abcdefghijklmnopqrstuvwxyz-0123456789", min_size=1, max_size=20).map(str.encode)
values = st.binary(max_size=300).map(lambda value: value.translate(None, b"\0\r\n"))
some_headers = st.lists(st.tuples(names, values), max_size=20).map(tuple)


@given(st.sampled_from(Frame), st.integers(0, 255), st.integers(0, 2**31 - 1), st.binary(max_size=200))
def test_a_frame_is_what_was_put_into_it(kind, flags, number, payload):
    assert list(split(frame(kind, flags, number, payload))) == [(kind, flags, number, payload)]


@given(some_headers)
def test_a_block_of_ours_says_what_was_put_into_it_to_any_decoder_and_leaves_no_trace(headers):
    decoder = Decoder()
    for _ in range(2):
        assert tuple(map(tuple, decoder.decode(block_of(headers), raw=True))) == headers
    assert not decoder.header_table.dynamic_entries


def test_common_fields_take_one_byte_and_secrets_are_never_indexed():
    assert block_of([(b":method", b"GET"), (b":path", b"/"), (b":scheme", b"https")]) == b"\x82\x84\x87"
    assert block_of([(b"authorization", b"x")])[0] & 0xF0 == 0x10
    assert block_of([(b"accept", b"x")])[0] & 0xF0 == 0x00


@given(some_headers, st.integers(200, 999), st.booleans())
def test_a_server_s_block_is_read_whether_huffman_coded_or_not(headers, status, is_coded):
    headers = tuple((name, value) for name, value in headers if name not in OF_OLD and name != b"content-length")
    encoder = Encoder()
    encoder.header_table_size = 0
    block = encoder.encode([(b":status", b"%d" % status), *headers], huffman=is_coded)

    head = Heads().read(block)

    assert (head.status, head.headers[1:], head.length, head.fault) == (status, headers, -1, "")


OF_OLD = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}


def test_a_block_is_known_the_second_time():
    heads = Heads()
    head = heads.read(encoded(("content-length", "12")))

    assert head.length == 12
    assert heads.known == {encoded(("content-length", "12")): head}


def test_what_is_known_is_bounded():
    heads = Heads()
    for number in range(5000):
        heads.read(encoded(("x-request-id", str(number))))
    heads.read(encoded(("x-long", "y" * 10_000)))

    assert len(heads.known) <= 512
    assert all(len(block) <= 4096 for block in heads.known)


MALFORMED = {
    "two statuses": [(":status", "200"), (":status", "200")],
    "a status after a field": [("a", "b"), (":status", "200")],
    "a status of two digits": [(":status", "20")],
    "a status below 100": [(":status", "099")],
    "a status that is none": [(":status", "2x0")],
    "a request's pseudo-field": [(":status", "200"), (":path", "/")],
    "a name in capitals": [(":status", "200"), ("Server", "x")],
    "a name with a space": [(":status", "200"), ("a b", "x")],
    "a name with a colon": [(":status", "200"), ("a:b", "x")],
    "no name": [(":status", "200"), ("", "x")],
    "a value with a line's end": [(":status", "200"), ("a", "x\r\ny: z")],
    "a value with a zero": [(":status", "200"), ("a", "x\0")],
    "a field of HTTP/1.1": [(":status", "200"), ("connection", "close")],
    "a length that is none": [(":status", "200"), ("content-length", "-1")],
    "two lengths": [(":status", "200"), ("content-length", "1"), ("content-length", "2")],
    "an absurd length": [(":status", "200"), ("content-length", "9" * 30)],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_head_is_malformed_by(name):
    head = Heads().read(encoded(*MALFORMED[name], status=""))

    assert head.fault
    assert not head.status


def test_a_small_block_that_says_much_is_not_unfolded():
    bomb = encoded() + b"\x90" * 10_000  # accept-encoding: gzip, deflate in a byte each

    assert Heads().read(bomb).fault == f"more than {MAX_HEAD >> 10} KiB of headers"


@pytest.mark.parametrize(
    "block",
    [b"\xff", b"\xbe", b"\x80", b"\x00\x05ab", b"\x3f\xe1\x1f\x88", b"\x88\x20", b"\x00\x82\xff\xff\x01a"],
    ids=["cut off", "of a table we don't keep", "index 0", "a name cut off", "a larger table", "late size", "huffman"],
)
def test_a_block_that_can_t_be_read(block):
    with pytest.raises(BlockError):
        Heads().read(block)


@given(st.binary(max_size=100))
def test_a_garbled_block_is_read_or_refused(block):
    heads = Heads()
    try:
        first = heads.read(block)
    except BlockError:
        return
    assert Heads().read(block) == first


@given(st.binary(max_size=50), st.integers(0, 60), st.booleans())
def test_padding_and_priority_are_taken_off(payload, padding, has_priority):
    given_flags = PADDED | (PRIORITY if has_priority else 0)
    wire = bytes([padding]) + (bytes(5) if has_priority else b"") + payload + bytes(padding)

    assert unpadded(wire, given_flags) == payload


@pytest.mark.parametrize(
    ("payload", "flags", "code"),
    [
        (b"", PADDED, Code.PROTOCOL_ERROR),
        (b"\x01", PADDED, Code.PROTOCOL_ERROR),
        (b"\x05abcd", PADDED, Code.PROTOCOL_ERROR),
        (b"abcd", PRIORITY, Code.FRAME_SIZE_ERROR),
    ],
)
def test_padding_that_there_is_no_room_for(payload, flags, code):
    with pytest.raises(BrokenError) as caught:
        unpadded(payload, flags | END_HEADERS)
    assert caught.value.code is code


@given(
    st.dictionaries(st.sampled_from([Setting.MAX_CONCURRENT_STREAMS, Setting.INITIAL_WINDOW_SIZE]), st.integers(0, 99))
)
def test_settings_are_what_was_put_into_them(given_settings):
    (_kind, flags, number, payload) = next(split(settings_frame(given_settings)))

    assert settings_of(number, flags, payload) == given_settings


def test_codes_have_names_and_strange_ones_numbers():
    assert name_of(7) == "REFUSED_STREAM"
    assert name_of(99) == "error code 99"
