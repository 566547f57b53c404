"""`make bench`: one agent against other load generators, side by side on this machine, and the page that tells.

Only a full run writes the page. Linux only: it pins processes and reads /proc.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from machine import Cores, NotRunError, description, raise_open_files
from measures import MEASURES, Bench
from peers import installed
from rig import rig
from servers import nginx
from table import Row, not_run, text, write_page

from protocol import __version__

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "performance.md"
ROUNDS, QUICK_ROUNDS = 5, 2
SECONDS, QUICK_SECONDS = 5, 2
SOAK = "soak"


def main() -> int:
    """Measure, print, and write."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))  # by way of every `finally`
    try:
        return _bench(options)
    except NotRunError as error:
        say(f"not run: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted: nothing was written")
        return 130


def say(line: str) -> None:
    """A line for who watches."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", metavar="NAME,…", help=f"some measures, of: {', '.join(MEASURES)}")
    parser.add_argument("--soak", action="store_true", help="the 10 minutes of memory as well")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds of {QUICK_SECONDS} s")
    parser.add_argument("--rounds", type=int, default=0, help=f"default: {ROUNDS}")
    parser.add_argument("--seconds", type=int, default=0, help=f"of each run; default: {SECONDS}")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else [name for name in MEASURES if name != SOAK or options.soak]
    unknown = [name for name in wanted if name not in MEASURES]
    if unknown:
        parser.error(f"--only: no measure is called {', '.join(unknown)}: there are {', '.join(MEASURES)}")
    options.wanted = wanted
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    return options


def _bench(options: argparse.Namespace) -> int:
    began = time.monotonic()
    cores = Cores.of_this_machine()
    files = raise_open_files()
    here, missing = installed()
    for reason in missing.values():
        say(f"a peer less: {reason}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="seatrial-bench-") as name, nginx(cores, Path(name), files) as server:
        peers = {"nginx": server.version, **here}
        about = description(cores, peers, __version__)
        about.append(
            f"{options.rounds} interleaved rounds of {options.seconds} s; medians, least and greatest in brackets"
        )
        about += [f"Not here: {reason}" for reason in missing.values()]
        with rig(cores, Path(name)) as seatrial:
            bench = Bench(cores, seatrial, server, Path(name), files, options.rounds, options.seconds, say)
            _warm_up(bench)
            for wanted in options.wanted:
                rows += _rows(bench, wanted)
    if SOAK not in options.wanted:
        rows.append(not_run(MEASURES[SOAK][0], "`make bench SOAK=1`, 10 minutes more"))
    sys.stdout.write("\n".join([*about, "", text(rows), ""]))
    say(f"took {time.monotonic() - began:.0f} s")
    if not (options.only or options.quick):
        write_page(PAGE, about, rows)
        say(f"wrote {PAGE}")
    return 0


def _warm_up(bench: Bench) -> None:
    """A run that nobody counts: the agent's first one imports modules."""
    replace(bench, seconds=1).closed(bench.nginx.url)


def _rows(bench: Bench, wanted: str) -> Sequence[Row]:
    """The rows of one measure; a row with the reason where it could not be taken."""
    title, measure = MEASURES[wanted]
    try:
        return measure(bench)
    except NotRunError as error:
        say(f"{title}: not run: {error}")
        return [not_run(title, str(error))]


if __name__ == "__main__":
    sys.exit(main())
