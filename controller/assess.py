"""Pure: metrics x SLOs -> verdict, with reasons. A verdict must survive what we don't know.

Each SLO is held against every assumption about the unknowns. The same answer everywhere stands; different answers
leave it undecided, and name the unknowns on which it hangs. What to do with a verdict is for others.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import isinf, log
from typing import NamedTuple

from controller.experiment.assess import Slo
from controller.experiment.metrics import Unit
from controller.experiment.result import Bound, Outcome, SLOJudgement, Verdict
from controller.measure import ALL_ASSUMPTIONS, OURS, Assumption, Limit, Measured, Unknown, percentile_fraction

NS_PER_MS = 1_000_000
ALPHA = 0.05
EVIDENCE = "evidence"
MISSING = "missing"
LOAD = "load-not-made"
SHARDS = "missing-shards"
_UNITS = {Unit.MSEC: " msec", Unit.PER_SECOND: "/s", Unit.BYTES: " bytes"}
_WORDS = {
    Unknown.LAG: "how much of the latency was the agents' own lateness",
    Unknown.UNACCOUNTED: "what became of the requests of a lost agent",
    Unknown.CUT_OFF: "how long the requests that were cut off would have taken",
}


@dataclass(frozen=True)
class Soundness:
    """What bars a `pass`, apart from the SLOs themselves; each is a sentence, empty if it does not apply."""

    account: str = ""  # the account does not close
    load_not_made: str = ""  # the agents did not make the load that was asked for
    no_success: str = ""  # hardly anything went well, and that was not what the experiment is about
    interrupted: str = ""  # it was stopped before its end


class Decision(NamedTuple):
    """Whether an SLO is satisfied; None if that is undecided: on what it hangs, and why."""

    satisfied: bool | None
    decided_by: tuple[str, ...] = ()
    why: str = ""


def limits_ns(slos: Iterable[Slo], providers: Collection[str]) -> tuple[int, ...]:
    """The limits that requests have to be counted against for these providers' metrics, each once, in ns.

    A target counts for more than one provider: its own, each of its stages, and a mix's total. Counts are added by
    position, so the targets of a mix all need the limits of all of them. For `abortOn`, give its `slo` as well.
    """
    found = {limit_ns(slo) for slo in slos if slo.metric.provider in providers and slo.metric.percentile is not None}
    return tuple(sorted(found))


def limit_ns(slo: Slo) -> int:
    """The limit of a percentile SLO, as whole ns above which samples are counted.

    An upper limit holds for samples at it, so those above it count; for a lower limit those at it count as well.
    """
    ns = slo.limit * NS_PER_MS
    floor = int(ns.to_integral_value(rounding="ROUND_FLOOR"))
    if slo.is_upper:
        return max(0, floor)
    ceiling = floor if floor == ns else floor + 1
    return max(0, ceiling - 1)


def judge(slo: Slo, measured: Measured | None, confidence: float | None) -> SLOJudgement:
    """One SLO, decided if every assumption gives the same answer and there is evidence enough."""
    return judgement(slo, measured, decide(slo, measured, confidence))


def decide(slo: Slo, measured: Measured | None, confidence: float | None) -> Decision:
    """What `judge` comes to, without the figures."""
    answers = {} if measured is None else _answers(slo, measured)
    if measured is None or None in answers.values():
        return Decision(None, (MISSING,), f"{slo.metric} was not measured")
    decided = set(answers.values())
    if len(decided) == 1:
        if measured.value(slo.metric.name) is None:  # all there is are unaccounted requests
            return Decision(None, (MISSING,), f"{slo.metric} was not measured")
        satisfied = decided.pop()
        lacking = _too_few(slo, measured)
        if confidence is not None:
            lacking = lacking or _lack_of_evidence(slo, measured, confidence)
        return Decision(None, (EVIDENCE,), lacking) if satisfied and lacking else Decision(satisfied)
    deciders = tuple(unknown for unknown in Unknown if _decides(unknown, answers))
    why = " and ".join(_WORDS[unknown] for unknown in deciders)
    return Decision(None, tuple(map(str, deciders)), f"undecided: it depends on {why}")


def aborted_judgement(sentence: str, slo: Slo, measured: Measured | None) -> SLOJudgement:
    """The judgement of a run that was ended by `abortOn`: the limit is violated, whatever came in since."""
    return judgement(slo, measured, Decision(satisfied=False, why=sentence))


def thin_evidence(slo: Slo, measured: Measured | None, confidence: float | None) -> str:
    """A sentence if there are fewer samples than a judgement at 95 % (or the asked confidence) rests on."""
    return "" if measured is None else _lack_of_evidence(slo, measured, confidence)


def with_load_not_made(judgements: Sequence[SLOJudgement], why: str) -> tuple[SLOJudgement, ...]:
    """Latencies, and rates too low, while the agents themselves stood still are not the target's alone: undecided."""
    if not why:
        return tuple(judgements)
    update = {"satisfied": None, "decided_by": (LOAD,), "reason": f"undecided: {why}"}
    return tuple(
        one.model_copy(update=update) if one.satisfied is False and _may_be_our_own(one) else one for one in judgements
    )


