"""Recognizes events that the log has twice, as the sealer reads them.

A call whose reply was lost is repeated with the same event id. If a failover has lost the record of its
operation, but the archive has its event already, the event is appended again in a new epoch. The
archive keeps both lines: a sequence without one of them would look as if it was deleted.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from otp_service.audit.archive_format.event_copies import MAX_REPEAT_MS
from otp_service.core.log_entry import Entry, PendingEntries, create_bounded_decoder


MAX_WATCHED_EVENTS = 100_000
"""Events whose ids are remembered, about 20 MiB."""


class EventId(msgspec.Struct):
    """The part of an event that is drawn once."""

    id: str = ""


_decode_event_id = create_bounded_decoder(EventId)


class _Place(NamedTuple):
    epoch: int
    sequence: int
    at: int


class RepeatWatch:
    """Remembers the events of the last minutes, as far as this process has read them."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, str], _Place] = {}

    def count_repeats(self, pending: Iterable[PendingEntries]) -> int:
        """Return how many of the entries repeat an event at another position of their partition."""
        count = sum(self._is_repeat(entry) for each in pending for entry in each.entries)
        while len(self._places) > MAX_WATCHED_EVENTS:
            del self._places[next(iter(self._places))]
        return count

    def _is_repeat(self, entry: Entry) -> bool:
        try:
            event_id = _decode_event_id(entry.event).id
        except msgspec.MsgspecError:
            return False  # only an attacker appends an invalid event
        # The event of a new epoch is the same in each partition and epoch.
        if not event_id or event_id == "epoch":
            return False
        key = entry.partition, event_id
        place = _Place(entry.epoch, entry.position.sequence, entry.position.at)
        first = self._places.setdefault(key, place)
        if first[:2] == place[:2]:
            return False  # read again, because it was not marked
        self._places[key] = place
        return abs(place.at - first.at) <= MAX_REPEAT_MS
