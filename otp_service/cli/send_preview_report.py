"""What `otp-service why` prints: for people, and as JSON. Pure.

Numbers are masked, accounts and addresses are not repeated.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from otp_service.cli.tables import format_table
from otp_service.core.commit import DebtState
from otp_service.core.do_not_send import ALL_TENANTS, DoNotSendEntry, StoredOptOut
from otp_service.core.errors import NumberNotAllowed, OtpError, RateLimited
from otp_service.core.printable_text import format_value
from otp_service.core.pumping.debt import PERIODS_MS
from otp_service.core.pumping.scopes import DebtUnit
from otp_service.core.send_preview import BucketPreview, DebtPreview, SendPreview
from otp_service.core.timestamps import (
    DAY_MS,
    DAY_SECONDS,
    HOUR_MS,
    HOUR_SECONDS,
    MINUTE_SECONDS,
    SECOND_MS,
    format_rfc3339,
    to_datetime,
)
from otp_service.service.context import Subject


DEBT_PERIOD_NAMES = {HOUR_MS: "1 h", DAY_MS: "1 d"}
KNOWN_NUMBER_TEXT = "The number is known here: of the brake, only the budget of the day counts."
UNTIL_UNLOCKED_TEXT = "until an operator unlocks it"

NUMBER_REMEDIES = {
    "country": "the tenant may not send to its country: see countries in its settings",
    "type": "a number of its type receives no SMS",
    "fictitious": "whether the number is fictitious must fit the mode of the service",
    "blocked": "an operator has blocked it for all tenants: 'otp-service unblock' lifts that",
    "opted_out": "its person has answered STOP: START ends that, and so does 'otp-service unblock'",
}
"""By the reason of NumberNotAllowed."""


# -------------------------------------------------------------------------------------- for people


def format_previews(
    subject: Subject, previews: Sequence[SendPreview], currency: str
) -> Iterator[str]:
    """Yield the lines about one number: one for each tenant, with those of its limits below."""
    assert subject.phone is not None
    for preview in previews:
        heading = _describe_decision(preview)
        kind = ", a delivery" if preview.is_delivery else ""
        yield f"{subject.phone.masked}  at {format_value(preview.tenant)}{kind}: {heading}"
        yield from (f"  {_describe_opt_out(opt_out)}" for opt_out in preview.opt_outs)
        refusing = [bucket for bucket in preview.buckets if bucket.refuses]
        near = [bucket for bucket in preview.buckets if bucket.is_near_quota]
        rows = [_format_row(bucket) for bucket in refusing]
        rows += [_format_debt_row(debt, currency) for debt in preview.debts if debt.is_over]
        rows += [_format_row(bucket) for bucket in near]
        near_debts = [debt for debt in preview.debts if debt.is_near_allowance]
        rows += [_format_debt_row(debt, currency) for debt in near_debts]
        yield from (f"  {line}" for line in format_table(rows)) if rows else ()
        if preview.is_known:
            yield f"  {KNOWN_NUMBER_TEXT}"
    if missing := list_missing(subject):
        whose = "their" if len(missing) > 1 else "its"
        yield f"  Without {' and '.join(missing)} in its line, {whose} limits were not looked at."


def _describe_decision(preview: SendPreview) -> str:
    error = preview.error
    if error is None:
        return "admitted"
    if isinstance(error, NumberNotAllowed):
        return f"refused, {NUMBER_REMEDIES[error.reason_code]}"
    if preview.admits_at is None:
        return f"refused {UNTIL_UNLOCKED_TEXT}"
    return f"refused {_format_wait(preview.admits_at, preview.wait_ms)}"


def _describe_opt_out(opt_out: StoredOptOut) -> str:
    whose = "all tenants" if opt_out.tenant == ALL_TENANTS else f"tenant {opt_out.tenant}"
    entry = opt_out.entry
    if not isinstance(entry, DoNotSendEntry):
        return f"opted out for {format_value(whose)}, in an entry that cannot be read"
    through = f" through {format_value(entry.provider)}" if entry.provider else ""
    return f"opted out for {format_value(whose)} since {to_datetime(entry.at):%FT%TZ}{through}"


def _format_row(bucket: BucketPreview) -> tuple[str, str, str]:
    state = bucket.state
    windows = zip(state.used, state.charge.windows, strict=True)
    used = ", ".join(f"{count} of {window}" for count, window in windows)
    if not bucket.refuses:
        return (state.charge.bucket.limit, used, "admits it")
    if bucket.admits_at is None or state.wait_ms is None:
        return (state.charge.bucket.limit, used, f"refuses {UNTIL_UNLOCKED_TEXT}")
    wait = _format_wait(bucket.admits_at, state.wait_ms)
    return (state.charge.bucket.limit, used, f"refuses {wait}")


def _format_debt_row(debt: DebtPreview, currency: str) -> tuple[str, str, str]:
    """Return a scope, what is unverified in it of what may be, and what it does with a message."""
    state = debt.state
    used = ", ".join(
        f"{_format_use(state, unverified, allowance, currency)} in {DEBT_PERIOD_NAMES[period_ms]}"
        for unverified, allowance, period_ms in list_windows(state)
    )
    limit = state.charge.bucket.limit
    if not debt.is_over:
        return limit, used, f"admits it{_describe_opening(state.charge.open_until)}"
    if state.charge.closed_until:
        return limit, used, _describe_closed(debt)
    wait = _format_wait(debt.admits_at, state.wait_ms)
    return limit, used, f"refuses {wait}" if debt.refuses else f"would refuse {wait}"


def _format_use(state: DebtState, unverified: int, allowance: int, currency: str) -> str:
    """Return the use of a window: money also in messages of the price of this one."""
    unit, price = state.charge.bucket.limit.unit, state.charge.price
    used = unit.format_use(unverified, allowance, currency)
    if unit is not DebtUnit.MONEY:
        return used
    return f"{used} ({unverified // price} of {allowance // price} messages)"


def _describe_opening(open_until: int) -> str:
    """Return until when an operator has opened a scope, which may be full meanwhile."""
    return f", opened by an operator until {_format_second(open_until)}" if open_until else ""


def _describe_closed(debt: DebtPreview) -> str:
    """Return until when an operator has closed a scope; and until when it is full, if that is later."""
    closed_until, wait_ms = debt.state.charge.closed_until, debt.state.wait_ms
    left_ms = wait_ms - (debt.admits_at - closed_until)
    closed = f"closed by an operator {_format_wait(closed_until, left_ms)}"
    if debt.admits_at <= closed_until:
        return closed
    return f"{closed}, then full {_format_wait(debt.admits_at, wait_ms)}"


def _format_wait(admits_at: int, wait_ms: int) -> str:
    """Return an instant, and how long it is until then."""
    return f"until {_format_second(admits_at)} ({format_duration(wait_ms)})"


def _format_second(instant: int) -> str:
    """Return an instant in whole seconds, and not too early."""
    return f"{to_datetime(math.ceil(instant / SECOND_MS) * SECOND_MS):%FT%TZ}"


def list_windows(state: DebtState) -> list[tuple[int, int, int]]:
    """Return what is unverified, what may be, and the length of each window; countries have one."""
    windows = list(zip(state.unverified, state.allowance, PERIODS_MS, strict=True))
    return windows[1:] if state.charge.bucket.limit.unit is DebtUnit.COUNTRIES else windows


def format_duration(milliseconds: int) -> str:
    """Return a duration in its two largest units, seconds rounded up: '9 min 30 s'."""
    left = math.ceil(milliseconds / SECOND_MS)
    units = (("d", DAY_SECONDS), ("h", HOUR_SECONDS), ("min", MINUTE_SECONDS), ("s", 1))
    parts: list[tuple[int, str]] = []
    for unit, seconds in units:
        count, left = divmod(left, seconds)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count) or "0 s"


# ----------------------------------------------------------------------------------------- as JSON


def build_members(
    line: int, subject: Subject, preview: SendPreview, currency: str
) -> dict[str, Any]:
    """Return the members of one tenant's send to the number of a line.

    Amounts of debts are in the unit of their limit: money in millionths of the currency, messages in
    millionths of a message, or countries.
    """
    assert subject.phone is not None
    return {
        "line": line,
        "number": subject.phone.masked,
        "country": subject.phone.country,
        "tenant": preview.tenant,
        "delivery": preview.is_delivery,
        "admitted": preview.error is None,
        **_build_error_members(preview.error),
        "admitted_from": _format_instant(preview.admits_at),
        "opt_outs": [_build_opt_out(one) for one in preview.opt_outs],
        "limits": [_build_limit(bucket) for bucket in preview.buckets],
        "known": preview.is_known,
        "currency": currency,
        "debts": [_build_debt(debt) for debt in preview.debts],
        "not_given": list_missing(subject),
    }


def _build_error_members(error: OtpError | None) -> dict[str, Any]:
    """Return what a caller gets: the reason, and the limit with its Retry-After."""
    members: dict[str, Any] = {"reason": None, "limit": None, "retry_after": None}
    if error is not None:
        members["reason"] = error.reason
    if isinstance(error, RateLimited):
        members |= {"limit": error.limit, "retry_after": error.retry_after}
    return members


def _build_limit(bucket: BucketPreview) -> dict[str, Any]:
    state = bucket.state
    windows = zip(state.used, state.charge.windows, strict=True)
    return {
        "limit": state.charge.bucket.limit,
        "refuses": bucket.refuses,
        "wait_ms": state.wait_ms,
        "admits_from": _format_instant(bucket.admits_at),
        "windows": [
            {"used": used, "quota": window.count, "period_seconds": window.period_seconds}
            for used, window in windows
        ],
    }


def _build_debt(debt: DebtPreview) -> dict[str, Any]:
    state = debt.state
    return {
        "limit": state.charge.bucket.limit,
        "refuses": debt.refuses,
        "is_over": debt.is_over,
        "is_charged": debt.is_charged,
        "is_closed": debt.is_over and state.charge.closed_until > 0,
        "unit": state.charge.bucket.limit.unit,
        "charge": state.charge.price,
        "wait_ms": state.wait_ms,
        "admits_from": format_rfc3339(debt.admits_at),
        "windows": [
            {
                "unverified": unverified,
                "allowance": allowance,
                "period_seconds": period_ms // SECOND_MS,
            }
            for unverified, allowance, period_ms in list_windows(state)
        ],
    }


def _build_opt_out(opt_out: StoredOptOut) -> dict[str, Any]:
    members: dict[str, Any] = {"tenant": opt_out.tenant or None}
    if isinstance(opt_out.entry, DoNotSendEntry):
        entry = opt_out.entry
        members |= {"at": format_rfc3339(entry.at), "provider": entry.provider or None}
        members["own_number"] = entry.own_number or None
    return members


def _format_instant(instant: int | None) -> str | None:
    return None if instant is None else format_rfc3339(instant)


def list_missing(subject: Subject) -> list[str]:
    """Return the members that a line can have and this one has not."""
    given = {"account": subject.account, "client_ip": subject.client_ip}
    return [name for name, value in given.items() if value is None]
