"""What looks wrong today, held against before that."""

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Literal

import msgspec

from otp_service.audit.reports.stats import StatsOverview, StatsRow
from otp_service.core.timestamps import format_rfc3339


MIN_CONVERSION_SAMPLE = 20
"""Challenges or messages in each of both times, without which a share says nothing."""

CONVERSION_DROP_RATIO = 0.7
"""A conversion that is below this part of the one before has fallen."""

MIN_FLOOD_REFUSALS, FLOOD_FACTOR = 100, 5
"""Refusals in an hour, and how many times as many as in the usual one, that are a flood."""


class Anomaly(msgspec.Struct, frozen=True):
    """One thing that somebody should look at."""

    kind: Literal["conversion", "refusals", "locked"]
    dimension: Literal["country", "provider", "tenant", "hour", "number"]
    name: str
    now: float
    before: float
    sentence: str


def find_anomalies(today: StatsOverview, before: StatsOverview) -> list[Anomaly]:
    """Return what looks wrong in the first."""
    return [
        *_find_conversion_drops("tenant", dict(today.tenants), dict(before.tenants)),
        *_find_conversion_drops("country", dict(today.countries), dict(before.countries)),
        *_find_conversion_drops("provider", dict(today.providers), dict(before.providers)),
        *_find_refusal_floods(today, before),
        *_find_locked_numbers(today),
    ]


def _find_conversion_drops(
    dimension: Literal["country", "provider", "tenant"],
    today: Mapping[str, StatsRow],
    before: Mapping[str, StatsRow],
) -> Iterator[Anomaly]:
    for name, row in today.items():
        earlier = before.get(name, StatsRow())
        if min(row.issued or row.sent, earlier.issued or earlier.sent) < MIN_CONVERSION_SAMPLE:
            continue
        now, then = row.conversion or 0.0, earlier.conversion or 0.0
        if now < CONVERSION_DROP_RATIO * then:
            sentence = f"Of {dimension} {name}, {now:.0%} came back, after {then:.0%} before that."
            yield Anomaly("conversion", dimension, name, now, then, sentence)


def _find_refusal_floods(today: StatsOverview, before: StatsOverview) -> Iterator[Anomaly]:
    hours = [row.refused for _, row in (*before.hours, *today.hours)]
    for at, row in today.hours:
        others = sorted(hours)
        others.remove(row.refused)
        usual = median(others) if others else 0.0
        if row.refused >= max(MIN_FLOOD_REFUSALS, FLOOD_FACTOR * usual):
            sentence = f"{row.refused} refusals in an hour, of which {usual:.0f} are usual."
            yield Anomaly("refusals", "hour", format_rfc3339(at), row.refused, usual, sentence)


def _find_locked_numbers(today: StatsOverview) -> Iterator[Anomaly]:
    for one in today.locked:
        sentence = (
            f"A number that ends in {one.number_suffix} is locked, until an operator unlocks it."
        )
        yield Anomaly("locked", "number", one.number, 1, 0, sentence)
