import csv
import io
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.errors import BadInputError
from controller.experiment.http_parts import Data
from controller.experiment.spec import from_document
from controller.tasks import rows as rows_module
from controller.tasks.rows import columns_needed, read_rows

quick = settings(deadline=None, max_examples=100)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
names = texts.map(str.strip).filter(bool)


def read(tmp_path, content, *columns, name="rows.csv"):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    packed = read_rows(Data(file=str(file)), frozenset(columns))
    return msgspec.msgpack.decode(packed) if packed else packed


def mistake(tmp_path, content, *columns, name="rows.csv"):
    with pytest.raises(BadInputError) as caught:
        read(tmp_path, content, *columns, name=name)
    return str(caught.value).replace(str(tmp_path), "")


def endpoint_of(**given):
    return from_document({"spec": [{"task": "http", "with": {"url": "http://h/"} | given}]}).spec[0].resolved()[0]


# --- CSV ---


@quick
@given(st.lists(names, min_size=1, max_size=4, unique=True), st.data())
def test_what_a_csv_writer_wrote_is_read_again(tmp_path_factory, columns, data):
    rows = data.draw(st.lists(st.lists(texts, min_size=len(columns), max_size=len(columns)), min_size=1, max_size=5))
    written = io.StringIO(newline="")
    csv.writer(written, quoting=csv.QUOTE_ALL).writerows([columns, *rows])

    found = read(tmp_path_factory.mktemp("rows"), written.getvalue(), *columns)

    assert found == [dict(zip(columns, row, strict=True)) for row in rows]


def test_a_byte_order_mark_line_ends_and_empty_lines_do_not_matter(tmp_path):
    found = read(tmp_path, b'\xef\xbb\xbfid, name \r\n\r\n1,"A, ""B""\nC"\r\n2,\r\n\r\n', "id", "name")

    assert found == [{"id": "1", "name": 'A, "B"\nC'}, {"id": "2", "name": ""}]


def test_only_the_columns_that_are_used_are_kept(tmp_path):
    assert read(tmp_path, "a,b\n1,2\n", "b") == [{"b": "2"}]
    assert read(tmp_path, "a,b\n1,2\n") == b""


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "/rows.csv: expected rows of data, got nothing"),
        (" \n\n", "/rows.csv: expected rows of data, got nothing"),
        ("a,b\n", "/rows.csv: expected rows of data, got only the columns' names"),
        ("a,b\n1,2\n\n3\n", "/rows.csv, line 4: expected 2 values, as the first line has names, got 1"),
        ("a,b\n1,2,3\n", "/rows.csv, line 2: expected 2 values, as the first line has names, got 3"),
        ("a,b,a \n1,2,3\n", '/rows.csv, line 1: the column "a" is named twice: name each once'),
        ("a,,c\n1,2,3\n", "/rows.csv, line 1: expected a name for each column, column 2 has none"),
        ('a,b\n1,"2\n', "/rows.csv, line 2: expected CSV as in RFC 4180"),
        ('a,b\n1,"2"x\n', "/rows.csv, line 2: expected CSV as in RFC 4180"),
        (b"a,b\n1,2\n3,\xff\n", "/rows.csv, line 3: expected UTF-8, got the byte 0xff"),
        ("name,b\n1,2\n", 'line 2: there is no column "nmae", which a template needs; did you mean name?'),
        ("x,y\n1,2\n", 'line 2: there is no column "nmae", which a template needs; known are x, y'),
    ],
)
def test_a_mistake_in_csv_is_told_with_its_line(tmp_path, content, why):
    assert why in mistake(tmp_path, content, *(["nmae"] if "nmae" in why else []))


# --- JSON lines ---


@quick
@given(
    st.lists(
        st.fixed_dictionaries({"a": st.none() | st.booleans() | st.integers() | texts, "b": st.lists(st.integers())}),
        min_size=1,
        max_size=5,
    ),
    st.booleans(),
)
def test_json_lines_give_text_as_it_is_and_anything_else_as_json(tmp_path_factory, rows, is_ascii):
    content = "\n".join(json.dumps(row, ensure_ascii=is_ascii) for row in rows)

    found = read(tmp_path_factory.mktemp("rows"), content, "a", "b", name="rows.jsonl")

    for row, text in zip(rows, found, strict=True):
        assert text["a"] == row["a"] if isinstance(row["a"], str) else json.loads(text["a"]) == row["a"]
        assert json.loads(text["b"]) == row["b"]


