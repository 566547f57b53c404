import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from message_strategies import to_agent, to_controller

from protocol.codec import decode_to_agent, decode_to_controller, encode
from protocol.errors import ProtocolError, VersionMismatchError
from protocol.messages import VERSION, Done, Heartbeat, Hello, Shard, Stop

quick = settings(deadline=None, max_examples=20)
decoders = st.sampled_from([decode_to_agent, decode_to_controller])


def body_of(message):
    return msgspec.msgpack.decode(msgspec.msgpack.encode(message))


@pytest.mark.parametrize("kind", to_controller, ids=lambda kind: kind.__name__)
def test_what_an_agent_says_is_what_the_controller_hears(kind):
    @quick
    @given(to_controller[kind])
    def check(message):
        assert decode_to_controller(encode(message)) == message

    check()


@pytest.mark.parametrize("kind", to_agent, ids=lambda kind: kind.__name__)
def test_what_the_controller_says_is_what_an_agent_hears(kind):
    @quick
    @given(to_agent[kind])
    def check(message):
        assert decode_to_agent(encode(message)) == message

    check()


@quick
@given(to_controller[Shard], st.text(max_size=5).map("x-{}".format), st.integers() | st.none() | st.text())
def test_fields_of_a_later_minor_version_are_skipped(shard, name, value):
    value = value if not isinstance(value, int) else value % 2**63
    body = body_of(shard) | {name: value, "series": [one | {name: value} for one in body_of(shard)["series"]]}

    later = msgspec.msgpack.encode((VERSION[0], VERSION[1] + 7, body))

    assert decode_to_controller(later) == shard


def test_fields_that_an_earlier_minor_version_did_not_have_get_their_defaults():
    bare = {"type": "Hello", "agent": "agent-1", "incarnation": "i"}

    assert decode_to_controller(msgspec.msgpack.encode((*VERSION, bare))) == Hello("agent-1", "i")


@pytest.mark.parametrize(
    ("major", "words"),
    [
        (VERSION[0] + 1, "the peer speaks protocol 2, this side speaks 1: upgrade this side, the older of the two"),
        (VERSION[0] - 1, "the peer speaks protocol 0, this side speaks 1: upgrade the peer, the older of the two"),
    ],
)
@pytest.mark.parametrize("body", [{"type": "Done", "agent": "a"}, {"type": "Unheard"}, ["not", "even", "a map"]])
def test_another_major_version_is_refused_before_its_body_is_read(major, words, body):
    data = msgspec.msgpack.encode((major, 0, body))

    for decode in (decode_to_agent, decode_to_controller):
        with pytest.raises(VersionMismatchError) as refused:
            decode(data)
        assert str(refused.value) == words


def test_a_message_for_the_other_side_is_not_understood():
    with pytest.raises(ProtocolError):
        decode_to_agent(encode(Done("agent-1")))
    with pytest.raises(ProtocolError):
        decode_to_controller(encode(Stop("run", 1, "why")))


def hears(decode, data):
    """Whether it was understood; anything but a message or a ProtocolError comes through."""
    try:
        decode(data)
    except ProtocolError:
        return False
    return True


@settings(deadline=None, max_examples=300)
@given(decoders, st.binary(max_size=60))
def test_random_bytes_are_refused_in_our_own_words(decode, data):
    assert not hears(decode, data)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_message_with_wrong_bytes_raises_nothing_but_our_own_error(data):
    message = data.draw(
        st.sampled_from([Hello("agent-ä", "i", labels={"zone": "b"}), Heartbeat("r", "a", "i", 1, 2, 3)])
    )
    wrong = bytearray(encode(message))
    for position in data.draw(st.lists(st.integers(0, len(wrong) - 1), min_size=1, max_size=4)):
        wrong[position] = data.draw(st.integers(0, 255))

    hears(decode_to_controller, bytes(wrong))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"not msgpack",
        encode(Hello("a", "i")).replace(b"Hello", b"Hell\xb1"),
        encode(Hello("a", "i")) + b"\x00",
        encode(Hello("a", "i"))[:-1],
        b"\x93\x01\x00" + b"\x91" * 100_000 + b"\x00",
        b"\x93\x02\x00" + b"\x91" * 100_000 + b"\x00",
        b"\x93\xa1\x01\x00\x00",
    ],
    ids=[
        "empty",
        "unused code",
        "text",
        "not UTF-8",
        "too long",
        "too short",
        "deep",
        "newer and deep",
        "version text",
    ],
)
def test_garbage_is_refused_in_our_own_words(data):
    assert not hears(decode_to_controller, data)
    assert not hears(decode_to_agent, data)
