"""Pure: a target's measurements -> Plotly figures as plain dicts, each with a sentence that says what it shows.

A colour is written as the name of a CSS variable (`--ok`); the page's script puts the theme's value in its place.
"""

import html
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from controller.experiment.result import Bound, Distribution, Series, SLOJudgement, TargetResult
from controller.report.document import judged_clock, part_of
from controller.report.numbers import figure, share

FINEST_MS = 0.001  # the histogram's own unit; a logarithmic axis has no zero
LONGEST_MS = 1e12  # nothing that was measured is longer; neither are NaN and the infinities
BINS = 60
CURVE_POINTS = 400
TABLE_ROWS = 40
NINES = (50, 90, 99, 99.9, 99.99, 99.999, 99.9999, 99.99999)
Json = dict[str, Any]
Buckets = Sequence[tuple[float, float, int]]


@dataclass(frozen=True)
class Chart:
    """One figure, its caption, and in words what it shows."""

    key: str
    title: str
    summary: str
    data: list[Json]
    layout: Json

    def to_document(self) -> Json:
        """What the page's script draws."""
        return {"id": self.key, "data": self.data, "layout": self.layout}


def charts_of(target: TargetResult, slos: Sequence[SLOJudgement], key: str) -> list[Chart]:
    """The charts that there is something to draw for; `slos` are the target's own."""
    limits = [slo for slo in slos if "/latency-" in slo.metric and 0 < slo.limit < math.inf]
    made = (
        _histogram(target, limits, f"{key}-histogram"),
        _percentiles(target, limits, f"{key}-percentiles"),
        _throughput(target.series, f"{key}-throughput"),
        _latency(target, f"{key}-latency"),
        _lag(target.series, f"{key}-lag"),
    )
    return [chart for chart in made if chart is not None]


def _spreads(target: TargetResult) -> Iterator[tuple[str, str, Distribution]]:
    for name, colour in (("response", "--response"), ("service", "--service")):
        spread: Distribution = getattr(target.clocks, name)
        if _filled(spread):
            yield name, colour, spread


def _filled(spread: Distribution) -> list[tuple[float, float, int]]:
    return [bucket for bucket in spread.buckets if bucket[2] > 0 and 0 <= bucket[0] <= bucket[1] < LONGEST_MS]


def _axis(title: str, **more: Any) -> Json:
    return {"title": {"text": title}, **more}


def _line(name: str, colour: str, x: Sequence[Any], y: Sequence[Any], **more: Any) -> Json:
    line = {"color": colour, "width": 2, **more.pop("line", {})}
    return {"type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": list(y), "line": line, **more}


def _logarithmic(low: float, high: float) -> Json:
    """A logarithmic axis with whole labels: Plotly's own say 2 and 5 where 20 and 50 are meant."""
    steps = (1, 2, 5) if high / low < 1e3 else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [_short(step * 10.0**decade) for decade in decades for step in steps]
    return {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [figure(tick, group=True) for tick in ticks],
    }


def _limit_line(slo: SLOJudgement, axis: str) -> tuple[Json, Json]:
    """A dotted line at the limit, and the metric's name at its end."""
    part = html.escape(slo.metric.partition("/latency-")[2][:20])
    label: Json = {"text": part, "showarrow": False, "font": {"color": "--limit", "size": 11}}
    line: Json = {"type": "line", "line": {"color": "--limit", "width": 1.5, "dash": "dot"}}
    if axis == "x":
        # An annotation on a logarithmic axis stands at the logarithm, a shape at the value.
        label |= {"x": math.log10(slo.limit), "y": 1, "yref": "paper", "xanchor": "right", "yanchor": "top"}
        return {**line, "x0": slo.limit, "x1": slo.limit, "y0": 0, "y1": 1, "yref": "paper"}, label
    label |= {"x": 0.01, "y": slo.limit, "xref": "paper", "xanchor": "left", "yanchor": "bottom"}
    return {**line, "y0": slo.limit, "y1": slo.limit, "x0": 0, "x1": 1, "xref": "paper"}, label


def _limits(slos: Sequence[SLOJudgement], axis: str) -> Json:
    """The part of a layout that shows upper limits, one line where several are the same."""
    upper = {slo.limit: slo for slo in slos if slo.bound is Bound.UPPER}
    drawn = [_limit_line(upper[limit], axis) for limit in sorted(upper)]
    return {"shapes": [line for line, _ in drawn], "annotations": [label for _, label in drawn]}


def rebinned(buckets: Buckets, low: float, high: float, bins: int = BINS) -> list[tuple[float, float]]:
    """(lower edge, count) of logarithmic bins from low to high; a bucket across an edge is split by its width."""
    step = math.log(high / low) / bins
    edges = [low * math.exp(step * index) for index in range(bins)] + [high]
    counts = [0.0] * bins
    for lower, upper, count in buckets:
        start = min(max(lower, low), high)
        end = min(max(upper, start), high)
        index = min(bins - 1, max(0, math.floor(math.log(start / low) / step)))
        while index < bins - 1 and end > edges[index + 1]:
            part = max(0.0, edges[index + 1] - start)
            counts[index] += count * part / (upper - lower) if upper > lower else 0.0
            start = max(start, edges[index + 1])
            index += 1
        counts[index] += count * (end - start) / (upper - lower) if upper > lower else count
    return list(zip(edges, counts, strict=False))


