import base64
import json
import re
import uuid
from datetime import UTC, datetime
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.template import Part, Template, constant, escaped, parse

quick = settings(deadline=None, max_examples=200)
NOW_NS = 1_764_063_544_123_456_789
ROW = {"id": "7", "a name": 'Ada "L"\r\n', "ü": "é/&"}
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.integers(0, 10**12)


def rendered(text, number=3, row=ROW, now_ns=NOW_NS, part=Part.BODY):
    return parse(text, part).render(number, row, now_ns).decode()


def expression(inner):
    return "{{ " + inner + " }}"


# --- against a naive reference ---


WORDS = {
    "number": lambda number, _row, _now_ns: str(number),
    "timestamp": lambda _number, _row, now_ns: str(now_ns // 10**9),
    "timestampMs": lambda _number, _row, now_ns: str(now_ns // 10**6),
    "isoTime": lambda _number, _row, now_ns: (
        datetime.fromtimestamp(now_ns // 10**6 / 1e3, UTC).isoformat(timespec="milliseconds")[:23] + "Z"
    ),
    "row.a": lambda _number, row, _now_ns: row["a"],
    "row.b c": lambda _number, row, _now_ns: row["b c"],
}
FILTERS = {
    "url": lambda value: quote(value, safe=""),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
}
literals = texts.filter(lambda text: "{" not in text)
expressions = st.tuples(st.sampled_from(sorted(WORDS)), st.lists(st.sampled_from(sorted(FILTERS)), max_size=2))
spaces = st.sampled_from(["", " ", "\t", "\n  "])


@quick
@given(st.lists(literals | expressions, max_size=6), spaces, numbers, texts, texts, st.integers(0, 2**61))
def test_a_template_is_what_a_naive_one_would_be(parts, space, number, a, b_c, now_ns):
    row = {"a": a, "b c": b_c, "unused": "x"}
    text, expected = "", ""
    for part in parts:
        if isinstance(part, str):
            text += part
            expected += part
            continue
        word, filters = part
        text += "{{" + space + f"{space}|{space}".join([word, *filters]) + space + "}}"
        value = WORDS[word](number, row, now_ns)
        for name in filters:
            value = FILTERS[name](value)
        expected += value

    template = parse(text)

    assert template.render(number, row, now_ns) == expected.encode()
    assert template.columns == {part[0][4:] for part in parts if isinstance(part, tuple) and part[0].startswith("row.")}
    assert template.is_constant == all(isinstance(part, str) for part in parts)


@quick
@given(texts)
def test_the_json_filter_makes_any_text_the_inside_of_a_json_string(value):
    assert json.loads(rendered('{"x": "{{ row.v | json }}"}', row={"v": value})) == {"x": value}


@quick
@given(st.binary(max_size=40).map(lambda found: found + b"{{ {{{ }} {{{{"))
def test_any_bytes_can_be_had_literally(found):
    text = found.decode("utf-8", "surrogateescape")

    template = parse(escaped(text))

    assert template.render(0, {}, 0) == found
    assert template.is_constant


def test_four_braces_are_two():
    assert rendered("a {{{{ number }} b") == "a {{ number }} b"
    assert rendered("{{{{{{ number }}") == "{{3"


def test_json_braces_around_a_word_are_no_matter():
    assert rendered('{"a":{"n":{{ number }}}}') == '{"a":{"n":3}}'


# --- words ---


def test_each_request_has_a_uuid_of_its_own_which_is_the_same_throughout_it():
    template = parse("{{ uuid }} {{uuid}}")

    found = [template.render(number, {}, NOW_NS).decode().split() for number in range(2000)]

    assert len({first for first, _second in found}) == 2000
    assert all(first == second for first, second in found)
    assert {uuid.UUID(first).version for first, _second in found} == {4}
    assert {uuid.UUID(first).variant for first, _second in found} == {uuid.RFC_4122}


def test_a_uuid_is_not_used_again_by_the_same_number_of_a_later_segment():
    assert rendered("{{ uuid }}", now_ns=NOW_NS) != rendered("{{ uuid }}", now_ns=NOW_NS + 1)


@quick
@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1), numbers)
def test_a_random_number_lies_between_its_bounds(one, other, number):
    least, most = sorted((one, other))

    found = rendered(expression(f"random {least} {most}"), number)

    assert least <= int(found) <= most
    assert found == rendered(expression(f"random {least} {most}"), number)


def test_random_numbers_are_spread_evenly():
    template = parse("{{ random 1 10 }}")

    counts = [0] * 10
    for number in range(10_000):
        counts[int(template.render(number, {}, 0)) - 1] += 1

    assert sum((count - 1000) ** 2 / 1000 for count in counts) < 27.9  # chi-square, 9 degrees, 0.1 %


@pytest.mark.parametrize("salts", [(0, 0), (1, 2)])
def test_random_words_of_one_request_go_each_their_own_way(salts):
    if salts[0] == salts[1]:
        found = [rendered("{{ random 0 9 }} {{ random 0 9 }}", number).split() for number in range(1000)]
    else:
        one, other = (parse("{{ random 0 9 }}", salt=salt) for salt in salts)
        found = [(one.render(number, {}, 0), other.render(number, {}, 0)) for number in range(1000)]

    same = sum(one == other for one, other in found)

    assert 50 < same < 150


def test_random_text_has_its_length_and_only_letters_and_digits():
    found = {rendered("{{ randomText 24 }}", number) for number in range(100)}

    assert len(found) == 100
    assert all(re.fullmatch("[A-Za-z0-9]{24}", text) for text in found)


def test_times_are_those_that_were_passed_in():
    assert rendered("{{ timestamp }} {{ timestampMs }} {{ isoTime }}") == (
        "1764063544 1764063544123 2025-11-25T09:39:04.123Z"
    )


# --- parts ---


@quick
@given(texts, st.sampled_from(["", "| json", "| base64", "| base64 | json", "| url", "| json | url"]))
def test_a_value_in_a_url_is_percent_encoded_once(value, filters):
    found = rendered("/" + expression(f"row.v {filters}") + "/x", row={"v": value}, part=Part.URL)

    assert re.fullmatch(r"/[A-Za-z0-9%_.~-]*/x", found)
    assert unquote(found[1:-2]) == rendered(expression("row.v " + filters.replace("| url", "")), row={"v": value})


def test_what_can_not_stand_in_a_url_is_percent_encoded_in_its_constant_part_too():
    assert rendered("/é b?q=%20&x=[1]", part=Part.URL) == "/%C3%A9%20b?q=%20&x=[1]"


@quick
@given(texts, texts, st.sampled_from(["", "| json", "| base64", "| url"]))
def test_no_value_ends_a_header(literal, value, filters):
    literal += " "  # a brace just before the two that open would make them three
    found = rendered(escaped(literal) + expression(f"row.v {filters}"), row={"v": value}, part=Part.HEADER)

    assert not any((ord(character) < 32 and character != "\t") or ord(character) == 127 for character in found)
    if all(ord(character) >= 32 and ord(character) != 127 for character in literal + value) and not filters:
        assert found == literal + value


def test_templates_can_be_joined():
    joined = constant(b"{{ a ") + parse("{{ row.id }}") + constant(b"b") + parse("c{{ number }}{{ row.ü }}")

    assert joined.render(5, ROW, 0) == "{{ a 7bc5é/&".encode()
    assert joined.columns == {"id", "ü"}
    assert len(joined.pieces) == 5  # neighbouring constants are one


def test_an_empty_template_renders_nothing():
    assert Template(()).render(0, {}, 0) == parse("").render(0, {}, 0) == b""


# --- what is wrong ---


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ab {{ nubmer }}", ["character 4", "'nubmer'", "did you mean number?", "row.<column>", "randomText N"]),
        ("{{ rwo.id }}", ["did you mean row.<column>?"]),
        ("{{ Row.id }}", ["did you mean row.<column>?"]),
        ("{{ timestampms }}", ["did you mean timestampMs?"]),
        ("{{ zzz }}", ["unknown word 'zzz': known are row.<column>, number, uuid"]),
        ("{{ number | jsn }}", ["unknown filter 'jsn': did you mean json?", "known are json, url, base64"]),
        ("{{ number | }}", ["unknown filter ''", "known are json, url, base64"]),
        ("x {{ number", ["character 3", "{{ without }}", "{{{{"]),
        ("{{ }}", ["expected a word", "known are row.<column>"]),
        ("{{ row. }}", ["expected the name of a column after row."]),
        ("{{ number 7 }}", ["number stands alone, got 'number 7'"]),
        ("{{ random 1 }}", ["expected two whole numbers, as in random 1 100, got '1'"]),
        ("{{ random a b }}", ["got 'a b'"]),
        ("{{ random 9 1 }}", ["A <= B"]),
        ("{{ random 0 9223372036854775808 }}", ["64 bits"]),
        ("{{ randomText }}", ["expected a length from 1 to 1000000", "got nothing"]),
        ("{{ randomText 0 }}", ["got '0'"]),
        ("{{ randomText -3 }}", ["got '-3'"]),
        ("{{ randomText 1000001 }}", ["got '1000001'"]),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_is_known(text, words):
    with pytest.raises(ValueError, match=r"^at character \d") as caught:
        parse(text)

    for word in words:
        assert word in str(caught.value)


@quick
@given(st.text(st.sampled_from("{}| .row number7x\n\"'"), max_size=24))
def test_any_text_is_a_template_or_a_mistake(text):
    try:
        template = parse(text)
    except ValueError as error:
        why = str(error)
    else:
        why = ""
        template.render(0, dict.fromkeys(template.columns, "v"), 0)

    assert not why or re.match(r"at character \d", why)
