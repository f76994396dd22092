"""The lines of an archive: entries, declared gaps and seals.

    {"id":"07-1763814000123-42","at":"2026-11-24T09:30:00.123Z","event":{…},"mac":"k1:9f…"}
    {"gap":{"partition":7,"epoch":1763814000123,"first":43,"last":50}}
    {"seal":{"number":12,…},"signature":"…"}

An event is stored byte for byte as its worker wrote it, so its MAC can be checked for as long as
the key is kept. A line is hashed and signed as bytes: nothing is encoded again for a comparison.
"""

import re
from base64 import b64encode
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from otp_service.core.log_entry import MAX_JSON_BRACKETS, Entry, create_bounded_decoder
from otp_service.core.timestamps import format_rfc3339


MAX_EVENT_BYTES = 32 * 1024
"""The service's events have about 600 bytes; an attacker with access to Redis can append more."""

GAP_PREFIX, SEAL_PREFIX = b'{"gap":', b'{"seal":'
"""The first bytes of a gap's line and of a seal's line; every other line is an entry."""

NonNegativeInt = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class SequenceId(NamedTuple):
    """The position of an entry. Sequences have no gap within an epoch of a partition."""

    partition: int
    epoch: int
    sequence: int

    @property
    def id(self) -> str:
        """The position as files and readers write it: `07-1763814000123-42`."""
        return f"{self.partition:02d}-{self.epoch}-{self.sequence}"


class Gap(msgspec.Struct, frozen=True):
    """Entries that were missing from Redis: the sequences `first` to `last`, both included."""

    partition: Annotated[int, msgspec.Meta(ge=0, le=99)]
    epoch: NonNegativeInt
    first: NonNegativeInt
    last: NonNegativeInt


class EntryLine(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: str
    at: str
    event: msgspec.Raw
    mac: str
    stamp: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    integrity: Literal["failed"] | msgspec.UnsetType = msgspec.UNSET
    """Set if no key in force had made the MAC when the entry was archived."""


class _GapLine(msgspec.Struct, frozen=True):
    gap: Gap


class _IdLine(msgspec.Struct, frozen=True):
    id: str


decode_entry = create_bounded_decoder(EntryLine)
"""Return the entry on a line. Raises msgspec.MsgspecError, which is a ValueError."""

_encode = msgspec.json.Encoder().encode
_decode_gap_line = create_bounded_decoder(_GapLine)
_decode_id_line = create_bounded_decoder(_IdLine)
_decode_object = create_bounded_decoder(dict[str, Any], MAX_JSON_BRACKETS)

_match_entry_id = re.compile(r"(\d\d)-(\d{1,19})-(\d{1,19})", re.ASCII).fullmatch

_LINE_BREAK_PATTERN = re.compile(rb"[\n\r]|\xe2\x80[\xa8\xa9]|\xc2\x85")
"""Everything that some reader takes for the end of a line (R70). No event of the service has it."""


def encode_entry(entry: Entry, *, has_valid_mac: bool) -> bytes:
    """Return the line of an entry, without a line break."""
    event, is_event = _to_single_line(entry.event)
    stamp, is_stamp = _to_single_line(entry.stamp) if entry.stamp else (None, True)
    line = EntryLine(
        id=sequence_id_from_entry(entry).id,
        at=format_rfc3339(entry.position.at),
        event=event,
        mac=entry.mac[:200],
        stamp=stamp or msgspec.UNSET,
        integrity=msgspec.UNSET if has_valid_mac and is_event and is_stamp else "failed",
    )
    return _encode(line)


def encode_gap(gap: Gap) -> bytes:
    return _encode(_GapLine(gap))


def sequence_id_from_entry(entry: Entry) -> SequenceId:
    return SequenceId(entry.partition, entry.epoch, entry.position.sequence)


def sequence_id_from_line(line: bytes) -> SequenceId:
    """Return the position of the entry on a line. Raises ValueError."""
    return parse_sequence_id(_decode_id_line(line).id)


def parse_sequence_id(event_id: str) -> SequenceId:
    """Return the position that the id of an entry states. Raises ValueError."""
    if not (match := _match_entry_id(event_id)):
        raise ValueError(event_id)
    return SequenceId(*map(int, match.groups()))


def decode_gap(line: bytes) -> Gap:
    """Return the gap that a line declares. Raises msgspec.MsgspecError, which is a ValueError."""
    return _decode_gap_line(line).gap


def _to_single_line(text: bytes) -> tuple[msgspec.Raw, bool]:
    """Return JSON for one line, and whether it is `text`: all but an object becomes base64."""
    try:
        if len(text) <= MAX_EVENT_BYTES and not _LINE_BREAK_PATTERN.search(text):
            _decode_object(text)
            return msgspec.Raw(text), True
    except msgspec.MsgspecError:
        pass
    raw = b64encode(text[:MAX_EVENT_BYTES]).decode()
    return msgspec.Raw(_encode({"type": "unreadable", "raw": raw})), False
