import re
from itertools import count

import msgspec
import pytest
from httptools import HttpRequestParser
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.drivers.request import STATUSES, Origin, request_of
from agent.drivers.response import MAX_BODY
from protocol.messages import Check, CheckKind, StatusRange, Target
from protocol.series import BODY_KEPT

quick = settings(deadline=None, max_examples=200)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["\r\n\r\nGET /evil HTTP/1.1\r\n\r\n", "\r\nX-Evil: 1", "\n\n", "\0", " ", "/../?#&%", "{{ number }}", "é\u2028"]
)


class Read:
    """What a server reads: every request in the bytes."""

    def __init__(self, wire):
        self.urls, self.headers, self.body, self.complete = [], [], b"", 0
        parser = HttpRequestParser(self)
        parser.feed_data(wire)
        self.method = parser.get_method()

    def on_url(self, url):
        self.urls.append(url)

    def on_header(self, name, value):
        self.headers.append((name, value))

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        self.complete += 1

    def named(self, name):
        return [value for given, value in self.headers if given.lower() == name]


def target_of(**options):
    rows = options.pop("rows", None)
    given = {"endpoint": "", "url": "http://example.test/", **options}
    return Target(**given, rows=msgspec.msgpack.encode(rows) if rows else b"")


def asking(**options):
    wall = count(1_764_063_544_123_456_789, 1000)
    return request_of(target_of(**options), "seatrial/test run=r1", lambda: next(wall))


# --- framing ---


@quick
@given(texts, texts, texts, st.integers(0, 9), st.sampled_from(["", " | json", " | url", " | base64"]))
def test_no_value_changes_the_shape_of_a_request(in_url, in_header, in_body, number, filters):
    request = asking(
        url="http://example.test/a/{{ row.u }}?q={{ row.u%s }}" % filters,  # noqa: UP031 braces
        method="PUT",
        headers=(("X-One", "a {{ row.h }}{{ row.h%s }}" % filters), ("X-Two", "2")),  # noqa: UP031 braces
        body=b"<{{ row.b }}>",
        is_template=True,
        rows=[{"u": in_url, "h": in_header, "b": in_body}],
        trace_period=3,
    )

    wire = request.render(number)
    read = Read(wire)
    parts = request.parts(number)

    assert (read.method, read.complete, len(read.urls)) == (b"PUT", 1, 1)
    assert [name for name, _value in read.headers] == [
        *(b"Host", b"User-Agent", b"Accept", b"X-One", b"X-Two", b"Content-Length"),
        *([b"traceparent"] if number % 3 == 0 else []),
    ]
    assert re.fullmatch(rb"/a/[A-Za-z0-9%_.~-]*\?q=[A-Za-z0-9%_.~-]*", read.urls[0])
    assert read.body == f"<{in_body}>".encode()
    assert read.named(b"content-length") == [b"%d" % len(read.body)]
    assert (parts.path, parts.body) == (read.urls[0], read.body)
    assert not any(byte in value for _name, value in parts.headers for byte in b"\r\n\0")


@quick
@given(st.binary(max_size=200), st.sampled_from(["GET", "POST", "DELETE", "HEAD"]))
def test_a_body_without_templates_goes_as_it_is(body, method):
    request = asking(body=body + b"{{ number }}", method=method)

    assert request.is_constant
    assert Read(request.wire).body == body + b"{{ number }}"


@quick
@given(st.binary(max_size=50).filter(lambda body: b"{{" not in body and not body.endswith(b"{")))
def test_bytes_around_a_template_go_as_they_are(body):
    request = asking(body=body + b"{{ number }}" + body, method="POST", is_template=True)

    assert Read(request.render(12)).body == body + b"12" + body


def test_headers_that_say_how_long_a_body_is_are_ours_alone():
    request = asking(headers=(("Content-Length", "7"), ("transfer-encoding", "chunked")), body=b"abc", method="POST")

    read = Read(request.wire)

    assert read.body == b"abc"
    assert read.named(b"content-length") == [b"3"]
    assert read.named(b"transfer-encoding") == []
    assert [value for name, value in request.parts(0).headers if name == b"content-length"] == [b"3"]


# --- what is the same for each request, and what is not ---


def test_a_constant_request_is_one_string_of_bytes():
    request = asking(headers=(("X", "{{ number }}"),))

    assert request.is_constant
    assert request.wire == request.render(0) == request.render(7)
    assert request.wire == (
        b"GET / HTTP/1.1\r\nHost: example.test\r\nUser-Agent: seatrial/test run=r1\r\nAccept: */*\r\n"
        b"X: {{ number }}\r\n\r\n"
    )


