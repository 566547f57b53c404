"""Knows the names, units and spellings of metrics, and reads the limits that SLOs put on them.

What a metric's value is belongs to the merge; whether it is good enough belongs to `assess`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from controller.experiment.mistakes import expected, nearest, shown
from controller.experiment.units import NANOSECONDS, decimal, duration_ns, plain

LATENCY = "latency"  # response in open load, service in closed load
CLOCKS = (LATENCY, "service", "wait", "lag", "connect", "tls", "ttfb", "body")
STATISTICS = ("mean", "stddev", "min", "max")
SIZES = ("bytes-in", "bytes-out")
COUNTS = ("request-count", "error-count", "unsent-count")
PLAIN = (*COUNTS, "error-rate", "rate", *SIZES)  # those that are of no clock
MAX_LIMIT = 10**15
MAX_STEPS = 1000
STAGE = "@"
_LOAD = frozenset({"stages", "step", "spike", "rate", "qps", "duration", "numRequests"})  # an end to the task's stages
_SPAN = re.compile(rf"({'|'.join(CLOCKS)})-(?:({'|'.join(STATISTICS)})|p([0-9]{{1,3}}(?:\.[0-9]{{0,9}})?))")
_DIGITS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kKMGT]i?|)B")
_MULTIPLES = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_MULTIPLES |= {"ki": 1 << 10, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
_MAX_CHARACTERS = 200


class Unit(StrEnum):
    """What a metric's number counts, in Iter8's words where Iter8 has one."""

    COUNT = ""
    FRACTION = "fraction"
    MSEC = "msec"
    PER_SECOND = "1/s"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class MetricName:
    """A metric's full name in its one spelling: `http@peak/latency-p50.0` is `http@peak/latency-p50`."""

    provider: str
    name: str
    percentile: Decimal | None = None

    def __str__(self) -> str:
        return f"{self.provider}/{self.name}"

    @property
    def base(self) -> str:
        """Its provider without a stage."""
        return self.provider.partition(STAGE)[0]

    @property
    def stage(self) -> str:
        """The stage that it is of; empty for a metric of the whole."""
        return self.provider.partition(STAGE)[2]

    @property
    def clock(self) -> str:
        """The span of which it is a statistic, such as latency or connect; empty if it is of none."""
        return "" if self.name in PLAIN else self.name.partition("-")[0]

    @property
    def statistic(self) -> str:
        """`mean`, `stddev`, `min`, `max` or `p<X>` of its clock; empty if it is of none."""
        return "" if self.name in PLAIN else self.name.partition("-")[2]

    @property
    def grows(self) -> bool:
        """Whether it only ever grows while a run goes on, so that a part of a run has less of it."""
        return self.name in COUNTS or self.name in SIZES

    @property
    def unit(self) -> Unit:
        """What its number counts."""
        if self.clock:
            return Unit.MSEC
        if self.name in SIZES:
            return Unit.BYTES
        return {"error-rate": Unit.FRACTION, "rate": Unit.PER_SECOND}.get(self.name, Unit.COUNT)


def provider_of(endpoint: str, stage: str = "") -> str:
    """The first part of an endpoint's metric names; the only endpoint of a task, and a mix's total, have no name."""
    whole = f"http-{endpoint}" if endpoint else "http"
    return f"{whole}{STAGE}{stage}" if stage else whole


def providers_of(settings: Mapping[str, object]) -> list[str]:
    """The providers of the metrics that an http task's settings give, also when something else is wrong with them.

    Per endpoint the whole and its stages; for a mix its total as well. The settings have their known spelling.
    """
    shared = stage_names(settings)
    endpoints = settings.get("endpoints")
    if not isinstance(endpoints, Mapping):
        return _with_stages("", shared)
    found = _with_stages("", shared) if settings.get("mix") is True else []
    for name, own in endpoints.items():
        given = isinstance(own, Mapping) and not _LOAD.isdisjoint(own)
        found += _with_stages(name, stage_names(own) if given else shared)
    return found


def _with_stages(endpoint: str, stages: Iterable[str]) -> list[str]:
    return [provider_of(endpoint), *(provider_of(endpoint, stage) for stage in stages)]


def stage_names(settings: Mapping[str, object]) -> list[str]:
    """The names of an endpoint's stages: as given, else their numbers; the rates of a step; the parts of a spike."""
    stages = settings.get("stages")
    if isinstance(stages, list):
        names = (one.get("name") if isinstance(one, Mapping) else None for one in stages)
        return [str(number) if name is None else str(name) for number, name in enumerate(names, 1)]
    if "spike" in settings:
        return ["before", "spike", "after"]
    step = settings.get("step")
    return step_names(step) if isinstance(step, Mapping) else []


