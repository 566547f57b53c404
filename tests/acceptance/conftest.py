"""A world of its own for each test, and one healthy target for a whole file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Target, World, serving, world_in


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A private folder, TMPDIR and environment; whatever still runs in it afterwards is killed."""
    with world_in(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A scripted target; tests tell their requests apart by path."""
    with serving() as found:
        yield found