def _span(spreads: Sequence[Distribution]) -> tuple[float, float]:
    filled = [bucket for spread in spreads for bucket in _filled(spread)]
    low = max(FINEST_MS, min(lower for lower, _, _ in filled))
    high = max(low * 1.5, *(upper for _, upper, _ in filled))
    return low / 1.05, high * 1.05


def _histogram(target: TargetResult, slos: Sequence[SLOJudgement], key: str) -> Chart | None:
    spreads = list(_spreads(target))
    if not spreads:
        return None
    low, high = _span([spread for _, _, spread in spreads])
    data = []
    for name, colour, spread in spreads:
        total = sum(count for _, _, count in _filled(spread))
        bins = rebinned(_filled(spread), low, high)
        x = [_short(edge) for edge, _ in bins] + [_short(high)]
        y = [_short(100 * count / total) for _, count in bins]
        fill: Json = {"fill": "tozeroy", "fillcolor": f"{colour}-fill"} if name == target.clocks.latency else {}
        data.append(_line(name, colour, x, [*y, y[-1]], line={"shape": "hv", "width": 1.5}, **fill))
    limits = _limits([slo for slo in slos if low < slo.limit < high], "x")
    yaxis = _axis("% of requests", rangemode="tozero")
    layout = {"xaxis": _axis("ms", **_logarithmic(low, high)), "yaxis": yaxis, **limits}
    return Chart(key, "How long requests took", _histogram_summary(target), data, layout)


def _histogram_summary(target: TargetResult) -> str:
    spread = judged_clock(target)
    words = [f"{target.clocks.latency} from {figure(spread.min)} to {figure(spread.max)} ms"]
    known = [part for part in ("50", "99") if part in spread.percentiles]
    words += [f"{part}% within {figure(spread.percentiles[part])} ms" for part in known]
    return f"{', '.join(words)}; {figure(spread.count, group=True)} requests."


def _curve(spread: Distribution) -> tuple[list[float], list[float]]:
    buckets = sorted(_filled(spread))
    total = sum(count for _, _, count in buckets)
    sums = list(itertools.accumulate(count for _, _, count in buckets))
    highest = [upper for _, upper, _ in buckets]
    if spread.max is not None:
        highest = [min(upper, spread.max) for upper in highest]
    # 1 / (1 - p) of the last bucket is infinite: the one slowest request stands at its own rank.
    xs = [1.0, *(total / max(1, total - done) for done in sums)]
    return _thinned(xs, [buckets[0][0], *highest])


def _thinned(xs: list[float], ys: list[float]) -> tuple[list[float], list[float]]:
    """At most CURVE_POINTS points, evenly over the logarithmic axis, the last always among them."""
    least = max(xs[-1], 1.001) ** (1 / CURVE_POINTS)
    kept: list[tuple[float, float]] = []
    for index, (x, y) in enumerate(zip(xs, ys, strict=True)):
        if not kept or x >= kept[-1][0] * least or index == len(xs) - 1:
            kept.append((_short(x), _short(y)))
    return [x for x, _ in kept], [y for _, y in kept]


def _percentiles(target: TargetResult, slos: Sequence[SLOJudgement], key: str) -> Chart | None:
    spreads = list(_spreads(target))
    if not spreads:
        return None
    curves = [(name, colour, *_curve(spread)) for name, colour, spread in spreads]
    widest = max(10.0, *(xs[-1] for _, _, xs, _ in curves))
    ticks = [nine for nine in NINES if 100 / (100 - nine) <= widest * 1.01]
    xaxis = _axis(
        "percentile",
        type="log",
        range=[0, math.log10(widest) + 0.05],
        tickvals=[_short(100 / (100 - nine)) for nine in ticks],
        ticktext=[f"{figure(nine, digits=9)}%" for nine in ticks],
    )
    data = [_line(name, colour, xs, ys, line={"shape": "vh"}) for name, colour, xs, ys in curves]
    top = max(ys[-1] for _, _, _, ys in curves)
    limits = _limits([slo for slo in slos if slo.limit < 1.5 * top and "/latency-p" in slo.metric], "y")
    summary = "; ".join(f"{name}: {_percentile_words(spread)}" for name, _, spread in spreads)
    layout = {"xaxis": xaxis, "yaxis": _axis("ms", rangemode="tozero"), **limits}
    return Chart(key, "Latency by percentile", f"{summary}.", data, layout)


def _percentile_words(spread: Distribution) -> str:
    parts = [(part, part_of(spread, part)) for part in ("p50", "p90", "p99", "p99.9", "max")]
    return ", ".join(f"{part} {figure(value)} ms" for part, value in parts if value is not None)


