"""The words of `seatrial http`: turns what its options say into the parts of an experiment's document."""

import json
import re

from controller.errors import BadInputError

SLO_WORDS = {
    "errors": "error-rate",
    "error-rate": "error-rate",
    "error-count": "error-count",
    "requests": "request-count",
}
STATISTICS = ("mean", "stddev", "min", "max")
_LIMIT = re.compile(r"\s*([^<>=\s]+)\s*([<>])=?\s*([^<>=\s]+)\s*")


def slos_of(texts: list[str]) -> dict[str, list[dict[str, object]]]:
    """`p99<50ms` -> an upper limit on http/latency-p99 of 50ms; limits include themselves, so < and <= are the same."""
    found: dict[str, list[dict[str, object]]] = {}
    for text in texts:
        parts = _LIMIT.fullmatch(text)
        if parts is None:
            raise BadInputError(f"--slo: expected a metric, < or >, and a limit, such as 'p99<50ms', got {text!r}")
        side = "upper" if parts[2] == "<" else "lower"
        found.setdefault(side, []).append({"metric": _metric(parts[1]), "limit": _value(parts[3])})
    return found


def abort_on_of(texts: list[str]) -> list[dict[str, object]]:
    """`errors>10%` -> the run ends when http/error-rate exceeds 10%: the limit that it must not pass is an upper one."""
    found: list[dict[str, object]] = []
    for text in texts:
        parts = _LIMIT.fullmatch(text)
        if parts is None:
            raise BadInputError(
                f"--abort-on: expected a metric, > or <, and a limit, such as 'errors>10%', got {text!r}"
            )
        side = "upper" if parts[2] == ">" else "lower"
        found.append({"metric": _metric(parts[1]), side: _value(parts[3])})
    return found


def _metric(name: str) -> str:
    if "/" in name:
        return name
    if name in STATISTICS or (name[:1] == "p" and name[1:2].isdigit()):
        return f"http/latency-{name}"
    return f"http/{SLO_WORDS.get(name, name)}"


def _value(text: str) -> object:
    """A number where it is one: then the unit is the metric's own."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def stages_of(texts: list[str]) -> list[dict[str, object]]:
    """`100:10s` -> a stage that is at 100 requests per second after 10 seconds."""
    found: list[dict[str, object]] = []
    for text in texts:
        rate, colon, duration = text.partition(":")
        if not colon or not duration.strip():
            raise BadInputError(f"--stage: expected RATE:DURATION, such as 100:10s, got {text!r}")
        found.append({"rate": _value(rate.strip()), "duration": duration.strip()})
    return found


def checks_of(texts: list[str], json_texts: list[str]) -> list[dict[str, object]]:
    """Texts that bodies contain, and `$.a.b=value` for values at JSON paths; a value that is no JSON is text."""
    found: list[dict[str, object]] = [{"contains": text} for text in texts]
    for text in json_texts:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise BadInputError(f"--check-json: expected PATH=VALUE, such as $.status=ok, got {text!r}")
        try:
            wanted = json.loads(value, parse_constant=_no_constant)
        except ValueError:
            wanted = value
        found.append({"jsonPath": path.strip(), "equals": wanted})
    return found


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is no JSON, though Python takes it for a number")


def headers_of(given: list[str]) -> dict[str, str]:
    """`Name: value` -> the headers."""
    headers: dict[str, str] = {}
    for one in given:
        name, colon, value = one.partition(":")
        if not colon or not name.strip():
            raise BadInputError(f"--header: expected 'Name: value', got {one!r}")
        if name.strip().lower() in {known.lower() for known in headers}:
            raise BadInputError(f"--header: {name.strip()} is given twice: give it once, with all its values")
        headers[name.strip()] = value.strip()
    return headers


def payload_of(data: str | None) -> dict[str, str]:
    """The body: text, or with @ the file that has it."""
    if data is None:
        return {}
    return {"payloadFile": data[1:]} if data.startswith("@") else {"payloadStr": data}


def auth_of(user: str | None, password_env: str | None, bearer_env: str | None) -> dict[str, object] | None:
    """Who the requests are from; secrets are named by the environment variable that has them, and never given."""
    if user is not None and ":" in user:
        raise BadInputError("--user: expected a name without the password: export that, and give --password-env NAME")
    if (user is None) != (password_env is None):
        raise BadInputError(
            f"--{'password-env' if user is None else 'user'}: expected --user and --password-env together"
        )
    basic = None if user is None else {"user": user, "passwordEnv": password_env}
    bearer = None if bearer_env is None else {"tokenEnv": bearer_env}
    if basic and bearer:
        raise BadInputError("--bearer-env: expected a token or --user, got both")
    return {"basic": basic} if basic else {"bearer": bearer} if bearer else None
