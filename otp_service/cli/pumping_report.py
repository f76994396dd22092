"""What `otp-service pumping status` prints: for people, and as JSON. Pure.

Amounts are in units of the currency for people, and in millionths of it as JSON; messages, which ranges,
operator blocks and addresses count, in the same way.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from otp_service.cli.send_preview_report import (
    format_duration,
    list_windows,
)
from otp_service.cli.tables import format_table
from otp_service.core.commit import DebtState
from otp_service.core.printable_text import format_value
from otp_service.core.pumping.learned_traffic import LearnedTraffic
from otp_service.core.pumping.overrides import Overrides, ScopeOverride
from otp_service.core.pumping.prices import format_estimate, format_money
from otp_service.core.pumping.scope_text import format_scope
from otp_service.core.pumping.scopes import DebtUnit
from otp_service.core.timestamps import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    format_rfc3339,
    to_datetime,
)
from otp_service.service.brake_status import (
    BrakeStatus,
    CountryStatus,
    ScopeStatus,
    TenantStatus,
)


MAX_LEARNED_AGE_MS = 5 * MINUTE_MS
"""It is computed once a minute while a process serves."""

COUNTRY_HEADER = (
    *("COUNTRY", "PRICE", "UNVERIFIED: HOUR", "DAY", "SHARE", "USUALLY VERIFIED: HOUR", "DAY"),
    "STATE",
)
SCOPE_HEADER = ("TENANT", "MODE", "UNVERIFIED: HOUR", "DAY", "STATE")
OVERRIDE_HEADER = ("SCOPE", "STATE", "UNTIL", "BY", "REASON")

OVERALL_TITLE = "all tenants"

KEYED_NAMES_TEXT = (
    "Ranges, operator blocks and addresses are stored under keyed names, so they cannot be listed.\n"
    "Name one to see it, like 'otp-service pumping status range:+44740012'."
)


class StatusReport(msgspec.Struct, frozen=True):
    """What is known of the brake at the instant `now`, in milliseconds since 1970."""

    now: int
    currency: str
    learned: LearnedTraffic
    overrides: Overrides
    off_tenants: tuple[str, ...]
    """Those of the tenants that are shown whose brake is off."""

    @property
    def active_overrides(self) -> list[ScopeOverride]:
        return [item for item in self.overrides.items if self.now < item.until]


# -------------------------------------------------------------------------------------- for people


def format_status(report: StatusReport, status: BrakeStatus) -> Iterator[str]:
    """Yield the lines of all tenants."""
    yield f"At {_format_instant(report.now)}. {describe_age(report)}"
    for tenant in status.tenants:
        yield f"\n{format_value(tenant.tenant)}: {tenant.mode}"
        yield from format_table([COUNTRY_HEADER, *_list_country_rows(report, tenant)])
        if hidden := len(tenant.countries) - len(_select_used(report, tenant)):
            yield f"Countries without a message in the last day: {hidden}."
    for name in report.off_tenants:
        yield f"\n{format_value(name)}: off"
    if status.day_budget is not None:
        yield f"\n{OVERALL_TITLE}"
        rows = [("DAY BUDGET: HOUR", "DAY", "STATE")]
        hour, day = _format_windows(report, status.day_budget)
        rows.append((hour, day, _describe_state(report, status.day_budget)))
        yield from format_table(rows)
    yield ""
    yield from _format_overrides(report)
    yield f"\n{KEYED_NAMES_TEXT}"


def format_scope_status(
    report: StatusReport,
    scope: str,
    country: str,
    price: int | None,
    statuses: Sequence[ScopeStatus],
) -> Iterator[str]:
    """Yield the lines of one scope; of money also in messages if they have one price."""
    of_country = f"{country}, " if country else ""
    price_text = f" ({of_country}{format_money(price, report.currency)} a message)" if price else ""
    yield f"{scope}{price_text}, at {_format_instant(report.now)}."
    rows = []
    for one in statuses:
        is_money = one.state.charge.bucket.limit.unit is DebtUnit.MONEY
        hour, day = _format_windows(report, one.state, price if is_money else None)
        state = _describe_state(report, one.state)
        volume = ", volume" if one.state.charge.bucket.limit.is_volume else ""
        rows.append((f"{format_value(one.tenant)}{volume}", str(one.mode), hour, day, state))
    yield from format_table([SCOPE_HEADER, *rows])


def describe_age(report: StatusReport) -> str:
    """Return how old what was learned is, in a sentence."""
    learned = report.learned
    if not learned.computed_at:
        return "Nothing is learned yet: the floors hold."
    age_ms = max(0, report.now - learned.computed_at)
    text = f"Learned {format_duration(age_ms)} ago"
    if age_ms > MAX_LEARNED_AGE_MS:
        return f"{text}, and should be once a minute: does a process serve?"
    return f"{text}."


def _select_used(report: StatusReport, tenant: TenantStatus) -> list[CountryStatus]:
    """Return the countries with a row: those that have a message, figures, or an override."""
    overrides = report.overrides
    return [
        one
        for one in tenant.countries
        if any((*one.unverified.unverified, *one.volume.unverified))
        or one.figures.unverified.unverified_share
        or one.figures.volume.unverified_share
        or overrides.find_override(one.unverified.charge.bucket, report.now)
    ]


def _list_country_rows(report: StatusReport, tenant: TenantStatus) -> Iterator[tuple[str, ...]]:
    for one in _select_used(report, tenant):
        figures = one.figures.unverified
        share = f"{figures.unverified_share:.2f}" if figures.unverified_share else "-"
        amounts = (format_estimate(one, report.currency) for one in figures.usual_verified)
        usual = [amount if share != "-" else "-" for amount in amounts]
        notes = []
        if one.figures.is_strained:
            notes.append("strained")
        if one.has_outage:
            notes.append("outage, counts as volume")
        if share == "-":
            notes.append("new")
        state = ", ".join([_describe_state(report, one.unverified), *notes])
        price = format_money(one.price, report.currency)
        yield one.country, price, *_format_windows(report, one.unverified), share, *usual, state
        if any(one.volume.unverified):
            state = _describe_state(report, one.volume)
            yield "  volume", "", *_format_windows(report, one.volume), "", "", "", state
    state = _describe_state(report, tenant.new_countries)
    yield "all new", "", *_format_windows(report, tenant.new_countries), "", "", "", state
    if any(tenant.new_countries_volume.unverified):
        state = _describe_state(report, tenant.new_countries_volume)
        yield (
            "  volume",
            "",
            *_format_windows(report, tenant.new_countries_volume),
            "",
            "",
            "",
            state,
        )


def _format_overrides(report: StatusReport) -> Iterator[str]:
    rows = [
        (
            format_scope(item.bucket),
            item.action,
            _format_instant(item.until),
            format_value(item.by),
            format_value(item.reason),
        )
        for item in report.active_overrides
    ]
    if rows:
        yield from format_table([OVERRIDE_HEADER, *rows])
    else:
        yield "No scope is open or closed by an operator."


def _format_windows(
    report: StatusReport, state: DebtState, price: int | None = None
) -> tuple[str, str]:
    """Return what is unverified of what may be; of money with a price in messages too."""
    unit = state.charge.bucket.limit.unit
    hour, day = (
        unit.format_use(unverified, allowance, report.currency)
        + (f" ({unverified // price} of {allowance // price} messages)" if price else "")
        for unverified, allowance in zip(state.unverified, state.allowance, strict=True)
    )
    return "-" if unit is DebtUnit.COUNTRIES else hour, day


def _describe_state(report: StatusReport, state: DebtState) -> str:
    """Return whether a scope admits a message now, or until when not."""
    override = report.overrides.find_override(state.charge.bucket, report.now)
    if override is not None:
        return f"{override.action} until {_format_instant(override.until)}"
    if not state.is_full:
        return "admits"
    until = _format_instant(math.ceil((report.now + state.wait_ms) / SECOND_MS) * SECOND_MS)
    word = "refuses" if state.charge.refuses else "would refuse"
    if state.charge.bucket.limit.unit is DebtUnit.COUNTRIES:
        word += " other countries"
    return f"{word} until {until} ({format_duration(state.wait_ms)})"


def _format_instant(epoch_ms: int) -> str:
    return f"{to_datetime(epoch_ms):%FT%TZ}"


# ----------------------------------------------------------------------------------------- as JSON


def build_status_members(report: StatusReport, status: BrakeStatus) -> dict[str, Any]:
    """Return all tenants."""
    return {
        **_build_head(report),
        "tenants": [
            *(_build_tenant(report, tenant) for tenant in status.tenants),
            *({"tenant": name, "mode": "off"} for name in report.off_tenants),
        ],
        "day_budget": status.day_budget and _build_state(report, status.day_budget),
        "overrides": [_build_override(item) for item in report.active_overrides],
    }


def build_scope_members(
    report: StatusReport,
    scope: str,
    country: str,
    price: int | None,
    statuses: Sequence[ScopeStatus],
) -> dict[str, Any]:
    """Return one scope. `price` is missing if its messages have several prices."""
    return {
        **_build_head(report),
        "scope": scope,
        "country": country or None,
        "price": price,
        "tenants": [
            {"tenant": one.tenant, "mode": one.mode, **_build_state(report, one.state)}
            for one in statuses
        ],
    }


def _build_head(report: StatusReport) -> dict[str, Any]:
    learned_at = report.learned.computed_at
    return {
        "at": format_rfc3339(report.now),
        "currency": report.currency,
        "learned_at": format_rfc3339(learned_at) if learned_at else None,
    }


def _build_tenant(report: StatusReport, tenant: TenantStatus) -> dict[str, Any]:
    return {
        "tenant": tenant.tenant,
        "mode": tenant.mode,
        "countries": [_build_country(report, one) for one in tenant.countries],
        "new_countries": {
            "unverified": _build_state(report, tenant.new_countries),
            "volume": _build_state(report, tenant.new_countries_volume),
        },
    }


def _build_country(report: StatusReport, one: CountryStatus) -> dict[str, Any]:
    figures = one.figures.unverified
    hour, day = figures.usual_verified
    return {
        "country": one.country,
        "price": one.price,
        "unverified": _build_state(report, one.unverified),
        "volume": _build_state(report, one.volume),
        "is_learned": figures.unverified_share > 0,
        "unverified_share": figures.unverified_share,
        "margin": figures.margin,
        "usual_verified": {"hour": hour, "day": day},
        "is_strained": one.figures.is_strained,
        "has_outage": one.has_outage,
    }


def _build_state(report: StatusReport, state: DebtState) -> dict[str, Any]:
    override = report.overrides.find_override(state.charge.bucket, report.now)
    names = {HOUR_MS: "hour", DAY_MS: "day"}
    return {
        "limit": state.charge.bucket.limit,
        "unit": state.charge.bucket.limit.unit,
        **{
            names[period_ms]: {"used": used, "allowance": allowance}
            for used, allowance, period_ms in list_windows(state)
        },
        "is_full": state.is_full,
        "refuses": state.is_full and state.charge.refuses,
        "wait_ms": state.wait_ms,
        "override": override and override.action,
    }


def _build_override(item: ScopeOverride) -> dict[str, Any]:
    return {
        "scope": format_scope(item.bucket),
        "state": item.action,
        "until": format_rfc3339(item.until),
        "at": format_rfc3339(item.at),
        "by": item.by,
        "reason": item.reason,
    }
