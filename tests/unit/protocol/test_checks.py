import json
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from protocol.checks import bytes_needed, compile_check, parse_json_path
from protocol.messages import Check, CheckKind

quick = settings(deadline=None, max_examples=300)
MISSING = object()
names = st.sampled_from(["a", "b", "c d", "é", '"', "\\", "", "$", "0"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from([0, 1, 1.0, 0.0, "", "a", "1", "é", "\n"])
    | st.floats(allow_nan=False, allow_infinity=False)
)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=12
)
steps = names | st.integers(0, 3)


def checked(body, path, value):
    return compile_check(Check(CheckKind.JSON_PATH, path, value))(body)


def written(path):
    return "$" + "".join(f"[{json.dumps(step, ensure_ascii=False)}]" for step in path)


def reference(body, path):
    """The value at the path; MISSING without one; a ValueError for what is no JSON."""

    def refuse(word):
        raise ValueError(word)

    found = json.loads(body.decode("utf-8"), parse_constant=refuse)
    for step in path:
        if (isinstance(step, str) and isinstance(found, dict) and step in found) or (
            isinstance(step, int) and isinstance(found, list) and step < len(found)
        ):
            found = found[step]
        else:
            return MISSING
    return found


def canonical(value):
    """Equal for what is the same in JSON: 1 and 1.0 are, 1 and true are not."""
    match value:
        case bool() | None | str():
            return (type(value).__name__, value)
        case list():
            return [canonical(one) for one in value]
        case dict():
            return {name: canonical(one) for name, one in value.items()}
        case _:
            return value


def existing_paths(found, path=()):
    yield path
    if isinstance(found, dict):
        for name, inner in found.items():
            yield from existing_paths(inner, (*path, name))
    elif isinstance(found, list):
        for index, inner in enumerate(found):
            yield from existing_paths(inner, (*path, index))


@quick
@given(documents, st.data())
def test_the_value_at_a_path_is_the_one_that_a_full_reading_finds(document, data):
    body = json.dumps(
        document, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.sampled_from([None, 2]))
    ).encode()
    path = data.draw(st.sampled_from(list(existing_paths(document))) | st.lists(steps, max_size=4).map(tuple))
    found = reference(body, path)

    if found is MISSING:
        assert "got nothing there" in checked(body, written(path), "7")
    else:
        assert checked(body, written(path), json.dumps(found)) == ""


@quick
@given(documents, scalars | documents, st.data())
def test_two_values_are_the_same_if_json_has_them_so(document, wanted, data):
    path = data.draw(st.sampled_from(list(existing_paths(document))))
    body = json.dumps(document).encode()

    why = checked(body, written(path), json.dumps(wanted))

    assert (why == "") == (canonical(reference(body, path)) == canonical(wanted))


@quick
@given(documents, st.data())
def test_what_is_no_json_fails_wherever_it_is_broken(document, data):
    body = bytearray(json.dumps({"a": document, "z": [1]}).encode())
    at = data.draw(st.integers(0, len(body) - 1))
    body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    assume(
        b"\\u" not in body and not re.search(rb"[eE][+-]?\d", body)
    )  # halves of surrogates, and floats beyond all bounds
    try:
        found = reference(bytes(body), ("z", 0))
    except ValueError:
        found = None

    why = checked(bytes(body), "z[0]", "1")

    if found is None:
        assert "not JSON" in why or "not UTF-8" in why
    else:
        assert (why == "") == (canonical(found) == 1)


