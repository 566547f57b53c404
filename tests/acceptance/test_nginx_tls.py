"""TLS as an experiment asks for it, against a real nginx with a private authority and client certificates."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import Ran, World, only_target
from http2_servers import free_ports, program, running

CONFIG = """\
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; {user}
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
    user = "user root;" if os.getuid() == 0 else ""  # the key is readable for its owner alone
    (folder / "nginx.conf").write_text(CONFIG.format(folder=folder, user=user, **ports))
    command = [program("nginx", "nginx-light"), "-p", str(folder), "-e", f"{folder}/error.log"]
    with running([*command, "-c", f"{folder}/nginx.conf"], ports, b""):
        yield Secure(folder, ports)


def load(world: World, url: str, tls: dict[str, object]) -> Ran:
    http = {"url": url, "numRequests": 20, "rate": 50, **({"tls": tls} if tls else {})}
    return world.load(http, [{"metric": "http/error-rate", "limit": 0}])


def by_flags(world: World, url: str, *flags: str) -> Ran:
    return world.run("http", url, "-n", "20", "-r", "50", "--slo", "errors<=0%", *flags)


def assert_passed(world: World, ran: Ran) -> None:
    assert ran.code == 0, ran.out + ran.err
    assert world.result()["verdict"]["outcome"] == "pass"
    assert only_target(world.result())["statusCodes"] == {"200": 20}


def assert_failed_of_tls(world: World, ran: Ran) -> None:
    assert ran.code == 1, ran.out + ran.err
    assert world.result()["verdict"]["outcome"] == "fail"
    assert only_target(world.result())["errorClasses"] == {"tls": 20}


def test_a_private_authority_is_trusted_when_it_is_named_and_only_then(world: World, secure: Secure):
    trusting = load(world, secure.url("plain"), {"ca": secure.file("ca.pem")})
    assert_passed(world, trusting)
    assert only_target(world.result())["clocks"]["tls"]["count"] >= 4

    assert_failed_of_tls(world, load(world, secure.url("plain"), {}))


def test_a_name_that_the_certificate_has_not_is_an_error_unless_nobody_looks(world: World, secure: Secure):
    wrong = {"ca": secure.file("ca.pem"), "serverName": "elsewhere"}
    assert_failed_of_tls(world, load(world, secure.url("plain"), wrong))

    assert_passed(world, load(world, secure.url("plain"), {"insecure": True}))


def test_the_command_line_does_as_the_experiment(world: World, secure: Secure):
    assert_failed_of_tls(world, by_flags(world, secure.url("plain")))

    assert_passed(world, by_flags(world, secure.url("plain"), "--cacert", secure.file("ca.pem")))

    assert_passed(world, by_flags(world, secure.url("plain"), "-k"))


@pytest.mark.parametrize("told_by", ["flags", "experiment"])
def test_a_server_that_wants_a_certificate_gets_one_and_its_key_is_shown_nowhere(
    world: World, secure: Secure, told_by: str
):
    ca, cert, key = (secure.file(name) for name in ("ca.pem", "client.pem", "client.key"))

    if told_by == "flags":
        ran = by_flags(
            world, secure.url("mutual"), "--cacert", ca, "--cert", cert, "--key", key, "--html", "first.html"
        )
    else:
        ran = load(world, secure.url("mutual"), {"ca": ca, "cert": cert, "key": key})
    assert_passed(world, ran)

    reports = [world.run("report", "-o", kind) for kind in ("text", "html", "json", "junit", "markdown")]
    assert all(report.code == 0 and report.out for report in reports)
    shown = [ran.out, ran.err, *(report.out for report in reports), *map(bytes.decode, world.files().values())]
    secret = [line for line in Path(key).read_text().splitlines() if not line.startswith("-")]
    assert secret
    assert key in (world.folder / "experiment.yaml").read_text()
    assert [line for line in secret for text in shown if line in text] == []


def test_a_server_that_wants_a_certificate_and_gets_none_says_400(world: World, secure: Secure):
    ran = load(world, secure.url("mutual"), {"ca": secure.file("ca.pem")})

    assert ran.code == 1, ran.out + ran.err
    assert world.result()["verdict"]["outcome"] == "fail"
    assert only_target(world.result())["statusCodes"] == {"400": 20}


def test_a_server_with_too_old_a_tls_is_an_error(world: World, secure: Secure):
    trusting = {"ca": secure.file("ca.pem")}
    assert_failed_of_tls(world, load(world, secure.url("old"), {**trusting, "minVersion": "1.3"}))

    assert_passed(world, load(world, secure.url("old"), {**trusting, "minVersion": "1.2"}))


def test_a_file_that_is_no_certificate_is_bad_input(world: World, secure: Secure):
    ran = load(world, secure.url("plain"), {"ca": secure.file("nginx.conf")})

    assert ran.code == 3
    assert "nginx.conf" in ran.err
