"""What a line is called where something other than the line itself has to be said of it."""

from typing import NamedTuple

import msgspec

from otp_service.audit.archive_format.entries import (
    GAP_PREFIX,
    SEAL_PREFIX,
    decode_entry,
    decode_gap,
)
from otp_service.audit.archive_format.seals import decode_seal, find_anchors


class LineIdentity(NamedTuple):
    """A line's kind, what identifies it among them, and when it was; '' if it does not say."""

    kind: str
    id: str
    at: str


def identify_line(line: bytes) -> LineIdentity:
    """Return what a line of the archive, or an anchor's, is called."""
    if line.startswith(SEAL_PREFIX):
        seal = decode_seal(line)
        return LineIdentity("seal", f"{seal.number:012d}", seal.at)
    if line.startswith(GAP_PREFIX):
        return LineIdentity(
            "gap", "-".join(map(str, msgspec.structs.astuple(decode_gap(line)))), ""
        )
    if found := find_anchors(line.decode()):
        return LineIdentity("anchor", f"{found[0].number:012d}", found[0].at)
    entry = decode_entry(line)
    return LineIdentity("entry", entry.id, entry.at)
