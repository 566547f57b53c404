"""What requests are made of, and what is looked at in answers, on real processes and by the target's own log."""

import base64
import re
from urllib.parse import quote

import pytest
from harness import Document, Target, World, only_target

FORMATS = ("text", "html", "json", "junit", "markdown")
PASSWORDS = {"env": "pa55-from-the-env", "file": "pa55-from-a-file"}
TOKENS = {"env": "t0ken-from-the-env", "file": "t0ken-from-a-file"}


def traces(target: Target, path: str) -> list[str]:
    """The trace ids that came in."""
    headers = target.seen(path)["headers"]
    return [name.split("-")[1] for name in headers if name.startswith("traceparent: 00-")]


def test_each_row_of_a_csv_file_is_used_exactly_once_over_two_agents(world: World, target: Target):
    rows = {f"{number}": f'a "{number}", said' for number in range(80)}
    lines = [f'{number},"{text.replace(chr(34), chr(34) * 2)}"' for number, text in rows.items()]
    (world.folder / "rows.csv").write_text("\n".join(["id,note", *lines]))
    http = {
        "url": f"{target.url}/row-{{{{ row.id }}}}/ok",
        "data": {"file": "rows.csv"},
        "headers": {"X-Note": "{{ row.note }}"},
        "payloadStr": '{"note": "{{ row.note | json }}", "number": {{ number }}}',
        "numRequests": len(rows),
        "rate": 160,
    }

    ran = world.load(http, (), "--agents=2")

    assert ran.code == 0, ran.out + ran.err
    seen = {path: one for path, one in target.stats().items() if path.startswith("/row-")}
    assert {path: one["requests"] for path, one in seen.items()} == {f"/row-{number}/ok": 1 for number in rows}
    for number, text in rows.items():
        one = seen[f"/row-{number}/ok"]
        assert one["headers"][f"x-note: {text}"] == 1
        [body] = one["bodies"]
        assert body == f'{{"note": "{text.replace(chr(34), chr(92) + chr(34))}", "number": {number}}}'
    assert [one["tried"] for one in world.result()["runs"][0]["agents"]] == [40, 40]


def test_secrets_arrive_and_are_shown_nowhere_though_the_target_echoes_them(world: World, target: Target):
    world.environment |= {"PASSWORD": PASSWORDS["env"], "TOKEN": TOKENS["env"]}
    (world.folder / "password.txt").write_text(f"{PASSWORDS['file']}\n")
    (world.folder / "token.txt").write_text(TOKENS["file"])
    auths = {
        "basic-env": {"basic": {"user": "ada", "passwordEnv": "PASSWORD"}},
        "basic-file": {"basic": {"user": "ada", "passwordFile": "password.txt"}},
        "bearer-env": {"bearer": {"tokenEnv": "TOKEN"}},
        "bearer-file": {"bearer": {"tokenFile": "token.txt"}},
    }
    endpoints = {
        name: {"url": f"{target.url}/secret-{name}/echo?status=500", "auth": auth} for name, auth in auths.items()
    }
    encoded = {place: base64.b64encode(f"ada:{word}".encode()).decode() for place, word in PASSWORDS.items()}
    expected = {f"basic-{place}": f"Basic {word}" for place, word in encoded.items()}
    expected |= {f"bearer-{place}": f"Bearer {word}" for place, word in TOKENS.items()}
    secrets = [*PASSWORDS.values(), *TOKENS.values(), *encoded.values()]

    ran = world.load(
        {"endpoints": endpoints, "numRequests": 6, "rate": 60},
        [{"metric": "http-basic-env/error-rate", "limit": 0}],
        "--loglevel=trace",
    )

    assert ran.code == 1, ran.out + ran.err
    for name, header in expected.items():
        assert target.seen(f"/secret-{name}/echo")["headers"][f"authorization: {header}"] == 6
    bodies = [
        sample["body"]
        for segment in world.result()["runs"][0]["segments"]
        for sample in segment["targets"][0]["samples"]
        if "authorization: " in sample["body"]
    ]
    assert len(bodies) >= len(auths)
    assert all("***" in body for body in bodies)
    shown = {kind: world.run("report", f"--outputFormat={kind}").out for kind in FORMATS}
    shown |= {"stdout": ran.out, "stderr": ran.err}
    shown |= {
        name: content.decode(errors="replace")
        for name, content in ((str(path), path.read_bytes()) for path in world.folder.rglob("*") if path.is_file())
        if not name.endswith(".txt")
    }
    assert [(name, secret) for name, text in shown.items() for secret in secrets if secret in text] == []


