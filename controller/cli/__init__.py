"""The command line: one module a command, each parses, calls one function, prints, and gives an exit code."""

import os
import sys


def main() -> None:
    """Run `seatrial`; usage errors and all errors of ours become one line and their exit code."""
    if sys.platform == "win32":
        sys.stderr.write("Error: seatrial runs on Linux and macOS: on Windows, run it inside WSL\n")
        raise SystemExit(3)
    try:
        from controller.cli.app import app  # noqa: PLC0415 after the platform is known to be right

        code = _run(app)
    except ModuleNotFoundError as error:
        sys.stderr.write(f"Error: {error.name} is not installed: pip install 'seatrial[all]'\n")
        code = 3
    except KeyboardInterrupt:  # while still importing
        sys.stderr.write("\nInterrupted\n")
        code = 130
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = 4
    os._exit(code)  # everything is closed; taking a large interpreter down in order takes a tenth of a second


def _run(app: object) -> int:
    import typer  # noqa: PLC0415 see main

    assert isinstance(app, typer.Typer)
    # Typer brings its own click, and earlier versions use the real one: this is the base of whichever it is.
    usage_error = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
    try:
        return int(app(standalone_mode=False) or 0)
    except typer.Exit as exit_:
        return exit_.exit_code
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("\nInterrupted\n")
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 4
    except Exception as error:  # the outermost edge: what is known becomes one line, a defect shows where it is
        if isinstance(error, usage_error):
            error.show()  # type: ignore[attr-defined]
            return 3
        from controller.cli.exits import of_error  # noqa: PLC0415 not for --help

        known = of_error(error)
        if known is None:
            raise
        sys.stderr.write(f"Error: {error}\n")
        return int(known)
