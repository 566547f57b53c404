"""What is wrong between the parameters of an http task, each of which may be fine by itself.

`conflicts` looks at what the document gives, so that it also speaks about a task with other mistakes; `check` at what
a task without mistakes comes to.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from controller.experiment import units
from controller.experiment.http import HttpTask
from controller.experiment.http_fields import AMOUNTS, COURSES, RATES, LoadFields, merged_headers, replaced
from controller.experiment.mistakes import Mistakes, joined, shown
from controller.experiment.units import span

_ENDPOINT = re.compile(r"[^\W_]([\w .~:+-]{0,98}[\w.~:+-])?")
_LOAD = frozenset(field.alias or name for name, field in LoadFields.model_fields.items())
_OPEN = "only open load has it, and this is closed load (qps: -1, or stages of users)"
_CLOSED = "only closed load has it (qps: -1, or stages of users), and this is open load"


@dataclass(frozen=True, slots=True)
class _Problem:
    """What is wrong with a parameter. One that is merely of no use to an endpoint may come from the task all the same."""

    field: str
    text: str
    is_clash: bool = True


Raw = Mapping[str, object]


def conflicts(raw: Raw, path: str, mistakes: Mistakes) -> None:
    """Notes what does not go together in the `with` of an http task, in known spelling."""
    _of_one_map(raw, path, mistakes)
    endpoints = raw.get("endpoints")
    if isinstance(endpoints, dict):
        _of_endpoints(raw, endpoints, path, mistakes)
    elif endpoints is None:
        if raw.get("mix") is True:
            mistakes.add(joined(path, "mix"), "expected endpoints to mix, got none")
        if "url" not in raw:
            mistakes.add(joined(path, "url"), "is missing: expected a URL such as http://host:8080/path, or endpoints")
        for problem in _problems(raw):
            mistakes.add(joined(path, problem.field), problem.text)


def _of_endpoints(raw: Raw, endpoints: dict[str, object], path: str, mistakes: Mistakes) -> None:
    at = joined(path, "endpoints")
    if not endpoints:
        mistakes.add(at, "expected at least one endpoint, got an empty map")
    for name, own in endpoints.items():
        here = joined(at, name)
        if not _ENDPOINT.fullmatch(name):
            words = "letters, digits, spaces and . _ - ~ : + only, and at most 100 of them, because it names metrics"
            mistakes.add(here, f"expected an endpoint name of {words}, got {shown(name)}")
        if isinstance(own, dict):
            _of_one_map(own, here, mistakes)
            _of_a_mix(raw, own, here, mistakes)
            if "url" not in own and "url" not in raw:
                mistakes.add(joined(here, "url"), "is missing: give the endpoint or the task a URL")
    _of_all(raw, {joined(at, name): own for name, own in endpoints.items() if isinstance(own, dict)}, path, mistakes)


def _of_all(raw: Raw, endpoints: Mapping[str, Raw], path: str, mistakes: Mistakes) -> None:
    """What the endpoints come to: an own parameter must be of use, one of the task's to an endpoint at least."""
    common = {key: value for key, value in raw.items() if key != "endpoints"}
    of_task = set(_problems(common))
    useless: dict[_Problem, int] = {}
    heirs: dict[str, int] = {}
    for here, own in endpoints.items():
        taken = _taken(common, own)
        for field in taken.keys() - own.keys():
            heirs[field] = heirs.get(field, 0) + 1
        for problem in _problems(taken):
            if problem.field in own:
                mistakes.add(joined(here, problem.field), problem.text)
            elif problem.is_clash:
                mistakes.add(joined(path if problem in of_task else here, problem.field), problem.text)
            else:
                useless[problem] = useless.get(problem, 0) + 1
    for problem, count in useless.items():
        if count == heirs[problem.field]:
            mistakes.add(joined(path, problem.field), problem.text)


def _taken(base: Raw, own: Raw) -> Raw:
    """What an endpoint comes to: its own over the task's."""
    gone = replaced(own.keys())
    taken = {key: value for key, value in base.items() if key not in gone} | dict(own)
    ours, theirs = own.get("headers"), base.get("headers")
    if isinstance(ours, dict) and isinstance(theirs, dict):
        taken["headers"] = merged_headers(theirs, ours)
    return taken


