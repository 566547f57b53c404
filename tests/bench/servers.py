"""What is loaded: an nginx with a configuration of our own, and a target whose answers take a scripted time."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from machine import Cores, NotRunError, first_version, program
from processes import run, started
from scripted_target import PERCENTILES, STEPS_US

SCRIPTED = Path(__file__).with_name("scripted_target.py")
PROBE = Path(__file__).with_name("probe.py")
PROBES = 500
SCRIPT_US = dict(zip(PERCENTILES, STEPS_US, strict=True))
START_S = 10.0
SMALL_BYTES = 128
JSON_BYTES = 10 * 1024
_CONFIG = """
daemon off;
worker_processes 1;
{user}
worker_rlimit_nofile {files};
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{ worker_connections {connections}; multi_accept on; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  open_file_cache max=16;
  open_file_cache_valid 1h;
  sendfile on;
  tcp_nopush on;
  ssl_certificate {folder}/cert.pem;
  ssl_certificate_key {folder}/key.pem;
  server {{
    listen 127.0.0.1:{plain} backlog=16384;
    default_type text/plain;
    location / {{ return 200 "{body}"; }}
    location /json {{ default_type application/json; alias {folder}/answer.json; }}
  }}
  server {{
    listen 127.0.0.1:{tls} ssl backlog=16384;
    default_type text/plain;
    location / {{ return 200 "{body}"; }}
  }}
  server {{
    {listen_http2}
    default_type text/plain;
    location / {{ return 200 "{body}"; }}
  }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """An nginx under way: where its locations are, and what it is."""

    url: str
    json_url: str
    https_url: str
    http2_url: str
    tls_port: int
    version: str


@contextmanager
def nginx(cores: Cores, folder: Path, files: int) -> Iterator[Nginx]:
    """An nginx with one worker on the server's core, for the length of the block."""
    binary = program("nginx")
    plain, tls, http2 = _free_ports(3)
    known = first_version([binary, "-v"])
    _certificate(folder)
    (folder / "answer.json").write_text(_json_answer(), encoding="utf-8")
    configuration = folder / "nginx.conf"
    listen = f"listen 127.0.0.1:{http2} ssl{'' if _has_http2_directive(known) else ' http2'} backlog=16384;"
    configuration.write_text(
        _CONFIG.format(
            folder=folder,
            user="user root;" if os.geteuid() == 0 else "",
            files=files,
            connections=max(512, files - 100),
            plain=plain,
            tls=tls,
            body="x" * SMALL_BYTES,
            listen_http2=listen + (" http2 on;" if _has_http2_directive(known) else ""),
        ),
        encoding="utf-8",
    )
    with started([binary, "-c", str(configuration), "-e", str(folder / "error.log")], core=cores.server) as process:
        _await_listeners(process, (plain, tls, http2), folder / "error.log")
        yield Nginx(
            f"http://127.0.0.1:{plain}/",
            f"http://127.0.0.1:{plain}/json",
            f"https://127.0.0.1:{tls}/",
            f"https://127.0.0.1:{http2}/",
            tls,
            known,
        )


@dataclass(frozen=True)
class Scripted:
    """What the scripted target did: how long its answers took, from the request's arrival, by its own clock."""

    requests: int
    took_us: dict[str, float]
    is_real_time: bool


class ScriptedTarget:
    """A scripted target under way; `finish` it once for its log."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        self.url = process.stdout.readline().strip()
        if not self.url:
            raise NotRunError("the scripted target did not start")

    def finish(self) -> Scripted:
        """End it, and read what it has logged."""
        out, _err = self._process.communicate(timeout=START_S)
        return Scripted(**json.loads(out))


@contextmanager
def scripted_target(cores: Cores) -> Iterator[ScriptedTarget]:
    """A scripted target on the server's core, for the length of the block."""
    with started([sys.executable, str(SCRIPTED)], core=cores.server) as process:
        yield ScriptedTarget(process)


def crossing_us(cores: Cores) -> float:
    """What the way to a scripted target and back adds to its own figures, by the median of a client that never sleeps."""
    with scripted_target(cores) as target:
        ran = run([sys.executable, str(PROBE), target.url, str(PROBES)], START_S, core=cores.client)
        if ran.code:
            raise NotRunError(f"the scripted target could not be probed: {ran.err.strip().splitlines()[-1:]}")
        return float(json.loads(ran.out)["50"]) - target.finish().took_us["50"]


def _json_answer() -> str:
    """About 10 KB of JSON, as an API would answer; `items[3].name` is what the check looks at."""
    items = [{"id": n, "name": f"item-{n}", "price": n * 1.25, "tags": ["sea", "trial"]} for n in range(140)]
    document = {"status": "ok", "items": items, "pad": ""}
    document["pad"] = "x" * (JSON_BYTES - len(json.dumps(document)))
    return json.dumps(document)


def _certificate(folder: Path) -> None:
    """A self-signed certificate for 127.0.0.1. ECDSA P-256, as most sites have: the server's part of a handshake is cheap."""
    command = [program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    ran = run([*command, "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")], 30)
    if ran.code:
        raise NotRunError(f"openssl made no certificate: {ran.err.strip().splitlines()[-1:]}")


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _has_http2_directive(known: str) -> bool:
    """Since 1.25.1, `http2 on;` stands apart from `listen`."""
    numbers = tuple(int(part) for part in known.split(".")[:3] if part.isdecimal())
    return numbers >= (1, 25, 1)


def _await_listeners(process: subprocess.Popen[str], ports: tuple[int, ...], log: Path) -> None:
    deadline = time.monotonic() + START_S
    for port in ports:
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.02)
        else:
            said = log.read_text(encoding="utf-8").strip() if log.exists() else ""
            raise NotRunError(f"nginx did not start within {START_S:g} s: {said or 'it said nothing'}")
