"""Requests as they were, and what agents would have counted of them."""

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import product
from math import ceil, inf, sqrt

import numpy as np

from controller.assess import limits_ns
from controller.experiment.assess import Side, Slo
from controller.experiment.metrics import limit_of, metric_name
from controller.measure import Measured
from protocol.messages import Clock, Fate, SeriesKey
from protocol.series import Tally

MS = 1_000_000


@dataclass(frozen=True)
class Sample:
    """One request: how late it was started, how long it waited, and how long it took from there."""

    service: int
    lag: int = 0
    wait: int = 0
    fate: Fate = Fate.OK

    @property
    def unlagged(self):
        return self.wait + self.service

    @property
    def response(self):
        return self.lag + self.unlagged


@dataclass(frozen=True)
class Raw:
    """What is true of one target: its samples, and how many requests there are of which nothing is known."""

    samples: tuple[Sample, ...]
    unaccounted: int = 0
    is_open: bool = True
    unsent: int = 0  # in closed load; in open load an unsent request is a sample that was never sent

    @property
    def errors(self):
        return sum(one.fate is not Fate.OK for one in self.samples) + self.unsent

    @property
    def requests(self):
        return len(self.samples) + self.unsent


def slo(metric, upper=None, lower=None):
    name = metric_name(f"http/{metric}")
    written = lower if upper is None else upper
    return Slo(Side.LOWER if upper is None else Side.UPPER, 0, name, limit_of(name, written), written)


def exact_slo(metric, limit, *, is_upper=True):
    """An SLO whose limit is any exact decimal number of its unit."""
    limit = Decimal(limit)
    return Slo(Side.UPPER if is_upper else Side.LOWER, 0, metric_name(f"http/{metric}"), limit, str(limit))


def measured(raw, slos=()):
    """The merged counts of these samples, as their agents would have counted them for these SLOs."""
    limits = limits_ns(slos, ["http"])
    tally = Tally(SeriesKey(), planned=raw.requests, unsent=raw.unsent)
    spans = defaultdict(list)
    for one in raw.samples:
        spans[Clock.RESPONSE, one.fate].append(one.response)
        spans[Clock.UNLAGGED, one.fate].append(one.unlagged)
        spans[Clock.SERVICE, one.fate].append(one.service)
        spans[Clock.WAIT, one.fate].append(one.wait)
        spans[Clock.LAG, one.fate].append(one.lag)
    for (clock, fate), values in spans.items():
        tally.histogram(f"{clock}.{fate}").record_many(np.array(values, dtype=np.int64))
        tally.over[f"{clock}.{fate}"] = [sum(value > limit for value in values) for limit in limits]
    tally.ok = sum(one.fate is Fate.OK for one in raw.samples)
    tally.errors = len(raw.samples) - tally.ok
    return Measured(tally, raw.is_open, raw.unaccounted, limits)


def settled(raw):
    """What each request took, in ns, in every way in which the unknowns may be settled at their extremes."""
    for with_lag, is_unaccounted_bad, is_cut_endless in product((False, True), repeat=3):
        clock = "service" if not raw.is_open else "response" if with_lag else "unlagged"
        values = [inf if one.fate is Fate.CUT and is_cut_endless else getattr(one, clock) for one in raw.samples]
        values += [inf if is_unaccounted_bad else 0] * raw.unaccounted
        values += [inf if is_cut_endless else 0] * (0 if raw.is_open else raw.unsent)
        bad = raw.unaccounted if is_unaccounted_bad else 0
        yield values, raw.errors + bad, raw.requests + raw.unaccounted, raw.requests + bad


def statistic(name, values):
    """A metric of latencies in ns, exactly."""
    if name.startswith("p"):
        rank = max(1, ceil(Fraction(name[1:]) / 100 * len(values)))
        return sorted(values)[rank - 1]
    match name:
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "mean":
            return inf if inf in values else Fraction(sum(values), len(values))
        case "stddev":
            mean = Fraction(sum(values), len(values))
            return sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    raise ValueError(name)


def true_answers(slo, raw):
    """Whether the SLO holds, for each way of settling the unknowns."""
    found = set()
    for values, errors, requests, count in settled(raw):
        match slo.metric.name:
            case "request-count":
                value = count
            case "error-count":
                value = errors
            case "error-rate":
                value = Fraction(errors, requests) if requests else None
            case name:
                value = statistic(name.removeprefix("latency-"), values) if values else None
        if value is None:
            found.add(None)
            continue
        limit = Fraction(slo.limit) * (MS if slo.metric.name.startswith("latency") else 1)
        found.add(value <= limit if slo.is_upper else value >= limit)
    return found
