"""`make fuzz`: FUZZ_S seconds (60) of inputs from FUZZ_SEED (drawn, and printed) against all that reads a server's bytes.

An input that raises, is read differently when cut differently, or takes too long is kept in a file that is named, and
the exit code is 1.
"""

import faulthandler
import os
import secrets
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from mutate import Mutator
from subjects import SUBJECTS, Subject

MOST_S = 2.0  # for one input, however it is cut; an ordinary one takes less than a millisecond
HANG_S = 30.0
SHOWN = 4000


@dataclass(frozen=True)
class Failure:
    """An input that broke a promise, and how."""

    subject: Subject
    data: bytes
    why: str


def fuzz(subject: Subject, seed: int, seconds: float, most: int = 1 << 62) -> tuple[int, Failure | None]:
    """How many inputs were tried, and the first that failed."""
    mutator = Mutator(subject.corpus, subject.words, seed)
    until = time.monotonic() + seconds
    tried = 0
    while tried < most and (began := time.monotonic()) < until:
        data = mutator.one()
        faulthandler.dump_traceback_later(HANG_S, exit=True)  # of a loop in compiled code, nothing else would tell
        try:
            subject.check(data, mutator)
        except Exception:  # noqa: BLE001 whatever it is, the input that brings it about is what matters
            return tried, Failure(subject, data, traceback.format_exc())
        finally:
            faulthandler.cancel_dump_traceback_later()
        took_s = time.monotonic() - began
        if took_s > MOST_S:
            return tried, Failure(subject, data, f"took {took_s:.1f} s")
        tried += 1
    return tried, None


def main() -> int:
    """Fuzz everything for an equal share of the time."""
    seconds = float(os.environ.get("FUZZ_S", "60"))
    seed = int(os.environ.get("FUZZ_SEED") or secrets.randbelow(1 << 32))
    for subject in SUBJECTS:
        tried, failure = fuzz(subject, seed, seconds / len(SUBJECTS))
        sys.stdout.write(f"{subject.name}: {tried:,} inputs, FUZZ_SEED={seed}: {'FAILED' if failure else 'all well'}\n")
        if failure:
            kept = Path(tempfile.gettempdir()) / f"seatrial-fuzz-{seed}.bin"
            kept.write_bytes(failure.data)
            sys.stdout.write(f"the input is {kept}, and begins with {failure.data[:SHOWN]!r}\n{failure.why[-SHOWN:]}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
