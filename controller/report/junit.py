"""The report for CI servers: one test case per SLO, and one each for `completed`, `nofailure` and `verdict`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from controller.experiment.result import Outcome, SLOJudgement
from controller.report import document as said
from controller.report import junit_measured, slos, stages
from controller.report.document import ReportInput

# What XML 1.0 can't hold, not even escaped.
UNHOLDABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Case:
    """One test case; `trouble` is the tag of its child, empty when all is well."""

    group: str
    name: str
    time_s: float = 0.0
    trouble: str = ""
    kind: str = ""
    text: str = ""


def render(document: ReportInput) -> str:
    """One `testsuite`; violated is a `failure`, undecided an `error`."""
    cases = [*_slo_cases(document), *_assertions(document)]
    runs = document.result.runs if document.result else ()
    suite = ET.Element("testsuite", name=_clean(f"seatrial.{document.name}"))
    for plural, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(plural, str(sum(case.trouble == tag for case in cases)))
    suite.set("tests", str(len(cases)))
    suite.set("time", _seconds(sum(segment.elapsed_s for run in runs for segment in run.segments)))
    if stamp := _timestamp(document):
        suite.set("timestamp", stamp)
    _properties(suite, document)
    for case in cases:
        _write(suite, case)
    ET.indent(suite)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(suite, encoding="unicode")}\n'


def _slo_cases(document: ReportInput) -> Iterator[Case]:
    names = said.version_names(document.result.insights) if document.result and document.result.insights else []
    for slo in said.judgements(document):
        place = said.place_of(document, slo.metric.split("/")[0], slo.version)
        provider = slo.metric.split("/")[0]
        group = f"run {place.number}/{provider}" if place else provider
        name = slos.condition(slo)
        if len(names) > 1 and slo.version < len(names):
            name = f"{name} [{names[slo.version]}]"
        time_s = place.segment.elapsed_s if place else 0.0
        yield Case(group, name, time_s, *_trouble(slo))


def _trouble(slo: SLOJudgement) -> tuple[str, str, str]:
    if slo.satisfied is None:
        return "error", "undecided", slos.explained(slo)
    return ("", "", "") if slo.satisfied else ("failure", "violated", slos.explained(slo))


def _assertions(document: ReportInput) -> Iterator[Case]:
    group = "assertions"
    why = f": {document.result.error}" if document.result and document.result.error else ""
    if document.completed:
        yield Case(group, "completed")
    else:
        state = "was interrupted" if said.is_partial(document) else "has not completed"
        yield Case(group, "completed", 0.0, "failure", "incomplete", f"the experiment {state}{why}")
    if document.result is None:
        yield Case(group, "nofailure", 0.0, "skipped", "", "the experiment has not run")
    elif document.result.failure:
        yield Case(group, "nofailure", 0.0, "failure", "task-failure", f"a task failed{why}")
    else:
        yield Case(group, "nofailure")
    yield _verdict(document, group)


def _verdict(document: ReportInput, group: str) -> Case:
    text = "\n".join([*said.aborts(document), said.sentence(document), *said.reasons(document)])
    match said.outcome(document):
        case Outcome.NONE if document.result is None:
            return Case(group, "verdict", 0.0, "error", "none", text)
        case Outcome.PASS | Outcome.NONE:
            return Case(group, "verdict")
        case Outcome.FAIL:
            return Case(group, "verdict", 0.0, "failure", "fail", text)
        case Outcome.INVALID | Outcome.INCONCLUSIVE as undecided:
            return Case(group, "verdict", 0.0, "error", undecided, text)


def _properties(suite: ET.Element, document: ReportInput) -> None:
    pairs = [("namespace", document.namespace), ("verdict", str(said.outcome(document)))]
    if document.result:
        pairs += [(f"run {number}", run.run_id) for number, run in enumerate(document.result.runs, 1)]
        pairs += [("aborted", sentence) for sentence in said.aborts(document)]
        pairs += [("best stage", sentence) for sentence in stages.best_stages(document)]
        pairs += junit_measured.properties(document)
        pairs += [(f"finding {found.code}", f"{found.severity}: {found.message}") for found in said.findings(document)]
    properties = ET.SubElement(suite, "properties")
    for name, value in pairs:
        ET.SubElement(properties, "property", name=_clean(name), value=_clean(value))


def _write(suite: ET.Element, case: Case) -> None:
    element = ET.SubElement(
        suite, "testcase", classname=_clean(case.group), name=_clean(case.name), time=_seconds(case.time_s)
    )
    if not case.trouble:
        return
    text = _clean(case.text)
    child = ET.SubElement(element, case.trouble, message=text.split("\n")[0])
    if case.kind:
        child.set("type", case.kind)
        child.text = text


def _clean(text: str) -> str:
    return UNHOLDABLE.sub("", text)


def _seconds(value: float) -> str:
    return f"{value:.3f}"


def _timestamp(document: ReportInput) -> str:
    """The start in UTC as the JUnit schema wants it, without a zone; nothing when it isn't known."""
    result = document.result
    for text in (result.start_time, *(run.started_at for run in result.runs)) if result else ():
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            continue
        moment = moment.astimezone(UTC) if moment.tzinfo else moment
        return moment.replace(tzinfo=None, microsecond=0).isoformat()
    return ""