def _times(series: Series, length: int) -> list[int]:
    return [index * series.interval_s for index in range(length)]


def _over_time(series: Series, title: str, **more: Any) -> Json:
    """A layout with time along x, and a band where a shard did not arrive."""
    step = series.interval_s
    bands = [
        {
            "type": "rect",
            "layer": "below",
            "yref": "paper",
            "x0": index * step - step / 2,
            "x1": index * step + step / 2,
            "y0": 0,
            "y1": 1,
            "fillcolor": "--missing",
            "line": {"width": 0},
        }
        for index in series.missing
    ]
    return {
        "xaxis": _axis("seconds into the run", rangemode="tozero"),
        "yaxis": _axis(title, rangemode="tozero", **more),
        "shapes": bands,
    }


def _gaps(series: Series) -> str:
    if not series.missing:
        return ""
    return f" Measurements of {share(len(series.missing), max(_length(series), 1))} of the intervals did not arrive."


def _length(series: Series) -> int:
    return max(len(part) for part in (series.planned, series.started, series.ok, series.errors, series.p99))


def _throughput(series: Series, key: str) -> Chart | None:
    step = max(1, series.interval_s)
    data = []
    parts: tuple[tuple[str, str, Sequence[int], Json], ...] = (
        ("ok", "--ok", series.ok, {}),
        ("errors", "--error", series.errors, {"fill": "tozeroy", "fillcolor": "--error-fill"}),
        ("planned", "--planned", series.planned, {"line": {"dash": "dash", "width": 1.5}}),
    )
    for name, colour, counts, more in parts:
        if any(counts):
            rates = [_short(count / step) for count in counts]
            data.append(_line(name, colour, _times(series, len(rates)), rates, **more))
    if not data:
        return None
    both = enumerate(zip(series.ok, series.errors, strict=False))
    done = [ok + errors for index, (ok, errors) in both if index not in series.missing] or [0]
    summary = (
        f"{figure(sum(series.ok), group=True)} ok and {figure(sum(series.errors), group=True)} errors of "
        f"{figure(sum(series.planned), group=True)} planned; in one interval at most {figure(max(done) / step)}/s, "
        f"at least {figure(min(done) / step)}/s done.{_gaps(series)}"
    )
    return Chart(key, "Throughput", summary, data, _over_time(series, "requests/s"))


def _latency(target: TargetResult, key: str) -> Chart | None:
    series = target.series
    data, known = [], []
    for name, colour, values in (
        ("max", "--max", series.max),
        ("p99", "--p99", series.p99),
        ("p50", "--response", series.p50),
    ):
        present = _known(values)
        if present:
            known += [value for value in present if value > 0]
            data.append(_line(name, colour, _times(series, len(values)), [_shorter(value) for value in values]))
    if not data:
        return None
    wide = bool(known) and max(known) > 30 * min(known)
    scale = _logarithmic(max(min(known) / 1.2, FINEST_MS), max(known) * 1.2) if wide else {}
    worst, peak = max(_known(series.p99), default=None), max(_known(series.max), default=None)
    summary = (
        f"{target.clocks.latency}: highest p99 of an interval {figure(worst)} ms, slowest request {figure(peak)} ms."
    )
    return Chart(key, "Latency over time", summary + _gaps(series), data, _over_time(series, "ms", **scale))


def _lag(series: Series, key: str) -> Chart | None:
    values = _known(series.lag_p99)
    if not values:
        return None
    lags = [_shorter(value) for value in series.lag_p99]
    # Plotly fills across a gap as if it were measured.
    fill: Json = {} if None in lags else {"fill": "tozeroy", "fillcolor": "--lag-fill"}
    data = [_line("lag p99", "--lag", _times(series, len(lags)), lags, **fill)]
    summary = f"The generator's own lateness: p99 of an interval at most {figure(max(values))} ms.{_gaps(series)}"
    return Chart(key, "Lag of the load generator", summary, data, _over_time(series, "ms"))


def intervals(series: Series) -> list[tuple[str, ...]]:
    """The series as at most TABLE_ROWS rows: from, planned, started, ok, errors, highest p99, max and lag p99."""
    length = _length(series)
    width = max(1, math.ceil(length / TABLE_ROWS))
    rows = []
    for start in range(0, length, width):
        part = slice(start, start + width)
        counts = (series.planned, series.started, series.ok, series.errors)
        spans = (series.p99, series.max, series.lag_p99)
        highest = (max(_known(span[part]), default=None) for span in spans)
        rows.append(
            (
                figure(start * series.interval_s, group=True),
                *(figure(sum(count[part]), group=True) if count else "—" for count in counts),
                *(figure(value, group=True, absent="—") for value in highest),
            )
        )
    return rows


def _short(value: float) -> float:
    """The value to six digits: nobody sees more, and the page stays small."""
    return float(f"{value:.6g}")


def _shorter(value: float | None) -> float | None:
    return None if value is None or not abs(value) < LONGEST_MS else _short(value)


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None and abs(value) < LONGEST_MS]
