"""All checks, side by side, but for the timer's, which comes first: the others would disturb it."""

import asyncio
import socket
from dataclasses import dataclass
from pathlib import Path

from controller.doctor import bus, facts, target
from controller.doctor.line import Line, Load, ok
from controller.doctor.target import Aim
from controller.experiment.http import HttpEndpoint, HttpTask
from controller.experiment.http_parts import TlsSettings
from controller.experiment.spec import Experiment
from controller.tasks.crew import agents_for
from protocol.messages import Hello


@dataclass(frozen=True)
class Question:
    """What is to be checked, and for what."""

    load: Load
    aims: tuple[Aim, ...] = ()
    nats: str | None = None
    namespace: str = "default"
    run_dir: Path = Path()


def for_experiment(experiment: Experiment, agents: int | None) -> tuple[Load, tuple[Aim, ...]]:
    """The heaviest load of an experiment's tasks, and every URL once."""
    tasks = [task for task in experiment.spec if isinstance(task, HttpTask)]
    endpoints = [endpoint for task in tasks for endpoint in task.resolved()]
    rates = [float(rate) for endpoint in endpoints if (rate := endpoint.peak_rate_per_s) is not None]
    certain = [endpoint.ahead if endpoint.is_open else endpoint.connections for endpoint in endpoints]
    aims = {(endpoint.url, endpoint.method): _aim(endpoint) for endpoint in endpoints}
    ports = {aim.port for aim in aims.values()}
    load = Load(
        agents=max((agents_for(task, agents) for task in tasks), default=1),
        connections=max((endpoint.connections for endpoint in endpoints), default=0),
        certain=max(certain, default=0),
        rate_per_s=max(rates, default=None),
        keep_alive=all(endpoint.keep_alive for endpoint in endpoints),
        port=ports.pop() if len(ports) == 1 else None,
    )
    return load, tuple(aims.values())


async def check(question: Question) -> list[Line]:
    """Every line; it takes at most some 15 s, mostly less than two."""
    on_agent = [] if question.nats else await facts.of_agent(question.load)
    (on_target, addresses), (on_bus, here) = await asyncio.gather(target.look(question.aims), _bus(question))
    if question.nats and _is_here(here):
        on_agent = await facts.of_agent(question.load)
    if on_agent:
        port_line = facts.of_ports(question.load, addresses)
        on_agent.append(port_line)
    else:
        on_agent = [ok("machine", "makes no load itself: run seatrial doctor on the agents' machines")]
    on_disk = facts.of_disk(question.run_dir, has_private_bus=question.nats is None)
    return [*on_agent, *on_disk, *on_bus, *on_target]


async def _bus(question: Question) -> tuple[list[Line], list[Hello]]:
    if question.nats is None:
        return [await bus.of_private()], []
    return await bus.of_given(question.nats, question.namespace, question.load)


def _is_here(here: list[Hello]) -> bool:
    return any(hello.host == socket.gethostname() for hello in here)


def _aim(endpoint: HttpEndpoint) -> Aim:
    return Aim(
        url=endpoint.url,
        method=endpoint.method,
        headers=endpoint.headers,
        auth=endpoint.auth,
        tls=endpoint.tls or TlsSettings(),
        http2=endpoint.http2,
        timeout_s=endpoint.timeout_s,
        is_error=lambda status: any(status in one for one in endpoint.error_ranges),
        errors_expected=endpoint.expect == "errors",
    )
