"""Targets that refuse, hang, reset, lie or flood: each counted in its class, never an exception, never a hang."""
# ruff: noqa: T201 figures, for `pytest -s`

import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import Document, Target, World, rss_mib, serving, world_in

REQUESTS = 4
CLASSES = {
    "hang": "first-byte-timeout",
    "slow": "body-timeout",
    "reset": "reset",
    "garbage": "protocol",
    "huge": "too-large",
    "endless": "too-large",
    "status/500": "status",
    "refused": "refused",
}
# A body is read up to 64 MiB and then given up; none of it may be kept. 10 GB would show.
GROWTH_MIB = 64


@dataclass(frozen=True)
class Came:
    """What became of one run against all of them, and the most memory that an agent had before and at its end."""

    result: Document
    code: int
    out: str
    err: str
    leftovers: list[str]
    rss_mib: list[float]


def _refusing() -> int:
    """A port where nobody listens: one that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def came(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Came:
    """One experiment with each of them as an endpoint, and a healthy one first and last."""
    endpoints = {"first": f"{target.url}/hostile/first/ok"}
    endpoints |= {_named(path): f"{target.url}/hostile/{path}" for path in CLASSES}
    endpoints["refused"] = f"http://127.0.0.1:{_refusing()}/"
    endpoints["last"] = f"{target.url}/hostile/last/ok"
    urls = [f"--set=http.endpoints.{name}.url={url}" for name, url in endpoints.items()]
    load = f"--set=http.numRequests={REQUESTS},http.qps=40,http.connections=4,http.timeout=500ms"
    slo = "--set=assess.SLOs.upper.http-hang/error-count=0"
    with world_in(tmp_path_factory.mktemp("hostile")) as world:
        launch = world.start("launch", "--set=tasks={http,assess}", load, *urls, slo)
        rss_mib = list(_watched(world, launch))
        out, err = launch.communicate(timeout=30)
        return Came(world.result(), launch.returncode, out, err, world.leftovers(), rss_mib)


def _named(path: str) -> str:
    return path.replace("/", "-")


def _watched(world: World, launch: subprocess.Popen[str]) -> Iterator[float]:
    """The resident memory of the agent in MiB, again and again until the end of the launch."""
    for _ in range(600):
        try:
            launch.wait(0.1)
        except subprocess.TimeoutExpired:
            yield from (rss_mib(one.pid) for one in world.processes("seatrial-agent"))
        else:
            return
    pytest.fail("the run hangs")


def _target(result: Document, name: str) -> Document:
    [found] = [
        one
        for segment in result["runs"][0]["segments"]
        for one in segment["targets"]
        if one["endpoint"] == _named(name)
    ]
    return found


@pytest.mark.parametrize("path", CLASSES)
def test_each_failure_is_counted_in_its_class(came, path):
    found = _target(came.result, path)

    assert found["errorClasses"] == {CLASSES[path]: REQUESTS}
    assert found["account"]["planned"] == found["account"]["errors"] == REQUESTS
    assert found["account"]["closes"]


@pytest.mark.parametrize("path", CLASSES)
def test_each_failure_leaves_evidence(came, path):
    samples = [sample for sample in _target(came.result, path)["samples"] if sample["kind"] == CLASSES[path]]

    assert 1 <= len(samples) <= 5
    assert all(sample["error"].startswith(CLASSES[path]) for sample in samples)


@pytest.mark.parametrize("name", ["first", "last"])
def test_healthy_endpoints_beside_them_are_measured_all_the_same(came, name):
    found = _target(came.result, name)

    assert found["account"]["ok"] == REQUESTS


def test_the_target_got_each_request_once(came, target):
    """No failure is tried again behind one's back."""
    stats = target.stats()

    paths = [f"/hostile/{path}" for path in CLASSES if path != "refused"]
    assert {path: stats[path]["requests"] for path in paths} == dict.fromkeys(paths, REQUESTS)


def test_requests_that_were_cut_off_are_lower_bounds(came):
    clocks = _target(came.result, "hang")["clocks"]

    assert clocks["response"]["censored"] == REQUESTS
    assert clocks["service"]["min"] >= 500


def test_the_run_ends_with_a_verdict_and_no_traceback(came):
    assert came.code == 1, came.out + came.err
    assert came.result["numCompletedTasks"] == 2
    assert came.result["failure"] is False
    assert "Traceback" not in came.out + came.err
    assert came.leftovers == []


def test_memory_stays_flat_whatever_is_poured_in(came):
    settled = [rss for rss in came.rss_mib if rss > 20]  # below, it is still starting

    print(f"agent: {settled[0]:.0f} MiB at first, {max(settled):.0f} MiB at most")
    assert max(settled) < 150 + GROWTH_MIB
    assert max(settled) - min(settled[len(settled) // 4 :]) < GROWTH_MIB


def test_a_certificate_that_nobody_signed_is_class_tls(tmp_path_factory, world):
    folder = tmp_path_factory.mktemp("certificate")
    with serving("--certificate", _certificate(folder)) as target:
        urls = {"safe": target.https_url, "plain": f"https{target.url.removeprefix('http')}"}
        flags = [f"--set=http.endpoints.{name}.url={url}/tls/ok" for name, url in urls.items()]
        ran = world.run("launch", "--set=tasks={http}", "--set=http.numRequests=8,http.qps=80,http.timeout=1s", *flags)

        assert ran.code == 0, ran.out + ran.err
        assert _target(world.result(), "safe")["errorClasses"] == {"tls": 8}
        assert _target(world.result(), "plain")["errorClasses"] == {"tls": 8}
        assert target.seen("/tls/ok")["requests"] == 0


def test_a_certificate_that_is_trusted_is_served(tmp_path_factory, world):
    """By the system's own store, or what SSL_CERT_FILE puts in its place."""
    certificate = _certificate(tmp_path_factory.mktemp("certificate"))
    world.environment["SSL_CERT_FILE"] = certificate
    with serving("--certificate", certificate) as target:
        ran = world.run(
            "launch", "--set=tasks={http}", f"--set=http.url={target.https_url}/tls/ok,http.numRequests=8,http.qps=80"
        )

        assert ran.code == 0, ran.out + ran.err
        assert _target(world.result(), "")["account"]["ok"] == 8
        assert target.seen("/tls/ok")["requests"] == 8


def _certificate(folder: Path) -> str:
    """A PEM with a key and a certificate for 127.0.0.1, signed by nobody else; skips where there is no openssl."""
    pem = folder / "self-signed.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    try:
        made = subprocess.run(
            [*command.split(), "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed: no certificate for the TLS tests")
    assert made.returncode == 0, made.stderr
    pem.write_bytes((folder / "key.pem").read_bytes() + (folder / "cert.pem").read_bytes())
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pem)
    return str(pem)
