"""Pure: what was measured over time -> Plotly figures, with the stages, the measured part and gaps behind the curves."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from controller.experiment.result import SegmentResult, Series, SLOJudgement, StageResult, TargetResult
from controller.report import drawing
from controller.report.drawing import FINEST_MS, Chart, Json
from controller.report.numbers import figure, share
from controller.report.slos import span_text, value_text, window_text

TABLE_ROWS = 40


@dataclass(frozen=True)
class _Behind:
    """What stands behind the curves of one target: its stages, and the part that is measured."""

    series: Series
    stages: tuple[StageResult, ...] = ()
    measured: tuple[float, float] | None = None

    @property
    def end_s(self) -> float:
        """Where the axis ends, if it must end somewhere certain; 0 leaves it to Plotly."""
        if not self.stages and self.measured is None:
            return 0.0
        last = (_length(self.series) - 1) * self.series.interval_s
        return max(float(last), *(stage.ends_s for stage in self.stages), self.measured[1] if self.measured else 0.0)


def charts_of(
    target: TargetResult, segment: SegmentResult | None, windowed: Sequence[SLOJudgement], key: str
) -> list[Chart]:
    """The charts over time; `windowed` are the SLOs on latency that are judged on their worst window."""
    stages = tuple(stage for stage in target.stages if stage.ends_s > stage.starts_s)
    behind = _Behind(target.series, stages, _measured(target.series, segment))
    made = (
        _throughput(behind, f"{key}-throughput"),
        _latency(behind, target, windowed, f"{key}-latency"),
        _lag(behind, f"{key}-lag"),
    )
    return [chart for chart in made if chart is not None]


def _measured(series: Series, segment: SegmentResult | None) -> tuple[float, float] | None:
    if segment is None or (segment.measured_from_s is None and segment.measured_to_s is None):
        return None
    end = segment.measured_to_s
    return segment.measured_from_s or 0.0, end if end is not None else float(_length(series) * series.interval_s)


def _times(series: Series, length: int) -> list[int]:
    return [index * series.interval_s for index in range(length)]


def _over_time(behind: _Behind, title: str, **more: Any) -> Json:
    """A layout with time along x; behind the curves the stages, the measured part, and where a shard did not arrive."""
    series, step = behind.series, behind.series.interval_s
    shapes = [_band("--missing", index * step - step / 2, index * step + step / 2) for index in series.missing]
    if behind.measured is not None:
        shapes.insert(0, _band("--measured", *behind.measured))
    shapes += [_edge(stage.starts_s) for stage in behind.stages if stage.starts_s > 0]
    fixed = {"range": [0, behind.end_s]} if behind.end_s else {"rangemode": "tozero"}
    return {
        "xaxis": drawing.axis("seconds into the run", **fixed),
        "yaxis": drawing.axis(title, rangemode="tozero", **more),
        "shapes": shapes,
        "annotations": _stage_names(behind),
    }


def _band(colour: str, begin: float, end: float) -> Json:
    place = {"yref": "paper", "x0": begin, "x1": end, "y0": 0, "y1": 1}
    return {"type": "rect", "layer": "below", **place, "fillcolor": colour, "line": {"width": 0}}


def _edge(at: float) -> Json:
    """The light line at which a stage begins."""
    place = {"yref": "paper", "x0": at, "x1": at, "y0": 0, "y1": 1}
    return {"type": "line", "layer": "below", **place, "line": {"color": "--stage", "width": 1}}


def _label(text: str, behind: _Behind, begin: float, end: float, **more: Any) -> Json:
    """A name within a part of the axis; `room` is that part's share of it, without which the page leaves it out."""
    room = (end - begin) / behind.end_s
    place = {"x": (begin + end) / 2, "yref": "paper", "showarrow": False, "room": drawing.short(room)}
    return {"text": html.escape(text[:20]), **place, "font": {"color": "--quiet", "size": 10}, **more}


def _stage_names(behind: _Behind) -> list[Json]:
    return [_label(stage.name, behind, stage.starts_s, stage.ends_s, y=1, yanchor="bottom") for stage in behind.stages]


def _worst_windows(slos: Sequence[SLOJudgement]) -> list[Json]:
    """The window that each SLO's value is of, and its limit across it."""
    shapes = []
    for slo in slos:
        if slo.worst_window is None:
            continue
        begin, end = slo.worst_window
        place = {"x0": begin, "x1": end, "y0": slo.limit, "y1": slo.limit}
        shapes.append(_band("--worst", begin, end))
        shapes.append({"type": "line", **place, "line": {"color": "--limit", "width": 2, "dash": "dot"}})
    return shapes


