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

from otp_service.audit.reports.copies import count_acceptances, separate_copies
from otp_service.audit.reports.event_record import EventRecord
from otp_service.core.printable_text import format_value
from otp_service.core.timestamps import format_rfc3339


MAX_CODE_LIFETIME_MS = 600_000
"""The longest lifetime of a code that settings allow, in milliseconds."""


def render_timeline(events: Sequence[EventRecord], now: int) -> list[str]:
    """Return the lines of a challenge's timeline, oldest first.

    `events` are all its events in order, at least one. `now` is in milliseconds since 1970.
    """
    events, copies = separate_copies([escape_fields(event) for event in events])
    first = events[0]
    lines = [_render_line(event, first.at) for event in events]
    verdict = [_describe_outcome(events, now), *_describe_acceptances(events), *copies]
    return [_render_header(first), "", *lines, "", " ".join(verdict)]


def _describe_acceptances(events: Sequence[EventRecord]) -> list[str]:
    count = count_acceptances(events)
    cause = "a failover lost the first success, or records in Redis were changed"
    return [f"WARNING: its code was accepted {count} times: {cause}."] if count > 1 else []


def escape_fields(event: EventRecord) -> EventRecord:
    """Return a copy whose texts stay on their line (R70)."""
    fields = msgspec.structs.asdict(event).items()
    texts = {name: format_value(text) for name, text in fields if isinstance(text, str)}
    return msgspec.structs.replace(event, **texts)


def _render_header(first: EventRecord) -> str:
    begun = "issued" if first.type == "otp.issued" else "first event"
    at = format_rfc3339(first.at).replace("T", " ").replace("Z", " UTC")
    return (
        f"Challenge {first.challenge} of {first.tenant or 'no tenant'}, for"
        f" {first.purpose or 'no purpose'}, to {first.country or 'an unknown country'}"
        f" …{first.number_suffix or '?'}, {begun} {at}."
    )


def _render_line(event: EventRecord, started_at: int) -> str:
    title = event.type.removeprefix("otp.").replace("_", " ")
    count = f"{event.folded} times" if event.folded > 1 else ""
    details = (describe_event(event), count)
    text = ", ".join(filter(None, details))
    return f"{_format_elapsed(event.at - started_at):>12}  {title:<16}  {text}".rstrip()


def describe_event(event: EventRecord) -> str:
    """Return the details of an event of a challenge, on one line."""
    return _LINE_DESCRIBERS.get(event.type, describe_reason)(event)


def _describe_issued(event: EventRecord) -> str:
    key = f"by key {event.key_id}" if event.key_id else ""
    address = f"for {event.client_address}" if event.client_address else ""
    return ", ".join(filter(None, (key, address)))


def _describe_resent(event: EventRecord) -> str:
    return f"send {event.send}" + (f", because {event.reason}" if event.reason else "")


def _describe_sent(event: EventRecord) -> str:
    accepted = "accepted it" if event.outcome == "success" else "may have accepted it"
    return f"{event.provider} {accepted} in {event.milliseconds} ms{_append_reason(event)}"


def _describe_failed(event: EventRecord) -> str:
    took = f"in {event.milliseconds} ms"
    return f"{event.provider} did not accept it, {took}: {describe_reason(event)}"


def _describe_delivery(event: EventRecord) -> str:
    advisory = "" if event.trusted else " (unsigned, so advisory)"
    reason = _append_reason(event)
    return f"{event.provider} reports send {event.send}: {event.status}{reason}{advisory}"


def _describe_attempts_left(event: EventRecord) -> str:
    left = f"{event.attempts_left} attempt{'s' * (event.attempts_left != 1)} left"
    return f"{describe_reason(event)}, {left}" if event.reason else left


def describe_reason(event: EventRecord) -> str:
    """Return why an event happened, with the limit that refused; empty without a reason."""
    limit = f" ({event.limit}: {event.quota} in {event.period} s)" if event.limit else ""
    return f"{event.reason or ''}{limit}"


def _append_reason(event: EventRecord) -> str:
    return f": {event.reason}" if event.reason else ""


_LINE_DESCRIBERS: Mapping[str, Callable[[EventRecord], str]] = {
    "otp.issued": _describe_issued,
    "otp.resent": _describe_resent,
    "otp.sent": _describe_sent,
    "otp.provider_failed": _describe_failed,
    "otp.delivery": _describe_delivery,
    "otp.superseded": lambda event: f"the code of send {event.send} is no longer valid",
    "otp.attempted": _describe_attempts_left,
    "otp.rejected": _describe_attempts_left,
}


def _describe_outcome(events: Sequence[EventRecord], now: int) -> str:
    """Return the last line: how the challenge ended, or that it has not."""
    ends = {event.type: event for event in events if event.type in {"otp.verified", "otp.canceled"}}
    if verified := ends.get("otp.verified"):
        attempts = sum(event.type == "otp.attempted" for event in events)
        attempt = "the first attempt" if attempts == 1 else f"attempt {attempts}"
        sent = [event.provider for event in events if event.type == "otp.sent"]
        through = f"; the last message was sent through {sent[-1]}" if sent else ""
        after = _format_elapsed(verified.at - events[0].at)[1:]
        return f"Verified {after} after it was issued, at {attempt}{through}."
    if canceled := ends.get("otp.canceled"):
        after = _format_elapsed(canceled.at - events[0].at)[1:]
        return f"Canceled {after} after it was issued: {describe_reason(canceled)}."
    if any(one.type == "otp.locked" and one.reason == "attempts_exhausted" for one in events):
        return f"Locked: {_describe_wrong_codes(events)}, and no attempt is left."
    status, codes = _describe_status(events, now), _describe_wrong_codes(events)
    return f"{status}: {codes}. {_describe_last_provider(events)}"


def _describe_status(events: Sequence[EventRecord], now: int) -> str:
    denied = {event.reason for event in events if event.type == "otp.verify_denied"}
    if "expired" in denied or now - events[0].at > MAX_CODE_LIFETIME_MS:
        return "Expired without being verified"
    if "number_locked" in denied:
        return "Not verified, because the number is locked"
    if "account_locked" in denied:
        return "Not verified, because the account is locked"
    return "Not verified yet"


def _describe_wrong_codes(events: Sequence[EventRecord]) -> str:
    wrong = sum(event.type == "otp.rejected" for event in events)
    return {0: "no code was tried", 1: "one code was wrong"}.get(wrong, f"{wrong} codes were wrong")


def _describe_last_provider(events: Sequence[EventRecord]) -> str:
    delivered = [e for e in events if e.type == "otp.delivery" and e.status == "delivered"]
    sent = [event for event in events if event.type == "otp.sent"]
    if delivered:
        return f"{delivered[-1].provider} reports its message as delivered."
    if sent:
        return f"The last message was sent through {sent[-1].provider}, without a delivery report."
    return "No provider accepted a message."


def _format_elapsed(milliseconds: int) -> str:
    return f"{milliseconds / 1000:+,.3f} s"
