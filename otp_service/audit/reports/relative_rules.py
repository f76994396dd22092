"""Rules that compare a period with the one before it, and those about factors other than SMS."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Final, Literal

from msgspec import convert
from msgspec.structs import replace

from otp_service.audit.query.criteria import EventCriteria
from otp_service.audit.reports.anomaly import Anomaly, build_anomaly
from otp_service.audit.reports.delivery_stats import DeliveryRow
from otp_service.audit.reports.factor_stats import FACTOR_NAMES, FactorRow
from otp_service.audit.reports.stats import StatsOverview, StatsRow, StatsRows
from otp_service.core.timestamps import HOUR_MS, format_rfc3339


MIN_CONVERSION_SAMPLE = 20
"""Settled challenges or messages that both periods need for their conversions to be compared."""

CONVERSION_DROP_RATIO = 0.7
"""A conversion below this share of the earlier one is a drop."""

MIN_FLOOD_REFUSALS, FLOOD_FACTOR = 100, 5
"""A flood is at least that many refusals in an hour, and that multiple of the median hour."""

MIN_GUESSED_ACCOUNTS, GUESS_RATIO = 20, 2
"""Spraying: wrong codes alone at that many accounts of a tenant, and that many for each right one."""

MIN_REPLAYS, REPLAY_RATIO = 10, 0.05
"""Codes that were used before: at least that many, and that share of the right ones."""

MIN_RECOVERIES, RECOVERY_FACTOR = 10, 5
"""Logins with a recovery code: at least that many, and that multiple of the period before."""

MIN_DELIVERIES, DELIVERY_FACTOR = 100, 5
"""Codes of other products: at least that many, and that multiple of the period before."""

REFUSAL_TYPES: Final = {
    "otp": "otp.issue_denied,otp.verify_denied",
    "authenticator": "authenticator.denied",
    "recovery": "recovery.denied",
}
"""The types of events of refusals, by factor."""

REPLAY_CRITERIA: Final = {
    "authenticator": EventCriteria(type="authenticator.replayed"),
    "recovery": EventCriteria(type="recovery.rejected", event_reason="used"),
}
"""The filters of codes that were right and used before, by factor."""


def find_relative_anomalies(today: StatsOverview, before: StatsOverview) -> Iterator[Anomaly]:
    yield from _find_conversion_drops("tenant", today.tenants, before.tenants)
    yield from _find_conversion_drops("country", today.countries, before.countries)
    yield from _find_conversion_drops("provider", today.providers, before.providers)
    yield from _find_refusal_floods(today, before)
    yield from _find_guessing(today.factors)
    yield from _find_replays(today.factors)
    yield from _find_recoveries(today.factors, before.factors)
    yield from _find_delivery_changes(today.deliveries, before.deliveries)


def _find_conversion_drops(
    dimension: Literal["country", "provider", "tenant"], today: StatsRows, before: StatsRows
) -> Iterator[Anomaly]:
    earlier_rows = dict(before)
    for name, row in today:
        earlier = earlier_rows.get(name, StatsRow())
        if min(row.settled, earlier.settled) < MIN_CONVERSION_SAMPLE:
            continue
        now, then = row.conversion or 0.0, earlier.conversion or 0.0
        if now < CONVERSION_DROP_RATIO * then:
            sentence = f"The conversion of {dimension} {name} fell from {then:.0%} to {now:.0%}."
            event_type = "otp.sent" if dimension == "provider" else "otp.issued"
            criteria = convert({"type": event_type, dimension: name}, EventCriteria)
            yield build_anomaly(
                "conversion", dimension, name, sentence, now=now, before=then, criteria=criteria
            )


def _find_refusal_floods(today: StatsOverview, before: StatsOverview) -> Iterator[Anomaly]:
    sms = [[(at, row.refused) for at, row in overview.hours] for overview in (today, before)]
    yield from _find_floods_of_factor("otp", *sms)
    earlier_hours = {refusals.factor: refusals.hours for refusals in before.factor_refusals}
    for refusals in today.factor_refusals:
        earlier = earlier_hours.get(refusals.factor, ())
        yield from _find_floods_of_factor(refusals.factor, refusals.hours, earlier)


def _find_floods_of_factor(
    factor: str, today: Sequence[tuple[int, int]], before: Sequence[tuple[int, int]]
) -> Iterator[Anomaly]:
    hours = [refused for _, refused in (*before, *today)]
    for at, refused in today:
        others = sorted(hours)
        others.remove(refused)
        usual = median(others) if others else 0.0
        if refused >= max(MIN_FLOOD_REFUSALS, FLOOD_FACTOR * usual):
            name = FACTOR_NAMES[factor]
            sentence = f"{refused} calls for {name} were refused in an hour; {usual:.0f} are usual."
            yield build_anomaly(
                "refusals",
                "hour",
                format_rfc3339(at),
                sentence,
                now=refused,
                before=usual,
                criteria=EventCriteria(type=REFUSAL_TYPES[factor], since=at, until=at + HOUR_MS),
            )


def _find_guessing(rows: Iterable[FactorRow]) -> Iterator[Anomaly]:
    """Find attacks with few guesses at each of many accounts, which no limit of one detects."""
    for row in rows:
        wrong, right = row.rejected, row.verified
        if row.wrong_accounts >= MIN_GUESSED_ACCOUNTS and wrong > GUESS_RATIO * right:
            sentence = (
                f"{wrong} codes of {FACTOR_NAMES[row.factor]} were wrong and {right} were right at"
                f" {row.tenant}; {row.wrong_accounts} accounts had wrong ones only."
            )
            yield build_anomaly(
                "guessing",
                "tenant",
                row.tenant or "",
                sentence,
                now=wrong,
                criteria=EventCriteria(type=f"{row.factor}.rejected", tenant=row.tenant),
            )


def _find_replays(rows: Iterable[FactorRow]) -> Iterator[Anomaly]:
    for row in rows:
        if row.replayed >= max(MIN_REPLAYS, REPLAY_RATIO * row.verified):
            sentence = (
                f"{row.replayed} codes of {FACTOR_NAMES[row.factor]} at {row.tenant} were right,"
                " and used before."
            )
            yield build_anomaly(
                "replays",
                "tenant",
                row.tenant or "",
                sentence,
                now=row.replayed,
                criteria=replace(REPLAY_CRITERIA[row.factor], tenant=row.tenant),
            )


def _find_recoveries(
    today: tuple[FactorRow, ...], before: tuple[FactorRow, ...]
) -> Iterator[Anomaly]:
    earlier = {row.tenant: row.verified for row in before if row.factor == "recovery"}
    for row in today:
        usual = earlier.get(row.tenant, 0)
        floor = max(MIN_RECOVERIES, RECOVERY_FACTOR * usual)
        if row.factor == "recovery" and row.verified >= floor:
            sentence = f"{row.verified} logins at {row.tenant} used a recovery code; in the period before, {usual} did."
            yield build_anomaly(
                "recoveries",
                "tenant",
                row.tenant or "",
                sentence,
                now=row.verified,
                before=usual,
                criteria=EventCriteria(type="recovery.used", tenant=row.tenant),
            )


def _find_delivery_changes(
    today: tuple[DeliveryRow, ...], before: tuple[DeliveryRow, ...]
) -> Iterator[Anomaly]:
    """Find rises of codes of other products, and drops of their receipts: they have no conversion."""
    earlier_rows = {row.tenant: row for row in before}
    for row in today:
        earlier = earlier_rows.get(row.tenant, DeliveryRow(row.tenant))
        if row.created >= max(MIN_DELIVERIES, DELIVERY_FACTOR * earlier.created):
            yield _build_delivery_anomaly(
                row,
                f"{row.created} codes of other products were sent for {row.tenant}; in the period before,"
                f" {earlier.created} were.",
                now=row.created,
                before=earlier.created,
            )
        if min(row.sent, earlier.sent) >= MIN_CONVERSION_SAMPLE:
            now, then = row.delivered / row.sent, earlier.delivered / earlier.sent
            if now < CONVERSION_DROP_RATIO * then:
                yield _build_delivery_anomaly(
                    row,
                    f"The share of codes of other products that receipts report as delivered fell from"
                    f" {then:.0%} to {now:.0%} for {row.tenant}.",
                    now=now,
                    before=then,
                )


def _build_delivery_anomaly(
    row: DeliveryRow, sentence: str, *, now: float, before: float
) -> Anomaly:
    return build_anomaly(
        "deliveries",
        "tenant",
        row.tenant or "",
        sentence,
        now=now,
        before=before,
        criteria=EventCriteria(type="delivery.created", tenant=row.tenant),
    )
