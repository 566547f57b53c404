import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import subjects

quick = settings(deadline=None, max_examples=60)
words = st.text(min_size=1, max_size=12)
FUNCTIONS = [subjects.agent, subjects.heartbeat, subjects.shards]
TOKEN = re.compile(r"[A-Za-z0-9_%=-]+")


@quick
@given(st.sampled_from(FUNCTIONS), words, words)
def test_a_name_is_one_token_whatever_is_in_it(function, namespace, name):
    tokens = function(namespace, name).split(".")

    assert len(tokens) == len(function("a", "b").split("."))
    assert all(TOKEN.fullmatch(token) for token in tokens)


@quick
@given(words, words, words, words)
def test_different_names_have_different_subjects(first, second, third, fourth):
    for function in (*FUNCTIONS, subjects.checkpoint_blob):
        same = function(first, second) == function(third, fourth)
        assert same == ((first, second) == (third, fourth))


@quick
@given(words)
def test_keys_hold_only_what_jetstream_allows(namespace):
    assert re.fullmatch(r"[-/_=.a-zA-Z0-9]+", subjects.term_key(namespace))


@pytest.mark.parametrize("namespace", ["default", "team.a", "*", ">"])
def test_the_stream_takes_in_the_shards_of_every_run(namespace):
    pattern = re.escape(subjects.all_shards()).replace(r"\*", "[^.]+")

    assert re.fullmatch(pattern, subjects.shards(namespace, "run-1"))
