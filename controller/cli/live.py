"""What a terminal shows of a run under way; without a terminal, a line in the log each five seconds."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import structlog
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from controller.conductor import Conductor
from controller.events import Phase
from controller.experiment.spec import Experiment
from controller.progress import Progress, progress
from controller.report.numbers import figure, printable

LOOK_S = 0.5
LOG_S = 5.0
_log = structlog.get_logger()
Watch = Callable[[Conductor, int], None]


@asynccontextmanager
async def watching(experiment: Experiment) -> AsyncIterator[Watch]:
    """Shows whatever run it is told of, inside the block."""
    watcher: asyncio.Task[None] | None = None
    look = _show if sys.stderr.isatty() else _tell

    def watch(conductor: Conductor, task: int) -> None:
        nonlocal watcher
        if watcher is not None:
            watcher.cancel()
        watcher = asyncio.create_task(look(conductor, f"{experiment.metadata.name} task {task}"), name="watch")

    try:
        yield watch
    finally:
        if watcher is not None:
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher


async def _tell(conductor: Conductor, what: str) -> None:
    while conductor.run.phase is not Phase.OVER:
        await asyncio.sleep(LOG_S)
        now = progress(conductor, time.monotonic())
        _log.info(
            "run_under_way",
            run=what,
            segment=now.segment,
            **({"stage": now.stage, "load_now": _round(now.load_now)} if now.stage else {}),
            elapsed_s=round(now.elapsed_s, 1),
            left_s=None if now.left_s is None else round(now.left_s, 1),
            requests=now.requests,
            errors=now.errors,
            rate_per_s=round(now.rate_per_s, 1),
            p50_ms=_round(now.p50_ms),
            p99_ms=_round(now.p99_ms),
            agents=now.agents,
            lost=now.lost,
        )


async def _show(conductor: Conductor, what: str) -> None:
    console = Console(stderr=True)
    with Live(console=console, transient=True, refresh_per_second=4) as live:
        while conductor.run.phase is not Phase.OVER:
            live.update(view(progress(conductor, time.monotonic()), what))
            await asyncio.sleep(LOOK_S)


def view(now: Progress, what: str) -> Group:
    """One look at a run: where it is, how far, and how it is doing; the targets of a mix apart."""
    head = Text.assemble(
        (f" {what} ", "bold reverse"),
        f"  {now.segment} ({now.number}/{now.segments})  {now.phase}{_stage(now)}",
        "  ",
        _time(now),
        ("" if now.is_measured else "  not measured", "dim"),
    )
    columns = ("requests", "rate/s", "errors", "p50", "p99", "p99.9", "agents")
    table = _table(columns)
    table.add_row(
        f"{now.requests:,}",
        f"{now.rate_per_s:,.0f}{_asked(now)}",
        _bad(f"{now.errors:,}", is_bad=now.errors > 0),
        _ms(now.p50_ms),
        _ms(now.p99_ms),
        _ms(now.p999_ms),
        _bad(f"{now.agents}" + (f" ({now.lost} lost)" if now.lost else ""), is_bad=now.lost > 0),
    )
    bar = Table.grid(padding=(0, 1))  # a bar alone does not end its line
    bar.add_row(ProgressBar(total=1.0, completed=now.share or 0.0, pulse=now.share is None, width=60))
    return Group(head, bar, table, *([_mix(now)] if now.targets else []))


def _table(columns: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 1), show_header=True, header_style="dim")
    for name in columns:
        table.add_column(name, justify="left" if name == "endpoint" else "right", no_wrap=True)
    return table


def _mix(now: Progress) -> Table:
    """The targets of a mix apart."""
    table = _table(("endpoint", "weight", "requests", "errors", "p50", "p99"))
    for target in now.targets:
        table.add_row(
            Text(printable(target.name), overflow="ellipsis"),
            f"{target.weight}",
            f"{target.requests:,}",
            _bad(f"{target.errors:,}", is_bad=target.errors > 0),
            _ms(target.p50_ms),
            _ms(target.p99_ms),
        )
    return table


def _bad(text: str, *, is_bad: bool) -> Text:
    return Text(text, style="bold red" if is_bad else "")


def _stage(now: Progress) -> str:
    """The stage under way, and of closed load how many users it has now."""
    if not now.stage:
        return ""
    users = "" if now.is_open or now.load_now is None else f" ({now.load_now:.0f} users)"
    return f"  stage {printable(now.stage)}{users}"


def _asked(now: Progress) -> str:
    """The rate that is asked for now; a load without stages asks for the same all the time."""
    asked = now.asked_per_s if now.load_now is None else round(now.load_now)
    return f" of {figure(asked, group=True)}" if asked and now.is_open else ""


def _time(now: Progress) -> str:
    left = "" if now.left_s is None else f", {now.left_s:.0f} s left"
    return f"{now.elapsed_s:.0f} s{left}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
