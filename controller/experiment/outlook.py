"""Says before any load what can't come out well, from the experiment alone.

These are no mistakes: the experiment runs, and the result has findings where these cautions came true.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from controller.experiment.assess import AssessTask, Slo
from controller.experiment.http import HttpEndpoint, HttpTask
from controller.experiment.metrics import Unit
from controller.experiment.spec import Experiment
from controller.experiment.units import plain, span

LEAST_SERVICE_MS = Decimal(1)
ENDED_BY_TIMEOUT = ("latency", "service", "connect", "tls", "ttfb", "body")
TINY = 1e-12


class Code(StrEnum):
    """The kinds of caution."""

    THIN_EVIDENCE = "thin-evidence"
    LIMIT_ABOVE_TIMEOUT = "limit-above-timeout"
    RATE_NEEDS_CONNECTIONS = "rate-needs-connections"
    ERROR_RATE_ABOVE_ONE = "error-rate-above-one"
    DURATION_IGNORED = "duration-ignored"


@dataclass(frozen=True, slots=True)
class Caution:
    """One thing that can't come out well: where in the experiment, of which kind, and what to do about it."""

    path: str
    code: Code
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def outlook(experiment: Experiment) -> tuple[Caution, ...]:
    """What to expect of the experiment, in document order; empty when nothing speaks against it."""
    return tuple(_cautions(experiment))


def _cautions(experiment: Experiment) -> Iterator[Caution]:
    loaded: dict[str, HttpEndpoint] = {}
    for i, task in enumerate(experiment.spec):
        path = f"spec[{i}].with"
        if isinstance(task, AssessTask):
            yield from _of_slos(task, path, loaded)
            continue
        for endpoint in task.resolved():
            yield from _of_endpoint(endpoint, f"{path}.endpoints.{endpoint.name}" if endpoint.name else path)
        loaded.update(_measured(task))


def _measured(task: HttpTask) -> Mapping[str, HttpEndpoint]:
    """The endpoints by their metrics' provider, and for a mix what all of them are together."""
    if task.is_warmup:
        return {}
    endpoints = task.resolved()
    found = {endpoint.provider: endpoint for endpoint in endpoints}
    if task.is_mix:
        slowest_s = max(endpoint.timeout_s for endpoint in endpoints)
        total = replace(endpoints[0], name="", share=Fraction(1), timeout_s=slowest_s)
        found[total.provider] = total
    return found


def _of_endpoint(endpoint: HttpEndpoint, path: str) -> Iterator[Caution]:
    if endpoint.duration_ignored:
        message = (
            f"is ignored, because numRequests is given: {endpoint.num_requests} requests are sent. Give one of them"
        )
        yield Caution(f"{path}.duration", Code.DURATION_IGNORED, message)
    rate_per_s = endpoint.peak_rate_per_s
    if rate_per_s is None:
        return
    carried_ms = 1000 * endpoint.connections * endpoint.streams / rate_per_s
    if carried_ms < LEAST_SERVICE_MS:
        few = "1 connection" if endpoint.connections == 1 else f"{endpoint.connections} connections"
        few += f" of {endpoint.streams} streams" if endpoint.streams > 1 else ""
        may_grow = endpoint.connections > endpoint.ahead
        message = (
            f"{few} can't carry {_counted(rate_per_s)} requests/s to a target that takes longer than "
            f"{plain(carried_ms.quantize(Decimal('0.0001')))} ms: {'raise it' if may_grow else 'give more connections'}"
        )
        yield Caution(f"{path}.{'maxInFlight' if may_grow else 'connections'}", Code.RATE_NEEDS_CONNECTIONS, message)


def _of_slos(task: AssessTask, path: str, loaded: Mapping[str, HttpEndpoint]) -> Iterator[Caution]:
    for slo in task.slos:
        endpoint = loaded[slo.metric.base]
        at = f"{path}.SLOs.{slo.side}[{slo.index}]"
        timeout_ms = Decimal(repr(endpoint.timeout_s)) * 1000
        if slo.is_upper and slo.metric.clock in ENDED_BY_TIMEOUT and slo.limit >= timeout_ms:
            message = (
                f"a limit of {plain(slo.limit)} ms on {slo.metric} can't fail by a slow answer, because requests time "
                f"out after {span(endpoint.timeout_s)}: lower the limit, or raise timeout above it"
            )
            yield Caution(at, Code.LIMIT_ABOVE_TIMEOUT, message)
        if slo.metric.unit is Unit.FRACTION and slo.limit > 1:
            fate = "fail" if slo.is_upper else "be satisfied"
            message = (
                f"{slo.metric} is a fraction from 0 to 1, so a limit of {plain(slo.limit)} can't {fate}: "
                f'write "{plain(slo.limit)}%" if percent was meant'
            )
            yield Caution(at, Code.ERROR_RATE_ABOVE_ONE, message)
        yield from _of_evidence(slo, task.confidence, at, endpoint)


def _of_evidence(slo: Slo, confidence: float | None, at: str, endpoint: HttpEndpoint) -> Iterator[Caution]:
    needed, planned = requests_needed(slo, confidence), endpoint.own_requests(slo.metric.stage)
    has = "the plan has"
    if slo.window_s and planned is not None:
        most = math.ceil((endpoint.peak_rate_per_s or 0) * slo.window_s)
        planned, has = min(planned, int(most * endpoint.share)), "a window has at most"
    if planned is None or planned >= needed:
        return
    sure = "" if confidence is None else f" with a confidence of {confidence}"
    message = f"{slo.metric} needs {needed:,} requests to be decided{sure}, and {has} {planned:,}: send more"
    yield Caution(at, Code.THIN_EVIDENCE, message)


def requests_needed(slo: Slo, confidence: float | None) -> int:
    """How many requests it takes before the SLO can be satisfied; 0 where any number does.

    A percentile p needs 1/(1 - p) of them. With a confidence, it needs so many that the chance of not meeting one of
    the requests beyond it is small enough; so does an error rate.
    """
    if not slo.is_upper or slo.metric.clock in ("connect", "tls"):  # those count connections
        return 0
    beyond = Decimal(0)  # the share of requests that may lie beyond the limit
    if slo.metric.percentile is not None:
        beyond = 1 - slo.metric.percentile / 100
    elif slo.metric.unit is Unit.FRACTION and confidence is not None:
        beyond = slo.limit
    if not 0 < beyond < 1:
        return 0
    enough = math.ceil(1 / beyond) if slo.metric.percentile is not None else 0
    if confidence is None:
        return enough
    return max(enough, math.ceil(math.log(1 - confidence) / math.log1p(-max(float(beyond), TINY))))


def _counted(rate_per_s: Decimal) -> str:
    return f"{int(rate_per_s):,}" if rate_per_s == int(rate_per_s) else plain(rate_per_s)
