"""Real HTTP/2 servers that share no code with us, each in a process of its own on the loopback."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

HELLO = b"hello" * 20
LARGE = bytes(range(256)) * 4096  # 1 MiB
PATIENCE_S = 20.0
NGINX = """\
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; {user}
events {{ worker_connections 256; }}
http {{
  access_log off; default_type text/plain; client_max_body_size 10m; keepalive_requests 1000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{plain} http2; listen 127.0.0.1:{tls} ssl http2;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    root {folder}/files;
    location = /trailers {{ add_trailer grpc-status 0 always; return 200 "with trailers"; }}
    location = /redirect {{ return 302 /index.html; }}
    location = /upload {{ proxy_pass http://127.0.0.1:{upload}; }}
  }}
  server {{ listen 127.0.0.1:{upload}; location / {{ return 200 "$http_content_length"; }} }}
  server {{ listen 127.0.0.1:{few} http2; root {folder}/files; http2_max_concurrent_streams 4; }}
  server {{ listen 127.0.0.1:{short} http2; root {folder}/files; keepalive_requests 100; }}
  server {{
    listen 127.0.0.1:{old} ssl; root {folder}/files;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
  }}
}}
"""
HYPERCORN = """\
from pathlib import Path

FILES = Path(__file__).with_name("files")


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    length, is_more = 0, True
    while is_more:
        message = await receive()
        length += len(message.get("body", b""))
        is_more = message.get("more_body", False)
    file = FILES / scope["path"].strip("/")
    if scope["path"] == "/upload":
        status, body = 200, str(length).encode()
    elif file.is_file():
        status, body = 200, file.read_bytes()
    else:
        status, body = 404, b"no such file"
    body = b"" if scope["method"] == "HEAD" else body
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""


@dataclass(frozen=True)
class RealServer:
    """A server under way. `ports` by what listens there: at least `plain` (prior knowledge) and `tls` (ALPN)."""

    process: subprocess.Popen[bytes]
    ports: dict[str, int]
    certificate: bytes

    def url(self, port: str, path: str) -> str:
        """Where something is served."""
        scheme = "https" if port in ("tls", "old") else "http"
        return f"{scheme}://localhost:{self.ports[port]}/{path}"


def program(name: str, package: str) -> str:
    """Where a program of the system's is; whoever lacks it is told what to install."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    assert found, f"{name} is missing: install the system package {package}"
    return found


def certified(folder: Path) -> bytes:
    """A certificate for localhost that signs itself, and its key, as files; the certificate."""
    openssl = program("openssl", "openssl")
    key, cert = folder / "key.pem", folder / "cert.pem"
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = [openssl, "req", *kind, *name, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert.read_bytes()


def free_ports(*names: str) -> dict[str, int]:
    """Ports that are free now."""
    sockets = [socket.socket() for _ in names]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = {name: one.getsockname()[1] for name, one in zip(names, sockets, strict=True)}
    for one in sockets:
        one.close()
    return ports


@contextmanager
def nginx(folder: Path) -> Iterator[RealServer]:
    """Debian's nginx: also with few streams, with few requests a connection, and without HTTP/2."""
    binary = program("nginx", "nginx-light")
    certificate = prepared(folder)
    ports = free_ports("plain", "tls", "few", "short", "old", "upload")
    user = "user root;" if os.getuid() == 0 else ""  # the files are readable for their owner alone
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, user=user, **ports))
    command = [binary, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    with running(command, ports, certificate) as server:
        yield server


@contextmanager
def nghttpd(folder: Path) -> Iterator[RealServer]:
    """nghttp2's own server, which pads, sends trailers and gives uploads back."""
    binary = program("nghttpd", "nghttp2-server")
    certificate = prepared(folder)
    ports = free_ports("plain", "tls")
    given = [binary, "-a", "127.0.0.1", "-d", str(folder / "files"), "--echo-upload", "-b", "100", "--trailer", "a: b"]
    plain = [*given, "--no-tls", str(ports["plain"])]
    tls = [*given, str(ports["tls"]), str(folder / "key.pem"), str(folder / "cert.pem")]
    with (
        running(plain, {"plain": ports["plain"]}, certificate) as server,
        running(tls, {"tls": ports["tls"]}, certificate),
    ):
        yield RealServer(server.process, ports, certificate)


@contextmanager
def hypercorn(folder: Path) -> Iterator[RealServer]:
    """A server in Python, on the h2 library."""
    certificate = prepared(folder)
    ports = free_ports("plain", "tls")
    (folder / "served.py").write_text(HYPERCORN)
    command = [sys.executable, "-m", "hypercorn", "served:app", "--error-logfile", str(folder / "error.log")]
    bind = ["--bind", f"127.0.0.1:{ports['tls']}", "--insecure-bind", f"127.0.0.1:{ports['plain']}"]
    tls = ["--certfile", str(folder / "cert.pem"), "--keyfile", str(folder / "key.pem")]
    with running([*command, *bind, *tls], ports, certificate, folder) as server:
        yield server


def prepared(folder: Path) -> bytes:
    """Files to serve, and a certificate."""
    (folder / "files").mkdir()
    (folder / "files" / "index.html").write_bytes(HELLO)
    (folder / "files" / "large").write_bytes(LARGE)
    return certified(folder)


@contextmanager
def running(
    command: list[str], ports: dict[str, int], certificate: bytes, folder: Path | None = None
) -> Iterator[RealServer]:
    """A process, from when it listens until the end of the block."""
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            for port in ports.values():
                listens(process, command[0], port)
            yield RealServer(process, ports, certificate)
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def listens(process: subprocess.Popen[bytes], name: str, port: int) -> None:
    """Wait until somebody accepts connections on a port."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            assert process.stderr is not None
            raise AssertionError(f"{name} ended with {process.returncode}: {process.stderr.read().decode()}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError(f"{name} does not listen on port {port} after {PATIENCE_S:g} s")
