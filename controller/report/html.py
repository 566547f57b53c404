"""The report as one page that works offline: style, script, Plotly and data are all inside it.

A Content-Security-Policy by hash lets the page's own scripts run and nothing else, and no request leave it.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from controller.experiment.result import Account, Distribution, Outcome, SLOJudgement, TargetResult
from controller.report import charts, charts_time, metrics, slos, stages, traffic
from controller.report import document as said
from controller.report.document import Place, ReportInput
from controller.report.drawing import Chart
from controller.report.numbers import figure, finite, share
from controller.report.secrets import redacted

HERE = Path(__file__).parent
DASH = "—"
CLOCK_PARTS = ("mean", "p50", "p90", "p99", "p99.9", "max")
CLOCK_NAMES = ("response", "service", "wait", "lag", "ok", "errors")
MARKS = {
    Outcome.PASS: "✓",
    Outcome.FAIL: "✕",
    Outcome.INVALID: "!",
    Outcome.INCONCLUSIVE: "?",
    Outcome.NONE: "–",
}


@dataclass(frozen=True)
class TargetView:
    """One target's part of the page."""

    key: str
    title: str
    place: Place
    target: TargetResult
    tiles: list[tuple[str, str, str, str]]
    charts: list[Chart]
    clocks: list[tuple[str, Distribution]]
    intervals: list[tuple[str, ...]]
    sought: int
    stages: list[stages.StageRow]
    are_judged: bool
    phases: list[traffic.Phase]
    bars: list[traffic.Bar]
    facts: list[tuple[str, str]]

    @property
    def has_first_bytes(self) -> bool:
        """Whether any sample tells when its first byte came."""
        return any(sample.ttfb_ms is not None for sample in self.target.samples)


def render(document: ReportInput) -> str:
    """One self-contained page."""
    # What was measured comes first: nobody opens a report for its warm-up.
    places = sorted(said.places(document, totals=True), key=lambda place: place.segment.is_warmup)
    views = [_target_view(document, index, place) for index, place in enumerate(places, 1)]
    script = _part("report.js")
    plotly = get_plotlyjs().replace("\r\n", "\n") if any(view.charts for view in views) else ""
    figures = [chart.to_document() for view in views for chart in view.charts]
    page: str = _template().render(
        document=document,
        result=document.result,
        outcome=said.outcome(document),
        mark=MARKS[said.outcome(document)],
        judgements=said.judgements(document),
        views=views,
        metrics=metrics.metric_rows(document, sizes=True, of_stages=True),
        versions=said.version_names(document.result.insights) if document.result and document.result.insights else [],
        policy=_policy([plotly, script]),
        style=Markup(_part("report.css")),  # noqa: S704 our own file
        script=Markup(script),  # noqa: S704 our own file
        plotly=Markup(plotly),  # noqa: S704 the installed library
        figures=_embedded(finite(figures)),
        experiment=json.dumps(finite(redacted(document.spec)), indent=2, ensure_ascii=False, default=str),
    )
    return page.replace("\0", "\ufffd").encode(errors="replace").decode()


@cache
def _part(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        said=said, slos=slos, stages=stages, traffic=traffic, share=share, CLOCK_PARTS=CLOCK_PARTS
    )
    environment.filters.update(figure=_figure, ms=_ms, account=_account)
    return environment.get_template("report.html.j2")


def _policy(scripts: list[str]) -> str:
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _embedded(value: Any) -> Markup:
    """JSON that can stand inside a script element: no `<` can end it or start a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))  # noqa: S704 escaped


def _figure(value: float | None, unit: str = "") -> str:
    text = figure(value, group=True, absent=DASH)
    return f"{text} {unit}" if unit and value is not None else text


def _ms(spread: Distribution, part: str) -> str:
    return metrics.part_text(spread, part, group=True, absent=DASH)


def _account(account: Account) -> list[int]:
    return [
        account.planned,
        account.tried,
        account.ok,
        account.errors,
        account.unsent,
        account.withdrawn,
        account.unaccounted,
    ]


def _target_view(document: ReportInput, index: int, place: Place) -> TargetView:
    target = place.target
    clocks = [(name, getattr(target.clocks, name)) for name in CLOCK_NAMES]
    return TargetView(
        key=f"target-{index}",
        title=_title(document, place),
        place=place,
        target=target,
        tiles=_tiles(place),
        charts=[]
        if place.segment.is_warmup
        else charts.charts_of(target, _own_slos(document, place), f"target-{index}", place.segment),
        clocks=clocks,
        intervals=charts_time.intervals(target.series),
        sought=target.account.tried + target.account.unsent,
        stages=stages.stage_rows(place, group=True),
        are_judged=stages.are_judged(target.stages),
        phases=traffic.phases(place),
        bars=traffic.bars(place),
        facts=traffic.facts(place),
    )


def _title(document: ReportInput, place: Place) -> str:
    title = place.target.endpoint or place.segment.name or place.target.provider
    if place.is_total:
        title = said.short_name(place)
    insights = document.result.insights if document.result else None
    if insights and insights.num_versions > 1 and place.target.version < insights.num_versions:
        title = f"{title}, {said.version_names(insights)[place.target.version]}"
    if document.result and len(document.result.runs) > 1:
        title = f"Run {place.number}: {title}"
    return f"{title} (warm-up)" if place.segment.is_warmup else title


def _own_slos(document: ReportInput, place: Place) -> list[SLOJudgement]:
    return [
        slo
        for slo in said.judgements(document)
        if slo.metric.split("/")[0] == place.target.provider and slo.version == place.target.version
    ]


def _tiles(place: Place) -> list[tuple[str, str, str, str]]:
    """Name, value, unit and a note each."""
    target = place.target
    sought = target.account.tried + target.account.unsent
    failed = target.account.errors + target.account.unsent
    spread = metrics.judged_clock(target)
    rate, asked = _rates(place)
    tiles = [
        ("Requests", _figure(sought), "", f"of {_figure(target.account.planned)} planned"),
        ("Rate", rate, "" if rate == DASH else "/s", asked),
        ("Error rate", share(failed, sought) or DASH, "", f"{_figure(failed)} of {_figure(sought)}"),
    ]
    for part in ("p50", "p99", "p99.9", "max"):
        value = _ms(spread, part)
        tiles.append((part, value, "" if value == DASH else "ms", target.clocks.latency))
    return tiles


def _rates(place: Place) -> tuple[str, str]:
    """The rate that was made, and in words the one that was asked for; of a mix the target's share of it."""
    segment, target = place.segment, place.target
    is_part = stages.is_mix(segment) and not place.is_total
    rate = target.rate_per_s if is_part else segment.achieved_per_s
    if segment.load == "closed":
        return f"≥ {_figure(rate)}" if rate is not None else DASH, "as fast as answers came"
    if is_part and segment.rate_per_s is not None:
        weights = sum(one.weight for one in segment.targets)
        return _figure(rate), f"of {_figure(segment.rate_per_s * target.weight / max(1, weights))} asked"
    asked = stages.asked_text(segment, group=True, absent="")
    return _figure(rate), f"of {asked} asked" if asked else DASH
