"""`seatrial doctor`: what it finds is found, what it says fails fails, and nothing holds it up or stays behind."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from harness import Target, World, eventually, serving

ENOUGH_S = 30.0
WORDS = (
    "versions",
    "open files",
    "cores",
    "other work",
    "timer",
    "local ports",
    "result folder",
    "temporary folder",
    "NATS",
)


def levels(said: str) -> dict[str, str]:
    """The level of each line of a report, by what it is about."""
    lines = [line for line in said.splitlines()[:-1] if not line.startswith(" ")]
    return {line.split(":")[0][6:]: line.split()[0] for line in lines}


def line_of(said: str, what: str) -> str:
    [found] = [line for line in said.splitlines() if line[6:].startswith(f"{what}:")]
    return found


def fix_of(said: str, what: str) -> str:
    lines = said.splitlines()
    return lines[lines.index(line_of(said, what)) + 1]


@pytest.fixture(autouse=True)
def unwrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line in one piece, however long the paths are: what wraps is looked at in the unit tests."""
    monkeypatch.setenv("COLUMNS", "400")


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port that is taken, and refuses: nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_machine_is_looked_at_without_a_target(world):
    ran = world.run("doctor")

    assert ran.code == 0, ran.out + ran.err
    assert tuple(levels(ran.out)) == WORDS
    assert "fail" not in levels(ran.out).values()
    assert "timerfd" in line_of(ran.out, "timer") or "timer," in line_of(ran.out, "timer")
    assert world.leftovers() == []
    assert world.files() == {}


def test_a_target_gets_one_request(world, target):
    ran = world.run("doctor", f"{target.url}/looked/ok", "-r", "100", "-c", "8")

    assert ran.code == 0, ran.out + ran.err
    assert levels(ran.out)["connection"] == levels(ran.out)["request"] == "ok"
    assert "answers at 127.0.0.1" in line_of(ran.out, "connection")
    assert "status 200 in " in line_of(ran.out, "request")
    seen = target.seen("/looked/ok")
    assert seen["requests"] == 1
    assert seen["headers"][f"host: {target.url.removeprefix('http://')}"] == 1


def test_json_says_the_same(world, target):
    ran = world.run("doctor", f"{target.url}/status/503", "--json")

    said = json.loads(ran.out)
    assert ran.code == 4
    assert said["ready"] is False
    assert said["summary"].endswith("1 fail: mend what fails first")
    [failed] = [check for check in said["checks"] if check["level"] == "fail"]
    assert failed["what"] == "request"
    assert "status 503" in failed["found"]
    assert "curl -v" in failed["fix"]


def test_a_port_where_nobody_listens(world, dead_port):
    ran = world.run("doctor", f"http://127.0.0.1:{dead_port}/")

    assert ran.code == 4, ran.out + ran.err
    assert levels(ran.out)["connection"] == "fail"
    assert "connection refused" in line_of(ran.out, "connection")
    assert f"nc -vz 127.0.0.1 {dead_port}" in fix_of(ran.out, "connection")
    assert "request" not in levels(ran.out)


def test_a_name_that_does_not_resolve(world):
    ran = world.run("doctor", "http://nowhere.invalid/")

    assert ran.code == 4, ran.out + ran.err
    assert line_of(ran.out, "name").startswith("fail  name: nowhere.invalid does not resolve")
    assert "getent hosts nowhere.invalid" in fix_of(ran.out, "name")
    assert ran.took_s < 15


def test_a_target_that_never_answers_is_not_waited_for(world, target):
    ran = world.run("doctor", f"{target.url}/silent/hang")

    assert ran.code == 4, ran.out + ran.err
    assert "no answer within 5 s" in line_of(ran.out, "request")
    assert ran.took_s < 15


def test_an_answer_without_an_end_is_not_waited_for(world, target):
    ran = world.run("doctor", f"{target.url}/drip/slow")

    assert ran.code == 4, ran.out + ran.err
    assert "no answer within 5 s" in line_of(ran.out, "request")
    assert ran.took_s < 15


@pytest.mark.parametrize(("path", "words"), [("garbage", "BadStatusLine|not HTTP"), ("reset", "reset")])
def test_an_answer_that_is_none(world, target, path, words):
    ran = world.run("doctor", f"{target.url}/{path}")

    assert ran.code == 4, ran.out + ran.err
    assert any(word in line_of(ran.out, "request") for word in words.split("|")), ran.out


def test_an_answer_of_gigabytes_is_not_read_to_its_end(world, target):
    ran = world.run("doctor", f"{target.url}/huge")

    assert ran.code == 0, ran.out + ran.err
    assert ran.took_s < 10


def test_a_low_limit_of_files_is_told_with_the_number_that_is_needed(world):
    ran = world.shell("ulimit -n 64; seatrial doctor -c 500")

    assert ran.code == 4, ran.out + ran.err
    assert line_of(ran.out, "open files").startswith("fail  open files: an agent may open 64")
    assert "ulimit -n 564" in fix_of(ran.out, "open files")


def test_a_soft_limit_is_none_as_agents_raise_it(world):
    ran = world.shell("ulimit -Sn 64; seatrial doctor -c 500")

    assert levels(ran.out)["open files"] == "ok", ran.out + ran.err


def test_a_folder_that_is_not_there_fails(world):
    ran = world.run("doctor", "--runDir", "none/such")

    assert ran.code == 4, ran.out + ran.err
    assert levels(ran.out)["result folder"] == "fail"
    assert "mkdir -p" in fix_of(ran.out, "result folder")


