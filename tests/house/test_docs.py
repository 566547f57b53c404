"""What the documentation shows works: every code block is run or loaded, every link leads somewhere, nothing is missing."""

import ast
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.policy import read_policy
from controller.experiment.chart import from_values
from controller.experiment.document import parse_yaml
from controller.experiment.outlook import Code
from controller.experiment.spec import from_document, load
from controller.measure import Unknown

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
BIN = Path(sys.executable).parent
START_S = 15.0
BLOCK_S = 60.0
PORTS = ("8000", "4222")  # the sample service's and NATS's, as the pages write them

# Blocks that can't be run here, by their first line. Keep this short.
NOT_RUN = {
    "make demo": "it makes a virtual environment, and `make test` would run this test again",
    "seatrial --install-completion": "it changes the configuration of whoever runs the tests",
}


@dataclass(frozen=True)
class Block:
    """One fenced block of a page, and what the HTML comment before it says: `<!-- exit: 1 -->`, `<!-- file: x.yaml -->`."""

    page: Path
    line: int
    language: str
    text: str
    exit: int = 0
    file: str = ""

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}, line {self.line}"

    @property
    def is_run(self) -> bool:
        return self.language == "bash" and self.text.splitlines()[0] not in NOT_RUN


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start, comment = None, ""
    for number, line in enumerate(lines):
        if start is not None:
            if line.strip() == "```":
                yield Block(
                    page,
                    start + 1,
                    lines[start].strip().removeprefix("```"),
                    "\n".join(lines[start + 1 : number]) + "\n",
                    exit=int(_said(comment, "exit") or 0),
                    file=_said(comment, "file"),
                )
                start, comment = None, ""
        elif line.strip().startswith("```"):
            start = number
        elif line.strip():
            comment = line
    assert start is None, f"{page}: the block of line {start} does not end"


def _said(comment: str, what: str) -> str:
    found = re.fullmatch(rf"<!-- {what}: (\S+) -->", comment.strip())
    return found[1] if found else ""


def free_port() -> str:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class Reader:
    """Somebody who follows a page: types its commands and makes its files in one folder; what they start ends with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {port: free_port() for port in PORTS}
        self._groups: list[int] = []

    def plain(self, text: str) -> str:
        """The text with the ports that are free here in place of the page's."""
        return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda found: self.ports[found[1]], text)

    def make(self, block: Block) -> None:
        (self.folder / block.file).write_text(self.plain(block.text), encoding="utf-8")

    def run(self, block: Block) -> None:
        outcome = self.type(block.text)

        assert outcome.returncode == block.exit, f"{block.where}\n{(self.folder / 'output').read_text()}"

    def type(self, commands: str) -> subprocess.CompletedProcess[bytes]:
        environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(self.folder)}
        environment.pop("SEATRIAL_NATS", None)
        script = self.folder / "block.sh"
        script.write_text(self.plain(commands), encoding="utf-8")
        # Output goes to a file: a pipe would stay open for as long as what was started with & lives.
        with (self.folder / "output").open("wb") as output:
            shell = subprocess.Popen(
                ["bash", "-eu", str(script)],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._groups.append(shell.pid)
            code = shell.wait(BLOCK_S)
        for page_port, port in self.ports.items():
            if f"--port {page_port}" in commands:
                _await_listener(int(port))
        return subprocess.CompletedProcess(commands, code)

    def leave(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for group in self._groups:
                with suppress(ProcessLookupError):
                    os.killpg(group, number)
            time.sleep(0.2)


def _await_listener(port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    pytest.fail(f"nothing listens on port {port} after {START_S:g} s")


@contextmanager
def reading(page: Path, folder: Path) -> Iterator[Reader]:
    """A reader in a folder, with a sample service if the page takes it for granted."""
    reader = Reader(folder)
    try:
        texts = [block.text for block in blocks(page) if block.is_run]
        if not any("seatrial target" in text for text in texts):
            reader.type("seatrial target --port 8000 &")
        yield reader
    finally:
        reader.leave()


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.is_run for block in blocks(page))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_commands_of_a_page_end_as_it_says(page: Path, tmp_path: Path):
    with reading(page, tmp_path) as reader:
        for block in blocks(page):
            if block.file:
                reader.make(block)
            elif block.is_run:
                reader.run(block)


def test_files_on_a_page_are_what_they_are_called(tmp_path: Path):
    for block in (block for page in PAGES for block in blocks(page)):
        match block.language, block.file:
            case "yaml", "values.yaml":
                values = parse_yaml(block.text, block.where)
                assert isinstance(values, dict)
                from_document(from_values(values), block.where)
            case "yaml", "" | "experiment.yaml":
                load(block.text, block.where)
            case "toml", "policy.toml":
                (tmp_path / block.file).write_text(block.text)
                read_policy(tmp_path / block.file)
            case "json", _:
                json.loads(block.text)
            case "bash" | "text", "":
                pass
            case _:
                pytest.fail(f"{block.where}: nobody knows how to check a block of {block.language} in {block.file!r}")


def test_every_exception_is_still_needed():
    firsts = {block.text.splitlines()[0] for page in PAGES for block in blocks(page)}

    assert set(NOT_RUN) <= firsts


def test_the_reference_is_what_the_schema_says():
    generated = runpy.run_path(str(DOCS / "generate.py"))["page"]()

    assert (DOCS / "reference" / "experiment.md").read_text(encoding="utf-8") == generated, "run `make docs`"


def headings(page: Path) -> list[str]:
    """The headings of a page, without those that stand in code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings have on GitHub and in MkDocs."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings(page))
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page

        assert target.is_file(), f"{page}: {link}"
        assert not anchor or anchor in anchors(target), f"{page}: {link}"


def test_every_page_is_in_the_index():
    index = (DOCS / "index.md").read_text(encoding="utf-8")

    for page in DOCS.rglob("*.md"):
        assert page.name == "index.md" or f"({page.relative_to(DOCS)})" in index, page


def finding_codes() -> set[str]:
    """Every code that the controller can give a finding, read from its source."""
    found = {*map(str, Code), str(Unknown.UNACCOUNTED), str(Unknown.CUT_OFF)}
    inner: set[str] = set()  # what decides an SLO, where that has another name as a finding
    for path in (ROOT / "controller").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Name(id="_finding" | "of_code") | ast.Attribute(attr="of_code"), args=[first, *_]
                ):
                    found |= _texts(first)
                case ast.Assign(targets=[ast.Name(id="code")], value=value):
                    found |= _texts(value)
                case ast.Assign(targets=[ast.Name(id="names")], value=ast.Dict(keys=keys, values=values)):
                    inner |= {text for key in keys if key for text in _texts(key)}
                    found |= {text for value in values for text in _texts(value)}
    return found - inner


def _texts(node: ast.expr) -> set[str]:
    """The texts that an expression may have as its value."""
    match node:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.IfExp(body=body, orelse=orelse):
            return _texts(body) | _texts(orelse)
    return set()


def test_every_finding_has_one_heading_and_every_heading_a_finding():
    page = DOCS / "invalid-runs.md"
    codes = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)

    assert sorted(codes) == sorted(finding_codes())
