"""`seatrial-agent`: flags -> settings -> service."""

import argparse
import asyncio
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from agent.errors import AgentError
from protocol import __version__

LEVELS = ("debug", "info", "warning", "error")

LAST_WORDS_S = 1.0


def main() -> None:
    """Run an agent until SIGTERM, Ctrl-C, or the end of the process that started it."""
    options = _parser().parse_args()
    try:
        _run(options)
    except AgentError as error:
        sys.stderr.write(f"Error: {error}\n")
        raise SystemExit(4) from error
    sys.stderr.flush()
    os._exit(0)  # all is closed and flushed; taking the interpreter down in order would cost its launcher 50 ms


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Usage errors end with 3, as those of `seatrial` do."""
        self.print_usage(sys.stderr)
        self.exit(3, f"Error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="seatrial-agent",
        description="Make load for the experiments of a Seatrial controller: joins the fleet on a NATS server and takes orders.",
    )
    parser.add_argument(
        "--nats",
        metavar="URL",
        default=os.environ.get("SEATRIAL_NATS"),
        help="the NATS server with JetStream, such as nats://127.0.0.1:4222 (default: $SEATRIAL_NATS)",
    )
    parser.add_argument("--namespace", default="default", help="the fleet to join (default: default)")
    parser.add_argument("--id", dest="agent_id", help="the agent's name (default: <host>-<process id>)")
    parser.add_argument(
        "--policy",
        metavar="FILE",
        type=Path,
        help="TOML with the networks that may be loaded and max_rate_per_s, max_connections (default: loopback and private networks)",
    )
    parser.add_argument("--any-target", action="store_true", help="load whatever the controller says")
    parser.add_argument("--end-with-stdin", action="store_true", help="end when standard input is closed")
    parser.add_argument("--check", action="store_true", help="measure this machine, print it as JSON, and end")
    parser.add_argument("-l", "--loglevel", choices=LEVELS, default="info", help="default: info")
    parser.add_argument("--version", action="version", version=f"seatrial-agent {__version__}")
    return parser


def _run(options: argparse.Namespace) -> None:
    if sys.platform == "win32":
        raise AgentError("seatrial-agent runs on Linux and macOS: on Windows, run it inside WSL")
    if not (options.nats or options.check):
        raise AgentError("no NATS server: say where it is with --nats URL or $SEATRIAL_NATS")
    if options.nats and not options.nats.startswith(("nats://", "tls://")):
        raise AgentError(f"--nats: expected a URL such as nats://127.0.0.1:4222, got {options.nats!r}")
    try:
        import uvloop  # noqa: PLC0415 --help answers without it

        from agent.machine import raise_files_limit  # noqa: PLC0415 see above
    except ModuleNotFoundError as error:
        raise AgentError("the agent's libraries are not installed: pip install 'seatrial[agent]'") from error
    raise_files_limit()
    if options.check:
        from agent.selfcheck import selfcheck  # noqa: PLC0415 not for --help

        sys.stdout.write(uvloop.run(selfcheck()) + "\n")
        sys.stdout.flush()
        return
    if options.end_with_stdin:
        threading.Thread(target=_end_with_stdin, name="end with stdin", daemon=True).start()
    uvloop.run(_serve(options))


async def _serve(options: argparse.Namespace) -> None:
    import structlog  # noqa: PLC0415 see _run

    from agent.drivers.http1 import Http1Driver  # noqa: PLC0415
    from agent.drivers.http2 import Http2Driver  # noqa: PLC0415 see _run
    from agent.duty import Tools  # noqa: PLC0415
    from agent.outcome import Driver, Room  # noqa: PLC0415
    from agent.policy import ANY_TARGET, Policy, read_policy  # noqa: PLC0415
    from agent.service import Service  # noqa: PLC0415
    from agent.settings import Settings, set_up_log  # noqa: PLC0415
    from agent.wake import make_waker  # noqa: PLC0415
    from protocol.errors import BusError  # noqa: PLC0415
    from protocol.messages import Target  # noqa: PLC0415
    from protocol.nats_bus import connect  # noqa: PLC0415

    set_up_log(options.loglevel)
    policy = ANY_TARGET if options.any_target else read_policy(options.policy) if options.policy else Policy()
    settings = Settings(options.nats, options.namespace, policy=policy)
    if options.agent_id:
        settings = replace(settings, agent_id=options.agent_id)

    def make_driver(targets: tuple[Target, ...], home: int, room: Room, user_agent: str) -> Driver:
        driver = Http2Driver if targets[home].http2 else Http1Driver
        return driver(targets, room, home=home, user_agent=user_agent, now_ns=time.perf_counter_ns, admit=policy.admit)

    tools = Tools(make_driver=make_driver, make_waker=make_waker)
    try:
        async with connect(options.nats, name=settings.agent_id) as bus:
            service = Service(bus, settings, tools)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, service.leave)
            structlog.get_logger().info("agent_joined", agent_id=settings.agent_id, namespace=settings.namespace)
            await service.run()
    except BusError as error:
        raise AgentError(str(error)) from error


def _end_with_stdin() -> None:
    """End this process when standard input closes: whoever held its other end is gone, however it ended."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Timer(LAST_WORDS_S, os._exit, (1,)).start()
