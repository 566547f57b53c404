"""MessagePack bytes <-> message; the only place that looks at VERSION.

The envelope is [major, minor, body]; a receiver judges the version before it reads the body.
"""

from typing import TypeVar

import msgspec

from protocol.errors import ProtocolError, VersionMismatchError
from protocol.messages import VERSION, Message, ToAgent, ToController

_Envelope = tuple[int, int, msgspec.Raw]
_envelope = msgspec.msgpack.Decoder(_Envelope)
_encoder = msgspec.msgpack.Encoder()
_to_agent: msgspec.msgpack.Decoder[ToAgent] = msgspec.msgpack.Decoder(ToAgent)
_to_controller: msgspec.msgpack.Decoder[ToController] = msgspec.msgpack.Decoder(ToController)
_Side = TypeVar("_Side")
# msgspec lets these two through as they are: text that is not UTF-8, and arrays nested a thousand deep.
_GARBAGE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def encode(message: Message) -> bytes:
    """The bytes of a message, with this side's version in front."""
    return _encoder.encode((*VERSION, message))


def decode_to_agent(data: bytes) -> ToAgent:
    """What a controller said; `VersionMismatchError` or `ProtocolError` if it can't be understood."""
    return _decode(data, _to_agent)


def decode_to_controller(data: bytes) -> ToController:
    """What an agent said; `VersionMismatchError` or `ProtocolError` if it can't be understood."""
    return _decode(data, _to_controller)


def _decode(data: bytes, decoder: "msgspec.msgpack.Decoder[_Side]") -> _Side:
    try:
        major, _minor, body = _envelope.decode(data)
    except _GARBAGE as error:
        raise ProtocolError(f"not a Seatrial message ({len(data)} bytes): {error}") from error
    if major > VERSION[0]:
        raise VersionMismatchError(
            f"the peer speaks protocol {major}, this side speaks {VERSION[0]}: upgrade this side, the older of the two"
        )
    if major < VERSION[0]:
        raise VersionMismatchError(
            f"the peer speaks protocol {major}, this side speaks {VERSION[0]}: upgrade the peer, the older of the two"
        )
    try:
        return decoder.decode(body)
    except _GARBAGE as error:
        raise ProtocolError(f"a message of protocol {major} that can't be read: {error}") from error
