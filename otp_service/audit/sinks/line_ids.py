"""What a line is called where something other than the line itself has to be said of it."""

from typing import NamedTuple

import msgspec

from otp_service.audit.archive_format.entries import GAP, SEAL, entry_on, gap_on
from otp_service.audit.archive_format.seals import anchors_in, seal_on


class Named(NamedTuple):
    """A line's kind, what identifies it among them, and when it was; '' if it does not say."""

    kind: str
    id: str
    at: str


def named(line: bytes) -> Named:
    """Return what a line of the archive, or an anchor's, is called."""
    if line.startswith(SEAL):
        seal = seal_on(line)
        return Named("seal", f"{seal.number:012d}", seal.at)
    if line.startswith(GAP):
        return Named("gap", "-".join(map(str, msgspec.structs.astuple(gap_on(line)))), "")
    if found := anchors_in(line.decode()):
        return Named("anchor", f"{found[0].number:012d}", found[0].at)
    entry = entry_on(line)
    return Named("entry", entry.id, entry.at)
