import math
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import BadInputError
from controller.experiment import document
from controller.experiment.document import dump_yaml, parse_yaml, write_atomically


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("# only a comment", None),
        ("a: 1e3", {"a": 1000.0}),
        ("a: [1, -2, +3, 0, 0x1F, 0o17]", {"a": [1, -2, 3, 0, 31, 15]}),
        ("a: [1.5, .5, 1., 1E-3]", {"a": [1.5, 0.5, 1.0, 0.001]}),
        ("a: [2024-01-01, 2024-01-01T10:00:00Z, 12:30:45]", {"a": ["2024-01-01", "2024-01-01T10:00:00Z", "12:30:45"]}),
        ("a: [yes, no, on, off, 010, 1_000]", {"a": ["yes", "no", "on", "off", "010", "1_000"]}),
        ("a: [true, False, null, ~, ]", {"a": [True, False, None, None]}),
        ("a:", {"a": None}),
        ("a: ['1', \"true\", !!str 5]", {"a": ["1", "true", "5"]}),
        ("404: x\ntrue: y", {"404": "x", "true": "y"}),
        ("a: .inf", {"a": math.inf}),
        ("\ufeffa: ü", {"a": "ü"}),
        ("a: |\n  one\n  two\n", {"a": "one\ntwo\n"}),
        ("---\na: 1\n...\n", {"a": 1}),
    ],
)
def test_scalars_are_those_of_yaml_1_2_and_dates_stay_text(text, expected):
    assert parse_yaml(text, "x.yaml") == expected
    assert parse_yaml(text.encode(), "x.yaml") == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "x.yaml, line 3, column 1: duplicate key 'a': already given in line 1"),
        ("a: {b: 1, b: 2}", "line 1, column 11: duplicate key 'b'"),
        ("a: *x", "aliases"),
        ("a: &x 1", "x.yaml, line 1, column 4: YAML anchors"),
        ("a: &x {b: 1}\nc: *x", "anchors"),
        ("a: !!python/object:os.system x", "tags are not allowed"),
        ("a: !!timestamp 2024-01-01", "tags are not allowed"),
        ("a: 1\n---\nb: 2", "line 2, column 1: expected one YAML document"),
        ("a: [1", "x.yaml, line 2, column 1: not valid YAML"),
        ("a: b: c", "line 1, column 5: not valid YAML: mapping values are not allowed"),
        ("\tx", "line 1, column 1: not valid YAML"),
        ("a: \x00", "x.yaml: not valid YAML"),
        ("? {a: 1}\n: 2", "expected a plain key"),
        ("a: " + "[" * 100_000, "at most 64 levels"),
        ("{a: " * 100_000, "at most 64 levels"),
        ("a: " + "9" * 5000, "too many digits"),
        ("a: 1e999", "out of range"),
        ("a: \ud800", "UTF-8"),
        ("{not yaml", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_told_with_source_line_and_column(text, words):
    with pytest.raises(BadInputError) as raised:
        parse_yaml(text, "x.yaml")

    assert str(raised.value).startswith("x.yaml")
    assert words in str(raised.value)


def test_all_duplicate_keys_are_told_at_once():
    with pytest.raises(BadInputError) as raised:
        parse_yaml("a: 1\na: 2\nb: {c: 1, c: 1}\n", "x.yaml")

    assert len(str(raised.value).splitlines()) == 2


def test_bytes_that_are_not_utf_8_are_refused():
    with pytest.raises(BadInputError, match="UTF-8"):
        parse_yaml(b"a: \xff", "x.yaml")


@pytest.mark.parametrize("text", ["- a\n" * 13_000_000, b"- a\n" * 13_000_000], ids=["text", "bytes"])
def test_fifty_megabytes_are_refused_at_once(text):
    started = time.perf_counter()
    with pytest.raises(BadInputError, match=r"at most 4 MiB of YAML, got 49\.6 MiB"):
        parse_yaml(text, "x.yaml")

    assert time.perf_counter() - started < 0.5


def test_the_size_counts_bytes_not_characters():
    with pytest.raises(BadInputError, match="at most 100 bytes"):
        parse_yaml("ü" * 60, "x.yaml", max_bytes=100)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@given(documents)
def test_what_is_written_reads_back_the_same(value):
    again = parse_yaml(dump_yaml(value), "x.yaml")

    assert again == value
    assert repr(again) == repr(value)  # 1 and 1.0 and true are equal, and not the same


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=12) | st.floats(allow_nan=False)))
def test_a_reader_of_yaml_1_1_sees_the_same_text_and_numbers(value):
    assert yaml.safe_load(dump_yaml(value)) == value


def test_series_stay_on_a_line_keys_in_order_and_nothing_is_an_alias():
    series = [1, 2.5, None, 3]
    text = dump_yaml({"b": series, "a": series, "tasks": ("http", "assess"), "long": ["x" * 30], "deep": [[1], [2]]})

    assert text == (
        f"b: [1, 2.5, null, 3]\na: [1, 2.5, null, 3]\ntasks: [http, assess]\nlong:\n- {'x' * 30}\ndeep:\n- [1]\n- [2]\n"
    )


def test_a_file_is_replaced_as_a_whole_and_keeps_its_mode(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text("old")
    path.chmod(0o640)
    write_atomically(path, "new: ü")

    assert path.read_bytes() == "new: ü".encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_symlink_is_followed_not_replaced(tmp_path):
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    link.symlink_to(real)
    write_atomically(link, b"x")

    assert link.is_symlink()
    assert real.read_bytes() == b"x"


def disk_full(fd):
    raise OSError(28, "No space left on device")


def interrupt(fd):
    raise KeyboardInterrupt


@pytest.mark.parametrize(("fault", "error"), [(disk_full, BadInputError), (interrupt, KeyboardInterrupt)])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, fault, error):
    path = tmp_path / "experiment.yaml"
    path.write_text("old")
    monkeypatch.setattr(document.os, "fsync", fault)

    with pytest.raises(error):
        write_atomically(path, "new")

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_cannot_be_says_which_file_and_why(tmp_path):
    with pytest.raises(BadInputError, match=r"missing/x\.yaml could not be written: No such file or directory"):
        write_atomically(tmp_path / "missing" / "x.yaml", "x")
