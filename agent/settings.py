"""What an agent is told when it starts, and how it logs."""

import logging
import os
import socket
import sys
from dataclasses import dataclass, field
from uuid import uuid4

import structlog

from agent.policy import Policy


@dataclass(frozen=True)
class Settings:
    """One agent process."""

    nats_url: str
    namespace: str = "default"
    agent_id: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    incarnation: str = field(default_factory=lambda: uuid4().hex[:12])
    policy: Policy = field(default_factory=Policy)
    host: str = field(default_factory=socket.gethostname)


def set_up_log(level: str) -> None:
    """Log to stderr: for people on a terminal, JSON otherwise."""
    is_terminal = sys.stderr.isatty()
    last = structlog.dev.ConsoleRenderer() if is_terminal else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
