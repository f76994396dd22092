"""Bar charts by hour: positions of the bars; templates draw them as SVG, style.css colors them.

The text of a chart is outside its SVG, so that a narrow screen squeezes the bars and not the words.
"""

from collections.abc import Sequence
from typing import NamedTuple

from otp_service.audit.reports.stats import StatsRow
from otp_service.core.timestamps import HOUR_MS, format_rfc3339


HOURS_PER_DAY, CHART_WIDTH, CHART_HEIGHT = 24, 100.0, 40.0

BAR_GAP_RATIO = 0.18
"""Part of an hour's width that is empty, on both sides of its bars together."""


class Bar(NamedTuple):
    """One rectangle, in units of the chart, with its label."""

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
    view_box: str


def build_chart(day_start: int, hours: Sequence[tuple[int, StatsRow]], *measures: str) -> BarChart:
    """Return the chart of these fields of a day's hours."""
    max_value = max((getattr(row, kind) for _, row in hours for kind in measures), default=0)
    bars = []
    slot = CHART_WIDTH / HOURS_PER_DAY
    width = slot * (1 - BAR_GAP_RATIO) / len(measures)
    for at, row in hours:
        left = (at - day_start) / HOUR_MS * slot + slot * BAR_GAP_RATIO / 2
        for index, kind in enumerate(measures):
            value = getattr(row, kind)
            if value:
                height = value / max_value * CHART_HEIGHT
                label = f"{format_rfc3339(at)[11:16]} UTC: {value:,} {kind}"
                bar = Bar(left + index * width, CHART_HEIGHT - height, width, height, kind, label)
                bars.append(bar._replace(x=round(bar.x, 2), y=round(bar.y, 2)))
    return BarChart(bars, max_value, f"0 0 {CHART_WIDTH:g} {CHART_HEIGHT:g}")