@pytest.mark.parametrize(
    "options",
    [
        {"url": "http://example.test/{{ number }}"},
        {"headers": (("X", "{{ number }}"),)},
        {"body": b"{{ number }}", "method": "POST"},
    ],
)
def test_a_template_anywhere_makes_each_request_its_own(options):
    request = asking(is_template=True, **options)

    assert request.wire is None
    assert not request.is_constant
    assert b"17" in request.render(17)
    assert request.render(17) != request.render(18)


def test_a_template_without_words_is_constant():
    request = asking(is_template=True, body=b"{{{{ number }}", method="POST")

    assert request.is_constant
    assert request.wire.endswith(b"\r\n\r\n{{ number }}")


def test_requests_go_through_the_rows_and_begin_anew():
    request = asking(url="http://h/{{ row.v }}", is_template=True, rows=[{"v": "a"}, {"v": "b"}, {"v": "c"}])

    assert [request.parts(number).path for number in (0, 1, 2, 3, 10**12)] == [b"/a", b"/b", b"/c", b"/a", b"/b"]


def test_a_uuid_is_the_same_throughout_a_request_and_another_in_the_next():
    request = asking(url="http://h/{{ uuid }}", headers=(("X", "{{ uuid }}"),), body=b"{{ uuid }}", is_template=True)

    found = []
    for number in range(50):
        read = Read(request.render(number))
        assert read.urls[0] == b"/" + read.body
        assert read.named(b"x") == [read.body]
        found.append(read.body)

    assert len(set(found)) == 50


def test_random_words_in_different_parts_are_independent():
    word = "{{ random 0 999999 }}"
    headers = (("X", word), ("Y", word))
    request = asking(url=f"http://h/{word}", headers=headers, body=word.encode(), is_template=True)

    read = Read(request.render(5))

    assert len({read.urls[0][1:], *read.named(b"x"), *read.named(b"y"), read.body}) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "http://h/{{ nubmer }}"}, "the URL at character 2: unknown word 'nubmer'"),
        ({"headers": (("X-A", "{{ number"),)}, "the header X-A at character 1"),
        ({"body": b"ab {{ }}"}, "the body at character 4"),
        ({"body": b"{{ row.v }}"}, "row.v, and there is no such column"),
        ({"body": b"{{ row.v }}", "rows": [{"v": "1"}, {"w": "2"}]}, "row.v, and there is no such column"),
        ({"url": "example.test"}, "expected a URL such as"),
        ({"checks": (Check(CheckKind.REGEX, "("),)}, "expected a regular expression"),
    ],
)
def test_a_target_that_can_not_be_asked_for_is_refused(options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        asking(is_template=True, **options)


# --- traces ---


def test_every_so_manyth_request_has_a_trace_of_its_own():
    request = asking(trace_period=10)

    traced = {}
    for number in range(100):
        found = Read(request.render(number)).named(b"traceparent")
        assert found == [value for name, value in request.parts(number).headers if name == b"traceparent"]
        assert bool(found) == (number % 10 == 0) == bool(request.trace(number))
        if found:
            version, trace, span, flags = found[0].decode().split("-")
            assert (version, flags) == ("00", "01")
            assert re.fullmatch("[0-9a-f]{32}", trace)
            assert re.fullmatch("[0-9a-f]{16}", span)
            assert trace == request.trace(number)
            traced[number] = trace

    assert len(set(traced.values())) == len(traced) == 10


def test_a_traced_request_differs_from_the_others_by_its_header_alone():
    request = asking(trace_period=2, method="POST", body=b"abc")

    plain, traced = request.render(1), request.render(2)

    assert re.sub(rb"traceparent: [0-9a-f-]{55}\r\n", b"", traced) == plain
    assert request.wire == plain
    assert not request.is_constant


def test_two_segments_and_two_runs_have_different_traces():
    target = target_of(trace_period=1)

    found = {
        request_of(target, user_agent, lambda at=at: at).trace(0)
        for user_agent in ("seatrial/1 run=a", "seatrial/1 run=b")
        for at in (1, 2)
    }

    assert len(found) == 4


def test_what_follows_a_redirect_can_have_the_same_trace():
    first = asking(trace_period=1)

    again = request_of(target_of(trace_period=1), "seatrial/test", trace_salt=first.trace_salt)

    assert again.trace(4) == first.trace(4)


def test_a_traceparent_that_is_given_stays_the_only_one():
    request = asking(trace_period=1, headers=(("TraceParent", "00-1-2-00"),))

    assert Read(request.wire).named(b"traceparent") == [b"00-1-2-00"]
    assert request.trace(0) == ""


# --- HTTP/2 ---


def test_http2_has_no_headers_of_connections():
    headers = (("Keep-Alive", "5"), ("Upgrade", "h2c"), ("TE", "gzip"), ("Proxy-Connection", "x"), ("X-A", " 1\t"))

    parts = asking(method="POST", headers=(*headers, ("X-A", "2")), keep_alive=False).parts(0)

    assert parts.headers == (
        (b"user-agent", b"seatrial/test run=r1"),
        (b"accept", b"*/*"),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
        (b"content-length", b"0"),
    )
    assert parts.authority == b"example.test"


def test_the_authority_is_the_urls_or_that_of_a_host_header():
    assert asking(url="http://u:p@example.test:81/").authority == b"example.test:81"
    assert asking(url="http://[::1]:81/").parts(0).authority == b"[::1]:81"
    assert asking(headers=(("HOST", "other.test"),)).authority == b"other.test"


def test_a_host_header_may_be_a_template():
    request = asking(headers=(("Host", "{{ number }}.test"),), is_template=True)

    assert Read(request.render(4)).named(b"host") == [b"4.test"]
    assert request.parts(4).authority == b"4.test"
    assert request.authority == b"example.test"


# --- the rest ---


def test_one_connection_a_request_is_announced():
    assert Read(asking(keep_alive=False).wire).named(b"connection") == [b"close"]
    assert Read(asking().wire).named(b"connection") == []
    assert Read(asking(keep_alive=False, headers=(("connection", "close"),)).wire).named(b"connection") == [b"close"]


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://h", b"/"),
        ("http://h?a=b", b"/?a=b"),
        ("http://h/a?b#c", b"/a?b"),
        ("http://h#c", b"/"),
        ("http://h/é b", b"/%C3%A9%20b"),
        ("http://h/a/{{ row.a#b }}?c={{ row.a?b | url }}#x", b"/a/1?c=2"),
    ],
)
def test_what_is_asked_for_is_the_urls_path_and_query(url, path):
    request = asking(url=url, is_template=True, rows=[{"a#b": "1", "a?b": "2"}])

    assert request.parts(0).path == Read(request.render(0)).urls[0] == path
    assert request.url(path) == f"http://h{path.decode()}"


