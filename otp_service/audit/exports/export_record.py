"""One line of an archive, as the input of both formats.

A line with an invalid MAC, or that is not one of our events, becomes a finding and never the event
that it claims to be: an attacker who can write to Redis must not put a success into the SIEM.
"""

from typing import Any, Final

import msgspec

from otp_service.audit.archive_format.entries import GAP_PREFIX, SEAL_PREFIX, SequenceId, decode_gap
from otp_service.audit.archive_format.merkle import hash_leaf
from otp_service.audit.event_decoder import DecodedEvent, decode_event
from otp_service.audit.exports.taxonomy import TaxonomyEntry, get_taxonomy_entry
from otp_service.audit.query.archive_scan import ArchivedEntry, decode_archived_entry
from otp_service.core.events import EVENT_TYPES, EventFields


MAX_CLAIMED_CHARS: Final = 1000
"""Characters of an event that is not authentic, for the analyst of the finding."""

UNMAPPED_FIELDS: Final = frozenset(
    {
        *("id", "country", "number_suffix", "key_id", "challenge", "purpose", "mac", "found"),
        *("quota", "period", "wait", "folded", "client_ips", "unrecorded", "phone_metadata"),
        *("send", "fault", "about", "state", "status", "trusted", "attempts_left", "repeated"),
        *("record", "missing", "seal", "claimed", "length", "by"),
        *("authenticator", "recovery_set", "sealed_under", "codes_left"),
        *("expires_at", "prefix", "client_ip_changed", "own_number", "keyword"),
        *("risk_answer", "risk_reason"),
        *("price", "measure", "over_limit", "unverified", "allowance", "block", "mode", "note"),
    }
)
"""Members that both formats export outside their own fields."""


class ExportRecord(msgspec.Struct, frozen=True):
    event_type: str
    sequence_id: SequenceId
    at: int
    """Milliseconds since 1970; 0 if unknown."""
    leaf_hash: str
    """The line's leaf hash in the Merkle tree, which `audit prove` proves."""
    fields: dict[str, Any]
    """The fields of the event and its stamp that are not None."""

    @property
    def taxonomy(self) -> TaxonomyEntry:
        return get_taxonomy_entry(self.event_type, self.get_field("reason"))

    def get_field(self, name: str) -> Any:
        """Return a field, or None if the event lacks it."""
        return self.fields.get(name)


class _UnknownEvent(EventFields, frozen=True, kw_only=True):
    """The members that are read of an event type that this version does not know."""

    type: str
    outcome: str = "unknown"
    reason: str | None = None


def decode_line(line: bytes) -> ExportRecord | None:
    """Return the record of a line, or None for a seal."""
    if line.startswith(SEAL_PREFIX):
        return None
    hashed = hash_leaf(line).hex()
    try:
        if line.startswith(GAP_PREFIX):
            return _build_gap_record(line, hashed)
        return _build_event_record(decode_archived_entry(line), hashed)
    except ValueError:  # a MsgspecError is one
        length = {"length": len(line)}
        return ExportRecord("log.unreadable", SequenceId(0, 0, 0), 0, hashed, length)


def _build_event_record(entry: ArchivedEntry, leaf_hash: str) -> ExportRecord:
    decoded = decode_event(entry, has_valid_mac=not entry.has_invalid_mac)
    place, at, fields = decoded.sequence_id, decoded.at, _convert_fields(decoded)
    if fields is None:
        claimed = entry.event.decode(errors="replace")[:MAX_CLAIMED_CHARS]
        return ExportRecord("log.unreadable", place, at, leaf_hash, {"claimed": claimed})
    return ExportRecord(decoded.event["type"], place, at, leaf_hash, fields | {"mac": entry.mac})


def _convert_fields(decoded: DecodedEvent) -> dict[str, Any] | None:
    """Return the fields of the event's type; None if it is not authentic or does not fit."""
    unknown = decoded.convert_to(_UnknownEvent)
    if unknown is None:
        return None
    event = decoded.convert_to(EVENT_TYPES.get(unknown.type, _UnknownEvent))
    if event is None:
        return None
    fields = msgspec.structs.asdict(event) | decoded.stamp
    return {name: value for name, value in fields.items() if value is not None and name != "type"}


def _build_gap_record(line: bytes, leaf_hash: str) -> ExportRecord:
    gap = decode_gap(line)
    start, missing = SequenceId(gap.partition, gap.epoch, gap.first), gap.last - gap.first + 1
    return ExportRecord("log.gap", start, gap.epoch, leaf_hash, {"missing": missing})
