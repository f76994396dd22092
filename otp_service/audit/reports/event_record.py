"""The members of an event that reports use, and their text on a screen."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from otp_service.audit.archive_format.event_copies import EventPlace
from otp_service.audit.event_decoder import DecodedEvent
from otp_service.core.printable_text import format_value
from otp_service.core.pumping.scopes import DebtLimit, DebtUnit
from otp_service.core.pumping.send_debts import Measure


MAX_PSEUDONYM_CHARS = 12
"""Characters of a pseudonym in a row of a table; the whole one is among the event's fields."""

MAX_FIGURE = 2**63
"""Figures of the service are less; those of a forged event may be any number."""

_DEBT_LIMITS = frozenset(DebtLimit)

SHORT_ID_CHARS = 8
"""Characters of the id of an authenticator or a recovery set, which is 32 long."""


class EventRecord(msgspec.Struct, kw_only=True):
    """An authentic event with its stamp; missing members have their default."""

    type: str
    id: str = ""
    """The event's random id, which only a copy shares."""
    place: EventPlace | None = None
    at: int = 0
    """Milliseconds since 1970."""
    tenant: str | None = None
    key_id: str | None = None
    client_ip: str | None = None
    client_ip_changed: bool | None = None
    purpose: str | None = None
    challenge: str | None = None
    number: str | None = None
    country: str | None = None
    number_suffix: str | None = None
    account: str | None = None
    authenticator: str | None = None
    recovery_set: str | None = None
    sealed_under: str | None = None
    codes_left: int | None = None
    outcome: str = "success"
    reason: str | None = None
    provider: str | None = None
    own_number: str | None = None
    keyword: str | None = None
    milliseconds: int = 0
    status: str | None = None
    send: int = 1
    trusted: bool = True
    repeated: bool = False
    attempts_left: int | None = None
    expires_at: str | None = None
    prefix: str | None = None
    block: str | None = None
    price: int | None = None
    """Of a message, in millionths of the configured currency; None without a brake."""
    measure: str | None = None
    over_limit: str | None = None
    unverified: int | None = None
    allowance: int | None = None
    state: str | None = None
    limit: str | None = None
    quota: int | None = None
    period: int | None = None
    risk_answer: str | None = None
    risk_reason: str | None = None
    folded: Annotated[int, msgspec.Meta(ge=1, le=2**40)] = 1
    """How many refusals it counts. No MAC covers it, so it is bounded."""
    count: int = 1
    """How many calls without a valid key, rejected callbacks or authenticators it counts."""


_DETAIL_FIELDS = (
    "provider",
    "status",
    "state",
    "mode",
    "reason",
    "limit",
    "risk_answer",
    "risk_reason",
    "by",
    "note",
)


def build_event_record(decoded: DecodedEvent) -> EventRecord | None:
    """Return the record of an event; None if it is not authentic or its members have other types."""
    record = decoded.convert_to(EventRecord)
    if record:
        record.at = decoded.at
        record.place = EventPlace(decoded.sequence_id, decoded.at)
    return record


def describe_reason(event: EventRecord, currency: str) -> str:
    """Return why an event happened, with the limit or the answer that refused; empty without a reason.

    Events have no currency: here and below, it is that of the settings.
    """
    limit = f" ({event.limit}: {_describe_quota(event, currency)})" if event.limit else ""
    risk = f" ({describe_risk(event)})" if event.risk_answer else ""
    return f"{event.reason or ''}{limit}{risk}"


def _describe_quota(event: EventRecord, currency: str) -> str:
    """Return how much a limit admits: messages, or what counts in a scope of the brake."""
    if event.allowance is None:
        return f"{event.quota} in {event.period} s"
    if not event.allowance:  # a floor is over 0
        return "closed by an operator"
    figures = _format_figures(event.limit, event.unverified, event.allowance, currency)
    return f"{figures} in {event.period} s"


def _format_figures(
    limit: str | None, unverified: int | None, allowance: int | None, currency: str
) -> str:
    """Return what counts in the scope of the brake that was full, of its allowance."""
    unit = DebtLimit(limit).unit if limit in _DEBT_LIMITS else DebtUnit.MONEY
    return unit.format_use(unverified or 0, allowance or 0, currency)


def _list_figures(event: Mapping[str, Any], currency: str) -> list[str]:
    """Return the figures of a scope that was full; an event that is not authentic may have any values."""
    limit = event.get("over_limit") or event.get("limit")
    figures = event.get("unverified"), event.get("allowance")
    is_full = all(isinstance(one, int) and 0 < one < MAX_FIGURE for one in figures)
    return (
        [_format_figures(limit, *figures, currency)] if is_full and isinstance(limit, str) else []
    )


def describe_risk(event: EventRecord) -> str:
    """Return the answer of the risk service with its reason; empty if it was not asked."""
    return ": ".join(filter(None, (event.risk_answer, event.risk_reason)))


def describe_brake(event: EventRecord, currency: str) -> str:
    """Return what the brake found about a message that was sent; empty for one with room."""
    if event.over_limit:
        figures = _format_figures(event.over_limit, event.unverified, event.allowance, currency)
        return f"over {event.over_limit} ({figures} unverified)"
    return "to a known number" if event.measure == Measure.EXEMPT else ""


def describe_person(event: Mapping[str, Any]) -> str:
    """Return how a row names the person: the end of the number, or the account's pseudonym."""
    country, suffix = event.get("country"), event.get("number_suffix")
    if suffix:
        return f"{country or ''} …{suffix}".strip()
    if "number" not in event and (account := event.get("account")):
        return f"account {str(account)[:MAX_PSEUDONYM_CHARS]}"
    return str(country or "")


def list_details(event: Mapping[str, Any], currency: str) -> list[str]:
    """Return what the row of an event in a table shows besides its columns."""
    id_ = str(event.get("authenticator") or event.get("recovery_set") or "")
    details = [format_value(id_[:SHORT_ID_CHARS])] if id_ else []
    values = [event.get(name) for name in _DETAIL_FIELDS]
    details += [format_value(value) for value in values if value]
    if over_limit := event.get("over_limit"):
        details.append(f"over {format_value(over_limit)}")
    details += _list_figures(event, currency)
    if event.get("measure") == Measure.EXEMPT:
        details.append("exempt")
    if own_number := event.get("own_number"):
        details.append(f"to {format_value(own_number)}")
    if isinstance(left := event.get("codes_left"), int):
        details.append(f"{left} code{'s' * (left != 1)} left")
    if event.get("repeated") is True:
        details.append("repeated")
    if copied := event.get("copy_of"):
        details.append(f"copy of {format_value(copied)}")
    if event.get("outcome") == "unknown":
        details.append("outcome unknown")
    if isinstance(folded := event.get("folded"), int) and folded > 1:
        details.append(f"{folded} times")
    return details