@pytest.mark.parametrize(
    ("body", "path", "value", "why"),
    [
        (b'{"a": {"b": [7]}}', "$.a.b[0]", "8", "json-path: expected 8 at $.a.b[0], got 7"),
        (b'{"a": true}', "a", "1", "json-path: expected 1 at a, got true"),
        (b'{"a": 1}', "a", "true", "json-path: expected true at a, got 1"),
        (b'{"a": 1.0}', "a", "1", ""),
        (b'{"a": null}', "a", "null", ""),
        (b"{}", "a", "null", "json-path: expected null at a, got nothing there"),
        (b'{"a": [1]}', "a.b", "1", "json-path: expected 1 at a.b, got nothing there"),
        (b'{"a": {"b": 1}, "a": {"b": 2}}', "a.b", "2", ""),
        (b'{"a": 3, "a": {"b": 2}}', "a.b", "2", ""),
        (b'{"a": [{"b": 1}, {"b": 2}]}', "$.a[1].b", "2", ""),
        (b"[[1, 2], [3]]", "$[1][0]", "3", ""),
        (b'"x"', "$", '"x"', ""),
        (b'{"c d": 1}', '$["c d"]', "1", ""),
        (b'{"a": {"y": [2, 1], "x": 0}}', "a", '{"x": 0, "y": [2, 1]}', ""),
        (b"", "a", "1", "got a body that is not JSON: input data was truncated"),
        (b"<html>", "a", "1", "got a body that is not JSON"),
        (b'{"a": 1} x', "a", "1", "got a body that is not JSON"),
        (b'{"a": 1, "b": "\xff"}', "a", "1", "got a body that is not UTF-8"),
        (b"[" * 100_000, "a", "1", "nested too deeply"),
        (b'{"a": ' + b"[" * 100_000, "a", "1", "nested too deeply"),
        (b'{"a": "%s"}' % (b"x" * 1000), "a", "1", "x…"),
    ],
)
def test_a_failed_check_says_what_was_expected_and_got(body, path, value, why):
    found = checked(body, path, value)

    assert found == why if not why or why.startswith("json-path") else why in found
    assert len(found) < 300


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("$", ()),
        ("a", ("a",)),
        ("$.a", ("a",)),
        (".a", ("a",)),
        ('$.a.b[0]["c d"]', ("a", "b", 0, "c d")),
        ("a-b.c_d[12]", ("a-b", "c_d", 12)),
        ("[0]", (0,)),
        ("$['it\\'s']['\\\\']", ("it's", "\\")),
        ("$[ 3 ]['é']", (3, "é")),
        ("data.user@home", ("data", "user@home")),
    ],
)
def test_a_path_is_read(text, path):
    assert parse_json_path(text) == path


@pytest.mark.parametrize(
    "text", ["", "$.", "a..b", "a[", "a[x]", "a[-1]", "a[*]", "$.*", "$..a", "a b", "a['b]", "a[0]b", "$a"]
)
def test_what_is_no_path_of_names_and_indices_is_refused(text):
    with pytest.raises(ValueError, match="expected a JSON path of"):
        parse_json_path(text)


@pytest.mark.parametrize("value", ["", "x", "{", "1 2", "[" * 100_000])
def test_what_is_no_json_can_not_be_expected(value):
    with pytest.raises(ValueError, match="expected a JSON value"):
        compile_check(Check(CheckKind.JSON_PATH, "a", value))


@quick
@given(st.binary(max_size=20), st.text(st.sampled_from("abé"), min_size=1, max_size=3))
def test_contains_is_about_bytes(body, text):
    why = compile_check(Check(CheckKind.CONTAINS, text))(body)

    assert (why == "") == (text.encode() in body)
    if why:
        assert why.startswith(f"contains: expected a body with {text!r}, got ")


def test_a_regular_expression_matches_anywhere():
    run = compile_check(Check(CheckKind.REGEX, r'"id": *\d+é?'))

    assert run(b'\xff{"id":  7}') == ""
    assert run(b'{"id": x}') == """regex: expected a body that matches '"id": *\\\\d+é?', got '{"id": x}'"""


@pytest.mark.parametrize("pattern", ["", "(", "*", "a{99999999999}"])
def test_what_is_no_regular_expression_is_refused(pattern):
    with pytest.raises(ValueError, match="expected a regular expression"):
        compile_check(Check(CheckKind.REGEX, pattern))


def test_a_body_may_have_so_many_bytes_and_no_more():
    check = Check(CheckKind.MAX_BYTES, "3")
    run = compile_check(check)

    assert run(b"") == run(b"abc") == ""
    assert run(b"abcde") == "max-bytes: expected a body of at most 3 bytes, got 5"
    assert bytes_needed(check) == 4
    assert run(b"abcde"[: bytes_needed(check)]) == "max-bytes: expected a body of at most 3 bytes, got more"


@pytest.mark.parametrize("argument", ["", "-1", "1.5", "٣", "9" * 19])
def test_what_is_no_number_of_bytes_is_refused(argument):
    with pytest.raises(ValueError, match="expected a number of bytes"):
        compile_check(Check(CheckKind.MAX_BYTES, argument))


def test_an_empty_text_can_not_be_looked_for():
    with pytest.raises(ValueError, match="expected a text"):
        compile_check(Check(CheckKind.CONTAINS, ""))
