"""The log has each event once, in order, and declares what it has lost.

The contract: docs/security.md ("events have a gap-free sequence per partition and a MAC"); store/README.md
"Epochs" (each server that answers begins an epoch in each partition; the sequence restarts at 1 with the
event `log.epoch`; ids of entries only grow); docs/audit-log.md (`copied`: an event at two positions).
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from tests.simulation.auditor.index import HistoryIndex
from tests.simulation.auditor.violation import Promise, Violation, build_violation
from tests.simulation.history import CallRecord, StoredEvent


build = partial(build_violation, Promise.EVENTS)

EPOCH_TYPE = "log.epoch"
"""Redis writes it in each partition, with an id that is the same in all of them."""


def check_log_order(index: HistoryIndex) -> Iterator[Violation]:
    """Yield each gap, copy, forgery and disorder of the log."""
    positions: dict[int, list[StoredEvent]] = defaultdict(list)
    by_id: dict[object, StoredEvent] = {}
    for event in index.history.events:
        positions[event.partition].append(event)
        is_epoch = event.members.get("type") == "log.epoch"  # has no id of its own
        other = event if is_epoch else by_id.setdefault(event.members.get("id"), event)
        if other is not event and not _is_repeated(index, other, event):
            yield _build(index, "one event is at two positions", other, event)
        if not event.is_authentic:
            yield _build(index, "an event has a MAC that is not a worker's", event)
    for events in positions.values():
        events.sort(key=lambda event: (event.epoch, event.sequence))
        yield from _check_partition(index, events)


def _check_partition(index: HistoryIndex, events: list[StoredEvent]) -> Iterator[Violation]:
    epochs, previous = 0, None
    for event in events:
        is_first = previous is None or event.epoch != previous.epoch
        expected = 1 if is_first or previous is None else previous.sequence + 1
        if is_first:
            epochs += 1
            if event.sequence == 1 and event.members.get("type") != EPOCH_TYPE:
                yield _build(index, "an epoch began without saying so", event)
        if event.sequence != expected:
            yield _build(index, "a sequence has a hole inside of an epoch", event)
        if previous is not None and event.at < previous.at and not _is_lost(index, previous):
            yield _build(index, "an entry is older than the one before it", previous, event)
        previous = event
    if epochs > 1 + len(index.disturbance.epoch_starts):
        yield _build(index, "an epoch began without a new server", events[-1])


def _is_lost(index: HistoryIndex, event: StoredEvent) -> bool:
    """Return whether the log has lost an event that the archive has, so that ids may begin again."""
    archive = index.history.archive
    return archive is not None and event not in archive.log_events


def _is_repeated(index: HistoryIndex, first: StoredEvent, second: StoredEvent) -> bool:
    """Return whether a call was repeated because the log has lost its first event: audit/README.md."""
    return first.epoch != second.epoch and (_is_lost(index, first) or _is_lost(index, second))


def _build(index: HistoryIndex, rule: str, *events: StoredEvent) -> Violation:
    return build(
        rule,
        list_calls(index, events),
        subject=f"partition {events[-1].partition}",
        details=", ".join(describe_event(event) for event in events),
        at=events[-1].at,
    )


def list_calls(index: HistoryIndex, events: tuple[StoredEvent, ...]) -> list[CallRecord]:
    """Return the calls that wrote these events, each once."""
    calls = (index.calls_by_request.get(str(event.members.get("request"))) for event in events)
    return list({call.number: call for call in calls if call is not None}.values())


def describe_event(event: StoredEvent) -> str:
    """Return the type of an event, and its position."""
    kind = event.members.get("type", "unreadable")
    return f"{kind} {event.partition:02}-{event.epoch}-{event.sequence}"
