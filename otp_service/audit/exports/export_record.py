"""One line of an archive, as both formats read it.

A line whose MAC was wrong, or that cannot be read as an event of ours, is told as a finding of its
own and never as what it says it is: whoever can write to Redis must not be able to put a success
into somebody's SIEM.
"""

from typing import Any, Final

import msgspec

from otp_service.audit.archive_format.entries import (
    GAP_PREFIX,
    SEAL_PREFIX,
    EntryLine,
    SequenceId,
    decode_entry,
    decode_gap,
    sequence_id_from_line,
)
from otp_service.audit.archive_format.merkle import hash_leaf
from otp_service.audit.exports.taxonomy import TaxonomyEntry, get_taxonomy_entry
from otp_service.core.events import EVENT_TYPES, EventFields
from otp_service.core.log_entry import (
    MAX_JSON_BRACKETS,
    create_bounded_decoder,
    decode_stamp,
)
from otp_service.core.timestamps import parse_rfc3339


class ExportRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a line tells."""

    id: str
    at: int
    """In milliseconds; 0 where that is not known."""
    sequence_id: SequenceId
    event_type: str
    taxonomy: TaxonomyEntry
    leaf_hash: str
    """Of the line, as its leaf in the Merkle tree: what `audit prove` proves."""
    fields: dict[str, Any] = {}
    """Every field of the event and its stamp that says something."""

    def get_field(self, name: str) -> Any:
        """Return a field, None where the event has none."""
        return self.fields.get(name)


class _UnknownEvent(EventFields, frozen=True, kw_only=True):
    """What is read of an event of a type that this version does not know."""

    type: str
    outcome: str = "unknown"
    reason: str | None = None


_decode_unknown_event = create_bounded_decoder(_UnknownEvent, MAX_JSON_BRACKETS)
_decoders: Final = {
    kind: create_bounded_decoder(one, MAX_JSON_BRACKETS) for kind, one in EVENT_TYPES.items()
}


def decode_line(line: bytes) -> ExportRecord | None:
    """Return what a line tells; None for a seal."""
    if line.startswith(SEAL_PREFIX):
        return None
    hashed = hash_leaf(line).hex()
    try:
        if line.startswith(GAP_PREFIX):
            return _build_gap_record(line, hashed)
        return _build_event_record(decode_entry(line), sequence_id_from_line(line), hashed)
    except ValueError:  # a MsgspecError is one
        return _build_finding_record(
            "log.unreadable", SequenceId(0, 0, 0), hashed, length=len(line)
        )


def _build_event_record(entry: EntryLine, sequence_id: SequenceId, leaf_hash: str) -> ExportRecord:
    at = parse_rfc3339(entry.at)
    try:
        if entry.integrity == "failed":
            raise ValueError(entry.id)
        kind, facts = _decode_fields(entry)
    except ValueError:
        return _build_finding_record(
            "log.unreadable", sequence_id, leaf_hash, at=at, claimed=_truncate_event(entry)
        )
    return ExportRecord(
        id=entry.id,
        at=at,
        sequence_id=sequence_id,
        event_type=kind,
        taxonomy=get_taxonomy_entry(kind, facts.get("reason")),
        leaf_hash=leaf_hash,
        fields=facts | {"mac": entry.mac},
    )


def _decode_fields(entry: EntryLine) -> tuple[str, dict[str, Any]]:
    """Return the type of an event, and its fields; what only Redis knew stands above them."""
    event = bytes(entry.event)
    facts = msgspec.structs.asdict(_decode_unknown_event(event))
    kind = facts.pop("type")
    if kind in EVENT_TYPES:
        facts = msgspec.structs.asdict(_decoders[kind](event))
    if entry.stamp is not msgspec.UNSET:
        facts |= decode_stamp(bytes(entry.stamp))
    return kind, {name: value for name, value in facts.items() if value is not None}


def _build_gap_record(line: bytes, leaf_hash: str) -> ExportRecord:
    gap = decode_gap(line)
    place = SequenceId(gap.partition, gap.epoch, gap.first)
    return _build_finding_record(
        "log.gap", place, leaf_hash, at=gap.epoch, missing=gap.last - gap.first + 1
    )


def _build_finding_record(
    event_type: str, sequence_id: SequenceId, leaf_hash: str, *, at: int = 0, **fields: Any
) -> ExportRecord:
    return ExportRecord(
        id=sequence_id.id,
        at=at,
        sequence_id=sequence_id,
        event_type=event_type,
        taxonomy=get_taxonomy_entry(event_type, None),
        leaf_hash=leaf_hash,
        fields=fields,
    )


def _truncate_event(entry: EntryLine) -> str:
    """Return the beginning of what an entry says of itself, for whoever looks into it."""
    return bytes(entry.event).decode(errors="replace")[:1000]
