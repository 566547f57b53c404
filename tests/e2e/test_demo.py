"""`seatrial demo` as somebody new meets it."""

import time
from pathlib import Path

import pytest
from harness import ended, eventually, world_in


@pytest.fixture
def world(tmp_path):
    """A folder, TMPDIR and environment of its own."""
    with world_in(tmp_path) as found:
        yield found


def test_the_demo_passes_writes_its_report_and_leaves_nothing(world):
    ran = world.run("demo", "--duration", "1s")

    assert ran.code == 0, ran.out + ran.err
    assert "verdict: pass" in ran.out.splitlines()
    assert f"HTML report: {world.folder / 'seatrial-demo.html'}" in ran.out
    assert list(world.files()) == ["seatrial-demo.html"]
    page = Path(world.folder / "seatrial-demo.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "<script src=" not in page
    assert world.leftovers() == []


@pytest.mark.parametrize("after_s", [0, 2], ids=["at-its-start", "in-mid-run"])
def test_ctrl_c_ends_the_demo_and_all_that_it_started(world, after_s):
    """As a terminal does it: the whole foreground group gets the signal."""
    demo = world.start("demo", "--duration", "30s")
    eventually(lambda: len(world.processes("seatrial-agent")) == 2, 30, "two agents")
    time.sleep(after_s)
    world.interrupt(demo)
    ran = ended(demo, 20)

    assert ran.code == 130, ran.out + ran.err
    assert "Traceback" not in ran.err
    assert world.leftovers() == []
