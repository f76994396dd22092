"""Plots: where the bars of the hours stand; templates draw them as SVG, and style.css colors them.

The text of a plot stands beside its SVG, so that a narrow screen squeezes the bars and not the words.
"""

from collections.abc import Sequence
from typing import NamedTuple

from otp_service.audit.reports.stats import HOUR, Row
from otp_service.core.log_entry import rfc3339


HOURS, WIDTH, HEIGHT = 24, 100.0, 40.0

GAP = 0.18
"""Of an hour's width, on both sides of its bars together."""


class Bar(NamedTuple):
    """One rectangle, in units of the plot, and what it means."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    """The field of `Row` that it shows."""
    says: str


class Plot(NamedTuple):
    """Bars side by side for each hour of a day."""

    bars: list[Bar]
    most: int
    """What the highest bar stands for."""
    viewbox: str


def plot(begins: int, hours: Sequence[tuple[int, Row]], *kinds: str) -> Plot:
    """Return the plot of these fields of a day's hours."""
    most = max((getattr(row, kind) for _, row in hours for kind in kinds), default=0)
    bars = []
    slot = WIDTH / HOURS
    width = slot * (1 - GAP) / len(kinds)
    for at, row in hours:
        left = (at - begins) / HOUR * slot + slot * GAP / 2
        for place, kind in enumerate(kinds):
            value = getattr(row, kind)
            if value:
                height = value / most * HEIGHT
                says = f"{rfc3339(at)[11:16]} UTC: {value:,} {kind}"
                bar = Bar(left + place * width, HEIGHT - height, width, height, kind, says)
                bars.append(bar._replace(x=round(bar.x, 2), y=round(bar.y, 2)))
    return Plot(bars, most, f"0 0 {WIDTH:g} {HEIGHT:g}")
