"""experiment.yaml as the commands read and write it."""

import fcntl
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from controller.cli.flags import FILE
from controller.errors import BadInputError
from controller.experiment.chart import from_values as document_of
from controller.experiment.document import dump_yaml, parse_yaml, write_atomically
from controller.experiment.outlook import outlook
from controller.experiment.result import Result
from controller.experiment.spec import Experiment, from_document
from controller.experiment.values import merge_values

MAX_BYTES = 32 * 1024 * 1024  # with a result, which we wrote ourselves, it may be larger than what people write
Document = dict[str, Any]


def from_values(
    files: Sequence[str] | None,
    sets: Sequence[str] | None,
    set_strings: Sequence[str] | None,
    set_files: Sequence[str] | None,
    *,
    lenient: bool,
) -> tuple[Document, Experiment]:
    """The experiment that values make, as document and checked."""
    values = merge_values(files or (), sets or (), set_strings or (), set_files or ())
    document = document_of(values, lenient=lenient)
    try:
        return document, from_document(document, "the values", lenient=lenient)
    except BadInputError as error:
        raise BadInputError(_in_values(str(error), document)) from error


def _in_values(message: str, document: Document) -> str:
    """The message with paths as they stand in the values: `http.url`, where the document has `spec[0].with.url`."""
    names = [str(task.get("task", "")) for task in document.get("spec", []) if isinstance(task, dict)]

    def named(found: re.Match[str]) -> str:
        number = int(found[1])
        return f"{names[number]}{found[2]}" if number < len(names) else found[0]

    return re.sub(r"spec\[(\d+)\]\.with(\.?)", named, message)


def read(run_dir: Path, *, lenient: bool = False) -> tuple[Document, Experiment]:
    """The experiment of a folder, as document and checked."""
    path = run_dir / FILE
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
            if len(text) > MAX_BYTES:
                size = os.fstat(file.fileno()).st_size
                raise BadInputError(f"{path}: expected at most {MAX_BYTES >> 20} MiB, got {size / (1 << 20):.1f} MiB")
    except OSError as error:
        raise BadInputError(
            f"{path} can't be read: {error.strerror or error}. Make one with seatrial gen or seatrial launch"
        ) from error
    document = parse_yaml(text, str(path), max_bytes=MAX_BYTES)
    return dict(document) if isinstance(document, dict) else {}, from_document(document, str(path), lenient=lenient)


def warn(experiment: Experiment) -> None:
    """Say, before any load is made, what can't come out well."""
    for caution in outlook(experiment):
        sys.stderr.write(f"Warning: {caution}\n")


@contextmanager
def only_one(run_dir: Path) -> Iterator[None]:
    """Keeps others from running an experiment in the same folder meanwhile; the lock goes with the process."""
    try:
        folder = os.open(run_dir, os.O_RDONLY)
    except OSError as error:
        raise BadInputError(f"--runDir: {run_dir} can't be used: {error.strerror}") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise BadInputError(
            f"another experiment is running in {run_dir.resolve()}: wait for it, or give another folder with --runDir"
        ) from error
    finally:
        os.close(folder)


def read_result(run_dir: Path) -> tuple[Document, Experiment, Result | None]:
    """The same, with what is known of its result."""
    document, experiment = read(run_dir, lenient=True)
    if not experiment.result:
        return document, experiment, None
    try:
        return document, experiment, Result.model_validate(experiment.result)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadInputError(f"{run_dir / FILE}: result.{where}: {first['msg']}. Run the experiment again") from error


def write_new(run_dir: Path, document: Document) -> Path:
    """A new experiment.yaml, in place of any other."""
    if not run_dir.is_dir():
        raise BadInputError(f"--runDir: {run_dir} is no folder")
    path = run_dir / FILE
    write_atomically(path, dump_yaml(document))
    return path


def write_result(run_dir: Path, document: Document, result: Result) -> None:
    """The document with a result, in place of the one without."""
    write_new(run_dir, {**document, "result": result.to_document()})
