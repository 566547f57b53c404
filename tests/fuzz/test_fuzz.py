"""A short round of `make fuzz`, the same inputs each time; and that it would find something."""

from dataclasses import replace

import pytest
from fuzz import fuzz
from subjects import SUBJECTS

INPUTS = 400


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_what_a_server_sends_is_read_the_same_however_it_is_cut(subject):
    tried, failure = fuzz(subject, seed=1, seconds=60, most=INPUTS)

    assert failure is None, f"{failure.data!r}\n{failure.why}"
    assert tried == INPUTS


def test_an_input_that_raises_is_told():
    def check(data, mutator):
        if b"close" in data:
            raise KeyError("close")

    tried, failure = fuzz(replace(SUBJECTS[0], check=check), seed=1, seconds=60, most=INPUTS)

    assert tried < INPUTS
    assert b"close" in failure.data
    assert "KeyError: 'close'" in failure.why