def _may_be_our_own(judgement: SLOJudgement) -> bool:
    return judgement.unit == Unit.MSEC or (judgement.unit == Unit.PER_SECOND and judgement.bound is Bound.LOWER)


def verdict(judgements: Sequence[SLOJudgement], soundness: Soundness) -> Verdict:
    """What it all comes to. It never turns `pass` when an unknown grows."""
    violated = [one for one in judgements if one.satisfied is False]
    ours = [one for one in judgements if one.satisfied is None and is_ours(one.decided_by)]
    undecided = [one for one in judgements if one.satisfied is None and one not in ours]
    slos = tuple(judgements)
    if soundness.account:
        return Verdict(outcome=Outcome.INVALID, reasons=(soundness.account,), slos=slos)
    if violated:
        return Verdict(outcome=Outcome.FAIL, reasons=_reasons(violated), slos=slos)
    if ours or (judgements and soundness.load_not_made):
        reasons = (*_reasons(ours), *filter(None, [soundness.load_not_made]))
        return Verdict(outcome=Outcome.INVALID, reasons=reasons, slos=slos)
    barred = tuple(filter(None, [soundness.no_success, soundness.interrupted])) if judgements else ()
    if undecided or barred:
        return Verdict(outcome=Outcome.INCONCLUSIVE, reasons=(*_reasons(undecided), *barred), slos=slos)
    if not judgements:
        return Verdict(outcome=Outcome.NONE, reasons=("no SLOs were given",))
    count = len(judgements)
    return Verdict(outcome=Outcome.PASS, reasons=(f"{count} of {count} SLOs are satisfied",), slos=slos)


def is_ours(decided_by: Iterable[str]) -> bool:
    """Whether something on our side is among that on which an SLO hangs, rather than on the target's."""
    return bool({*OURS, LOAD, SHARDS} & set(decided_by))


def winners(metrics: Sequence[str], values: Sequence[Mapping[str, float]], *, largest: bool) -> tuple[int, ...]:
    """Per metric the version with the best value; ties go to the lower index, -1 where no version has a value."""
    sign = 1 if largest else -1
    found = []
    for metric in metrics:
        scored = [(sign * of[metric], -index) for index, of in enumerate(values) if metric in of]
        found.append(-max(scored)[1] if scored else -1)
    return tuple(found)


def _reasons(judgements: Sequence[SLOJudgement]) -> tuple[str, ...]:
    return tuple(f"{one.metric}: {one.reason}" if one.metric not in one.reason else one.reason for one in judgements)


def _answers(slo: Slo, measured: Measured) -> dict[Assumption, bool | None]:
    """Whether it holds, under each assumption."""
    relevant = measured.unknowns(slo.metric.name)
    found = {one: holds(slo, measured, one) for one in ALL_ASSUMPTIONS if one.worst <= relevant}
    return {one: found[Assumption(one.worst & relevant)] for one in ALL_ASSUMPTIONS}


def violates(slo: Slo, measured: Measured) -> bool:
    """Whether the limit is violated under every assumption."""
    return set(_answers(slo, measured).values()) == {False}


def holds(slo: Slo, measured: Measured, assumption: Assumption | None = None) -> bool | None:
    """Whether the SLO's metric keeps its limit under an assumption, or as measured; None if there is no metric."""
    metric = slo.metric
    if metric.percentile is not None:
        percentile = percentile_fraction(metric.statistic)
        within = measured.is_within(percentile, _counted_limit(slo, measured), assumption, metric.clock)
        return within if within is None or slo.is_upper else not within
    value = measured.value(metric.name, assumption)
    if value is None:
        return None
    if isinf(value):
        return not slo.is_upper
    bound = Fraction(slo.limit)
    return value <= bound if slo.is_upper else value >= bound


def _counted_limit(slo: Slo, measured: Measured) -> Limit:
    ns = limit_ns(slo)
    return Limit(measured.limits_ns.index(ns), ns)


def _decides(unknown: Unknown, answers: Mapping[Assumption, bool | None]) -> bool:
    """Whether settling this one alone would change the answer, for some settlement of the others."""
    return any(
        answers[one] != answers[Assumption(one.worst | {unknown})] for one in answers if unknown not in one.worst
    )


