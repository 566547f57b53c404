"""What is fuzzed, and what must hold of it: nothing is raised, and cutting the same bytes elsewhere changes nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from corpus import HTTP1, HTTP1_WORDS, HTTP2, HTTP2_WORDS, Pieces
from exchanges import TARGETS, exchange, new_driver
from mutate import Mutator

from agent.drivers.blocks import Head, Heads, block_of
from agent.drivers.response import Response
from agent.drivers.session import Event, Reset, Session

_BLOCK = block_of([(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"x")])
_MOST_WRITES = 1000


@dataclass(frozen=True)
class Subject:
    """One thing to fuzz: what it is fed, and the check that fails with an AssertionError, or whatever it raised."""

    name: str
    corpus: Sequence[Pieces]
    words: Pieces
    check: Callable[[bytes, Mutator], None]


@dataclass(frozen=True)
class Reading:
    """How one response was read; `is_kept` is None when bytes were left over."""

    fault: str
    is_complete: bool
    status: int
    body: bytes
    ends_with_connection: bool
    is_kept: bool | None


def read(chunks: Sequence[bytes], *, is_head: bool) -> Reading:
    """Read a response as the driver does: no further than to its end."""
    response = Response(is_head=is_head)
    fault = None
    left = list(chunks)
    while left and fault is None and not response.is_complete:
        fault = response.feed(left.pop(0))
    return Reading(
        str(fault[0]) if fault else "",
        response.is_complete,
        response.status if response.is_complete else 0,
        bytes(response.body) if response.is_complete else b"",
        response.ends_with_connection and fault is None,
        response.is_kept if response.is_complete and not left else None,
    )


def check_response(data: bytes, mutator: Mutator) -> None:
    """One response, read in one piece, byte by byte, and cut anywhere."""
    for is_head in (False, True):
        whole = read([data], is_head=is_head)
        for chunks in ([data[at : at + 1] for at in range(len(data))], mutator.chunks(data)):
            cut = read(chunks, is_head=is_head)
            known = whole if cut.is_kept is not None else Reading(**{**vars(whole), "is_kept": None})
            assert cut == known, f"is_head={is_head}, in one piece: {whole}; in {len(chunks)}: {cut}"


def check_exchange(data: bytes, mutator: Mutator) -> None:
    """One exchange: cut anywhere; and by a driver that knows this answer, and its like, already."""
    target = mutator.random.randrange(len(TARGETS))
    fresh = exchange(new_driver(), target, [data])
    for chunks in ([data[at : at + 1] for at in range(len(data))], mutator.chunks(data)):
        cut = exchange(new_driver(), target, chunks)
        known = fresh.with_the_unknowns_of(cut)
        assert cut == known, f"{TARGETS[target].endpoint}, in one piece: {fresh}; in {len(chunks)}: {cut}"
    driver = new_driver()
    for like in (data[:-1], data + b"x", data):
        exchange(driver, target, [like])
        exchange(driver, 0, [like])
    again = exchange(driver, target, [data])
    assert again == fresh, f"{TARGETS[target].endpoint}, at first: {fresh}; once known: {again}"


Told = list[tuple[int, str, object]]


def converse(chunks: Sequence[bytes]) -> tuple[Told, int | None, set[int]]:
    """What a connection with three open requests tells of bytes from its server, and the code of its fault."""
    session: Session[int] = Session(Heads())
    for owner in range(2):
        session.open(owner, _BLOCK)
    session.open(2, _BLOCK, b"x" * 100_000)
    told: Told = []
    for chunk in chunks:
        for event in session.receive(chunk):
            _tell(told, event)
        if session.fault:
            break
    writes = 0
    while session.take():
        writes += 1
        assert writes < _MOST_WRITES, "there is always more to write"
    return told, session.fault.code if session.fault else None, set(session.streams)


def _tell(told: Told, event: Event[int]) -> None:
    stream, what, is_end = event
    if isinstance(what, Head):
        told.append((stream.id, "head", (what.status, what.headers, is_end)))
    elif isinstance(what, Reset):
        told.append((stream.id, "reset", (what.code, is_end)))
    else:
        told.append((stream.id, "body", (what, is_end)))


def check_session(data: bytes, mutator: Mutator) -> None:
    """One HTTP/2 connection, fed in one piece, byte by byte, and cut anywhere."""
    whole = converse([data])
    for chunks in ([data[at : at + 1] for at in range(len(data))], mutator.chunks(data)):
        cut = converse(chunks)
        assert cut == whole, f"in one piece: {whole}; in {len(chunks)}: {cut}"


SUBJECTS = (
    Subject("an HTTP/1.1 response", HTTP1, HTTP1_WORDS, check_response),
    Subject("an HTTP/1.1 exchange", HTTP1, HTTP1_WORDS, check_exchange),
    Subject("an HTTP/2 connection", HTTP2, HTTP2_WORDS, check_session),
)
