"""How a challenge or a delivery ended, in the last line of its timeline."""

from collections.abc import Iterator, Sequence
from typing import Final

from otp_service.audit.reports.copies import count_acceptances
from otp_service.audit.reports.event_record import EventRecord, describe_reason
from otp_service.audit.reports.issue_outcome import find_deadline, read_deadline
from otp_service.core.timestamps import format_rfc3339


LOCK_TEXTS: Final = {
    "number_locked": "the number is locked",
    "account_locked": "the account is locked",
}


DELIVERY_VERDICT: Final = "Whether its code was used is known to the product that generated it."

SENT_EVENTS: Final = frozenset({"otp.sent", "delivery.sent"})
RECEIPT_EVENTS: Final = frozenset({"otp.delivery", "delivery.reported"})
DENIED_EVENTS: Final = frozenset({"otp.issue_denied", "delivery.denied"})


def describe_outcome(events: Sequence[EventRecord], now: int, currency: str) -> str:
    """Return how the challenge or delivery ended, or that it has not.

    `events` are all its events without copies, oldest first, at least one. `now` is in milliseconds
    since 1970, and `currency` that of the settings.
    """
    ends = {event.type: event for event in events if event.type in {"otp.verified", "otp.canceled"}}
    if all(event.type in DENIED_EVENTS for event in events):
        reason = describe_reason(events[-1], currency) or "no reason"
        kind = "delivery" if is_delivery(events[0]) else "challenge"
        return f"Refused: {reason}. No {kind} was stored, and no message was sent."
    if is_delivery(events[0]):
        return f"{_describe_last_provider(events)} {DELIVERY_VERDICT}"
    if verified := ends.get("otp.verified"):
        return _describe_success(events, verified)
    if canceled := ends.get("otp.canceled"):
        after = format_elapsed(canceled.at - events[0].at)[1:]
        return f"Canceled {after} after it was issued: {describe_reason(canceled, currency)}."
    if _has_no_attempts_left(events):
        return f"Locked: {_describe_wrong_codes(events)}, and no attempt is left."
    status, codes = _describe_status(events, now), _describe_wrong_codes(events)
    return f"{status}: {codes}. {_describe_last_provider(events)}"


def is_delivery(event: EventRecord) -> bool:
    """Whether it is an event of a delivery: the code of another product."""
    return event.type.startswith("delivery.")


def describe_warnings(events: Sequence[EventRecord]) -> Iterator[str]:
    """Yield what an engineer has to know besides the outcome: two successes, another client IP."""
    count = count_acceptances(events)
    if count > 1:
        cause = "a failover lost the first success, or records in Redis were changed"
        yield f"WARNING: its code was accepted {count} times: {cause}."
    for event in events:
        if event.type == "otp.verified" and event.client_ip_changed:
            issued = next((one.client_ip for one in events if one.type == "otp.issued"), None)
            yield (
                f"WARNING: it was issued for {issued or 'another client IP'} and verified from"
                f" {event.client_ip}."
            )


def format_elapsed(milliseconds: int) -> str:
    return f"{milliseconds / 1000:+,.3f} s"


def _describe_success(events: Sequence[EventRecord], verified: EventRecord) -> str:
    attempts = sum(event.type == "otp.attempted" for event in events)
    attempt = "the first attempt" if attempts == 1 else f"attempt {attempts}"
    sent = [event.provider for event in events if event.type == "otp.sent"]
    through = f"; the last message was sent through {sent[-1]}" if sent else ""
    after = format_elapsed(verified.at - events[0].at)[1:]
    return f"Verified {after} after it was issued, at {attempt}{through}."


def _has_no_attempts_left(events: Sequence[EventRecord]) -> bool:
    """Whether it is locked; also if a worker stopped before it recorded the last outcome."""
    left: int | None = None
    for event in events:
        if event.reason == "attempts_exhausted":
            return True
        if event.type == "otp.attempted":
            left = event.attempts_left
        elif event.type == "otp.verify_denied" and event.reason == "store_unavailable":
            left = None  # the attempt was refunded
    return left == 0


def _describe_status(events: Sequence[EventRecord], now: int) -> str:
    denied = {event.reason for event in events if event.type == "otp.verify_denied"}
    deadline = _find_deadline(events)
    if "expired" in denied or now >= deadline:
        return "Expired without being verified"
    for reason, text in LOCK_TEXTS.items():
        if reason in denied:
            return f"Not verified, because {text}"
    return f"Not verified yet, open until {format_rfc3339(deadline)[11:19]} UTC"


def _find_deadline(events: Sequence[EventRecord]) -> int:
    """Return the deadline in its `otp.issued`, or without that the last one that is possible."""
    deadlines = filter(None, map(read_deadline, events))
    return next(deadlines, find_deadline(events[0]))


def _describe_wrong_codes(events: Sequence[EventRecord]) -> str:
    wrong = sum(event.type == "otp.rejected" for event in events)
    return {0: "no code was tried", 1: "one code was wrong"}.get(wrong, f"{wrong} codes were wrong")


def _describe_last_provider(events: Sequence[EventRecord]) -> str:
    delivered = [e for e in events if e.type in RECEIPT_EVENTS and e.status == "delivered"]
    sent = [event for event in events if event.type in SENT_EVENTS]
    if delivered:
        return f"{delivered[-1].provider} reports its message as delivered."
    if sent:
        return f"The last message was sent through {sent[-1].provider}, without a delivery report."
    return "No provider accepted a message."
