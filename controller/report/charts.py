"""Pure: a target's measurements -> Plotly figures as plain dicts, each with a sentence that says what it shows."""

import html
import itertools
import math
from collections.abc import Iterator, Sequence

from controller.experiment.result import Bound, Distribution, SegmentResult, SLOJudgement, TargetResult
from controller.report import charts_time, drawing
from controller.report.drawing import FINEST_MS, LONGEST_MS, Chart, Json
from controller.report.metrics import judged_clock, part_of
from controller.report.numbers import figure

BINS = 60
CURVE_POINTS = 400
NINES = (50, 90, 99, 99.9, 99.99, 99.999, 99.9999, 99.99999)
Buckets = Sequence[tuple[float, float, int]]


def charts_of(
    target: TargetResult, slos: Sequence[SLOJudgement], key: str, segment: SegmentResult | None = None
) -> list[Chart]:
    """The charts that there is something to draw for; `slos` are the target's own, `segment` what it was part of."""
    limits = [slo for slo in slos if "/latency-" in slo.metric and 0 < slo.limit < math.inf]
    whole = [slo for slo in limits if not slo.window]
    windowed = [slo for slo in limits if slo.window and slo.worst_window]
    made = (
        _histogram(target, whole, f"{key}-histogram"),
        _percentiles(target, whole, f"{key}-percentiles"),
        *charts_time.charts_of(target, segment, windowed, key),
    )
    return [chart for chart in made if chart is not None]


def _spreads(target: TargetResult) -> Iterator[tuple[str, str, Distribution]]:
    for name, colour in (("response", "--response"), ("service", "--service")):
        spread: Distribution = getattr(target.clocks, name)
        if _filled(spread):
            yield name, colour, spread


def _filled(spread: Distribution) -> list[tuple[float, float, int]]:
    return [bucket for bucket in spread.buckets if bucket[2] > 0 and 0 <= bucket[0] <= bucket[1] < LONGEST_MS]


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
        x = [drawing.short(edge) for edge, _ in bins] + [drawing.short(high)]
        y = [drawing.short(100 * count / total) for _, count in bins]
        fill: Json = {"fill": "tozeroy", "fillcolor": f"{colour}-fill"} if name == target.clocks.latency else {}
        data.append(drawing.line(name, colour, x, [*y, y[-1]], line={"shape": "hv", "width": 1.5}, **fill))
    limits = _limits([slo for slo in slos if low < slo.limit < high], "x")
    yaxis = drawing.axis("% of requests", rangemode="tozero")
    layout = {"xaxis": drawing.axis("ms", **drawing.logarithmic(low, high)), "yaxis": yaxis, **limits}
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
            kept.append((drawing.short(x), drawing.short(y)))
    return [x for x, _ in kept], [y for _, y in kept]


def _percentiles(target: TargetResult, slos: Sequence[SLOJudgement], key: str) -> Chart | None:
    spreads = list(_spreads(target))
    if not spreads:
        return None
    curves = [(name, colour, *_curve(spread)) for name, colour, spread in spreads]
    widest = max(10.0, *(xs[-1] for _, _, xs, _ in curves))
    ticks = [nine for nine in NINES if 100 / (100 - nine) <= widest * 1.01]
    xaxis = drawing.axis(
        "percentile",
        type="log",
        range=[0, math.log10(widest) + 0.05],
        tickvals=[drawing.short(100 / (100 - nine)) for nine in ticks],
        ticktext=[f"{figure(nine, digits=9)}%" for nine in ticks],
    )
    data = [drawing.line(name, colour, xs, ys, line={"shape": "vh"}) for name, colour, xs, ys in curves]
    top = max(ys[-1] for _, _, _, ys in curves)
    limits = _limits([slo for slo in slos if slo.limit < 1.5 * top and "/latency-p" in slo.metric], "y")
    summary = "; ".join(f"{name}: {_percentile_words(spread)}" for name, _, spread in spreads)
    layout = {"xaxis": xaxis, "yaxis": drawing.axis("ms", rangemode="tozero"), **limits}
    return Chart(key, "Latency by percentile", f"{summary}.", data, layout)


def _percentile_words(spread: Distribution) -> str:
    parts = [(part, part_of(spread, part)) for part in ("p50", "p90", "p99", "p99.9", "max")]
    return ", ".join(f"{part} {figure(value)} ms" for part, value in parts if value is not None)