def test_an_experiment_file_says_what_is_looked_at(world, target):
    (world.folder / "trial.yaml").write_text(f"""
spec:
- task: http
  with:
    url: {target.url}/order/ok
    payloadStr: "one more"
    endpoints:
      order: {{}}
      missing: {{url: "{target.url}/status/404", method: GET, expect: errors}}
""")
    ran = world.run("doctor", "-f", "trial.yaml")

    assert ran.code == 0, ran.out + ran.err
    assert f"HEAD {target.url}/order/ok (in place of POST): status 200" in ran.out
    assert f"GET {target.url}/status/404: status 404" in ran.out
    assert target.seen("/order/ok")["bodies"] == {"": 1}


def test_values_say_what_is_looked_at(world, target):
    (world.folder / "values.yaml").write_text(f"tasks: [http]\nhttp:\n  url: {target.url}/valued/ok\n")
    ran = world.run("doctor", "-f", "values.yaml")

    assert ran.code == 0, ran.out + ran.err
    assert target.seen("/valued/ok")["requests"] == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("ftp://127.0.0.1/",), "ftp://127.0.0.1/"),
        (("http://127.0.0.1/", "-c", "0"), "connections"),
        (("http://127.0.0.1/", "-f", "values.yaml"), "give it without a URL"),
        (("-f", "none.yaml"), "none.yaml"),
        (("--nats", "here"), "--nats"),
    ],
)
def test_what_can_not_be_asked_is_bad_input(world, flags, words):
    ran = world.run("doctor", *flags)

    assert ran.code == 3, ran.out + ran.err
    assert words in ran.err
    assert "Traceback" not in ran.err


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Target, Path]]:
    """A target with a certificate of its own signing, for 127.0.0.1, that ends in 10 days; and the file it is in."""
    pem = tmp_path_factory.mktemp("tls") / "own.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", str(pem), "-out", str(pem.with_suffix(".crt")), "-days", "10", "-subj", "/O=Harbour CA"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    pem.write_text(pem.read_text() + pem.with_suffix(".crt").read_text())
    with serving("--certificate", str(pem)) as found:
        yield found, pem


def test_a_certificate_that_nobody_trusts(world, secure):
    target, _pem = secure
    ran = world.run("doctor", f"{target.https_url}/ok")

    assert ran.code == 4, ran.out + ran.err
    assert "not trusted: self-signed certificate" in line_of(ran.out, "TLS")
    assert "tls.ca" in fix_of(ran.out, "TLS")
    assert target.seen("/ok")["requests"] == 0


def test_a_certificate_that_the_experiment_trusts_and_its_days(world, secure):
    target, pem = secure
    (world.folder / "trial.yaml").write_text(f"""
spec:
- task: http
  with: {{url: "{target.https_url}/trusted/ok", tls: {{ca: "{pem.with_suffix(".crt")}"}}}}
""")
    ran = world.run("doctor", "-f", "trial.yaml")

    assert ran.code == 0, ran.out + ran.err
    assert line_of(ran.out, "TLS").startswith("warn  TLS: TLSv1.")
    assert "certificate by Harbour CA" in line_of(ran.out, "TLS")
    assert "status 200" in line_of(ran.out, "request")
    assert target.seen("/trusted/ok")["requests"] == 1


def test_no_tls_where_it_is_expected(world, target):
    ran = world.run("doctor", target.url.replace("http:", "https:"))

    assert ran.code == 4, ran.out + ran.err
    assert levels(ran.out)["TLS"] == "fail"
    assert "openssl s_client" in fix_of(ran.out, "TLS")


def test_a_server_that_is_not_there(world, dead_port):
    ran = world.run("doctor", "--nats", f"nats://ada:secret@127.0.0.1:{dead_port}")

    assert ran.code == 4, ran.out + ran.err
    assert levels(ran.out)["NATS"] == "fail"
    assert f"nats-server --jetstream --port {dead_port}" in fix_of(ran.out, "NATS")
    assert "secret" not in ran.out + ran.err
    assert ran.took_s < 15


def _server(world: World, *options: str) -> str:
    world.start("-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(world.folder), *options, program="nats-server")

    def address() -> str:
        for ports in world.folder.glob("*.ports"):
            with suppress(ValueError):  # not fully written yet
                return str(json.loads(ports.read_text())["nats"][0])
        return ""

    eventually(address, ENOUGH_S, "the NATS server is up")
    return address()


def test_a_server_without_jetstream(world):
    ran = world.run("doctor", "--nats", _server(world))

    assert ran.code == 4, ran.out + ran.err
    assert levels(ran.out)["NATS"] == "fail"
    assert "--jetstream" in fix_of(ran.out, "NATS")
    assert ran.took_s < 15


def test_a_fleet_is_looked_at_with_its_clocks(world):
    url = _server(world, "-js", "-sd", str(world.folder / "store"))
    world.start("--nats", url, "--id", "crane-1", program="seatrial-agent")
    enough = world.run("doctor", "--nats", url)
    few = world.run("doctor", "--nats", url, "--agents", "2")

    assert enough.code == 0, enough.out + enough.err
    assert "serves JetStream" in line_of(enough.out, "NATS")
    assert "1 free in namespace 'default', 1 needed: crane-1" in line_of(enough.out, "agents")
    assert "crane-1 +" in line_of(enough.out, "clocks") or "crane-1 -" in line_of(enough.out, "clocks")
    assert "open files" in levels(enough.out)  # the agent's machine is this one
    assert few.code == 4
    assert f"seatrial-agent --nats {url}" in fix_of(few.out, "agents")
