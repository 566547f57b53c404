import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.drivers.redirect import MAX_URL_CHARACTERS, Redirect, follow, redirected
from agent.drivers.request import request_of
from protocol.messages import Target, Tls

quick = settings(deadline=None, max_examples=300)
FROM = "http://a/b/c/d;p?q"


def target_of(**options):
    return Target(**{"endpoint": "", "url": FROM, **options})


@pytest.mark.parametrize(
    ("method", "status", "then", "keeps_body"),
    [
        ("GET", 301, "GET", True),
        ("HEAD", 302, "HEAD", True),
        ("HEAD", 303, "HEAD", True),
        ("GET", 303, "GET", False),
        ("POST", 301, "GET", False),
        ("POST", 302, "GET", False),
        ("POST", 303, "GET", False),
        ("PUT", 303, "GET", False),
        ("PUT", 301, "PUT", True),
        ("DELETE", 302, "DELETE", True),
        ("POST", 307, "POST", True),
        ("PATCH", 308, "PATCH", True),
    ],
)
def test_the_method_goes_on_as_the_status_has_it(method, status, then, keeps_body):
    redirect = follow(FROM, method, status, "/x")

    assert redirect == Redirect("http://a/x", then, keeps_body, is_same_origin=True)


@pytest.mark.parametrize("status", [200, 201, 300, 304, 305, 306, 309, 400])
def test_other_statuses_lead_nowhere(status):
    assert follow(FROM, "GET", status, "/x") is None


@pytest.mark.parametrize(
    ("location", "url"),  # RFC 3986, 5.4
    [
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("g?y#s", "http://a/b/c/g?y"),
        (";x", "http://a/b/c/;x"),
        ("..", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../../../g", "http://a/g"),
        ("HTTPS://G.test:8443/x", "https://G.test:8443/x"),
        (" /g ", "http://a/g"),
        ("http://u:p@g/x", "http://g/x"),
        ("/é ü", "http://a/%C3%A9%20%C3%BC"),
        ("/a%20b", "http://a/a%20b"),
        ("/x\r\nHost: evil", "http://a/x%0D%0AHost:%20evil"),
    ],
)
def test_a_location_is_seen_from_the_request(location, url):
    redirect = follow(FROM, "GET", 302, location)

    assert redirect is not None
    assert redirect.url == url


@pytest.mark.parametrize(
    "location",
    [
        *("", " ", "ftp://g/x", "javascript:alert(1)", "mailto:a@b", "file:///etc/passwd"),
        *("http://", "http://:80/", "http://[::1/", "http://g:99999/", "http://g:0/", "http://g:x/"),
        "/" + "x" * MAX_URL_CHARACTERS,
    ],
)
def test_what_can_not_be_asked_for_is_not_followed(location):
    assert follow("https://h/", "GET", 302, location) is None


@quick
@given(
    st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("/:@?#[]%{}\r\n"), max_size=30),
    st.sampled_from(["", "http://", "//", "https://h:1"]),
    st.booleans(),
)
def test_whatever_a_server_answers_one_request_comes_of_it(location, prefix, is_template):
    redirect = follow(FROM, "GET", 302, prefix + location)
    if redirect is None:
        return

    wire = request_of(redirected(target_of(is_template=is_template), redirect), "seatrial/test").wire

    assert re.fullmatch(r"https?://[!-~]+", redirect.url)
    assert wire.count(b"\r\n\r\n") == 1
    assert re.match(rb"GET /[!-~]* HTTP/1\.1\r\nHost: [!-~]+\r\nUser-Agent: ", wire)


@pytest.mark.parametrize(
    ("location", "is_same"),
    [
        ("http://a/x", True),
        ("http://A:80/x", True),
        ("/x", True),
        ("https://a/x", False),
        ("http://a:81/x", False),
        ("http://b/x", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(location, is_same):
    redirect = follow(FROM, "GET", 302, location)

    assert redirect is not None
    assert redirect.is_same_origin is is_same


HEADERS = (
    ("Authorization", "Bearer x"),
    ("COOKIE", "a=b"),
    ("Host", "other"),
    ("Proxy-Authorization", "y"),
    ("Content-Type", "text/plain"),
    ("X-A", "1"),
)


@pytest.mark.parametrize(
    ("status", "location", "names"),
    [
        (307, "/x", ["Authorization", "COOKIE", "Host", "Proxy-Authorization", "Content-Type", "X-A"]),
        (307, "http://b/x", ["Content-Type", "X-A"]),
        (303, "/x", ["Authorization", "COOKIE", "Host", "Proxy-Authorization", "X-A"]),
        (303, "https://a/x", ["X-A"]),
    ],
)
def test_credentials_stay_with_their_origin_and_what_is_about_a_body_with_it(status, location, names):
    target = target_of(method="POST", headers=HEADERS, body=b"abc", body_blob="blob")

    redirect = follow(FROM, "POST", status, location)
    assert redirect is not None
    then = redirected(target, redirect)

    assert [name for name, _value in then.headers] == names
    assert (then.method, then.body, then.body_blob) == (("POST", b"abc", "blob") if status == 307 else ("GET", b"", ""))


@pytest.mark.parametrize(("location", "keeps"), [("https://a:8443/", True), ("https://b/", False)])
def test_a_client_certificate_and_a_servers_name_stay_with_their_host(location, keeps):
    tls = Tls(ca=b"ca", cert=b"cert", key=b"key", server_name="name", is_verified=False)

    redirect = follow(FROM, "GET", 302, location)
    assert redirect is not None
    then = redirected(target_of(tls=tls), redirect).tls

    assert (then.cert, then.key, then.server_name) == ((b"cert", b"key", "name") if keeps else (b"", b"", ""))
    assert (then.ca, then.is_verified) == (b"ca", False)


def test_braces_in_a_location_are_no_template():
    redirect = follow(FROM, "GET", 302, "/{{number}}/{{{x")
    assert redirect is not None

    then = redirected(target_of(is_template=True, headers=(("X", "{{ number }}"),)), redirect)
    wire = request_of(then, "seatrial/test").render(5)

    assert wire.startswith(b"GET /{{number}}/{{{x HTTP/1.1\r\n")
    assert b"\r\nX: 5\r\n" in wire