def _of_a_mix(task: Raw, own: Raw, path: str, mistakes: Mistakes) -> None:
    if task.get("mix") is not True:
        if "weight" in own:
            mistakes.add(joined(path, "weight"), "only endpoints of a mix have weights: give the task mix: true")
        return
    for field in own:
        if field in _LOAD:
            mistakes.add(joined(path, field), "is the whole mix's: give it to the task")


def _of_one_map(raw: Raw, path: str, mistakes: Mistakes) -> None:
    """What can't stand beside each other in one map."""
    if "qps" in raw and "rate" in raw:
        mistakes.add(joined(path, "rate"), "means the same as qps: give one of them")
    courses = [course for course in COURSES if course in raw]
    if not courses:
        return
    course = courses[0]
    for other in courses[1:]:
        mistakes.add(joined(path, other), f"is a course of the load, and so is {course}: give one of them")
    for amount in sorted(AMOUNTS & raw.keys()):
        mistakes.add(joined(path, amount), f"does not go with {course}, which has durations of its own: leave it out")
    if course == "stages":
        _of_stages(raw, path, mistakes)
        return
    for rate in sorted(RATES & raw.keys()):
        mistakes.add(joined(path, rate), f"does not go with {course}, which has rates of its own: leave it out")


def _of_stages(raw: Raw, path: str, mistakes: Mistakes) -> None:
    stages = raw["stages"]
    if not isinstance(stages, list):
        return
    at = joined(path, "stages")
    first = next((kind for stage in stages if (kind := _kind(stage))), None)
    names: dict[object, int] = {}
    for i, stage in enumerate(stages):
        kind = _kind(stage)
        if kind is not None and kind != first:
            words = "open load has rates, closed load has users, and a run is one of them"
            mistakes.add(joined(joined(at, i), kind), f"is {kind}, and a stage before has {first}: {words}")
        name = stage.get("name", str(i + 1)) if isinstance(stage, dict) else str(i + 1)
        if isinstance(name, str) and name in names:
            words = f"{shown(name)} is already the name of {joined('stages', names[name])}"
            mistakes.add(joined(joined(at, i), "name"), f"{words}: give each stage a name of its own")
        elif isinstance(name, str):
            names[name] = i
    is_negative = _number(raw.get("qps")) < 0
    if first == "users":
        for rate in sorted(RATES & raw.keys()):
            if rate == "rate" or not is_negative:
                words = "does not go with stages of users, which are closed load: leave it out"
                mistakes.add(joined(path, rate), words)
    elif first == "rate" and is_negative:
        mistakes.add(joined(path, "qps"), "asks for closed load, and stages of rates are open load: leave it out")


def _kind(stage: object) -> str | None:
    if not isinstance(stage, dict):
        return None
    return next((kind for kind in ("rate", "users") if kind in stage), None)


def _number(value: object) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _is_open(raw: Raw) -> bool:
    stages = raw.get("stages")
    if isinstance(stages, list):
        return not any(_kind(stage) == "users" for stage in stages)
    return _number(raw.get("qps")) >= 0


def _problems(raw: Raw) -> Iterator[_Problem]:
    """What is wrong with the parameters of one endpoint, the task's among them."""
    yield from _of_load(raw)
    yield from _of_connections(raw)
    yield from _of_templates(raw)
    headers = raw.get("headers")
    if "auth" in raw and isinstance(headers, dict):
        for name in headers:
            if name.lower() == "authorization":
                yield _Problem("auth", f"makes the header Authorization, and headers has {name}: give one of them")


def _of_load(raw: Raw) -> Iterator[_Problem]:
    is_open = _is_open(raw)
    if not is_open and raw.get("arrival") == "poisson":
        yield _Problem("arrival", f"poisson: {_OPEN}", is_clash=False)
    if not is_open and raw.get("mix") is not True and "seed" in raw:
        yield _Problem("seed", f"{_OPEN}; so does a mix", is_clash=False)
    if not is_open and "maxInFlight" in raw:
        yield _Problem("maxInFlight", f"{_OPEN}: there, connections is how many are under way", is_clash=False)
    if is_open and "thinkTime" in raw:
        yield _Problem("thinkTime", _CLOSED, is_clash=False)
    most, first = _number(raw.get("maxInFlight")), _number(raw.get("connections"))
    if is_open and 0 < most < first:
        yield _Problem("maxInFlight", f"expected at least the {first:g} connections to begin with, got {most:g}")


