"""The commands as people and pipelines use them: Iter8's tutorial, its assertions and reports, and the exit codes."""

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from harness import Target, World, ended, eventually, http_values, only_target, serving, world_in

from controller.experiment.document import write_atomically

TUTORIAL_PORT = 8000
TUTORIAL = """
seatrial launch --set "tasks={http,assess}" --set http.url=http://127.0.0.1:8000/ \
  --set http.numRequests=1000 --set http.qps=500 --set http.connections=8 \
  --set assess.SLOs.upper.http/latency-mean=50 --set assess.SLOs.upper.http/error-count=0
seatrial assert -c completed -c nofailure -c slos
seatrial report -o html > report.html
"""
FORMATS = ("text", "html", "json", "junit", "markdown")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world after Iter8's tutorial, by the words of a shell."""
    port = TUTORIAL_PORT if _is_free(TUTORIAL_PORT) else 0
    with serving(f"--port={port}") as target, world_in(tmp_path_factory.mktemp("tutorial")) as world:
        script = TUTORIAL.replace("http://127.0.0.1:8000", target.url)
        ran = world.shell(f"set -e\n{script}")
        assert ran.code == 0, ran.out + ran.err
        (world.folder / "said.txt").write_text(ran.out)
        assert target.seen("/")["requests"] == 1000
        yield world


@pytest.fixture
def copy(tutorial: World, world: World) -> World:
    """A world of its own with the tutorial's experiment.yaml."""
    shutil.copy(tutorial.folder / "experiment.yaml", world.folder)
    return world


