"""One pass over an experiment's tasks, in order; the document is written after each."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from controller import findings
from controller.assess import Soundness, thin_evidence, verdict, with_load_not_made
from controller.errors import CouldNotRunError
from controller.experiment.assess import AssessTask, Slo
from controller.experiment.http import HttpEndpoint, HttpTask
from controller.experiment.metrics import MetricName, Unit
from controller.experiment.outlook import outlook
from controller.experiment.result import (
    Environment,
    Finding,
    Insights,
    Outcome,
    Result,
    RunResult,
    SegmentResult,
    SLOJudgement,
    Verdict,
)
from controller.experiment.spec import Experiment
from controller.measure import Measured
from controller.tasks import assess as assess_task
from controller.tasks import http as http_task
from controller.tasks.payloads import Material
from controller.windows import BySecond
from protocol import __version__
from protocol.errors import BusError

_log = structlog.get_logger()
Save = Callable[[Result], None]
Materials = Mapping[int, Mapping[str, Material]]


@dataclass
class _Pass:
    """What the tasks of one pass have brought in so far."""

    facts: dict[str, Measured] = field(default_factory=dict)
    seconds: dict[str, BySecond] = field(default_factory=dict)
    aborted: list[SLOJudgement] = field(default_factory=list)
    endpoints: dict[str, HttpEndpoint] = field(default_factory=dict)
    runs: list[RunResult] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    judged: list[tuple[Slo, SLOJudgement]] = field(default_factory=list)
    thin: list[Finding] = field(default_factory=list)
    insights: Insights | None = None


def fresh_result() -> Result:
    """The result that an experiment starts from."""
    return Result(start_time=datetime.now(UTC).isoformat(timespec="seconds"))


async def run(experiment: Experiment, material: Materials, site: http_task.Site, save: Save) -> Result:
    """The result of one pass; a task that fails ends it, and the result says why."""
    so_far = _Pass(findings=[findings.of_code(one.code, str(one)) for one in outlook(experiment)])
    result = fresh_result().model_copy(update={"num_loops": 1, "environment": _environment(site)})
    save(result)
    for number, task in enumerate(experiment.spec):
        if result.interrupted and isinstance(task, HttpTask):
            break
        _log.info("task_started", task=number, name=task.task)
        try:
            why = await _run_task(number, task, experiment, material, site, so_far)
        except (CouldNotRunError, BusError) as error:
            why = str(error)
        if why:
            _log.error("task_failed", task=number, name=task.task, why=why)
            result = _with(result, so_far, experiment).model_copy(
                update={"failure": True, "error": f"task {number} ({task.task}) failed: {why}"}
            )
            save(result)
            return result
        result = _with(result, so_far, experiment)
        if not result.interrupted:  # what was measured is still judged, but nothing is complete from there on
            _log.info("task_completed", task=number, name=task.task)
            result = result.model_copy(update={"num_completed_tasks": number + 1})
        save(result)
    return result


async def _run_task(
    number: int,
    task: HttpTask | AssessTask,
    experiment: Experiment,
    material: Materials,
    site: http_task.Site,
    so_far: _Pass,
) -> str:
    """Why the task failed; empty if it did not."""
    if isinstance(task, AssessTask):
        assert so_far.insights is not None, "an assess task follows one that measures"
        so_far.insights, judgements = assess_task.run(task, so_far.insights, so_far.facts, so_far.seconds)
        so_far.judged += zip(task.slos, judgements, strict=True)
        so_far.thin += _thin(task, judgements, so_far)
        # What was measured is now known better than what could be foreseen.
        so_far.findings = [one for one in so_far.findings if one.code != "thin-evidence"]
        return ""
    judging = http_task.Judging(experiment.slos, _confidence(experiment))
    harvest = await http_task.run(number, task, judging, material[number], site)
    so_far.runs.append(harvest.run)
    so_far.findings += harvest.findings
    if harvest.why:
        return harvest.why
    if not task.is_warmup:
        so_far.facts |= harvest.facts
        so_far.seconds |= harvest.seconds
        so_far.endpoints |= harvest.endpoints
        so_far.insights = http_task.with_insights(
            so_far.insights or Insights(), harvest, experiment.slos, _named(experiment)
        )
    if harvest.aborted is not None:
        so_far.aborted.append(harvest.aborted)
    return ""


def _confidence(experiment: Experiment) -> float | None:
    return next((task.confidence for task in experiment.spec if isinstance(task, AssessTask)), None)


def _named(experiment: Experiment) -> list[MetricName]:
    """The metrics that SLOs and rewards name."""
    tasks = [task for task in experiment.spec if isinstance(task, AssessTask)]
    slos = [slo.metric for task in tasks for slo in task.slos]
    rewards = [reward.metric for task in tasks for reward in task.rewards]
    return list(dict.fromkeys([*slos, *rewards]))


def _with(result: Result, so_far: _Pass, experiment: Experiment) -> Result:
    """The result with everything that is known so far; the verdict once all SLOs are judged."""
    soundness = _soundness(so_far)
    no_loss = not any(agent.state == "lost" for run in so_far.runs for agent in run.agents)
    judgements = [judgement for _slo, judgement in so_far.judged]
    if no_loss:  # else the load is short of what the lost agent had, which says nothing about latencies
        judgements = list(with_load_not_made(judgements, soundness.load_not_made))
    is_judged = len(judgements) == len(experiment.slos) or bool(so_far.aborted)
    judgements += so_far.aborted
    found: Verdict | None = None
    if so_far.runs and (is_judged or soundness.account):
        found = verdict(judgements, soundness)
    return result.model_copy(
        update={
            "insights": so_far.insights,
            "verdict": found,
            "findings": tuple(_once([*so_far.findings, *so_far.thin, *_of_slos(so_far, found)])),
            "runs": tuple(so_far.runs),
            "interrupted": any(run.interrupted for run in so_far.runs),
        }
    )


def _soundness(so_far: _Pass) -> Soundness:
    runs = so_far.runs
    account = next((f"the account of run {run.run_id} does not close" for run in runs if not run.account.closes), "")
    interrupted = "the run was interrupted" if any(run.interrupted for run in runs) else ""
    if any(run.why for run in runs):
        interrupted = "the run was ended early by abortOn"
    not_made = no_success = ""
    for run, segment in _measured_segments(runs):
        for target in segment.targets:
            endpoint = so_far.endpoints.get(target.provider)
            not_made = not_made or findings.load_not_made(segment, run.agents, _tightest_ms(so_far, target.provider))
            if endpoint is not None and endpoint.expect == "success":
                no_success = no_success or findings.no_success(target)
    return Soundness(account, not_made, no_success, interrupted)


def _measured_segments(runs: Sequence[RunResult]) -> Iterator[tuple[RunResult, SegmentResult]]:
    for run in runs:
        for segment in run.segments:
            if not segment.is_warmup:
                yield run, segment


def _tightest_ms(so_far: _Pass, provider: str) -> float | None:
    limits = [
        float(slo.limit)
        for slo, _judgement in so_far.judged
        if slo.metric.provider == provider and slo.metric.unit is Unit.MSEC
    ]
    return min(limits, default=None)


def _thin(task: AssessTask, judgements: Sequence[SLOJudgement], so_far: _Pass) -> list[Finding]:
    """Decided judgements that rest on fewer requests than one would like."""
    decided = [slo for slo, one in zip(task.slos, judgements, strict=True) if one.satisfied is not None]
    sentences = [thin_evidence(slo, so_far.facts.get(slo.metric.provider), task.confidence) for slo in decided]
    return [
        findings.of_code("thin-evidence", sentence, taints=(str(slo.metric),))
        for slo, sentence in zip(decided, sentences, strict=True)
        if sentence
    ]


def _of_slos(so_far: _Pass, found: Verdict | None) -> Iterator[Finding]:
    """What the SLOs themselves bring up: unknowns that decide, and errors that make a latency look good."""
    told = {one.code for one in so_far.findings}  # about the run itself, which says the same of all its metrics
    for _slo, judgement in so_far.judged:
        if judgement.satisfied is None:
            code = judgement.decided_by[0] if judgement.decided_by else "missing"
            names = {"evidence": "thin-evidence", "missing": "metric-missing", "lag": "late-agents"}
            code = names.get(code, code)
            if code not in told:
                yield findings.of_code(code, judgement.reason, taints=(judgement.metric,))
    passed = {slo.metric.provider for slo, one in so_far.judged if one.satisfied and slo.metric.unit is Unit.MSEC}
    for _run, segment in _measured_segments(so_far.runs):
        for target in segment.targets:
            hidden = findings.errors_hide_latency(target) if target.provider in passed else None
            if hidden is not None and found is not None and found.outcome is not Outcome.NONE:
                yield hidden


def _once(listed: Sequence[Finding]) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    for one in listed:
        if (one.code, one.message) not in seen:
            seen.add((one.code, one.message))
            yield one


def _environment(site: http_task.Site) -> Environment:
    return Environment(
        seatrial=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        cores=os.cpu_count() or 1,
        nats_server=site.nats_version,
        agents=len(site.fleet.free),
    )
