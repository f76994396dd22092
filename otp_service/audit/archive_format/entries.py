"""What stands on the lines of an archive: entries, gaps that are declared, and seals.

    {"id":"07-1763814000123-42","at":"2026-11-24T09:30:00.123Z","event":{…},"mac":"k1:9f…"}
    {"gap":{"partition":7,"epoch":1763814000123,"first":43,"last":50}}
    {"seal":{"number":12,…},"signature":"…"}

An event stands there byte for byte as its worker wrote it, so that its MAC can be checked for as
long as the key is kept. A line is hashed and signed as the bytes that it is; nothing is ever
encoded again to be compared.
"""

import re
from base64 import b64encode
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from otp_service.core.log_entry import (
    MAX_JSON_BRACKETS,
    Entry,
    create_bounded_decoder,
    format_rfc3339,
)


MAX_EVENT_BYTES = 32 * 1024
"""Bytes of an event; ours have some 600, but whoever can write to Redis can append anything."""

GAP_PREFIX, SEAL_PREFIX = b'{"gap":', b'{"seal":'
"""What lines that are no entry begin with."""


NonNegativeInt = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class SequenceId(NamedTuple):
    """Where an entry belongs: inside an epoch of a partition the sequence has no gap."""

    partition: int
    epoch: int
    sequence: int

    @property
    def id(self) -> str:
        """How readers and files name the entry."""
        return f"{self.partition:02d}-{self.epoch}-{self.sequence}"


class Gap(msgspec.Struct, frozen=True):
    """Entries that Redis no longer had: from the first to the last of these sequences."""

    partition: Annotated[int, msgspec.Meta(ge=0, le=99)]
    epoch: NonNegativeInt
    first: NonNegativeInt
    last: NonNegativeInt


class EntryLine(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An entry as it is archived."""

    id: str
    at: str
    event: msgspec.Raw
    mac: str
    stamp: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    integrity: Literal["failed"] | msgspec.UnsetType = msgspec.UNSET
    """Set where no key in force had made the MAC when the entry was archived."""


class _GapLine(msgspec.Struct, frozen=True):
    gap: Gap


class _IdLine(msgspec.Struct, frozen=True):
    id: str


_encode = msgspec.json.Encoder().encode
_decode_entry_line = create_bounded_decoder(EntryLine)
_decode_gap_line = create_bounded_decoder(_GapLine)
_decode_id_line = create_bounded_decoder(_IdLine)
_decode_object = create_bounded_decoder(dict[str, Any], MAX_JSON_BRACKETS)

_ENTRY_ID = re.compile(r"(\d\d)-(\d{1,19})-(\d{1,19})", re.ASCII).fullmatch

_LINE_BREAK = re.compile(rb"[\n\r]|\xe2\x80[\xa8\xa9]|\xc2\x85")
"""What some reader or other takes for the end of a line (R70); no event of ours holds it."""


def encode_entry(entry: Entry, *, has_valid_mac: bool) -> bytes:
    """Return an entry's line, without its end; `is_ours` says whether its MAC is right."""
    event, is_event = _to_single_line(entry.event)
    stamp, is_stamp = _to_single_line(entry.stamp) if entry.stamp else (None, True)
    return _encode(
        EntryLine(
            id=sequence_id_from_entry(entry).id,
            at=format_rfc3339(entry.position.at),
            event=event,
            mac=entry.mac[:200],
            stamp=stamp or msgspec.UNSET,
            integrity=msgspec.UNSET if has_valid_mac and is_event and is_stamp else "failed",
        )
    )


def encode_gap(gap: Gap) -> bytes:
    """Return the line that declares a gap."""
    return _encode(_GapLine(gap))


def sequence_id_from_entry(entry: Entry) -> SequenceId:
    """Return the place of an entry out of Redis."""
    return SequenceId(entry.partition, entry.epoch, entry.position.sequence)


def decode_entry(line: bytes) -> EntryLine:
    """Return the entry on a line. Raises msgspec.MsgspecError."""
    return _decode_entry_line(line)


def sequence_id_from_line(line: bytes) -> SequenceId:
    """Return the place of the entry on a line. Raises ValueError (a MsgspecError is one)."""
    return parse_sequence_id(_decode_id_line(line).id)


def parse_sequence_id(event_id: str) -> SequenceId:
    """Return the place that an entry's id names. Raises ValueError."""
    if not (found := _ENTRY_ID(event_id)):
        raise ValueError(event_id)
    partition, epoch, sequence = found.groups()
    return SequenceId(int(partition), int(epoch), int(sequence))


def decode_gap(line: bytes) -> Gap:
    """Return the gap that a line declares. Raises msgspec.MsgspecError."""
    return _decode_gap_line(line).gap


def _to_single_line(text: bytes) -> tuple[msgspec.Raw, bool]:
    """Return JSON as it is, and whether it was an object that a line can hold."""
    try:
        if len(text) <= MAX_EVENT_BYTES and not _LINE_BREAK.search(text):
            _decode_object(text)
            return msgspec.Raw(text), True
    except msgspec.MsgspecError:
        pass
    raw = b64encode(text[:MAX_EVENT_BYTES]).decode()
    return msgspec.Raw(_encode({"type": "unreadable", "raw": raw})), False
