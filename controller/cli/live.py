"""What a terminal shows of a run under way; without a terminal, a line in the log each five seconds."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
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
            live.update(_view(progress(conductor, time.monotonic()), what))
            await asyncio.sleep(LOOK_S)


def _view(now: Progress, what: str) -> Group:
    head = Text.assemble(
        (f" {what} ", "bold reverse"),
        f"  {now.segment} ({now.number}/{now.segments})  {now.phase}",
        "  ",
        _time(now),
    )
    table = Table(box=None, padding=(0, 2, 0, 1), show_header=True, header_style="dim")
    for name in ("requests", "rate/s", "errors", "p50", "p99", "p99.9", "agents"):
        table.add_column(name, justify="right", no_wrap=True)
    asked = f" of {now.asked_per_s:g}" if now.asked_per_s else ""
    table.add_row(
        f"{now.requests:,}",
        f"{now.rate_per_s:,.0f}{asked}",
        Text(f"{now.errors:,}", style="bold red" if now.errors else ""),
        _ms(now.p50_ms),
        _ms(now.p99_ms),
        _ms(now.p999_ms),
        Text(f"{now.agents}" + (f" ({now.lost} lost)" if now.lost else ""), style="bold red" if now.lost else ""),
    )
    bar = Table.grid(padding=(0, 1))  # a bar alone does not end its line
    bar.add_row(ProgressBar(total=1.0, completed=now.share or 0.0, pulse=now.share is None, width=60))
    return Group(head, bar, table)


def _time(now: Progress) -> str:
    left = "" if now.left_s is None else f", {now.left_s:.0f} s left"
    return f"{now.elapsed_s:.0f} s{left}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
