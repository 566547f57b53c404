from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import BadInputError
from controller.experiment.strvals import parse_set, parse_set_file, parse_set_string


def values_of(*texts):
    values = {}
    for text in texts:
        parse_set(text, values)
    return values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name=value", {"name": "value"}),
        ("a=b,c=d", {"a": "b", "c": "d"}),
        ("outer.inner=value", {"outer": {"inner": "value"}}),
        ("name={a, b, c}", {"name": ["a", "b", "c"]}),
        ("name={a,b,c}", {"name": ["a", "b", "c"]}),
        ("name=[],a=null", {"name": [], "a": None}),
        ("name={}", {"name": []}),
        ("servers[0].port=80", {"servers": [{"port": 80}]}),
        ("servers[0].port=80,servers[0].host=example", {"servers": [{"port": 80, "host": "example"}]}),
        (r"name=value1\,value2", {"name": "value1,value2"}),
        (r"nodeSelector.kubernetes\.io/role=master", {"nodeSelector": {"kubernetes.io/role": "master"}}),
    ],
)
def test_each_example_of_helms_documentation_reads_as_documented(text, expected):
    assert values_of(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("t=true,f=False,n=null", {"t": True, "f": False, "n": None}),
        ("a=0,b=-7,c=1234567890", {"a": 0, "b": -7, "c": 1234567890}),
        ("a=00009,b=0x10,c=1.2.3,d=.5,e=-", {"a": "00009", "b": "0x10", "c": "1.2.3", "d": ".5", "e": "-"}),
        ("qps=1.5,rate=0.25,big=1e3", {"qps": 1.5, "rate": 0.25, "big": 1000.0}),
        ("a=" + "9" * 5000, {"a": "9" * 5000}),
        ("key=,other=x", {"key": "", "other": "x"}),
        ("a=1,", {"a": 1}),
        ("a=1, b=2", {"a": 1, "b": 2}),
        (r"a=one\=two,b=\{x\}", {"a": "one=two", "b": "{x}"}),
        (r"a\[0\]=x", {"a[0]": "x"}),
        (r"a={x\,y,z\}}", {"a": ["x,y", "z}"]}),
        ("a={1,true,x}", {"a": [1, True, "x"]}),
        ("a={x,}", {"a": ["x", ""]}),
        ("a=k=v", {"a": "k=v"}),
        ("url=http://127.0.0.1:8000/?x=[1]", {"url": "http://127.0.0.1:8000/?x=[1]"}),
        ("a[2]=x", {"a": [None, None, "x"]}),
        ("a[0][1]=x", {"a": [[None, "x"]]}),
        ("a[1].b=2,a[0].b=1", {"a": [{"b": 1}, {"b": 2}]}),
        ("a.b[0]={x,y}", {"a": {"b": [["x", "y"]]}}),
        ("SLOs.upper.http/latency-mean=50", {"SLOs": {"upper": {"http/latency-mean": 50}}}),
        (r"upper.http/latency-p99\.9=50", {"upper": {"http/latency-p99.9": 50}}),
        ("unicode=grün", {"unicode": "grün"}),
    ],
)
def test_values_are_typed_listed_and_escaped(text, expected):
    assert values_of(text) == expected


def test_later_flags_add_to_earlier_ones_and_win_over_them():
    assert values_of("a.b=1,a.c={x,y}", "a.b=2", "a.c[1]=z", "a.d=null") == {"a": {"b": 2, "c": ["x", "z"], "d": None}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected key=value"),
        ("name", "got no ="),
        ("a,b=1", "before the comma"),
        ("a=1,,b=2", "expected a key"),
        ("=1", "expected a key"),
        ("a.=1", "expected a key"),
        ("a={1,2", "expected } at the end"),
        ("a={", "expected } at the end"),
        ("a={1}b", "a comma or nothing after }"),
        ("a={1},]={}].", "a comma or nothing after }"),
        ("a[0]b=1", "after an index"),
        ("a[0]", "after an index"),
        ("a[0", "expected ]"),
        ("a[-1]=1", "an index from 0 to 65536, got '-1'"),
        ("a[65537]=1", "an index from 0 to 65536"),
        ("a[x]=1", "an index from 0 to 65536"),
        ("a[٣]=1", "an index from 0 to 65536"),
        ("a[]=1", "an index from 0 to 65536"),
        ("a=1,a.b=2", "a is not a map"),
        ("a.b=1,a[0]=2", "a is not a list"),
        ("a=b\\", "after the backslash"),
        (".".join("a" * 40) + "=1", "at most 30 levels"),
    ],
)
def test_a_mistake_names_the_flag_the_text_and_what_was_expected(text, words):
    with pytest.raises(BadInputError) as raised:
        values_of(text)

    assert str(raised.value).startswith(f"--set {text!r}, character ")
    assert words in str(raised.value)


def test_set_string_keeps_everything_text():
    values = {}
    parse_set_string("a=1,b=true,c={1,null},d=", values)

    assert values == {"a": "1", "b": "true", "c": ["1", "null"], "d": ""}


def test_set_file_puts_in_what_the_path_holds():
    values = {}
    parse_set_file("a.b=one,c={two,three}", values, str.upper)

    assert values == {"a": {"b": "ONE"}, "c": ["TWO", "THREE"]}


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
trees = st.recursive(words, lambda inner: st.dictionaries(words, inner, min_size=1, max_size=3), max_leaves=8)


def escaped(text):
    return "".join(f"\\{character}" for character in text)


def flags(tree, path=()):
    if isinstance(tree, dict):
        return [flag for key, inner in tree.items() for flag in flags(inner, (*path, escaped(key)))]
    return [f"{'.'.join(path)}={escaped(tree)}"]


@given(st.dictionaries(words, trees, min_size=1, max_size=3))
def test_any_nested_map_survives_being_written_as_set_strings(tree):
    values = {}
    parse_set_string(",".join(flags(tree)), values)

    assert values == tree


@given(st.text("ab0=.,[]{}\\ ", max_size=20) | st.text(max_size=40))
def test_any_text_either_parses_or_is_refused_as_bad_input(text):
    with suppress(BadInputError):
        parse_set(text, {})
