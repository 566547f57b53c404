"""How the controller's side logs."""

import logging
import sys
from typing import TextIO, cast

import structlog

LEVELS = ("trace", "debug", "info", "warning", "error", "fatal", "panic")
_NEAREST = {"trace": "debug", "fatal": "critical", "panic": "critical"}


class _Stderr:
    """Whatever standard error is at the time: a live view takes its place for a while, to keep lines apart."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def set_up_log(level: str) -> None:
    """Log to stderr: for people on a terminal, JSON otherwise. The levels are Iter8's."""
    is_terminal = sys.stderr.isatty()
    last = structlog.dev.ConsoleRenderer() if is_terminal else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if is_terminal else "iso", utc=not is_terminal),
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, _NEAREST.get(level, level).upper())),
        logger_factory=lambda *_: structlog.PrintLogger(cast("TextIO", _Stderr())),
        cache_logger_on_first_use=False,
    )