def _of_connections(raw: Raw) -> Iterator[_Problem]:
    http2 = raw.get("http2") not in (None, False)
    if "streams" in raw and not http2:
        yield _Problem("streams", "only HTTP/2 connections have streams: give http2: true", is_clash=False)
    if raw.get("keepAlive") is False and _number(raw.get("requestsPerConnection")) > 1:
        yield _Problem("requestsPerConnection", "does not go with keepAlive: false, which means 1: give one of them")
    url, tls = raw.get("url"), raw.get("tls")
    is_plain = isinstance(url, str) and url.lower().startswith("http://")
    if tls is not None and is_plain:
        yield _Problem("tls", f"only https has TLS, and the URL is {shown(url)}", is_clash=False)
    protocols = tls.get("alpn") if isinstance(tls, dict) else None
    if isinstance(protocols, list) and not is_plain:
        if raw.get("http2") is True and "h2" not in protocols:
            yield _Problem("tls", 'expected "h2" among alpn, because http2 is true')
        if not http2 and "h2" in protocols:
            yield _Problem("tls", 'expected alpn without "h2", because http2 is not true')


def _of_templates(raw: Raw) -> Iterator[_Problem]:
    if raw.get("template") is False and "data" in raw:
        yield _Problem("template", "is false, and data is for templates: leave one of them out")
    url = raw.get("url")
    if raw.get("template") is True or "data" in raw:
        yield from _templates(raw)
    elif isinstance(url, str) and "{{" in url and _is_url(url, units.target_url) and not _is_url(url, units.url):
        yield _Problem("url", f"has spaces, which only a template may have, got {shown(url)}: give template: true")


def _templates(raw: Raw) -> Iterator[_Problem]:
    from protocol.template import Part, parse  # noqa: PLC0415 few experiments have templates

    headers = raw.get("headers")
    texts = [("url", raw.get("url"), Part.URL, ""), ("contentType", raw.get("contentType"), Part.HEADER, "")]
    if isinstance(headers, dict):
        texts += [("headers", value, Part.HEADER, f"{name}: ") for name, value in headers.items()]
    if "payloadFile" not in raw and "payloadURL" not in raw:
        texts.append(("payloadStr", raw.get("payloadStr"), Part.BODY, ""))
    for field, text, part, of in texts:
        if isinstance(text, str):
            try:
                parse(text, part)
            except ValueError as error:
                yield _Problem(field, f"{of}{error}")


def _is_url(text: str, read: Callable[[object], str]) -> bool:
    try:
        read(text)
    except ValueError:
        return False
    return True


def check(task: HttpTask, path: str, mistakes: Mistakes) -> None:
    """Notes what a task without other mistakes can't come to: a load without requests, a window outside the run."""
    endpoints = task.settings.endpoints or {}
    for endpoint in task.resolved():
        own = endpoints.get(endpoint.name)
        here = joined(joined(path, "endpoints"), endpoint.name)
        if endpoint.stages and not any(max(stage.begin, stage.end) for stage in endpoint.stages):
            course = next(course for course in COURSES if getattr(own, course, None) or getattr(task.settings, course))
            at = here if getattr(own, course, None) else path
            mistakes.add(joined(at, course), "makes no request: expected a rate, or users, above 0")
        length_s, ends_s = endpoint.planned_length_s, endpoint.measure_to_s
        at = joined(here if own is not None and own.measure else path, "measure")
        if length_s is not None and endpoint.measure_from_s >= length_s:
            mistakes.add(joined(at, "from"), f"expected an instant before the end of the load at {span(length_s)}")
        elif length_s is not None and ends_s is not None and ends_s > length_s:
            mistakes.add(joined(at, "to"), f"expected no later than the end of the load at {span(length_s)}")