def test_statuses_are_judged_by_the_ranges():
    request = asking(error_ranges=(StatusRange(0, 199), StatusRange(400, 404), StatusRange(599, 999)))

    judged = [status for status in range(STATUSES) if request.is_error[status]]

    assert judged == [*range(200), *range(400, 405), *range(599, 1000)]


@pytest.mark.parametrize(
    ("checks", "keeps"),
    [
        ((), BODY_KEPT),
        ((Check(CheckKind.MAX_BYTES, "10"),), BODY_KEPT),
        ((Check(CheckKind.MAX_BYTES, "5000"),), 5001),
        ((Check(CheckKind.MAX_BYTES, str(10**12)),), MAX_BODY),
        ((Check(CheckKind.MAX_BYTES, "5000"), Check(CheckKind.CONTAINS, "a")), MAX_BODY),
    ],
)
def test_as_much_of_a_body_is_kept_as_its_checks_need(checks, keeps):
    request = asking(checks=checks)

    assert request.keeps_body == keeps
    assert request.has_check == bool(checks)


def test_the_first_check_that_fails_is_told():
    checks = (Check(CheckKind.CONTAINS, "a"), Check(CheckKind.MAX_BYTES, "3"), Check(CheckKind.JSON_PATH, "a", "1"))
    request = asking(checks=checks)

    assert request.failed_check(b"b").startswith("contains: ")
    assert request.failed_check(b"abcdef").startswith("max-bytes: ")
    assert request.failed_check(b"a").startswith("json-path: ")
    assert asking(checks=checks[:2]).failed_check(b"a") == ""


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://a.test/x", Origin("a.test", 80, is_tls=False)),
        ("https://a.test", Origin("a.test", 443, is_tls=True)),
        ("https://[::1]:8443/x", Origin("::1", 8443, is_tls=True)),
    ],
)
def test_an_origin_is_host_port_and_whether_there_is_tls(url, origin):
    assert Origin.of(url) == origin