def test_a_number_keeps_its_digits(tmp_path):
    found = read(tmp_path, '{"a": 1.10}\r\n\r\n{"a": 12345678901234567890123}\n', "a", name="rows.ndjson")

    assert found == [{"a": "1.10"}, {"a": "12345678901234567890123"}]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("\n", "/rows.jsonl: expected rows of data, got nothing"),
        ('{"a": 1}\n[1]\n', '/rows.jsonl, line 2: expected a JSON object, such as {"id": 7}, got "[1]"'),
        ('{"a": 1}\n\n7\n', "/rows.jsonl, line 3: expected a JSON object"),
        ('{"a": 1\n', "/rows.jsonl, line 1: expected JSON, got"),
        ('{"a": 1, "b": 2, "a": 3}\n', '/rows.jsonl, line 1: the column "a" is named twice'),
        ('{"a": 1}\n{"b": 1}\n', '/rows.jsonl, line 2: there is no column "a"'),
        ("[" * 100_000, "/rows.jsonl, line 1: expected"),
        ('{"a": ' + "[" * 100_000, "/rows.jsonl, line 1: expected JSON"),
    ],
)
def test_a_mistake_in_json_lines_is_told_with_its_line(tmp_path, content, why):
    found = mistake(tmp_path, content, "a", name="rows.jsonl")

    assert why in found
    assert len(found) < 300


# --- where rows come from ---


def test_rows_may_stand_in_the_experiment():
    data = Data(rows=[{"id": 7, "ok": True, "x": 1.5, "name": "Ada"}, {"id": "8", "ok": False, "x": 2, "name": ""}])

    packed = read_rows(data, frozenset({"id", "ok", "x", "name"}))

    assert msgspec.msgpack.decode(packed) == [
        {"id": "7", "ok": "true", "x": "1.5", "name": "Ada"},
        {"id": "8", "ok": "false", "x": "2", "name": ""},
    ]
    with pytest.raises(BadInputError, match=r'^data\.rows, row 2: there is no column "b"'):
        read_rows(Data(rows=[{"a": 1, "b": 2}, {"a": 1}]), frozenset({"b"}))


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(BadInputError, match=r"the rows of data: .*none\.csv can't be read: No such file"):
        read_rows(Data(file=str(tmp_path / "none.csv")), frozenset())


def test_rows_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "MAX_BYTES", 1 << 20)

    assert "/rows.csv is larger than 1 MiB" in mistake(tmp_path, b"a\n" + b"x" * (1 << 20), "a")
    assert "templates use come to more than 1 MiB" in mistake(tmp_path, "longer\n" + "x\n" * 200_000, "longer")


@pytest.fixture
def server():
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/rows.csv" else 404)
            self.end_headers()
            self.wfile.write(b"a\n1\n")

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_rows_may_be_behind_a_url(server):
    assert msgspec.msgpack.decode(read_rows(Data(url=f"{server}/rows.csv"), frozenset({"a"}))) == [{"a": "1"}]
    with pytest.raises(BadInputError, match=r"the rows of data: .* answered 404"):
        read_rows(Data(url=f"{server}/none.csv"), frozenset({"a"}))


# --- templates ---


def test_the_columns_needed_are_those_of_url_headers_and_body():
    endpoint = endpoint_of(url="http://h/{{ row.a }}", headers={"X": "{{ row.b c }}"}, template=True)

    assert columns_needed(endpoint, b"\xff{{ row.d | json }}{{ number }}") == {"a", "b c", "d"}


def test_without_template_nothing_is_one():
    assert columns_needed(endpoint_of(headers={"X": "{{ nothing"}), b"{{ row.a }}") == frozenset()


def test_a_mistake_in_a_template_is_told_with_its_place():
    endpoint = endpoint_of(template=True, endpoints={"a": {}})

    with pytest.raises(BadInputError) as caught:
        columns_needed(endpoint, b"ab {{ nubmer }}")

    assert "the template in payload of endpoint a: at character 4: unknown word 'nubmer'" in str(caught.value)