@pytest.mark.parametrize(
    ("auth", "named"),
    [
        ({"bearer": {"tokenEnv": "NOT_THERE"}}, "NOT_THERE"),
        ({"basic": {"user": "ada", "passwordEnv": "EMPTY"}}, "EMPTY"),
        ({"bearer": {"tokenFile": "nowhere.txt"}}, "nowhere.txt"),
    ],
    ids=["missing-variable", "empty-variable", "missing-file"],
)
def test_a_secret_that_is_not_there_is_bad_input_before_any_load(
    world: World, target: Target, auth: Document, named: str
):
    world.environment["EMPTY"] = ""
    path = f"/no-secret-{named}/ok"

    ran = world.load({"url": target.url + path, "auth": auth, "numRequests": 5})

    assert ran.code == 3, ran.out + ran.err
    assert named in ran.err
    assert target.seen(path)["requests"] == 0


@pytest.mark.parametrize(
    ("name", "check", "bodies"),
    [
        ("contains", {"contains": "in stock"}, ["it is in stock", "sold out"]),
        ("regex", {"regex": '"id": *[0-9]{2}'}, ['{"id": 42}', '{"id": 4}']),
        ("json-path", {"jsonPath": "$.items[0].state", "equals": "ok"}, ['{"items":[{"state":"ok"}]}', '{"items":[]}']),
        ("max-bytes", {"maxBytes": 10}, ["0123456789", "0123456789a"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_just_the_answers_that_fail_a_check_are_errors_of_its_class(
    world: World, target: Target, name: str, check: Document, bodies: list[str]
):
    path = f"/check-{name}/ok"
    http = {"url": f"{target.url}{path}?body={quote('|'.join(bodies))}", "numRequests": 40, "rate": 80}

    ran = world.load({**http, "checks": [check]}, [{"metric": "http/error-rate", "limit": "10%"}])

    assert ran.code == 1, ran.out + ran.err
    assert target.seen(path)["requests"] == 40
    found = only_target(world.result())
    assert found["errorClasses"] == {"check": 20}
    assert found["statusCodes"] == {"200": 40}
    failed = [one for one in found["samples"] if one["kind"] == "check"]
    assert {one["body"] for one in failed} == {bodies[1]}
    assert world.result()["insights"]["nonHistMetricValues"][0]["http/error-rate"] == [0.5]


def test_redirects_are_followed_and_counted_if_asked_for_only(world: World, target: Target):
    def http(name: str) -> Document:
        second = quote(f"/second-{name}/redirect?to={quote(f'/landing-{name}/ok')}")
        return {"url": f"{target.url}/first-{name}/redirect?to={second}", "numRequests": 30, "rate": 60}

    followed = world.load({**http("followed"), "redirects": 2})
    found = only_target(world.result())
    kept = world.load(http("kept"))
    unfollowed = only_target(world.result())

    assert (followed.code, kept.code) == (0, 0), followed.out + kept.out
    received = [
        target.seen(f"/{step}-followed/{kind}")["requests"]
        for step, kind in (("first", "redirect"), ("second", "redirect"), ("landing", "ok"))
    ]
    assert received == [30, 30, 30]
    assert (found["account"]["ok"], found["redirects"], found["statusCodes"]) == (30, 60, {"200": 30})
    assert target.seen("/first-kept/redirect")["requests"] == 30
    assert target.seen("/second-kept/redirect")["requests"] == 0
    assert (unfollowed["redirects"], unfollowed["statusCodes"]) == (0, {"302": 30})


def test_the_asked_share_of_requests_is_traced_and_samples_name_their_traces(world: World, target: Target):
    http = {"url": f"{target.url}/traced/ok?ms=1*150,30*50", "numRequests": 200, "rate": 200, "traceShare": 0.5}

    ran = world.load(http, (), "--agents=2")

    assert ran.code == 0, ran.out + ran.err
    received = traces(target, "/traced/ok")
    assert len(received) == len(set(received)) == pytest.approx(100, abs=2)
    named = [one["trace"] for one in only_target(world.result())["samples"] if one["trace"]]
    assert named
    assert set(named) <= set(received)
    assert any(trace in re.sub(r"\s", "", ran.out) for trace in named)


def test_bytes_and_rate_are_what_the_target_counted(world: World, target: Target):
    http = {"url": f"{target.url}/bytes/ok?body={'x' * 500}|{'y' * 9}", "rate": 150, "numRequests": 300}
    http |= {"payloadStr": "z" * 77, "headers": {"X-Long": "w" * 99}}
    names = ("bytes-in", "bytes-out", "rate")

    ran = world.load(http, [{"metric": f"http/{name}", "limit": 10_000_000} for name in names], "--agents=2")

    assert ran.code == 0, ran.out + ran.err
    seen, found = target.seen("/bytes/ok"), only_target(world.result())
    assert (found["bytesIn"], found["bytesOut"]) == (seen["bytes_out"], seen["bytes_in"])
    values = world.result()["insights"]["nonHistMetricValues"][0]
    assert [values[f"http/{name}"][-1] for name in names[:2]] == [seen["bytes_out"], seen["bytes_in"]]
    at_s = target.received_s("/bytes/ok")
    assert values["http/rate"][-1] == pytest.approx((len(at_s) - 1) / at_s[-1], rel=0.03)
