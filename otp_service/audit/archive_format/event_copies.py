"""Events that occur twice: their 128-bit id is drawn once, so another entry with it is a copy.

A copy has a valid MAC, because no MAC covers a position. There are two causes. A call whose reply was
lost is repeated, and if Redis was replaced by a server without the first event, the second one is
appended there, in a new epoch. Or an attacker with write access to Redis has copied the entry.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from otp_service.audit.archive_format.entries import SequenceId
from otp_service.core.timestamps import MINUTE_MS


MAX_REPEAT_MS = 2 * MINUTE_MS
"""A call is repeated for seconds, and a failover takes less than a minute."""


class EventPlace(NamedTuple):
    """Where an event is in the log."""

    sequence_id: SequenceId
    at: int
    """Milliseconds since 1970."""


def is_failover_repeat(first: EventPlace, second: EventPlace) -> bool:
    """Whether the second event may be the repeat of a call after Redis was replaced."""
    (one, epoch, _), (other, later_epoch, _) = first.sequence_id, second.sequence_id
    is_soon = abs(second.at - first.at) <= MAX_REPEAT_MS
    return one == other and epoch != later_epoch and is_soon


def describe_copy(first: EventPlace, second: EventPlace) -> str:
    """Return what is known of the second of two events with one id."""
    where = f"the event {first.sequence_id.id}"
    if is_failover_repeat(first, second):
        return f"repeats {where}: a call was repeated after Redis was replaced"
    if first.sequence_id.partition != second.sequence_id.partition:
        return f"is a copy of {where}, which is in another partition"
    return f"is a copy of {where}, at another position of its partition"


def mark_copies(events: Sequence[dict[str, Any]]) -> None:
    """Set `copy_of` in each of these public events whose id an older one of them has.

    `events` are newest first, as on a page. An older event on another page is not seen.
    """
    older_ids: dict[tuple[object, object], str] = {}
    for event in reversed(events):
        if event["integrity"] == "ok" and event["type"] != "log.epoch":
            first = older_ids.setdefault((event["type"], event.get("id")), event["event_id"])
            if first != event["event_id"]:
                event["copy_of"] = first
