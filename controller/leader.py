"""Who leads: each controller that takes over has a higher term, and agents refuse messages of a lower one."""

from secrets import token_hex

import msgspec

from controller.errors import CouldNotRunError
from protocol import subjects
from protocol.bus import Bus
from protocol.errors import ConflictError

TRIES = 20


async def take_term(bus: Bus, namespace: str) -> int:
    """A term that nobody had before, by compare-and-set on the last one."""
    key = subjects.term_key(namespace)
    for _ in range(TRIES):
        record = await bus.get(key)
        last, _who = msgspec.msgpack.decode(record.value, type=tuple[int, str]) if record else (0, "")
        # Two that take the same term must not write the same: each could take the other's success for its own.
        mine = msgspec.msgpack.encode((last + 1, token_hex(8)))
        try:
            await bus.put(key, mine, revision=record.revision if record else 0)
        except ConflictError:
            continue  # another controller was faster: its term is over as soon as this one has the next
        return last + 1
    raise CouldNotRunError(f"no leadership in namespace {namespace!r}: others took it {TRIES} times in a row")