def step_names(step: Mapping[str, object]) -> list[str]:
    """The rates of a step `from`, `to`, `by`, as text; none if they make no steps."""
    first, last, by = (decimal(step.get(key)) for key in ("from", "to", "by"))
    if first is None or last is None or by is None or by <= 0 or (last - first) / by > MAX_STEPS:
        return []
    return [plain(first + number * by) for number in range(int((last - first) / by) + 1)] if last >= first else []


def metric_name(value: object) -> MetricName:
    """The metric that was meant; a ValueError names the nearest known one."""
    if not isinstance(value, str) or not value or len(value) > _MAX_CHARACTERS:
        raise expected("a metric such as http/latency-p99", value)
    provider, slash, name = value.partition("/")
    if not slash:
        raise ValueError(f"expected provider/metric, got {shown(value)}{_suggestion('http', value)}")
    base, at, stage = provider.partition(STAGE)
    if (base != "http" and not base.startswith("http-")) or (at and not stage):
        raise ValueError(
            f"unknown provider {shown(provider)}: expected http, or http-<endpoint>; @<stage> may follow either"
        )
    if name in PLAIN:
        return MetricName(provider, name)
    found = _SPAN.fullmatch(name)
    if found is None:
        raise ValueError(f"unknown metric {shown(name)}{_suggestion(provider, name)}")
    if found[2]:
        return MetricName(provider, name)
    percentile = Decimal(found[3])
    if not 0 < percentile < 100:
        hint = f"; did you mean {provider}/{found[1]}-{'min' if percentile == 0 else 'max'}?"
        raise ValueError(f"expected a percentile above 0 and below 100, got {shown(name)}{hint}")
    return MetricName(provider, percentile_metric(percentile, found[1]), percentile)


def percentile_metric(percentile: Decimal, clock: str = LATENCY) -> str:
    """The name of a percentile's metric, without its provider: `latency-p99.9`."""
    return f"{clock}-p{plain(percentile)}"


def nearest_of(metric: MetricName, providers: Iterable[str]) -> str:
    """The same metric of the provider that was most likely meant: `; did you mean http-get/error-rate?`."""
    known = list(providers)
    close = nearest(metric.provider, known) or (known[0] if len(known) == 1 else None)
    return f"; did you mean {close}/{metric.name}?" if close else f"; known are {', '.join(known)}"


def _suggestion(provider: str, name: str) -> str:
    clock = nearest(name.partition("-")[0], CLOCKS) or LATENCY
    digits = _DIGITS.search(name)
    percentiles = [f"{clock}-p{digits[0]}"] if digits and 0 < Decimal(digits[0]) < 100 else []
    spans = [f"{clock}-{statistic}" for statistic in STATISTICS]
    close = nearest(name, [*PLAIN, *spans, *percentiles]) or (percentiles[0] if percentiles else None)
    if close:
        return f"; did you mean {provider}/{close}?"
    statistics = ", ".join(f"-{statistic}" for statistic in STATISTICS)
    return f"; known are {', '.join(PLAIN)}, and {statistics} and -p<number> of each of {', '.join(CLOCKS)}"


def limit_of(metric: MetricName, written: object) -> Decimal:
    """The limit in the metric's own unit, exactly: `0.25s` on a latency is 250, `0.1%` on an error rate is 0.001."""
    if isinstance(written, bool) or not isinstance(written, int | float | str):
        raise expected(_limit_words(metric), written)
    found = decimal(written)
    if found is None and isinstance(written, str):
        found = _with_unit(metric, written.strip())
    if found is None:
        raise expected(_limit_words(metric), written)
    if not 0 <= found <= MAX_LIMIT:
        raise expected(f"a limit of at least 0 (and at most {MAX_LIMIT}) for {metric}", written)
    return found


def _with_unit(metric: MetricName, written: str) -> Decimal | None:
    match metric.unit:
        case Unit.MSEC:
            ns = duration_ns(written)
            return None if ns is None else ns / NANOSECONDS["ms"]
        case Unit.FRACTION if written.endswith("%"):
            percent = decimal(written.removesuffix("%").rstrip())
            return None if percent is None else percent / 100
        case Unit.PER_SECOND if written.endswith("/s"):
            return decimal(written.removesuffix("/s").rstrip())
        case Unit.BYTES if found := _SIZE.fullmatch(written):
            return Decimal(found[1]) * _MULTIPLES[found[2]]
    return None


def _limit_words(metric: MetricName) -> str:
    match metric.unit:
        case Unit.MSEC:
            return f'a duration such as "50ms", or a number of milliseconds, for {metric}'
        case Unit.FRACTION:
            return f'a fraction such as 0.001, or "0.1%", for {metric}'
        case Unit.PER_SECOND:
            return f'a number per second, such as 500 or "500/s", for {metric}'
        case Unit.BYTES:
            return f'a number of bytes, or a size such as "10kB" or "1MiB", for {metric}'
        case Unit.COUNT:
            return f"a number without a unit for {metric}"
