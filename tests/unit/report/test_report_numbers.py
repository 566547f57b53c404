import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.report.numbers import figure, figure_beside, printable, share


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.004, "0.004"),
        (0.0, "0"),
        (-0.0, "0"),
        (3000.0, "3000"),
        (7.31, "7.31"),
        (24.3184, "24.32"),
        (12345.678, "12346"),
        (9.99999, "10"),
        (0.00004567, "0.00004567"),
        (1e-9, "1e-09"),
        (2.5e18, "2.5e+18"),
        (-2500.4, "-2500"),
        (None, "unavailable"),
        (math.nan, "unavailable"),
        (math.inf, "infinite"),
    ],
)
def test_a_number_has_four_significant_digits_and_no_exponent_where_people_read_it(value, text):
    assert figure(value) == text


@given(st.floats(min_value=1e-300, allow_infinity=False))
def test_what_is_not_zero_never_prints_as_zero(value):
    assert float(figure(value)) > 0


@given(st.floats(min_value=-1e12, max_value=1e12))
def test_a_printed_number_is_close_to_the_number(value):
    assert float(figure(value)) == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(
    ("value", "text"), [(50.0004, "50.0004"), (49.99999, "49.99999"), (50.0, "50"), (24.318, "24.32")]
)
def test_a_value_is_printed_on_its_own_side_of_the_limit(value, text):
    assert figure_beside(value, 50) == text


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_a_printed_value_compares_with_its_limit_as_the_value_does(value, limit):
    printed = float(figure_beside(value, limit))

    assert (printed > limit, printed < limit) == (value > limit, value < limit)


def test_a_share_of_nothing_is_empty():
    assert share(1, 0) == ""
    assert share(12, 3000) == "0.4%"


def test_what_moves_a_terminals_cursor_is_not_printed():
    assert printable("a\x1b[31mb\nc\u202ed\ud800") == "a [31mb c d "
