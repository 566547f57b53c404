"""TLS as an experiment asks for it, against a real nginx with a private authority and client certificates."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from harness import Ran, World, only_target
from http2_servers import free_ports, program, running

CONFIG = """\
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; user root;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
  server {{ listen 127.0.0.1:{plain} ssl; location / {{ return 200 "hello"; }} }}
  server {{ listen 127.0.0.1:{mutual} ssl; ssl_client_certificate {folder}/ca.pem; ssl_verify_client on;
           location / {{ return 200 "hello"; }} }}
  server {{ listen 127.0.0.1:{old} ssl; ssl_protocols TLSv1.2; location / {{ return 200 "hello"; }} }}
}}
"""


@dataclass(frozen=True)
class Secure:
    """An nginx, and the folder with `ca.pem`, `client.pem` and `client.key`."""

    folder: Path
    ports: dict[str, int]

    def url(self, port: str) -> str:
        return f"https://localhost:{self.ports[port]}/"

    def file(self, name: str) -> str:
        return str(self.folder / name)


def certify(folder: Path, name: str, subject: str, *extensions: str) -> None:
    """A key and a certificate, signed by the authority; the authority signs itself."""
    openssl = program("openssl", "openssl")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]
    signer = [] if name == "ca" else ["-CA", "ca.pem", "-CAkey", "ca.key"]
    added = [word for one in extensions for word in ("-addext", one)]
    command = [openssl, "req", "-x509", "-days", "2", "-subj", f"/CN={subject}", *key, *signer, *added]
    subprocess.run([*command, "-out", f"{name}.pem"], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("secure")
    certify(folder, "ca", "a private authority")
    certify(folder, "server", "localhost", "subjectAltName=DNS:localhost", "basicConstraints=critical,CA:FALSE")
    certify(folder, "client", "a client", "basicConstraints=critical,CA:FALSE")
    ports = free_ports("plain", "mutual", "old")
    (folder / "nginx.conf").write_text(CONFIG.format(folder=folder, **ports))
    command = [program("nginx", "nginx-light"), "-p", str(folder), "-e", f"{folder}/error.log"]
    with running([*command, "-c", f"{folder}/nginx.conf"], ports, b""):
        yield Secure(folder, ports)


def load(world: World, url: str, tls: dict[str, object]) -> Ran:
    http = {"url": url, "numRequests": 20, "rate": 50, **({"tls": tls} if tls else {})}
    limits = {"upper": [{"metric": "http/error-rate", "limit": 0}]}
    spec = [{"task": "http", "with": http}, {"task": "assess", "with": {"SLOs": limits}}]
    (world.folder / "experiment.yaml").write_text(yaml.safe_dump({"spec": spec}))
    return world.run("run")


def classes(world: World) -> dict[str, int]:
    found: dict[str, int] = only_target(world.result())["errorClasses"]
    return found


def test_a_private_authority_is_trusted_when_it_is_named_and_only_then(world: World, secure: Secure):
    trusting = load(world, secure.url("plain"), {"ca": secure.file("ca.pem")})
    assert trusting.code == 0, trusting.out + trusting.err
    assert only_target(world.result())["clocks"]["tls"]["count"] >= 4

    doubting = load(world, secure.url("plain"), {})
    assert doubting.code == 1, doubting.out + doubting.err
    assert classes(world) == {"tls": 20}


def test_a_name_that_the_certificate_has_not_is_an_error_unless_nobody_looks(world: World, secure: Secure):
    assert load(world, secure.url("plain"), {"ca": secure.file("ca.pem"), "serverName": "elsewhere"}).code == 1
    assert classes(world) == {"tls": 20}

    assert load(world, secure.url("plain"), {"insecure": True}).code == 0


def test_a_server_that_wants_a_certificate_gets_one_and_its_key_is_shown_nowhere(world: World, secure: Secure):
    ca, cert, key = (secure.file(name) for name in ("ca.pem", "client.pem", "client.key"))

    shown = world.run(
        "http", secure.url("mutual"), "-n", "20", "-r", "50", "--cacert", ca, "--cert", cert, "--key", key
    )
    assert shown.code == 0, shown.out + shown.err
    assert only_target(world.result())["statusCodes"] == {"200": 20}
    secret = Path(key).read_text().splitlines()[1]
    texts = [shown.out, shown.err, *(world.run("report", "-o", kind).out for kind in ("html", "json", "markdown"))]
    assert all(secret not in text for text in texts)
    assert secret not in (world.folder / "experiment.yaml").read_text()

    assert load(world, secure.url("mutual"), {"ca": ca}).code == 1
    assert only_target(world.result())["statusCodes"] == {"400": 20}


def test_a_server_with_too_old_a_tls_is_an_error(world: World, secure: Secure):
    assert load(world, secure.url("old"), {"ca": secure.file("ca.pem"), "minVersion": "1.3"}).code == 1
    assert classes(world) == {"tls": 20}

    assert load(world, secure.url("old"), {"ca": secure.file("ca.pem"), "minVersion": "1.2"}).code == 0


def test_a_file_that_is_no_certificate_is_bad_input(world: World, secure: Secure):
    ran = load(world, secure.url("plain"), {"ca": secure.file("nginx.conf")})

    assert ran.code == 3
    assert "nginx.conf" in ran.err
