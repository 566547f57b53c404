"""Requests as they were, and what agents would have counted of them."""

from collections import Counter, defaultdict
from collections.abc import Mapping
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
from protocol.messages import Clock, ErrorClass, Fate, SeriesKey
from protocol.series import Tally

MS = 1_000_000
SPANS = ("service", "wait", "lag", "ttfb", "body", "connect", "tls")


@dataclass(frozen=True)
class Sample:
    """One request: how late it was started, how long it waited, how long it took from there, and how far it got."""

    service: int
    lag: int = 0
    wait: int = 0
    fate: Fate = Fate.OK
    has_first: bool = True  # a byte of the response came

    @property
    def unlagged(self):
        return self.wait + self.service

    @property
    def response(self):
        return self.lag + self.unlagged

    @property
    def ttfb(self):
        return self.service // 3

    @property
    def body(self):
        return self.service - self.ttfb


@dataclass(frozen=True)
class Raw:
    """What is true of one target: its samples, and how many requests there are of which nothing is known."""

    samples: tuple[Sample, ...]
    unaccounted: int = 0
    is_open: bool = True
    unsent: int = 0  # in closed load; in open load an unsent request is a sample that was never sent
    connects: tuple[int, ...] = ()
    connect_timeouts: int = 0
    elapsed_s: float = 10.0
    bytes_in: int = 0

    @property
    def errors(self):
        return sum(one.fate is not Fate.OK for one in self.samples) + self.unsent

    @property
    def requests(self):
        return len(self.samples) + self.unsent


def slo(metric, upper=None, lower=None, window_s=0):
    name = metric_name(f"http/{metric}")
    written = lower if upper is None else upper
    return Slo(Side.LOWER if upper is None else Side.UPPER, 0, name, limit_of(name, written), written, window_s)


def exact_slo(metric, limit, *, is_upper=True, window_s=0):
    """An SLO whose limit is any exact decimal number of its unit."""
    limit, name = Decimal(limit), metric_name(f"http/{metric}")
    return Slo(Side.UPPER if is_upper else Side.LOWER, 0, name, limit, str(limit), window_s)


def tallied(raw, limits):
    """What agents would have counted of these samples."""
    spans = defaultdict(list)
    for one in raw.samples:
        for clock in (Clock.RESPONSE, Clock.UNLAGGED, Clock.SERVICE, Clock.WAIT, Clock.LAG):
            spans[clock, one.fate].append(getattr(one, clock))
        if one.has_first:
            spans[Clock.TTFB, one.fate].append(one.ttfb)
            spans[Clock.BODY, one.fate].append(one.body)
    for clock in (Clock.CONNECT, Clock.TLS):
        if raw.connects:
            spans[clock, Fate.OK] = list(raw.connects)
    tally = Tally(SeriesKey(), planned=raw.requests, unsent=raw.unsent, bytes_in=raw.bytes_in)
    for (clock, fate), values in spans.items():
        tally.histogram(f"{clock}.{fate}").record_many(np.array(values, dtype=np.int64))
        tally.over[f"{clock}.{fate}"] = [sum(value > limit for value in values) for limit in limits]
    tally.ok = sum(one.fate is Fate.OK for one in raw.samples)
    tally.errors = len(raw.samples) - tally.ok
    tally.classes = Counter({str(ErrorClass.CONNECT_TIMEOUT): raw.connect_timeouts})
    return tally


def measured(raw, slos=()):
    """The merged counts of these samples, as their agents would have counted them for these SLOs."""
    limits = limits_ns(slos, ["http"])
    return Measured(tallied(raw, limits), raw.is_open, raw.unaccounted, limits, raw.elapsed_s)


def known(raw, span, clock=None):
    """The samples of a latency or another span, each with whether it is only known to have taken at least so long."""
    match span:
        case "latency":
            clock = clock or ("response" if raw.is_open else "service")
            return [(getattr(one, clock), one.fate is Fate.CUT) for one in raw.samples]
        case "connect" | "tls":
            return [(one, False) for one in raw.connects]
        case "ttfb" | "body":
            found = [one for one in raw.samples if one.has_first]
            return [(getattr(one, span), span == "body" and one.fate is Fate.CUT) for one in found]
        case _:
            return [(getattr(one, span), span == "service" and one.fate is Fate.CUT) for one in raw.samples]


def unseen(raw, span):
    """How many more samples there would be, had they not been cut off."""
    match span:
        case "latency":
            return 0 if raw.is_open else raw.unsent
        case "connect" | "tls":
            return raw.connect_timeouts
        case "ttfb" | "body":
            return raw.unsent + sum(one.fate is Fate.CUT and not one.has_first for one in raw.samples)
        case _:
            return raw.unsent


def settled(raw, span):
    """What each sample took, in ns, in every way in which the unknowns may be settled at their extremes."""
    for with_lag, is_unaccounted_bad, is_cut_endless in product((False, True), repeat=3):
        clock = "service" if not raw.is_open else "response" if with_lag else "unlagged"
        values = [inf if is_cut and is_cut_endless else value for value, is_cut in known(raw, span, clock)]
        values += [inf if is_unaccounted_bad else 0] * raw.unaccounted
        yield values + [inf if is_cut_endless else 0] * unseen(raw, span)


def statistic(name, values):
    """A metric of spans in ns, exactly."""
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


@dataclass(frozen=True)
class Truth:
    """One way in which it all may really have been."""

    spans: Mapping[str, list[int]]  # by latency, or another span: what each took, in ns
    requests: int
    errors: int
    tried: int
    unsent: int
    bytes_in: int
    elapsed_s: float


def true_value(name, truth):
    """A metric in its own unit; None if there is none."""
    match name:
        case "request-count":
            return truth.requests
        case "error-count":
            return truth.errors
        case "unsent-count":
            return truth.unsent
        case "error-rate":
            return Fraction(truth.errors, truth.requests) if truth.requests else None
        case "rate":
            return truth.tried / Fraction(truth.elapsed_s) if truth.elapsed_s else None
        case "bytes-in":
            return truth.bytes_in
    span, _, kind = name.partition("-")
    values = truth.spans[span]
    if not values:
        return None
    value = statistic(kind, values)
    return value if value == inf else Fraction(value) / MS


def extremes(raw, name):
    """The truths that lie at the ends of what is not known."""
    span = name.partition("-")[0]
    more = raw.unaccounted
    tried, size = len(raw.samples), raw.bytes_in
    ways = settled(raw, span) if span in ("latency", *SPANS) else [[]]
    for values in ways:
        for bad, requests in ((0, raw.requests), (0, raw.requests + more), (more, raw.requests + more)):
            if name == "error-rate" and not bad and requests == raw.requests and more:
                continue  # unaccounted requests are among those that it is a rate of
            endless = inf if bad else size
            yield Truth(
                {span: values}, requests, raw.errors + bad, tried + bad, raw.unsent + bad, endless, raw.elapsed_s
            )


def really_holds(slo, truth):
    """Whether the SLO holds if that is the truth; None if there is no metric."""
    value = true_value(slo.metric.name, truth)
    if value is None:
        return None
    return value <= Fraction(slo.limit) if slo.is_upper else value >= Fraction(slo.limit)


def true_answers(slo, raw):
    """Whether the SLO holds, for each way of settling the unknowns."""
    return {really_holds(slo, truth) for truth in extremes(raw, slo.metric.name)}
