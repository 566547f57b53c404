import os
import subprocess
from threading import Thread

import msgspec
import pytest

from controller.errors import BadInputError
from controller.experiment.http_parts import TlsSettings
from controller.experiment.spec import from_document
from controller.tasks.certificates import read_tls
from controller.tasks.payloads import Material, read_material


def material_of(*tasks):
    document = {"spec": [{"task": "http", "with": {"url": "https://h/"} | task} for task in tasks]}
    return read_material(from_document(document))


# --- all of it ---


def test_each_endpoint_has_what_its_requests_are_made_of(tmp_path, monkeypatch, pair):
    cert, key = pair
    monkeypatch.setenv("API_TOKEN", "abc")
    (tmp_path / "body").write_bytes(b"\xff{{ row.id }}")
    (tmp_path / "rows.csv").write_text("id,name\n1,Ada\n")

    found = material_of(
        {"payloadStr": "hello"},
        {
            "data": {"file": str(tmp_path / "rows.csv")},
            "auth": {"bearer": {"tokenEnv": "API_TOKEN"}},
            "tls": {"cert": str(cert), "key": str(key), "insecure": True, "serverName": "x", "minVersion": "1.3"},
            "endpoints": {"a": {"payloadFile": str(tmp_path / "body")}, "b": {"url": "http://h/{{ row.name }}"}},
        },
    )

    assert found[0] == {"": Material(body=b"hello")}
    assert found[1]["a"].body == b"\xff{{ row.id }}"
    assert msgspec.msgpack.decode(found[1]["a"].rows) == [{"id": "1"}]
    assert msgspec.msgpack.decode(found[1]["b"].rows) == [{"name": "Ada"}]
    assert found[1]["a"].authorization == "Bearer abc"
    assert found[1]["a"].tls.cert == cert.read_bytes()
    assert (found[1]["a"].tls.is_verified, found[1]["a"].tls.server_name) == (False, "x")
    assert found[1]["a"].tls.min_version == "1.3"
    assert found[1]["b"].tls is None  # plain HTTP


def test_every_mistake_is_told_and_each_once(tmp_path, monkeypatch):
    monkeypatch.delenv("API_TOKEN", raising=False)
    shared = {"auth": {"bearer": {"tokenEnv": "API_TOKEN"}}, "tls": {"ca": str(tmp_path / "ca.pem")}}

    with pytest.raises(BadInputError) as caught:
        material_of(
            {**shared, "payloadFile": str(tmp_path / "body")},
            {**shared, "data": {"file": str(tmp_path / "rows.csv")}},
        )

    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    for name in ("body", "rows.csv", "ca.pem", "API_TOKEN"):
        assert sum(name in line for line in lines) == 1


def test_a_column_without_data_is_a_mistake():
    with pytest.raises(
        BadInputError, match=r"the templates use row\.id: expected data with such a column, got no data"
    ):
        material_of({"template": True, "payloadStr": "{{ row.id }}"})


def test_a_secret_is_not_in_what_a_log_would_show():
    assert "abc" not in repr(Material(body=b"x", authorization="Bearer abc"))


# --- certificates ---


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Two certificates with their keys, and one key once more with a password."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("one", "other"):
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        to = ["-subj", f"/CN={name}", "-days", "2", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"]
        subprocess.run([*make, *to], check=True, capture_output=True)
    lock = ["openssl", "pkcs8", "-topk8", "-in", folder / "one.key", "-passout", "pass:hush"]
    subprocess.run([*lock, "-out", folder / "locked.key"], check=True, capture_output=True)
    return folder


@pytest.fixture
def pair(pairs):
    return pairs / "one.pem", pairs / "one.key"


def tls_mistake(**given):
    with pytest.raises(BadInputError) as caught:
        read_tls(TlsSettings.model_validate({name: str(value) for name, value in given.items()}))
    return str(caught.value)


def test_authorities_are_read_whatever_stands_between_them(pairs, tmp_path):
    one, other = ((pairs / f"{name}.pem").read_bytes() for name in ("one", "other"))
    (tmp_path / "ca.pem").write_bytes("# Zertifikate für später\n".encode() + one + b"\r\n# more\xff\n" + other)

    found = read_tls(TlsSettings(ca=str(tmp_path / "ca.pem")))

    assert found.ca == one + other


def test_a_certificate_and_its_key_may_share_a_file(pairs, tmp_path):
    cert, key = (pairs / "one.pem").read_bytes(), (pairs / "one.key").read_bytes()
    (tmp_path / "both.pem").write_bytes(key + cert)

    found = read_tls(TlsSettings(cert=str(tmp_path / "both.pem"), key=str(tmp_path / "both.pem")))

    assert (found.cert, found.key) == (cert, key)


def test_a_key_may_come_through_a_pipe(pair, tmp_path):
    cert, key = pair
    os.mkfifo(tmp_path / "pipe")
    writer = Thread(target=(tmp_path / "pipe").write_bytes, args=(key.read_bytes(),))
    writer.start()

    found = read_tls(TlsSettings(cert=str(cert), key=str(tmp_path / "pipe")))
    writer.join()

    assert found.key == key.read_bytes()


def test_a_key_of_another_certificate_is_refused(pairs):
    found = tls_mistake(cert=pairs / "one.pem", key=pairs / "other.key")

    assert found == f"tls.key: {pairs}/other.key is not the key of the certificate in {pairs}/one.pem: expected its own"


def test_a_key_with_a_password_is_refused(pairs):
    assert "expected a key without a password, got an encrypted one in" in tls_mistake(
        cert=pairs / "one.pem", key=pairs / "locked.key"
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "can't be read: No such file"),
        (b"", "expected a certificate in PEM"),
        (b"\x30\x82\x01", "expected a certificate in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "has a certificate that can't be read"),
        (b"x" * ((1 << 20) + 1), "is larger than 1 MiB"),
    ],
)
def test_what_is_no_certificate_is_told_with_its_path(tmp_path, content, why):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)

    found = tls_mistake(ca=file)

    assert found.startswith("tls.ca: ")
    assert str(file) in found
    assert why in found


def test_a_certificate_is_no_key(pair):
    cert, key = pair

    assert f"expected a key in PEM, -----BEGIN PRIVATE KEY-----, got none in {cert}" in tls_mistake(cert=cert, key=cert)
    assert f"expected a certificate in PEM, -----BEGIN CERTIFICATE-----, got none in {key}" in tls_mistake(
        cert=key, key=key
    )
