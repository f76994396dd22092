"""The timeline of one challenge, from its events, for the engineer on call.

Challenge c07-5d41…c592 of shop, for login, to GB …56, issued 2026-11-24 09:30:00.123 UTC.

    +0.000 s  issued            by key web, for 203.0.113.9
    +0.312 s  sent              east accepted it in 312 ms
   +14.200 s  attempted         4 attempts left
   +14.207 s  verified

Verified 14.207 s after it was issued, at the first attempt; the last message was sent through east.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from otp_service.audit.reports.challenge_outcome import (
    describe_outcome,
    describe_warnings,
    format_elapsed,
    is_delivery,
)
from otp_service.audit.reports.copies import separate_copies
from otp_service.audit.reports.event_record import (
    EventRecord,
    describe_brake,
    describe_reason,
    describe_risk,
)
from otp_service.core.printable_text import format_value
from otp_service.core.timestamps import format_rfc3339


FIRST_EVENT_TITLES = {
    "otp.issued": "issued",
    "otp.issue_denied": "refused",
    "delivery.created": "created",
    "delivery.denied": "refused",
}
"""What the header says about the first event."""


def render_timeline(events: Sequence[EventRecord], now: int, currency: str) -> list[str]:
    """Return the lines of the timeline of a challenge or delivery, oldest first.

    `events` are all its events in order, at least one. `now` is in milliseconds since 1970, and
    `currency` that of the settings.
    """
    events, copies = separate_copies([escape_fields(event) for event in events])
    first = events[0]
    lines = [_render_line(event, first.at, currency) for event in events]
    verdict = [describe_outcome(events, now, currency), *describe_warnings(events), *copies]
    return [_render_header(first), "", *lines, "", " ".join(verdict)]


def escape_fields(event: EventRecord) -> EventRecord:
    """Return a copy whose texts stay on their line (R70)."""
    fields = msgspec.structs.asdict(event).items()
    texts = {name: format_value(text) for name, text in fields if isinstance(text, str)}
    return msgspec.structs.replace(event, **texts)


def _render_header(first: EventRecord) -> str:
    begun = FIRST_EVENT_TITLES.get(first.type, "first event")
    at = format_rfc3339(first.at).replace("T", " ").replace("Z", " UTC")
    kind = "Delivery" if is_delivery(first) else "Challenge"
    return (
        f"{kind} {first.challenge} of {first.tenant or 'no tenant'}, for"
        f" {first.purpose or 'no purpose'}, to {first.country or 'an unknown country'}"
        f" …{first.number_suffix or '?'}, {begun} {at}."
    )


def _render_line(event: EventRecord, started_at: int, currency: str) -> str:
    title = event.type.removeprefix("otp.").removeprefix("delivery.").replace("_", " ")
    count = f"{event.folded} times" if event.folded > 1 else ""
    details = (describe_event(event, currency), count)
    text = ", ".join(filter(None, details))
    return f"{format_elapsed(event.at - started_at):>12}  {title:<16}  {text}".rstrip()


def describe_event(event: EventRecord, currency: str) -> str:
    """Return the details of an event of a challenge, on one line."""
    describe = _LINE_DESCRIBERS.get(event.type)
    details = describe(event) if describe else describe_reason(event, currency)
    return ", ".join(filter(None, (details, describe_brake(event, currency))))


def _describe_issued(event: EventRecord) -> str:
    key = f"by key {event.key_id}" if event.key_id else ""
    address = f"for {event.client_ip}" if event.client_ip else ""
    risk = f"risk service: {describe_risk(event)}" if event.risk_answer else ""
    return ", ".join(filter(None, (key, address, risk)))


def _describe_resent(event: EventRecord) -> str:
    reason = f"because {event.reason}" if event.reason else ""
    return ", ".join(filter(None, (f"send {event.send}", reason)))


def _describe_sent(event: EventRecord) -> str:
    accepted = "accepted it" if event.outcome == "success" else "may have accepted it"
    return f"{event.provider} {accepted} in {event.milliseconds} ms{_append_reason(event)}"


def _describe_failed(event: EventRecord) -> str:
    took = f"in {event.milliseconds} ms"
    return f"{event.provider} did not accept it, {took}{_append_reason(event)}"


def _describe_delivery(event: EventRecord) -> str:
    advisory = "" if event.trusted else " (unsigned, so advisory)"
    reason = _append_reason(event)
    return f"{event.provider} reports send {event.send}: {event.status}{reason}{advisory}"


def _describe_attempt(event: EventRecord) -> str:
    count = event.attempts_left or 0
    left = f"{count} attempt{'s' * (count != 1)} left"
    return ", ".join(filter(None, (event.reason, left, _describe_client_ip(event))))


def _describe_client_ip(event: EventRecord) -> str:
    """Return the client IP of a code if it is another one than that of the issue."""
    return f"from {event.client_ip}, another client IP" if event.client_ip_changed else ""


def _append_reason(event: EventRecord) -> str:
    return f": {event.reason}" if event.reason else ""


_LINE_DESCRIBERS: Mapping[str, Callable[[EventRecord], str]] = {
    "otp.issued": _describe_issued,
    "otp.resent": _describe_resent,
    "otp.sent": _describe_sent,
    "otp.provider_failed": _describe_failed,
    "otp.delivery": _describe_delivery,
    "delivery.created": _describe_issued,
    "delivery.sent": _describe_sent,
    "delivery.provider_failed": _describe_failed,
    "delivery.reported": _describe_delivery,
    "otp.superseded": lambda event: f"the code of send {event.send} is no longer valid",
    "otp.attempted": _describe_attempt,
    "otp.rejected": _describe_attempt,
    "otp.verified": _describe_client_ip,
}
