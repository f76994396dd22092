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

from otp_service.core.log_entry import MOST_BRACKETS, Entry, decoder, rfc3339


LONGEST = 32 * 1024
"""Bytes of an event; ours have some 600, but whoever can write to Redis can append anything."""

GAP, SEAL = b'{"gap":', b'{"seal":'
"""What lines that are no entry begin with."""


Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Place(NamedTuple):
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
    epoch: Count
    first: Count
    last: Count


class EntryLine(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An entry as it is archived."""

    id: str
    at: str
    event: msgspec.Raw
    mac: str
    stamp: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    integrity: Literal["failed"] | msgspec.UnsetType = msgspec.UNSET
    """Set where no key in force had made the MAC when the entry was archived."""


class _Declared(msgspec.Struct, frozen=True):
    gap: Gap


class _Named(msgspec.Struct, frozen=True):
    id: str


_encode = msgspec.json.Encoder().encode
_entry = decoder(EntryLine)
_declared = decoder(_Declared)
_named = decoder(_Named)
_any = decoder(dict[str, Any], MOST_BRACKETS)

_ID = re.compile(r"(\d\d)-(\d{1,19})-(\d{1,19})", re.ASCII).fullmatch

_BREAK = re.compile(rb"[\n\r]|\xe2\x80[\xa8\xa9]|\xc2\x85")
"""What some reader or other takes for the end of a line (R70); no event of ours holds it."""


def line_of(entry: Entry, *, is_ours: bool) -> bytes:
    """Return an entry's line, without its end; `is_ours` says whether its MAC is right."""
    event, is_event = _on_one_line(entry.event)
    stamp, is_stamp = _on_one_line(entry.stamp) if entry.stamp else (None, True)
    return _encode(
        EntryLine(
            id=place_of(entry).id,
            at=rfc3339(entry.position.at),
            event=event,
            mac=entry.mac[:200],
            stamp=stamp or msgspec.UNSET,
            integrity=msgspec.UNSET if is_ours and is_event and is_stamp else "failed",
        )
    )


def gap_line(gap: Gap) -> bytes:
    """Return the line that declares a gap."""
    return _encode(_Declared(gap))


def place_of(entry: Entry) -> Place:
    """Return the place of an entry out of Redis."""
    return Place(entry.partition, entry.epoch, entry.position.sequence)


def entry_on(line: bytes) -> EntryLine:
    """Return the entry on a line. Raises msgspec.MsgspecError."""
    return _entry(line)


def place_on(line: bytes) -> Place:
    """Return the place of the entry on a line. Raises ValueError (a MsgspecError is one)."""
    return place_named(_named(line).id)


def place_named(event_id: str) -> Place:
    """Return the place that an entry's id names. Raises ValueError."""
    if not (found := _ID(event_id)):
        raise ValueError(event_id)
    partition, epoch, sequence = found.groups()
    return Place(int(partition), int(epoch), int(sequence))


def gap_on(line: bytes) -> Gap:
    """Return the gap that a line declares. Raises msgspec.MsgspecError."""
    return _declared(line).gap


def _on_one_line(told: bytes) -> tuple[msgspec.Raw, bool]:
    """Return JSON as it is, and whether it was an object that a line can hold."""
    try:
        if len(told) <= LONGEST and not _BREAK.search(told):
            _any(told)
            return msgspec.Raw(told), True
    except msgspec.MsgspecError:
        pass
    raw = b64encode(told[:LONGEST]).decode()
    return msgspec.Raw(_encode({"type": "unreadable", "raw": raw})), False
