import io

import pytest

from controller.errors import BadInputError
from controller.experiment.values import merge_values


def test_each_kind_of_flag_wins_over_the_kinds_before_it(tmp_path):
    """Helm's order: files as given < --set < --set-string < --set-file."""
    first, second, content = tmp_path / "1.yaml", tmp_path / "2.yaml", tmp_path / "content"
    first.write_text("a: 1\nb: 1\nc: 1\nd: 1\ne: 1\nmap: {x: 1, y: 1}\nlist: [1, 2, 3]\n")
    second.write_text("b: 2\nc: 2\nd: 2\ne: 2\nmap: {y: 2, z: 2}\nlist: [4]\n")
    content.write_text("4")

    merged = merge_values([str(first), str(second)], ["c=3,d=3,e=3"], ["d=s,e=s"], [f"e={content}"])

    assert merged == {"a": 1, "b": 2, "c": 3, "d": "s", "e": "4", "map": {"x": 1, "y": 2, "z": 2}, "list": [4]}


def test_null_removes_a_key_at_any_depth(tmp_path):
    file, over = tmp_path / "1.yaml", tmp_path / "2.yaml"
    file.write_text("a: {x: 1, y: {z: 1}}\nb: 1\nc: {d: 1}\n")
    over.write_text("a: {y: null}\nc: null\n")

    assert merge_values([str(file), str(over)], ["b=null", "c.e=2"], [], []) == {"a": {"x": 1}, "c": {"e": 2}}


def test_a_dash_is_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a: 1")))

    assert merge_values(["-"], [], [], []) == {"a": 1}


def test_a_url_is_fetched(monkeypatch):
    monkeypatch.setattr("controller.experiment.values.fetch", lambda url, **_: f"from: {url}".encode())

    assert merge_values(["https://h/v.yaml"], [], ["b=c"], ["d=http://h/d"]) == {
        "from": "https://h/v.yaml",
        "b": "c",
        "d": "from: http://h/d",
    }


def test_an_empty_file_has_no_values(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing\n")

    assert merge_values([str(tmp_path / "empty.yaml")], [], [], []) == {}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.yaml", "could not be read: No such file or directory"),
        (".", "could not be read: Is a directory"),
        ("http://127.0.0.1:1/values.yaml", "could not be fetched"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(name, words):
    with pytest.raises(BadInputError, match=words) as raised:
        merge_values([name], [], [], [])

    assert name in str(raised.value)


def test_a_values_file_must_be_a_map(tmp_path):
    (tmp_path / "list.yaml").write_text("[1]")

    with pytest.raises(BadInputError, match="expected a map of values"):
        merge_values([str(tmp_path / "list.yaml")], [], [], [])


def test_a_huge_values_file_is_refused(tmp_path):
    with (tmp_path / "huge.yaml").open("wb") as file:
        file.truncate(50 << 20)

    with pytest.raises(BadInputError, match="larger than 4 MiB"):
        merge_values([str(tmp_path / "huge.yaml")], [], [], [])


def test_set_file_must_be_text(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe")

    with pytest.raises(BadInputError, match="expected UTF-8 text"):
        merge_values([], [], [], [f"a={tmp_path / 'binary'}"])
