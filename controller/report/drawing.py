"""Pure: what all charts share: their form, axes, lines and the precision of their points.

A colour is written as the name of a CSS variable (`--ok`); the page's script puts the theme's value in its place.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from controller.report.numbers import figure

FINEST_MS = 0.001  # the histogram's own unit; a logarithmic axis has no zero
LONGEST_MS = 1e12  # nothing that was measured is longer; neither are NaN and the infinities
Json = dict[str, Any]


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


def axis(title: str, **more: Any) -> Json:
    """An axis with its title."""
    return {"title": {"text": title}, **more}


def line(name: str, colour: str, x: Sequence[Any], y: Sequence[Any], **more: Any) -> Json:
    """A curve."""
    line = {"color": colour, "width": 2, **more.pop("line", {})}
    return {"type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": list(y), "line": line, **more}


def logarithmic(low: float, high: float) -> Json:
    """A logarithmic axis with whole labels: Plotly's own say 2 and 5 where 20 and 50 are meant."""
    steps = (1, 2, 5) if high / low < 1e3 else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [short(step * 10.0**decade) for decade in decades for step in steps]
    return {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [figure(tick, group=True) for tick in ticks],
    }


def short(value: float) -> float:
    """The value to six digits: nobody sees more, and the page stays small."""
    return float(f"{value:.6g}")


def shorter(value: float | None) -> float | None:
    """The same; None for what is absent or can't have been measured."""
    return None if value is None or not abs(value) < LONGEST_MS else short(value)


def known(values: Sequence[float | None]) -> list[float]:
    """Those that are there."""
    return [value for value in values if value is not None and abs(value) < LONGEST_MS]
