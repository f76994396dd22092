"""The timeline of one account: its authenticators, recovery codes and challenges.

Account 1:9f8e7d6c5b4a of shop, 5 events since 2026-11-24 09:30:00.123 UTC.

    2026-11-24 09:30:00.123  authenticator enrolled   4f9a12c0, by key web
    2026-11-24 09:30:41.990  authenticator attempted  4f9a12c0
    2026-11-24 09:30:41.991  authenticator confirmed  4f9a12c0
    2026-11-24 21:07:13.004  authenticator attempted  4f9a12c0
    2026-11-24 21:07:13.005  authenticator verified   4f9a12c0

Authenticator 4f9a12c0 was confirmed; it was verified once, last 2026-11-24 21:07:13.005.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from otp_service.audit.reports.copies import separate_copies
from otp_service.audit.reports.event_record import SHORT_ID_CHARS, EventRecord, describe_reason
from otp_service.audit.reports.factor_stats import FACTOR_NAMES, FactorCollector
from otp_service.audit.reports.timeline import describe_event, escape_fields
from otp_service.core.timestamps import format_rfc3339


CODES_PER_SET: Final = 10


def render_account_timeline(events: Sequence[EventRecord], currency: str) -> list[str]:
    """Return the lines of an account's timeline, oldest first.

    `events` are its events in order, at least one; those of challenges may be among them.
    `currency` is that of the settings.
    """
    events, copies = separate_copies([escape_fields(event) for event in events])
    verdict = [*_describe_authenticators(events), *_describe_recovery_sets(events)]
    verdict = verdict or ["It has neither an authenticator nor recovery codes."]
    verdict += [*_describe_locks(events), *copies]
    lines = [_render_line(event, currency) for event in events]
    return [_render_header(events), "", *lines, "", *verdict]


def _render_header(events: Sequence[EventRecord]) -> str:
    tenants = ", ".join(sorted({event.tenant for event in events if event.tenant}))
    names = ", ".join(dict.fromkeys(event.account or "?" for event in reversed(events)))
    count = f"{len(events)} event{'s' * (len(events) != 1)}"
    return (
        f"Account {names} of {tenants or 'no tenant'}, {count} since {_format_at(events[0])} UTC."
    )


def _render_line(event: EventRecord, currency: str) -> str:
    title = event.type.replace(".", " ").replace("_", " ").removeprefix("otp ")
    details = ", ".join(filter(None, _list_details(event, currency)))
    return f"    {_format_at(event)}  {title:<23}  {details}".rstrip()


def _list_details(event: EventRecord, currency: str) -> Iterator[str]:
    yield (
        (event.authenticator or event.recovery_set or "")[:SHORT_ID_CHARS] or event.challenge or ""
    )
    if event.type.startswith("otp."):
        yield describe_event(event, currency)
    else:
        yield describe_reason(event, currency)
    if event.type in {"authenticator.enrolled", "recovery.created"} and event.key_id:
        yield f"by key {event.key_id}"
    if event.codes_left is not None:
        yield _format_codes_left(event.codes_left)
    yield "repeated" if event.repeated else ""
    yield f"{event.folded} times" if event.folded > 1 else ""


def _describe_authenticators(events: Sequence[EventRecord]) -> Iterator[str]:
    """Yield a sentence for each authenticator, in the order in which they were first used."""
    for id_ in dict.fromkeys(event.authenticator for event in events if event.authenticator):
        own = [event for event in events if event.authenticator == id_]
        types = {event.type for event in own}
        name = f"Authenticator {id_[:SHORT_ID_CHARS]}"
        verified = [e for e in own if e.type == "authenticator.verified" and not e.repeated]
        if not verified and "authenticator.confirmed" not in types:
            yield f"{name} was not confirmed."
            continue
        begun = "was confirmed" if "authenticator.confirmed" in types else "was in use before"
        yield f"{name} {begun}; {_describe_successes(verified)}."


def _describe_successes(verified: Sequence[EventRecord]) -> str:
    if not verified:
        return "it was not verified since"
    times = "once" if len(verified) == 1 else f"{len(verified)} times"
    return f"it was verified {times}, last {_format_at(verified[-1])}"


def _describe_recovery_sets(events: Sequence[EventRecord]) -> Iterator[str]:
    for id_ in dict.fromkeys(event.recovery_set for event in events if event.recovery_set):
        own = [event for event in events if event.recovery_set == id_]
        left = [event.codes_left for event in own if event.codes_left is not None]
        if any(event.type == "recovery.created" for event in own):
            left.insert(0, CODES_PER_SET)
        if left:
            yield f"Recovery set {id_[:SHORT_ID_CHARS]} has {_format_codes_left(left[-1])}."


def _describe_locks(events: Sequence[EventRecord]) -> Iterator[str]:
    collector = FactorCollector()
    for event in reversed(events):
        collector.add_event(event)
    for lock in collector.build_locks():
        since = format_rfc3339(lock.at).replace("T", " ").replace("Z", " UTC")
        yield f"The account is locked for {FACTOR_NAMES[lock.factor]} at {lock.tenant} since {since}."


def _format_codes_left(count: int) -> str:
    return f"{count} code{'s' * (count != 1)} left"


def _format_at(event: EventRecord) -> str:
    return format_rfc3339(event.at).replace("T", " ").removesuffix("Z")
