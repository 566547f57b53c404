from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from controller.cli.live import view
from controller.progress import Progress, TargetProgress

CONSTANT = Progress(
    phase="running",
    segment="http",
    number=1,
    segments=2,
    elapsed_s=12.0,
    length_s=60.0,
    planned=18_000,
    requests=3412,
    errors=0,
    rate_per_s=298.7,
    asked_per_s=12_345.0,
    p50_ms=6.31,
    p99_ms=24.2,
    p999_ms=1830.0,
    agents=2,
    lost=0,
)
MIX = (
    TargetProgress("home", 6, 2046, 0, 5.1, 17.9),
    TargetProgress("\x1b[31msearch", 3, 1023, 7, 21.0, None),
)


def shown(now: Progress, width: int = 80) -> str:
    console = Console(width=width, record=True, file=StringIO())
    console.print(view(now, "shop task 0"))
    return console.export_text()


def test_a_constant_load_shows_its_rate_and_no_stage():
    text = shown(CONSTANT)

    assert "299 of 12,345" in text
    assert "12 s, 48 s left" in text
    assert "stage" not in text
    assert "endpoint" not in text
    assert "not measured" not in text


def test_a_ramp_shows_its_stage_and_what_it_asks_for_now():
    text = shown(replace(CONSTANT, stage="to 300", load_now=213.4))

    assert "stage to 300" in text
    assert "299 of 213" in text


def test_stages_of_users_show_the_users_and_no_rate():
    text = shown(replace(CONSTANT, is_open=False, asked_per_s=None, stage="peak", load_now=40.0))

    assert "stage peak (40 users)" in text
    assert "299 of" not in text


def test_the_targets_of_a_mix_stand_below_with_their_weights():
    lines = shown(replace(CONSTANT, targets=MIX)).splitlines()

    assert [line.split() for line in lines[-2:]] == [
        ["home", "6", "2,046", "0", "5.1", "ms", "17.9", "ms"],
        ["[31msearch", "3", "1,023", "7", "21", "ms", "-"],
    ]


def test_what_is_outside_the_measured_part_says_so():
    assert "not measured" in shown(replace(CONSTANT, is_measured=False))


@pytest.mark.parametrize("targets", [(), MIX])
def test_it_fits_eighty_columns(targets):
    text = shown(replace(CONSTANT, stage="to 300", load_now=213.4, targets=targets, lost=1))

    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
