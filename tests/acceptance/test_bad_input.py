"""Bad input gets a clear error and exit code 3; nothing is started, and nothing in the folder changes."""

from dataclasses import dataclass

import pytest
from harness import Ran, Target, World, ended, http_values

URL = "--set=http.url=http://127.0.0.1:9/"
HTTP = "--set=tasks={http}"
BOTH = "--set=tasks={http,assess}"
TWICE = """
tasks: [http]
http:
  endpoints:
    a: {url: http://127.0.0.1:9/}
    a: {url: http://127.0.0.1:9/}
"""
FIFTY_MB = 50 * 1000 * 1000
AT_A_TIME = 4


@dataclass(frozen=True)
class Case:
    """A command that must be refused, and words that the error must have."""

    command: tuple[str, ...]
    words: tuple[str, ...]
    experiment: bytes = b""  # experiment.yaml as it is before


def _refused(*command: str, words: tuple[str, ...], experiment: bytes = b"") -> Case:
    return Case(command, words, experiment)


def _launched(*settings: str, words: tuple[str, ...]) -> Case:
    return Case(("launch", HTTP, URL, *(f"--set=http.{one}" for one in settings)), words)


CASES = {
    "no tasks": _refused("launch", URL, words=("tasks",)),
    "unknown task": _refused("launch", "--set=tasks={htp}", words=("tasks[0]", "htp", "http")),
    "unknown field": _launched("conections=4", words=("conections", "did you mean connections?")),
    "missing url": _refused("launch", HTTP, "--set=http.qps=5", words=("url", "missing")),
    "wrong type": _launched("numRequests=many", words=("numRequests", "many")),
    "negative requests": _launched("numRequests=-1", words=("numRequests", "-1")),
    "zero requests": _launched("numRequests=0", words=("numRequests", "0")),
    "zero connections": _launched("connections=0", words=("connections", "0")),
    "duration without a unit": _launched("duration=fast", words=("duration", "fast")),
    "zero timeout": _launched("timeout=0s", words=("timeout", "0s")),
    "every mistake at once": _launched("numRequests=0,http.connections=0", words=("numRequests", "connections")),
    "unknown metric": _refused(
        "launch", BOTH, URL, "--set=assess.SLOs.upper.http/latencymean=5", words=("latencymean",)
    ),
    "set that does not parse": _refused("launch", HTTP, URL, "--set=http.percentiles={1,2", words=("--set",)),
    "set-file that is missing": _refused("launch", HTTP, URL, "--set-file=http.payloadStr=nowhere", words=("nowhere",)),
    "payload that is missing": _launched("payloadFile=nowhere.bin", words=("payload", "nowhere.bin")),
    "payload url that answers 500": _launched("payloadURL={target}/bad/status/500", words=("payload", "500")),
    "duplicate endpoint": _refused("launch", "-f", "values.yaml", words=("duplicate", "'a'")),
    "charts": _refused("launch", HTTP, URL, "--chartName=mine", words=("charts are built in",)),
    "zero agents": _refused("launch", HTTP, URL, "--agents=0", words=("--agents", "0")),
    "unknown flag": _refused("launch", "--nosuch", words=("--nosuch",)),
    "run folder that is none": _refused("launch", HTTP, URL, "--runDir=nowhere", words=("nowhere",)),
    "no experiment to run": _refused("run", words=("experiment.yaml",)),
    "report format": _refused("report", "-o", "pdf", words=("pdf", "html")),
    "assert condition": _refused("assert", "-c", "happy", words=("happy", "completed")),
    "not yaml to run": _refused("run", words=("experiment.yaml", "not valid YAML"), experiment=b"spec: [unclosed\n"),
    "not yaml to report": _refused("report", words=("experiment.yaml", "YAML"), experiment=b"\x00\x01\xff"),
    "not an experiment": _refused("run", words=("experiment.yaml",), experiment=b"just words\n"),
    "50 MB to run": _refused("run", words=("experiment.yaml", "MiB"), experiment=b"# large\n" * (FIFTY_MB // 8)),
    "50 MB to assert": _refused("assert", "-c", "slos", words=("MiB",), experiment=b"- a\n" * (FIFTY_MB // 4)),
    "slo of the one-liner": _refused("http", "http://127.0.0.1:9/", "--slo", "p99=50ms", words=("--slo", "p99=50ms")),
}


@dataclass(frozen=True)
class Came:
    """What became of a case."""

    ran: Ran
    before: dict[str, bytes]
    after: dict[str, bytes]
    leftovers: list[str]


@pytest.fixture(scope="module")
def came(target: Target, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Came]:
    """All cases, a few at a time, each in a world of its own."""
    found: dict[str, Came] = {}
    names = list(CASES)
    for first in range(0, len(names), AT_A_TIME):
        worlds = {name: World(tmp_path_factory.mktemp("bad")) for name in names[first : first + AT_A_TIME]}
        try:
            launched = {
                name: (_prepared(world, CASES[name]), world.start(*_command(CASES[name], target)))
                for name, world in worlds.items()
            }
            for name, (before, process) in launched.items():
                found[name] = Came(ended(process), before, worlds[name].files(), worlds[name].leftovers())
        finally:
            for world in worlds.values():
                world.end()
    return found


def _command(case: Case, target: Target) -> list[str]:
    return [word.replace("{target}", target.url) for word in case.command]


def _prepared(world: World, case: Case) -> dict[str, bytes]:
    (world.folder / "values.yaml").write_text(TWICE)
    if case.experiment:
        (world.folder / "experiment.yaml").write_bytes(case.experiment)
    return world.files()


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_in_so_many_words(came, name):
    ran = came[name].ran

    assert ran.code == 3, ran.out + ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""
    assert [word for word in CASES[name].words if word not in ran.err] == [], ran.err


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_written_and_nothing_is_left(came, name):
    assert came[name].after == came[name].before
    assert came[name].leftovers == []


def test_a_bad_launch_leaves_the_last_good_result_alone(target, world):
    good = world.run("launch", "--set=tasks={http}", *http_values(f"{target.url}/good/ok", numRequests=20, qps=200))
    assert good.code == 0, good.out + good.err
    before = world.files()

    bad = world.run("launch", HTTP, URL, "--set=http.payloadFile=nowhere")

    assert bad.code == 3
    assert world.files() == before
