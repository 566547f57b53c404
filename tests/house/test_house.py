"""What the house promises and import-linter can't see: what is shipped, what is pure, where things are spelt."""

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("protocol", "agent", "controller")
MODULES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FORBIDDEN = {"asyncio", "time", "socket", "aiohttp", "nats", "grpc", "kubernetes", "threading", "subprocess"}
PURE = [
    "protocol/messages.py",
    "protocol/subjects.py",
    "protocol/codec.py",
    "protocol/histogram.py",
    "protocol/schedule.py",
    "protocol/arrivals.py",
    "protocol/series.py",
    "agent/record.py",
    "agent/policy.py",
    "controller/plan.py",
    "controller/merge.py",
    "controller/measure.py",
    "controller/assess.py",
    "controller/events.py",
    "controller/run.py",
    "controller/account.py",
    "controller/summary.py",
    "controller/findings.py",
    *map(str, sorted(path.relative_to(ROOT) for path in (ROOT / "controller" / "experiment").rglob("*.py"))),
]


def parsed(path):
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def imported(path):
    """The modules that a file imports, in full."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names in the wheel that is built from this folder."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, text=True)
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel):
    tops = {name.partition("/")[0] for name in wheel.namelist()}

    (about,) = (name for name in tops if name.endswith(".dist-info"))
    assert tops - {about} == set(PACKAGES)


def test_the_wheel_holds_every_module(wheel):
    assert {name for name in wheel.namelist() if name.endswith(".py")} == set(map(str, MODULES))


def test_the_wheel_has_both_commands(wheel):
    (entries,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))

    said = wheel.read(entries).decode()

    assert "seatrial = controller:main" in said
    assert "seatrial-agent = agent:main" in said


@pytest.mark.parametrize("path", [path for path in MODULES if path.parts[0] == "protocol"], ids=str)
def test_the_protocol_imports_nothing_of_ours(path):
    assert not {name for name in imported(path) if name.partition(".")[0] in ("agent", "controller")}


@pytest.mark.parametrize("path", [path for path in MODULES if path.parts[0] != "protocol"], ids=str)
def test_agent_and_controller_meet_only_in_the_protocol(path):
    other = {"agent": "controller", "controller": "agent"}[path.parts[0]]

    assert other not in {name.partition(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", PURE)
def test_what_is_pure_knows_no_clock_no_loop_and_no_socket(path):
    assert not {name for name in imported(path) if name.partition(".")[0] in FORBIDDEN}
    assert not [node for node in ast.walk(parsed(path)) if isinstance(node, ast.AsyncFunctionDef | ast.Await)]


def test_one_file_spells_the_subjects():
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in MODULES}

    assert [str(path) for path, text in texts.items() if re.search(r"seatrial\.v\d", text, re.IGNORECASE)] == [
        "protocol/subjects.py"
    ]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_every_public_module_says_why_it_exists(path):
    assert ast.get_docstring(parsed(path)), f"{path} has no docstring"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120
