"""What looks wrong today, held against before that."""

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Literal

import msgspec

from otp_service.audit.reports.stats import Overview, Row
from otp_service.core.log_entry import rfc3339


ENOUGH = 20
"""Challenges or messages in each of both times, without which a share says nothing."""

FALL = 0.7
"""A conversion that is below this part of the one before has fallen."""

FLOOD, TIMES = 100, 5
"""Refusals in an hour, and how many times as many as in the usual one, that are a flood."""


class Anomaly(msgspec.Struct, frozen=True):
    """One thing that somebody should look at."""

    kind: Literal["conversion", "refusals", "locked"]
    what: Literal["country", "provider", "tenant", "hour", "number"]
    name: str
    now: float
    before: float
    sentence: str


def anomalies(today: Overview, before: Overview) -> list[Anomaly]:
    """Return what looks wrong in the first."""
    return [
        *_fallen("tenant", dict(today.tenants), dict(before.tenants)),
        *_fallen("country", dict(today.countries), dict(before.countries)),
        *_fallen("provider", dict(today.providers), dict(before.providers)),
        *_floods(today, before),
        *_locked(today),
    ]


def _fallen(
    what: Literal["country", "provider", "tenant"],
    today: Mapping[str, Row],
    before: Mapping[str, Row],
) -> Iterator[Anomaly]:
    for name, row in today.items():
        earlier = before.get(name, Row())
        if min(row.issued or row.sent, earlier.issued or earlier.sent) < ENOUGH:
            continue
        now, then = row.conversion or 0.0, earlier.conversion or 0.0
        if now < FALL * then:
            sentence = f"Of {what} {name}, {now:.0%} came back, after {then:.0%} before that."
            yield Anomaly("conversion", what, name, now, then, sentence)


def _floods(today: Overview, before: Overview) -> Iterator[Anomaly]:
    hours = [row.refused for _, row in (*before.hours, *today.hours)]
    for at, row in today.hours:
        others = sorted(hours)
        others.remove(row.refused)
        usual = median(others) if others else 0.0
        if row.refused >= max(FLOOD, TIMES * usual):
            sentence = f"{row.refused} refusals in an hour, of which {usual:.0f} are usual."
            yield Anomaly("refusals", "hour", rfc3339(at), row.refused, usual, sentence)


def _locked(today: Overview) -> Iterator[Anomaly]:
    for one in today.locked:
        sentence = f"A number that ends in {one.tail} is locked, until an operator unlocks it."
        yield Anomaly("locked", "number", one.number, 1, 0, sentence)