def _what_is_measured(behind: _Behind) -> str:
    return f" Measured are requests planned within {span_text(*behind.measured)}." if behind.measured else ""


def _gaps(series: Series) -> str:
    if not series.missing:
        return ""
    return f" Measurements of {share(len(series.missing), max(_length(series), 1))} of the intervals did not arrive."


def _length(series: Series) -> int:
    return max(len(part) for part in (series.planned, series.started, series.ok, series.errors, series.p99))


def _throughput(behind: _Behind, key: str) -> Chart | None:
    series = behind.series
    step = max(1, series.interval_s)
    data = []
    parts: tuple[tuple[str, str, Sequence[int], Json], ...] = (
        ("ok", "--ok", series.ok, {}),
        ("errors", "--error", series.errors, {"fill": "tozeroy", "fillcolor": "--error-fill"}),
        ("planned", "--planned", series.planned, {"line": {"dash": "dash", "width": 1.5}}),
    )
    for name, colour, counts, more in parts:
        if any(counts):
            rates = [drawing.short(count / step) for count in counts]
            data.append(drawing.line(name, colour, _times(series, len(rates)), rates, **more))
    if not data:
        return None
    both = enumerate(zip(series.ok, series.errors, strict=False))
    done = [ok + errors for index, (ok, errors) in both if index not in series.missing] or [0]
    planned = f" of {figure(sum(series.planned), group=True)} planned" if any(series.planned) else ""
    summary = (
        f"{figure(sum(series.ok), group=True)} ok and {figure(sum(series.errors), group=True)} errors{planned}; "
        f"in one interval at most {figure(max(done) / step)}/s, "
        f"at least {figure(min(done) / step)}/s done.{_gaps(series)}{_what_is_measured(behind)}"
    )
    return Chart(key, "Throughput", summary, data, _over_time(behind, "requests/s"))


def _latency(behind: _Behind, target: TargetResult, windowed: Sequence[SLOJudgement], key: str) -> Chart | None:
    series = target.series
    data, positive = [], []
    for name, colour, values in (
        ("max", "--max", series.max),
        ("p99", "--p99", series.p99),
        ("p50", "--response", series.p50),
    ):
        present = drawing.known(values)
        if present:
            positive += [value for value in present if value > 0]
            data.append(
                drawing.line(name, colour, _times(series, len(values)), [drawing.shorter(value) for value in values])
            )
    if not data:
        return None
    wide = bool(positive) and max(positive) > 30 * min(positive)
    scale = drawing.logarithmic(max(min(positive) / 1.2, FINEST_MS), max(positive) * 1.2) if wide else {}
    worst, peak = max(drawing.known(series.p99), default=None), max(drawing.known(series.max), default=None)
    summary = (
        f"{target.clocks.latency}: highest p99 of an interval {figure(worst)} ms, slowest request {figure(peak)} ms."
    )
    summary += "".join(
        f" {slo.metric.partition('/')[2]}: {window_text(slo)} at {value_text(slo)} ms." for slo in windowed
    )
    layout = _over_time(behind, "ms", **scale)
    layout["shapes"] += _worst_windows(windowed)
    return Chart(key, "Latency over time", summary + _gaps(series) + _what_is_measured(behind), data, layout)


def _lag(behind: _Behind, key: str) -> Chart | None:
    series = behind.series
    values = drawing.known(series.lag_p99)
    if not values:
        return None
    lags = [drawing.shorter(value) for value in series.lag_p99]
    # Plotly fills across a gap as if it were measured.
    fill: Json = {} if None in lags else {"fill": "tozeroy", "fillcolor": "--lag-fill"}
    data = [drawing.line("lag p99", "--lag", _times(series, len(lags)), lags, **fill)]
    summary = f"The generator's own lateness: p99 of an interval at most {figure(max(values))} ms.{_gaps(series)}{_what_is_measured(behind)}"
    return Chart(key, "Lag of the load generator", summary, data, _over_time(behind, "ms"))


def intervals(series: Series) -> list[tuple[str, ...]]:
    """The series as at most TABLE_ROWS rows: from, planned, started, ok, errors, highest p99, max and lag p99."""
    length = _length(series)
    width = max(1, math.ceil(length / TABLE_ROWS))
    rows = []
    for start in range(0, length, width):
        part = slice(start, start + width)
        counts = (series.planned, series.started, series.ok, series.errors)
        spans = (series.p99, series.max, series.lag_p99)
        highest = (max(drawing.known(span[part]), default=None) for span in spans)
        rows.append(
            (
                figure(start * series.interval_s, group=True),
                *(figure(sum(count[part]), group=True) if count else "—" for count in counts),
                *(figure(value, group=True, absent="—") for value in highest),
            )
        )
    return rows