def test_the_tutorial_works_word_for_word(tutorial):
    said = (tutorial.folder / "said.txt").read_text()

    assert said.splitlines().count("verdict: pass") == 1
    assert [line.split(":")[0] for line in said.splitlines()[-3:]] == ["ok   completed", "ok   nofailure", "ok   slos"]
    page = (tutorial.folder / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert tutorial.leftovers() == []


def test_the_result_has_iter8s_fields(tutorial):
    result = tutorial.result()

    assert result["numCompletedTasks"] == 2
    assert result["failure"] is False
    assert result["insights"]["SLOsSatisfied"]["upper"] == [[True], [True]]
    assert result["insights"]["nonHistMetricValues"][0]["http/request-count"] == [1000.0]


def test_every_format_is_reported_from_the_folder(tutorial):
    reports = {form: tutorial.run("report", "-o", form) for form in FORMATS}

    assert {form: ran.code for form, ran in reports.items()} == dict.fromkeys(FORMATS, 0)
    assert {form: ran.err for form, ran in reports.items()} == dict.fromkeys(FORMATS, "")
    assert reports["text"].out.endswith("verdict: pass\n")
    assert json.loads(reports["json"].out)["result"]["verdict"]["outcome"] == "pass"
    cases = ET.fromstring(reports["junit"].out).findall(".//testcase")  # noqa: S314 our own output
    assert len(cases) >= 2
    assert not [case for case in cases if case.findall("failure") or case.findall("error")]
    assert "http/latency-mean" in reports["markdown"].out
    assert reports["html"].out == (tutorial.folder / "report.html").read_text()


def test_a_report_goes_to_a_reader_who_stops_early(tutorial):
    ran = tutorial.shell("set -o pipefail; seatrial report -o html | head -c 10")

    assert len(ran.out) == 10
    assert "Traceback" not in ran.err


def test_assert_names_the_clause_that_failed(copy):
    document = (copy.folder / "experiment.yaml").read_text()
    write_atomically(copy.folder / "experiment.yaml", document.replace("numCompletedTasks: 2", "numCompletedTasks: 1"))

    ran = copy.run("assert", "-c", "completed,nofailure", "-c", "slos")

    assert ran.code == 4
    assert ran.out.splitlines()[0] == "FAIL completed: 1 of 2 tasks are complete"
    assert [line.split(":")[0] for line in ran.out.splitlines()[1:]] == ["ok   nofailure", "ok   slos"]


def test_assert_stops_early_once_the_outcome_can_not_change(failing):
    ran = failing.run("assert", "-c", "slos", "-t", "60s")

    assert ran.code == 1
    assert ran.took_s < 30
    assert ran.out.startswith("FAIL slos: not satisfied: http/error-count")


@pytest.fixture(scope="module")
def failing(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world after a run with a violated SLO."""
    with world_in(tmp_path_factory.mktemp("failing")) as world:
        ran = world.run(
            "launch",
            "--set=tasks={http,assess}",
            *http_values(f"{target.url}/failing/status/503", numRequests=100, qps=400),
            "--set=assess.SLOs.upper.http/error-count=0",
            "--set=assess.SLOs.upper.http/latency-mean=500",
        )
        assert ran.code == 1, ran.out + ran.err
        assert "verdict: fail" in ran.out
        yield world


def test_a_violated_slo_does_not_fail_the_experiment(failing):
    result = failing.result()

    assert result["failure"] is False
    assert result["numCompletedTasks"] == 2
    assert result["insights"]["SLOsSatisfied"]["upper"] == [[False], [True]]
    assert failing.run("assert", "-c", "completed", "-c", "nofailure").code == 0
    assert only_target(result)["statusCodes"] == {"503": 100}


def test_a_violated_slo_is_a_failed_test_case(failing):
    junit = ET.fromstring(failing.run("report", "-o", "junit").out)  # noqa: S314 our own output

    failed = [case.get("name") for case in junit.findall(".//testcase") if case.findall("failure")]
    assert [name for name in failed if "error-count" in name]
    assert not [name for name in failed if "latency-mean" in name]


def test_an_slo_without_evidence_is_undecided(target, world):
    ran = world.run(
        "launch",
        "--set=tasks={http,assess}",
        *http_values(f"{target.url}/few/ok", numRequests=50, qps=500),
        "--set=assess.SLOs.upper.http/latency-p99=500",
    )

    assert ran.code == 2, ran.out + ran.err
    assert "verdict: inconclusive" in ran.out
    assert world.run("assert", "-c", "slos").code == 2


def test_without_slos_there_is_no_verdict_and_nothing_failed(target, world):
    ran = world.run(
        "launch", "--set=tasks={http}", *http_values(f"{target.url}/none/status/404", numRequests=20, qps=400)
    )

    assert ran.code == 0, ran.out + ran.err
    assert "verdict: none" in ran.out


def test_an_experiment_that_can_not_be_carried_out_ends_with_4(target, world):
    """As Iter8 and Fortio: without allowInitialErrors, a run with a duration needs its first requests to go well."""
    ran = world.run(
        "launch", "--set=tasks={http}", *http_values(f"{target.url}/initial/status/500", duration="2s", qps=50)
    )

    assert ran.code == 4, ran.out + ran.err
    assert world.result()["failure"] is True
    assert "500" in world.result()["error"]
    assert world.run("assert", "-c", "nofailure").code == 4


def test_dry_writes_the_experiment_and_runs_nothing(target, world):
    ran = world.run("launch", "--dry", "--set=tasks={http}", *http_values(f"{target.url}/dry/ok"))

    assert ran.code == 0, ran.err
    assert list(world.files()) == ["experiment.yaml"]
    assert "result" not in world.document()
    assert target.seen("/dry/ok")["requests"] == 0


def test_gen_and_run_do_what_launch_does_again_and_again(target, world):
    flags = http_values(f"{target.url}/again/ok", numRequests=100, qps=400)
    assert world.run("gen", "--set=tasks={http}", *flags).code == 0
    assert world.run("report").out.endswith("verdict: none\n")
    waiting = world.start("assert", "-c", "completed", "-c", "nofailure", "-t", "60s")

    first, second = world.run("run"), world.run("run")

    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert target.seen("/again/ok")["requests"] == 200
    result = world.result()
    assert len(result["runs"]) == 1
    assert result["insights"]["nonHistMetricValues"][0]["http/request-count"] == [100.0]
    assert ended(waiting, 10).code == 0  # it has waited for the end, and no longer


def test_one_line_loads_a_url_and_holds_it_against_slos(target, world):
    (world.folder / "body.json").write_text('{"cart": 7}')

    ran = world.run(
        *("http", f"{target.url}/line/ok", "-r", "300", "-n", "300", "-c", "4", "-X", "PUT"),
        *("--slo", "p99<400ms", "--slo", "errors<0.1%", "--slo", "mean<=400ms"),
        *("-H", "X-Trial: of one line", "-H", "Content-Type: application/json", "--data", "@body.json"),
        *("--html", "report.html"),
    )

    assert ran.code == 0, ran.out + ran.err
    assert "verdict: pass" in ran.out
    seen = target.seen("/line/ok")
    assert seen["requests"] == 300
    assert seen["headers"]["x-trial: of one line"] == 300
    assert seen["headers"]["content-type: application/json"] == 300
    assert seen["bodies"] == {'{"cart": 7}': 300}
    assert set(world.files()) == {"body.json", "experiment.yaml", "report.html"}


def test_one_line_without_a_rate_is_closed_load(target, world):
    ran = world.run("http", f"{target.url}/closed/ok?ms=5", "-n", "200", "-c", "4", "--slo", "p90<2s")

    found = only_target(world.result())
    assert ran.code in (0, 2), ran.out + ran.err  # a busy machine may be late: then it says so
    assert found["clocks"]["latency"] == "service"
    assert target.seen("/closed/ok")["requests"] == 200 == found["account"]["tried"]


def test_one_line_can_be_dry(world):
    ran = world.run("http", "http://127.0.0.1:9/", "-d", "1s", "--slo", "p99<50ms", "--dry")

    assert ran.code == 0, ran.err
    [http, assess] = world.document()["spec"]
    assert (http["task"], assess["task"]) == ("http", "assess")


def test_values_come_from_files_and_urls(target, world):
    payload = world.folder / "payload.txt"
    payload.write_text("from a file")
    (world.folder / "values.yaml").write_text(f"tasks: [http]\nhttp: {{url: '{target.url}/values/ok', qps: 400}}\n")

    ran = world.run(
        "launch", "-f", "values.yaml", "--set=http.numRequests=40", "--set-file=http.payloadStr=payload.txt"
    )

    assert ran.code == 0, ran.out + ran.err
    assert target.seen("/values/ok")["bodies"] == {"from a file": 40}


def test_a_payload_is_fetched_once_by_the_controller(target, world):
    """Not by each request, and not by each agent."""
    ran = world.run(
        "launch",
        "--set=tasks={http}",
        *http_values(f"{target.url}/posted/ok", payloadURL=f"{target.url}/payload/ok", numRequests=40, qps=400),
        "--agents=2",
    )

    assert ran.code == 0, ran.out + ran.err
    assert target.seen("/payload/ok")["requests"] == 1
    assert target.seen("/posted/ok")["bodies"] == {"ok\n": 40}


def test_a_large_payload_reaches_the_target_whole(target, world):
    """Larger than a message of the bus may be: it travels by the object store."""
    (world.folder / "large").write_bytes(b"x" * 9_000_000)

    ran = world.run(
        "launch",
        "--set=tasks={http}",
        *http_values(f"{target.url}/large/ok", payloadFile="large", numRequests=4, qps=20),
        "--agents=2",
    )

    assert ran.code == 0, ran.out + ran.err
    assert target.seen("/large/ok")["headers"]["content-length: 9000000"] == 4
    assert only_target(world.result())["account"]["ok"] == 4


def test_endpoints_are_loaded_one_after_another_and_told_apart(target, world):
    ran = world.run(
        "launch",
        "--set=tasks={http}",
        "--set=http.qps=400,http.numRequests=40,http.headers.X-Trial=base",
        f"--set=http.endpoints.a.url={target.url}/endpoint/a/ok",
        f"--set=http.endpoints.b.url={target.url}/endpoint/b/ok",
        "--set=http.endpoints.b.numRequests=60,http.endpoints.b.headers.X-Trial=own,http.endpoints.b.warmupNumRequests=5",
    )

    assert ran.code == 0, ran.out + ran.err
    assert target.seen("/endpoint/a/ok")["headers"]["x-trial: base"] == 40
    assert target.seen("/endpoint/b/ok")["headers"]["x-trial: own"] == 65
    metrics = world.result()["insights"]["nonHistMetricValues"][0]
    assert metrics["http-a/request-count"] == [40.0]
    assert metrics["http-b/request-count"] == [60.0]


def test_what_is_never_sent_counts_as_an_error(target, world):
    """One connection, 200 ms each, and no time for all of them: the rest is unsent."""
    values = http_values(
        f"{target.url}/late/ok?ms=200", numRequests=100, qps=100, connections=1, maxDuration="1s", timeout="1s"
    )
    ran = world.run("launch", "--set=tasks={http,assess}", *values, "--set=assess.SLOs.upper.http/error-count=0")

    account = world.result()["runs"][0]["account"]
    assert ran.code == 1, ran.out + ran.err
    assert account["planned"] == 100 == account["tried"] + account["unsent"]
    assert account["tried"] == target.seen("/late/ok")["requests"] < 10
    metrics = world.result()["insights"]["nonHistMetricValues"][0]
    assert metrics["http/request-count"] == [100.0]
    assert metrics["http/error-count"] == [float(account["unsent"])]


def test_help_and_version_answer_without_a_run(world):
    assert world.run("--help").code == 0
    assert world.run("version").code == 0
    schema = json.loads(world.run("schema").out)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert list(Path(world.folder).iterdir()) == []


def test_two_experiments_in_one_folder_do_not_take_each_others_place(world, target):
    first = world.start("http", f"{target.url}/", "-r", "50", "-d", "3s")
    eventually(lambda: world.processes("seatrial-agent"), 10, "the first is under way")
    second = world.run("http", f"{target.url}/", "-n", "5")

    assert second.code == 3
    assert "another experiment is running" in second.err
    assert ended(first).code == 0
