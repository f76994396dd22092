"""One line of an archive, as both formats read it.

A line whose MAC was wrong, or that cannot be read as an event of ours, is told as a finding of its
own and never as what it says it is: whoever can write to Redis must not be able to put a success
into somebody's SIEM.
"""

from typing import Any, Final

import msgspec

from otp_service.audit.archive_format.entries import (
    GAP,
    SEAL,
    EntryLine,
    Place,
    entry_on,
    gap_on,
    place_on,
)
from otp_service.audit.archive_format.merkle import leaf
from otp_service.audit.exports.taxonomy import Meaning, meaning_of
from otp_service.core.events import KINDS, Who
from otp_service.core.log_entry import MOST_BRACKETS, decoder, milliseconds_of, stamped


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a line tells."""

    id: str
    at: int
    """In milliseconds; 0 where that is not known."""
    place: Place
    kind: str
    meaning: Meaning
    hash: str
    """Of the line, as its leaf in the Merkle tree: what `audit prove` proves."""
    facts: dict[str, Any] = {}
    """Every field of the event and its stamp that says something."""

    def get(self, name: str) -> Any:
        """Return a field, None where the event has none."""
        return self.facts.get(name)


class _Newer(Who, frozen=True, kw_only=True):
    """What is read of an event of a type that this version does not know."""

    type: str
    outcome: str = "unknown"
    reason: str | None = None


_newer = decoder(_Newer, MOST_BRACKETS)
_decoders: Final = {kind: decoder(one, MOST_BRACKETS) for kind, one in KINDS.items()}


def told_on(line: bytes) -> Told | None:
    """Return what a line tells; None for a seal."""
    if line.startswith(SEAL):
        return None
    hashed = leaf(line).hex()
    try:
        if line.startswith(GAP):
            return _gap(line, hashed)
        return _event(entry_on(line), place_on(line), hashed)
    except ValueError:  # a MsgspecError is one
        return _finding("log.unreadable", Place(0, 0, 0), hashed, length=len(line))


def _event(entry: EntryLine, place: Place, hashed: str) -> Told:
    at = milliseconds_of(entry.at)
    try:
        if entry.integrity == "failed":
            raise ValueError(entry.id)
        kind, facts = _facts(entry)
    except ValueError:
        return _finding("log.unreadable", place, hashed, at=at, claimed=_claimed(entry))
    return Told(
        id=entry.id,
        at=at,
        place=place,
        kind=kind,
        meaning=meaning_of(kind, facts.get("reason")),
        hash=hashed,
        facts=facts | {"mac": entry.mac},
    )


def _facts(entry: EntryLine) -> tuple[str, dict[str, Any]]:
    """Return the type of an event, and its fields; what only Redis knew stands above them."""
    event = bytes(entry.event)
    facts = msgspec.structs.asdict(_newer(event))
    kind = facts.pop("type")
    if kind in KINDS:
        facts = msgspec.structs.asdict(_decoders[kind](event))
    if entry.stamp is not msgspec.UNSET:
        facts |= stamped(bytes(entry.stamp))
    return kind, {name: value for name, value in facts.items() if value is not None}


def _gap(line: bytes, hashed: str) -> Told:
    gap = gap_on(line)
    place = Place(gap.partition, gap.epoch, gap.first)
    return _finding("log.gap", place, hashed, at=gap.epoch, missing=gap.last - gap.first + 1)


def _finding(kind: str, place: Place, hashed: str, *, at: int = 0, **facts: Any) -> Told:
    return Told(
        id=place.id,
        at=at,
        place=place,
        kind=kind,
        meaning=meaning_of(kind, None),
        hash=hashed,
        facts=facts,
    )


def _claimed(entry: EntryLine) -> str:
    """Return the beginning of what an entry says of itself, for whoever looks into it."""
    return bytes(entry.event).decode(errors="replace")[:1000]
