"""Knows the names, units and spellings of metrics, and reads the limits that SLOs put on them.

What a metric's value is belongs to the merge; whether it is good enough belongs to `assess`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from controller.experiment.mistakes import expected, nearest, shown
from controller.experiment.units import NANOSECONDS, decimal, duration_ns, plain

SCALARS = (
    "request-count",
    "error-count",
    "error-rate",
    "latency-mean",
    "latency-stddev",
    "latency-min",
    "latency-max",
)
MAX_LIMIT = 10**15
_PERCENTILE = re.compile(r"latency-p([0-9]{1,3}(?:\.[0-9]{0,9})?)")
_DIGITS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_MAX_CHARACTERS = 200


class Unit(StrEnum):
    """What a metric's number counts, in Iter8's words."""

    COUNT = ""
    FRACTION = "fraction"
    MSEC = "msec"


@dataclass(frozen=True, slots=True)
class MetricName:
    """A metric's full name in its one spelling: `http/latency-p50.0` is `http/latency-p50`."""

    provider: str
    name: str
    percentile: Decimal | None = None

    def __str__(self) -> str:
        return f"{self.provider}/{self.name}"

    @property
    def unit(self) -> Unit:
        """What its number counts."""
        if self.name.startswith("latency-"):
            return Unit.MSEC
        return Unit.FRACTION if self.name == "error-rate" else Unit.COUNT


def provider_of(endpoint: str) -> str:
    """The first part of an endpoint's metric names; the only endpoint of a task has no name."""
    return f"http-{endpoint}" if endpoint else "http"


def metric_name(value: object) -> MetricName:
    """The metric that was meant; a ValueError names the nearest known one."""
    if not isinstance(value, str) or not value or len(value) > _MAX_CHARACTERS:
        raise expected("a metric such as http/latency-p99", value)
    provider, slash, name = value.partition("/")
    if not slash:
        raise ValueError(f"expected provider/metric, got {shown(value)}{_suggestion('http', value)}")
    if provider != "http" and not provider.startswith("http-"):
        raise ValueError(f"unknown provider {shown(provider)}: expected http, or http-<endpoint>")
    if name in SCALARS:
        return MetricName(provider, name)
    found = _PERCENTILE.fullmatch(name)
    if found is None:
        raise ValueError(f"unknown metric {shown(name)}{_suggestion(provider, name)}")
    percentile = Decimal(found[1])
    if not 0 < percentile < 100:
        hint = f"; did you mean {provider}/latency-{'min' if percentile == 0 else 'max'}?"
        raise ValueError(f"expected a percentile above 0 and below 100, got {shown(name)}{hint}")
    return MetricName(provider, percentile_metric(percentile), percentile)


def percentile_metric(percentile: Decimal) -> str:
    """The name of a percentile's metric, without its provider: `latency-p99.9`."""
    return f"latency-p{plain(percentile)}"


def nearest_of(metric: MetricName, providers: Iterable[str]) -> str:
    """The same metric of the provider that was most likely meant: `; did you mean http-get/error-rate?`."""
    known = list(providers)
    close = nearest(metric.provider, known) or (known[0] if len(known) == 1 else None)
    return f"; did you mean {close}/{metric.name}?" if close else f"; known are {', '.join(known)}"


def _suggestion(provider: str, name: str) -> str:
    digits = _DIGITS.search(name)
    percentiles = [f"latency-p{digits[0]}"] if digits and 0 < Decimal(digits[0]) < 100 else []
    close = nearest(name, [*SCALARS, *percentiles]) or (percentiles[0] if percentiles else None)
    if close:
        return f"; did you mean {provider}/{close}?"
    return f"; known are {', '.join(SCALARS)} and latency-p<number>"


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
    if metric.unit is Unit.MSEC:
        ns = duration_ns(written)
        return None if ns is None else ns / NANOSECONDS["ms"]
    if metric.unit is Unit.FRACTION and written.endswith("%"):
        percent = decimal(written.removesuffix("%").rstrip())
        return None if percent is None else percent / 100
    return None


def _limit_words(metric: MetricName) -> str:
    match metric.unit:
        case Unit.MSEC:
            return f'a duration such as "50ms", or a number of milliseconds, for {metric}'
        case Unit.FRACTION:
            return f'a fraction such as 0.001, or "0.1%", for {metric}'
        case Unit.COUNT:
            return f"a number without a unit for {metric}"
