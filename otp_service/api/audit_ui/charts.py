"""Plots: where the bars of the hours stand; templates draw them as SVG, and style.css colors them.

The text of a plot stands beside its SVG, so that a narrow screen squeezes the bars and not the words.
"""

from collections.abc import Sequence
from typing import NamedTuple

from otp_service.audit.reports.stats import StatsRow
from otp_service.core.timestamps import HOUR_MS, format_rfc3339


HOURS_PER_DAY, CHART_WIDTH, CHART_HEIGHT = 24, 100.0, 40.0

BAR_GAP_RATIO = 0.18
"""Of an hour's width, on both sides of its bars together."""


class Bar(NamedTuple):
    """One rectangle, in units of the plot, and what it means."""

    x: float
    y: float
    width: float
    height: float
    measure: str
    """The field of `StatsRow` that it shows."""
    label: str


class BarChart(NamedTuple):
    """Bars side by side for each hour of a day."""

    bars: list[Bar]
    max_value: int
    """What the highest bar stands for."""
    view_box: str


def build_chart(day_start: int, hours: Sequence[tuple[int, StatsRow]], *measures: str) -> BarChart:
    """Return the plot of these fields of a day's hours."""
    most = max((getattr(row, kind) for _, row in hours for kind in measures), default=0)
    bars = []
    slot = CHART_WIDTH / HOURS_PER_DAY
    width = slot * (1 - BAR_GAP_RATIO) / len(measures)
    for at, row in hours:
        left = (at - day_start) / HOUR_MS * slot + slot * BAR_GAP_RATIO / 2
        for place, kind in enumerate(measures):
            value = getattr(row, kind)
            if value:
                height = value / most * CHART_HEIGHT
                says = f"{format_rfc3339(at)[11:16]} UTC: {value:,} {kind}"
                bar = Bar(left + place * width, CHART_HEIGHT - height, width, height, kind, says)
                bars.append(bar._replace(x=round(bar.x, 2), y=round(bar.y, 2)))
    return BarChart(bars, most, f"0 0 {CHART_WIDTH:g} {CHART_HEIGHT:g}")
