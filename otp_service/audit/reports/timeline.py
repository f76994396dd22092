"""One challenge's story, from its events, for somebody on call.

Challenge c07-5d41…c592 of shop, for login, to GB …56, issued 2026-11-24 09:30:00.123 UTC.

  +0.000 s  issued                by key web, for 203.0.113.9
  +0.312 s  sent                  east took message 1, in 312 ms
 +14.207 s  verified

Verified 14.2 s after it was issued, at the first attempt.
"""

from collections.abc import Callable, Mapping, Sequence

from otp_service.audit.reports.event_record import EventRecord, escape_unprintable
from otp_service.core.timestamps import format_rfc3339


MAX_CODE_LIFETIME_MS = 600_000
"""Milliseconds that a code can be valid for, at most."""


def render_timeline(events: Sequence[EventRecord], now: int) -> list[str]:
    """Return the lines of what happened to one challenge, oldest first; `now` is in milliseconds.

    The events are all that there are of it, in their order, at least one.
    """
    first = events[0]
    lines = [_render_line(one, first.at) for one in events]
    return [_render_header(first), "", *lines, "", _describe_outcome(events, now)]


def _render_header(first: EventRecord) -> str:
    where = f"{escape_unprintable(first.country or 'somewhere')} …{escape_unprintable(first.number_suffix or '?')}"
    begun = "issued" if first.type == "otp.issued" else "first heard of"
    at = format_rfc3339(first.at).replace("T", " ").replace("Z", " UTC")
    return (
        f"Challenge {escape_unprintable(first.challenge)} of {escape_unprintable(first.tenant or 'nobody')}, for "
        f"{escape_unprintable(first.purpose or 'no purpose')}, to {where}, {begun} {at}."
    )


def _render_line(event: EventRecord, started_at: int) -> str:
    what = event.type.removeprefix("otp.").replace("_", " ")
    details = (_DESCRIBERS.get(event.type, _describe_reason)(event), _describe_count(event))
    said = ", ".join(filter(None, details))
    return f"{_format_elapsed(event.at - started_at):>12}  {escape_unprintable(what):<16}  {said}".rstrip()


def _describe_issued(event: EventRecord) -> str:
    by = f"by key {escape_unprintable(event.key_id)}" if event.key_id else ""
    person = f"for {escape_unprintable(event.client_address)}" if event.client_address else ""
    return ", ".join(filter(None, (by, person)))


def _describe_resent(event: EventRecord) -> str:
    why = f", because {escape_unprintable(event.reason)}" if event.reason else ""
    return f"send {event.send}{why}"


def _describe_sent(event: EventRecord) -> str:
    took = "took it" if event.outcome == "success" else "may have taken it"
    why = f": {escape_unprintable(event.reason)}" if event.reason else ""
    return f"{escape_unprintable(event.provider)} {took} in {event.milliseconds} ms{why}"


def _describe_failed(event: EventRecord) -> str:
    return f"{escape_unprintable(event.provider)} did not take it, in {event.milliseconds} ms: {_describe_reason(event)}"


def _describe_delivery(event: EventRecord) -> str:
    believed = "" if event.trusted else " (not signed, so advisory)"
    why = f": {escape_unprintable(event.reason)}" if event.reason else ""
    return f"{escape_unprintable(event.provider)} says of send {event.send}: {escape_unprintable(event.status)}{why}{believed}"


def _describe_superseded(event: EventRecord) -> str:
    return f"the code of send {event.send} is no longer valid"


def _describe_attempts_left(event: EventRecord) -> str:
    left = f"{event.attempts_left} attempt{'s' * (event.attempts_left != 1)} left"
    return f"{_describe_reason(event)}, {left}" if event.reason else left


def _describe_reason(event: EventRecord) -> str:
    why = escape_unprintable(event.reason or "")
    if event.limit:
        why += f" ({escape_unprintable(event.limit)}: {event.quota} in {event.period} s)"
    return why


def _describe_count(event: EventRecord) -> str:
    return f"{event.folded} times" if event.folded > 1 else ""


_DESCRIBERS: Mapping[str, Callable[[EventRecord], str]] = {
    "otp.issued": _describe_issued,
    "otp.resent": _describe_resent,
    "otp.sent": _describe_sent,
    "otp.provider_failed": _describe_failed,
    "otp.delivery": _describe_delivery,
    "otp.superseded": _describe_superseded,
    "otp.attempted": _describe_attempts_left,
    "otp.rejected": _describe_attempts_left,
}


# ----------------------------------------------------------------------------------- the verdict


def _describe_outcome(events: Sequence[EventRecord], now: int) -> str:
    """Return how it ended, in a sentence."""
    begin = events[0].at
    ends = {one.type: one for one in events if one.type in {"otp.verified", "otp.canceled"}}
    if verified := ends.get("otp.verified"):
        tries = sum(one.type == "otp.attempted" for one in events)
        at = "the first attempt" if tries == 1 else f"attempt {tries}"
        took = [one.provider for one in events if one.type == "otp.sent"]
        through = f"; the last message went through {escape_unprintable(took[-1])}" if took else ""
        after = _format_elapsed(verified.at - begin)[1:]
        return f"Verified {after} after it was issued, at {at}{through}."
    if canceled := ends.get("otp.canceled"):
        return f"Canceled {_format_elapsed(canceled.at - begin)[1:]} after it was issued: {_describe_reason(canceled)}."
    if any(one.type == "otp.locked" and one.reason == "attempts_exhausted" for one in events):
        return f"Locked: {_describe_wrong_codes(events)}, and no attempt is left."
    return f"{_describe_open(events, now)}: {_describe_wrong_codes(events)}.{_describe_last_provider(events)}"


def _describe_open(events: Sequence[EventRecord], now: int) -> str:
    denied = {one.reason for one in events if one.type == "otp.verify_denied"}
    if "expired" in denied or now - events[0].at > MAX_CODE_LIFETIME_MS:
        return "Expired, and was never verified"
    if "number_locked" in denied:
        return "Not verified, because the number is locked"
    return "Not verified until now, and may still be"


def _describe_wrong_codes(events: Sequence[EventRecord]) -> str:
    wrong = sum(one.type == "otp.rejected" for one in events)
    return {0: "no code was tried", 1: "one code was wrong"}.get(wrong, f"{wrong} codes were wrong")


def _describe_last_provider(events: Sequence[EventRecord]) -> str:
    """Return who carried it, as far as that is known."""
    arrived = [one for one in events if one.type == "otp.delivery" and one.status == "delivered"]
    took = [one for one in events if one.type == "otp.sent"]
    if arrived:
        return f" {escape_unprintable(arrived[-1].provider)} says that its message has arrived."
    if took:
        return f" The last message went to {escape_unprintable(took[-1].provider)}, which has confirmed nothing."
    return " No provider took a message."


def _format_elapsed(milliseconds: int) -> str:
    return f"{milliseconds / 1000:+,.3f} s"
