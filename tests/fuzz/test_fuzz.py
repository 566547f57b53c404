"""A short round of `make fuzz`, the same inputs each time; and that it would find something."""

from dataclasses import replace

import pytest
from fuzz import fuzz
from mutate import Mutator
from subjects import SUBJECTS

INPUTS = 400


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_what_a_server_sends_is_read_the_same_however_it_is_cut(subject):
    tried, failure = fuzz(subject, seed=1, seconds=60, most=INPUTS)

    assert failure is None, f"{failure.data!r}\n{failure.why}"
    assert tried == INPUTS


# What fuzzing has found, once mended: each again, as every kind of request's answer.
FOUND = {
    "a change of the protocol after the response": (
        b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
    ),
    "an empty line after the body": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\r\n",
}


@pytest.mark.parametrize("subject", SUBJECTS[:2], ids=lambda subject: subject.name)
@pytest.mark.parametrize("data", FOUND.values(), ids=FOUND)
def test_what_was_found_stays_mended(subject, data):
    for seed in range(20):
        subject.check(data, Mutator(subject.corpus, subject.words, seed))


def test_an_input_that_raises_is_told():
    def check(data, mutator):
        if b"close" in data:
            raise KeyError("close")

    tried, failure = fuzz(replace(SUBJECTS[0], check=check), seed=1, seconds=60, most=INPUTS)

    assert tried < INPUTS
    assert b"close" in failure.data
    assert "KeyError: 'close'" in failure.why
