"""Runs an experiment in this process: the bus, the agents, the tasks, what the terminal shows, and the exit code.

A short run should end shortly, so the heavy modules are imported while the server and the agents start.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from controller.cli.documents import Document, only_one, read_result, warn, write_new, write_result
from controller.cli.exits import Exit, of_result
from controller.cli.flags import Where
from controller.errors import BadInputError, CouldNotRunError
from controller.experiment.document import write_atomically
from controller.experiment.http import HttpTask
from controller.experiment.result import Result
from controller.experiment.spec import Experiment
from controller.local import KEEP_BYTES, nats_server
from controller.local import agents as local_agents
from controller.tasks.crew import agents_for
from controller.tasks.payloads import read_material

if TYPE_CHECKING:
    from controller.conductor import Conductor
    from controller.loop import Materials
    from controller.report import ReportInput
    from controller.tasks.http import Site

_HEAVY = ("controller.loop", "controller.cli.live", "protocol.nats_bus", "controller.report.text")


def execute(
    experiment: Experiment, document: Document, run_dir: Path, where: Where, level: str, *, is_new: bool
) -> Exit:
    """Run it, keep experiment.yaml up to date, print the text report; the exit code."""
    material = read_material(experiment)
    with only_one(run_dir):
        return _execute(experiment, document, run_dir, where, level, material, is_new=is_new)


def _execute(
    experiment: Experiment,
    document: Document,
    run_dir: Path,
    where: Where,
    level: str,
    material: "Materials",
    *,
    is_new: bool,
) -> Exit:
    from controller.report import render  # noqa: PLC0415 loaded beside the agents' start

    if is_new:
        write_new(run_dir, document)
    warn(experiment)
    execution = _Execution(experiment, document, run_dir, where, level)
    result = uvloop.run(execution.run(material))
    sys.stdout.write(render(report_input(experiment, document, result), "text"))
    sys.stdout.flush()
    if execution.unsaved:
        raise CouldNotRunError(f"the result above could not be kept: {execution.unsaved}")
    return of_result(result)


def write_html(run_dir: Path, path: Path) -> None:
    """The HTML report of a folder's experiment, into a file."""
    from controller.report import render  # noqa: PLC0415 see execute

    document, experiment, result = read_result(run_dir)
    write_atomically(path, render(report_input(experiment, document, result), "html"))


def report_input(experiment: Experiment, document: Document, result: Result | None) -> "ReportInput":
    """What a report is made of."""
    from controller.report import ReportInput  # noqa: PLC0415 see execute

    return ReportInput(
        name=experiment.metadata.name,
        namespace=experiment.metadata.namespace,
        spec=list(document.get("spec", [])),
        result=result,
        completed=result is not None and result.num_completed_tasks == len(experiment.spec),
    )


class _Execution:
    """One experiment under way, which Ctrl-C can end early."""

    def __init__(self, experiment: Experiment, document: Document, run_dir: Path, where: Where, level: str) -> None:
        self._experiment = experiment
        self._document = document
        self._run_dir = run_dir
        self._where = where
        self._level = level
        self._conductor: Conductor | None = None
        self._interrupts = 0
        self._main: asyncio.Task[Result] | None = None
        self._result = Result()
        self.unsaved = ""

    async def run(self, material: "Materials") -> Result:
        """The result; a first Ctrl-C or SIGTERM makes it a partial one, a second ends everything at once."""
        running = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            running.add_signal_handler(number, self._interrupt)
        self._main = asyncio.create_task(self._run(material), name="experiment")
        try:
            return await self._main
        except asyncio.CancelledError:
            if not self._interrupts:
                raise
            self._save(self._result.model_copy(update={"interrupted": True}))
            return self._result

    async def _run(self, material: "Materials") -> Result:
        async with self._site() as site:
            from controller import loop  # noqa: PLC0415 imported beside the agents' start
            from controller.cli.live import watching  # noqa: PLC0415

            async with watching(self._experiment) as watch:

                def note(conductor: "Conductor", task: int) -> None:
                    self._conductor = conductor
                    if self._interrupts:
                        conductor.stop("interrupted")
                    watch(conductor, task)

                return await loop.run(self._experiment, material, replace(site, watch=note), self._save)

    def _interrupt(self) -> None:
        self._interrupts += 1
        import structlog  # noqa: PLC0415 loaded long since

        if self._interrupts == 1 and self._conductor is not None:
            structlog.get_logger().warning(
                "interrupted", what="finishing what is in flight; press Ctrl-C again to end at once"
            )
            self._conductor.stop("interrupted")
        elif self._main is not None:
            self._main.cancel()

    def _save(self, result: Result) -> None:
        self._result = result
        try:
            write_result(self._run_dir, self._document, result)
            self.unsaved = ""
        except BadInputError as error:  # the run goes on: its report is worth having even if it can't be kept
            self.unsaved = str(error)

    @asynccontextmanager
    async def _site(self) -> "AsyncIterator[Site]":
        where = self._where
        async with AsyncExitStack() as stack:
            version = ""
            url = where.nats
            if url is None:
                server = await stack.enter_async_context(nats_server())
                url, version = server.url, server.version
                await stack.enter_async_context(
                    local_agents(self._most_agents(), url, where.namespace, self._quiet_level())
                )
            await asyncio.to_thread(_import_heavy, self._level)
            from controller.fleet import Fleet  # noqa: PLC0415 see above
            from controller.leader import take_term  # noqa: PLC0415
            from controller.tasks.http import Site  # noqa: PLC0415
            from protocol.nats_bus import connect  # noqa: PLC0415

            bus = await stack.enter_async_context(connect(url, name="seatrial"))
            await (bus.set_up() if where.nats else bus.set_up(keep_bytes=KEEP_BYTES))
            term = await take_term(bus, where.namespace)
            fleet = await stack.enter_async_context(Fleet(bus, where.namespace, term).listening())
            yield Site(
                bus=bus,
                fleet=fleet,
                namespace=where.namespace,
                term=term,
                is_local=where.nats is None,
                agents=where.agents,
                wait_s=where.wait_s,
                nats_version=version,
            )

    def _most_agents(self) -> int:
        tasks = [task for task in self._experiment.spec if isinstance(task, HttpTask)]
        return max((agents_for(task, self._where.agents) for task in tasks), default=1)

    def _quiet_level(self) -> str:
        """What an agent of our own logs, unless somebody looks for details, is of no interest."""
        return self._level if self._level in ("debug", "error") else "warning"


def _import_heavy(level: str) -> None:
    from controller.settings import set_up_log  # noqa: PLC0415 see the module's docstring

    set_up_log(level)
    for name in _HEAVY:
        import_module(name)
