"""Copies of events, and codes that were accepted twice, in what people read."""

from collections.abc import Iterable, Sequence

from otp_service.audit.archive_format.event_copies import describe_copy
from otp_service.audit.reports.event_record import EventRecord


MAX_DESCRIBED_COPIES = 5


def separate_copies(events: Sequence[EventRecord]) -> tuple[list[EventRecord], list[str]]:
    """Return the events without copies, and a sentence for each copy; `events` are oldest first."""
    firsts: dict[str, EventRecord] = {}
    originals, sentences = [], []
    for event in events:
        first = firsts.setdefault(event.id, event) if event.id else event
        if first is event:
            originals.append(event)
        elif first.place != event.place and first.place and event.place:
            name = f"{event.type} {event.place.sequence_id.id}"
            sentences.append(f"Left out: {name} {describe_copy(first.place, event.place)}.")
    left_out = len(sentences) - MAX_DESCRIBED_COPIES
    more = [f"Left out: {left_out} more copies."] if left_out > 0 else []
    return originals, sentences[:MAX_DESCRIBED_COPIES] + more


def count_acceptances(events: Iterable[EventRecord]) -> int:
    """Return how often the code of a challenge was accepted; the events have no copies."""
    return sum(event.type == "otp.verified" and not event.repeated for event in events)
