from base64 import b64encode
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import BadInputError
from controller.experiment.http_parts import Auth
from controller.summary import redacted
from controller.tasks.secrets import authorization, secrets_of
from protocol.messages import Target

passwords = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=4, max_size=20)


def bearer_of(**given):
    return Auth.model_validate({"bearer": given})


def basic_of(**given):
    return Auth.model_validate({"basic": {"user": "ada", **given}})


def target_of(*headers, **options):
    return Target(endpoint="", url="http://h/", headers=headers, **options)


# --- where secrets come from ---


def test_a_token_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("API_TOKEN", "abc.def-123")

    assert authorization(bearer_of(tokenEnv="API_TOKEN")) == "Bearer abc.def-123"


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_line_end_after_a_secret_in_a_file_is_left_out(tmp_path, end):
    file = tmp_path / "secret"
    file.write_bytes(f"p\u00e4ss:word{end}".encode())

    found = authorization(basic_of(passwordFile=str(file)))

    assert found == "Basic " + b64encode("ada:päss:word".encode()).decode()


def test_a_password_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("API_PASSWORD", " open sesame ")

    assert authorization(basic_of(passwordEnv="API_PASSWORD")) == "Basic " + b64encode(b"ada: open sesame ").decode()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "environment variable API_TOKEN: it is not set: export API_TOKEN before the run"),
        ("", "environment variable API_TOKEN: it is empty"),
        ("hush hush", "expected a token of printable ASCII without spaces"),
        ("hush\r\nX-Evil: 1", "expected a token of printable ASCII without spaces"),
        ("hüsh", "expected a token of printable ASCII without spaces"),
        ("hush\udcff", "expected UTF-8"),
    ],
)
def test_what_is_wrong_with_a_variable_is_told_without_its_value(monkeypatch, value, why):
    if value is None:
        monkeypatch.delenv("API_TOKEN", raising=False)
    else:
        monkeypatch.setenv("API_TOKEN", value)

    with pytest.raises(BadInputError) as caught:
        authorization(bearer_of(tokenEnv="API_TOKEN"))

    assert why in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "it can't be read: No such file"),
        (b"", "it is empty"),
        (b"\n", "it is empty"),
        (b"hush\xff", "expected UTF-8"),
        (b"hush" * 20_000, "expected at most 64 KiB"),
        (b"hush\nhush\n", "expected a user and password on one line"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_without_its_content(tmp_path, content, why):
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(BadInputError) as caught:
        authorization(basic_of(passwordFile=str(file)))

    assert f"the password in {file}: {why}" in str(caught.value)
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None or "hush" not in str(caught.value.__cause__)


# --- what is blacked out ---


@given(passwords)
def test_a_password_is_blacked_out_however_the_target_echoes_it(password):
    sent = "Basic " + b64encode(f"ada:{password}".encode()).decode()
    secrets = secrets_of(target_of(("Authorization", sent)))

    for echo in (sent, password, f"ada:{password}", quote(password, safe=""), msgspec.json.encode(password).decode()):
        assert password not in redacted(f"<{echo}>", secrets)
        assert sent not in redacted(f"<{echo}>", secrets)


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("authorization", "Bearer abcdef", "abcdef"),
        ("X-API-Key", "abcdef", "abcdef"),
        ("Cookie", "theme=dark; session=abcdef", "abcdef"),
        ("X-Auth-Token", "abcdef", "abcdef"),
        ("Proxy-Authorization", "Basic not base64 abcdef", "not base64 abcdef"),
    ],
)
def test_headers_that_are_nobodys_business_are_blacked_out(name, value, secret):
    assert secret in secrets_of(target_of((name, value)))


def test_other_headers_and_short_values_are_not():
    assert secrets_of(target_of(("X-A", "abcdef"), ("Cookie", "a=1"), ("Accept", "*/*"))) == []


def test_the_longest_comes_first():
    secrets = secrets_of(target_of(("Cookie", "a=secret; b=secret-and-more")))

    assert [len(secret) for secret in secrets] == sorted(map(len, secrets), reverse=True)


def test_what_rows_put_into_a_header_is_blacked_out_for_the_requests_that_had_it():
    target = target_of(
        ("Authorization", "Bearer {{ row.token }}"),
        ("X-A", "{{ row.public }}"),
        is_template=True,
        rows=msgspec.msgpack.encode([{"token": f"secret-{row}", "public": f"public-{row}"} for row in range(3)]),
    )

    assert secrets_of(target) == []
    assert secrets_of(target, [4]) == ["secret-1"]
    assert secrets_of(target, [0, 5]) == ["secret-0", "secret-2"]


def test_a_constant_header_is_blacked_out_among_templates_too():
    token = ("Authorization", "Bearer abc{{{{def")

    assert "abc{{def" in secrets_of(target_of(token, is_template=True))
    assert "abc{{{{def" in secrets_of(target_of(token))


def test_the_constant_part_of_a_template_is_blacked_out():
    assert secrets_of(target_of(("X-Token", "Bearer prefix-{{ number }}"), is_template=True)) == ["prefix-"]
