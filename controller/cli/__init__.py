"""The command line: one module a command, each parses, calls one function, prints, and gives an exit code."""

import os
import signal
import sys


def main() -> None:
    """Run `seatrial`; usage errors and all errors of ours become one line and their exit code."""
    if sys.platform == "win32":
        sys.stderr.write("Error: seatrial runs on Linux and macOS: on Windows, run it inside WSL\n")
        raise SystemExit(3)
    # Python has no streams for descriptors that were closed when it started.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 for as long as we live
    sys.stderr = sys.stderr or sys.stdout
    for number in range(3):  # a closed one would be given to the first socket that is opened
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
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
    except OSError:  # the reader is gone, or the disk is full
        code = code or 4
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
    except SystemExit as done:  # of click: 0 after a completion script, 1 when whoever read our output has gone
        return 4 if done.code == 1 else int(done.code or 0)
    except OSError as error:
        sys.stderr.write(f"Error: the output could not be written: {error.strerror or error}\n")
        return 4
    except Exception as error:  # noqa: BLE001 the outermost edge: what is known becomes one line, a defect shows where it is
        if isinstance(error, usage_error):
            error.show()  # type: ignore[attr-defined]
            return 3
        from controller.cli.exits import of_error  # noqa: PLC0415 not for --help

        known = of_error(error)
        if known is None:
            import traceback  # noqa: PLC0415 for a defect of ours

            traceback.print_exception(error)
            sys.stderr.write("Error: this is a defect of Seatrial: please report it with what stands above\n")
            return 4
        sys.stderr.write(f"Error: {error}\n")
        return int(known)
