"""Rules about the brake on SMS pumping: ranges that never verify, refusals, and refused people."""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from otp_service.audit.query.criteria import EventCriteria
from otp_service.audit.reports.absolute_rules import MIN_PUMPED_SENDS
from otp_service.audit.reports.anomaly import Anomaly, build_anomaly
from otp_service.audit.reports.brake_stats import (
    DENIED_TYPES,
    SEND_TYPES,
    RangeRow,
    RefusalRow,
)
from otp_service.audit.reports.stats import StatsOverview
from otp_service.core.pumping.prices import format_money
from otp_service.core.pumping.scope_text import get_scope_example
from otp_service.core.pumping.scopes import BrakeMode, DebtLimit


MIN_UNVERIFIED_SENDS: Final = 10
"""Settled messages to a range of which none was verified. Of honest ones with a share of 55 %, one in
3,000 ranges has so many in a row. More than MIN_PUMPED_SENDS are the finding `pumping`."""

MIN_REFUSED_NUMBERS: Final = 10
MAX_FALSE_REFUSALS: Final = 0.1
"""More refused numbers that verified within a day than that share are people, and not an attack."""


def find_brake_anomalies(today: StatsOverview, currency: str) -> Iterator[Anomaly]:
    for row in today.brake.ranges:
        if MIN_UNVERIFIED_SENDS <= row.unverified == row.sends - row.pending <= MIN_PUMPED_SENDS:
            yield _build_unverified_range(row, currency)
    for refusals in today.brake.refusals:
        if refusals.numbers >= MIN_REFUSED_NUMBERS:
            yield _build_refusals(refusals, currency)


def list_scope_examples(rows: Iterable[RefusalRow]) -> list[str]:
    """Return how the scopes of refusals are written for 'otp-service pumping allow', each once."""
    return list(dict.fromkeys(get_scope_example(DebtLimit(row.limit)) for row in rows))


def _build_unverified_range(row: RangeRow, currency: str) -> Anomaly:
    return build_anomaly(
        "unverified-range",
        "prefix",
        row.prefix,
        f"{row.unverified} messages to one range of 10,000 numbers in {row.country or 'an unknown country'}"
        f" cost {format_money(row.unverified_money, currency)}, and no code came back.",
        now=row.unverified,
        criteria=EventCriteria(type="otp.issued", pseudonym=row.prefix),
    )


def _build_refusals(row: RefusalRow, currency: str) -> Anomaly:
    is_recorded = row.mode == BrakeMode.RECORD
    share = row.verified_later / row.numbers
    verb = "would have refused" if is_recorded else "refused"
    sentence = (
        f"{row.limit} {verb} {row.times} messages to {row.numbers} numbers, of which {share:.0%} verified"
        f" within a day; their price is {format_money(row.money, currency)}."
    )
    types = SEND_TYPES if is_recorded else DENIED_TYPES
    anomaly = build_anomaly(
        "would-refuse" if is_recorded else "brake-refusals",
        "limit",
        row.limit,
        sentence,
        now=row.times,
        weight="alarm" if is_recorded or share > MAX_FALSE_REFUSALS else "notice",
        criteria=EventCriteria(type=",".join(types), event_limit=row.limit),
    )
    (scope,) = list_scope_examples([row])
    return msgspec.structs.replace(anomaly, remedy=anomaly.remedy.replace("SCOPE", scope))