def _too_few(slo: Slo, measured: Measured) -> str:
    """A sentence if a percentile has fewer samples than 1/(1 - p): then it is no more than the maximum."""
    if slo.metric.percentile is None:
        return ""
    needed = _ceil(1 / (1 - percentile_fraction(slo.metric.statistic)))
    samples = _samples(slo, measured)
    return f"{slo.metric} needs {needed:,} {_sampled(slo)}, there are {samples:,}" if samples < needed else ""


def _lack_of_evidence(slo: Slo, measured: Measured, confidence: float | None) -> str:
    samples = _samples(slo, measured)
    needed = evidence_needed(slo, confidence)
    if samples >= needed:
        return ""
    return (
        f"{slo.metric} rests on {samples:,} {_sampled(slo)}: "
        f"{needed:,} are needed to be {100 * (confidence or 1 - ALPHA):g} % sure"
    )


def evidence_needed(slo: Slo, confidence: float | None) -> int:
    """How many samples it takes to be sure: ln(alpha)/ln(p) for a percentile, 3/r for an error rate limit r.

    The rule of three (Hanley and Lippman-Hand, 1983) for rates; with another confidence, -ln(alpha)/r.
    """
    alpha = ALPHA if confidence is None else 1 - confidence
    if slo.metric.percentile is not None:
        share = float(slo.metric.percentile / 100)
        return _ceil(log(alpha) / log(share)) if 0 < share < 1 else 0
    if slo.metric.name == "error-rate" and slo.is_upper and 0 < slo.limit < 1:
        return _ceil(Fraction(3) / Fraction(slo.limit)) if confidence is None else _ceil(-log(alpha) / float(slo.limit))
    return 0


def _ceil(number: float | Fraction) -> int:
    return -int(-number // 1)


def judgement(slo: Slo, measured: Measured | None, decision: Decision) -> SLOJudgement:
    """A decision with the metric's value, and the range that the unknowns leave open."""
    value, values = None, []
    if measured is not None:
        value = measured.value(slo.metric.name)
        relevant = measured.unknowns(slo.metric.name)
        values = [measured.value(slo.metric.name, one) for one in ALL_ASSUMPTIONS if one.worst <= relevant]
    finite = [float(one) for one in values if one is not None and not isinf(one)]
    is_unbounded = any(one is not None and isinf(one) for one in values)
    return SLOJudgement(
        metric=str(slo.metric),
        bound=Bound.UPPER if slo.is_upper else Bound.LOWER,
        limit=float(slo.limit),
        limit_text=_limit_text(slo),
        unit=str(slo.metric.unit) if slo.metric.unit in _UNITS else "",
        value=None if value is None else float(value),
        value_is_lower_bound=_is_lower_bound(slo, measured),
        low=min(finite, default=None),
        high=None if is_unbounded or not finite else max(finite),
        samples=_samples(slo, measured),
        satisfied=decision.satisfied,
        would_be=None if measured is None else holds(slo, measured),
        decided_by=decision.decided_by,
        reason=decision.why or comparison(slo, measured, satisfied=decision.satisfied is True),
    )


def _limit_text(slo: Slo) -> str:
    return slo.written if isinstance(slo.written, str) else f"{Decimal(str(slo.written)):f}"


def _samples(slo: Slo, measured: Measured | None) -> int:
    if measured is None:
        return 0
    return measured.samples(slo.metric.clock) if slo.metric.clock else measured.requests


def _sampled(slo: Slo) -> str:
    return "connections" if slo.metric.clock in ("connect", "tls") else "requests"


def _is_lower_bound(slo: Slo, measured: Measured | None) -> bool:
    if measured is None or not slo.metric.clock:
        return False
    value = measured.value(slo.metric.name)
    endless = measured.value(slo.metric.name, Assumption(frozenset({Unknown.LAG, Unknown.CUT_OFF})))
    return value is not None and endless is not None and endless > value and not measured.unaccounted


def comparison(slo: Slo, measured: Measured | None, *, satisfied: bool) -> str:
    """What was measured, against the limit, as a sentence."""
    value = None if measured is None else measured.value(slo.metric.name)
    if measured is None or value is None:
        return f"{slo.metric} was not measured"
    unit = _UNITS.get(slo.metric.unit, "")
    bound = "≥ " if _is_lower_bound(slo, measured) else ""
    relation = ("at most" if slo.is_upper else "at least") if satisfied else ("above" if slo.is_upper else "below")
    return f"{slo.metric} is {bound}{_shown(float(value))}{unit}, {relation} {_shown(float(slo.limit))}{unit}"


def _shown(value: float) -> str:
    """Four significant digits, whole numbers whole."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.1f}"
