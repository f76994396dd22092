"""The only decoder of events: the event, the stamp of Redis, and whether both are authentic.

The public form, the reports, the exports and the page are views on `DecodedEvent`.
"""

from typing import Any, TypeVar

import msgspec

from otp_service.audit.archive_format import entries
from otp_service.core import log_entry
from otp_service.core.timestamps import format_rfc3339


T = TypeVar("T")

_decode_object = log_entry.create_bounded_decoder(dict[str, Any], log_entry.MAX_JSON_BRACKETS)


class DecodedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event with its position in the log."""

    sequence_id: entries.SequenceId
    at: int
    """Milliseconds since 1970, by Redis's clock."""
    event: dict[str, Any]
    """The members that the worker wrote; empty if the event is unreadable."""
    stamp: dict[str, Any]
    """The members that Redis added; empty if the stamp is missing or invalid."""
    is_authentic: bool
    """Whether the event is readable, its MAC is a worker's, and the stamp is valid."""

    @property
    def members(self) -> dict[str, Any]:
        """The members of the event, replaced by those of the stamp where both have one.

        So `reason` and `limit` are those of Redis for a refusal in Redis, because only Redis
        knows why it refused.
        """
        return self.event | self.stamp

    def convert_to(self, target_type: type[T]) -> T | None:
        """Return the members as a struct, or None if the event is not authentic or does not fit."""
        try:
            return msgspec.convert(self.members, target_type) if self.is_authentic else None
        except msgspec.ValidationError:
            return None

    def to_public(self) -> dict[str, Any]:
        """Return the event as the API and the commands show it; the position is never the event's."""
        partition, epoch, sequence = self.sequence_id
        instants = {name: self.stamp[name] for name in ("first", "last") if name in self.stamp}
        return {
            "type": "unreadable",
            **self.members,
            **{name: format_rfc3339(at) for name, at in instants.items()},
            "at": format_rfc3339(self.at),
            "event_id": self.sequence_id.id,
            "partition": partition,
            "epoch": epoch,
            "sequence": sequence,
            "integrity": "ok" if self.is_authentic else "failed",
        }


def decode_event(entry: log_entry.Entry, *, has_valid_mac: bool) -> DecodedEvent:
    """Return the event of an entry; `has_valid_mac` says whether a worker's key made its MAC.

    An event that is longer than 32 KiB, nests too deep or is not a JSON object is unreadable.
    """
    event: dict[str, Any] = {}
    stamp: dict[str, Any] = {}
    try:
        if len(entry.event) <= entries.MAX_EVENT_BYTES:
            event = _decode_object(entry.event)
        stamp = log_entry.decode_stamp(entry.stamp)
    except msgspec.MsgspecError:
        has_valid_mac = False
    return DecodedEvent(
        sequence_id=entries.sequence_id_from_entry(entry),
        at=entry.position.at,
        event=event,
        stamp=stamp,
        is_authentic=has_valid_mac and bool(event),
    )
