"""The kind, id and time of a line, for sinks that name what they store."""

from typing import NamedTuple

import msgspec

from otp_service.audit.archive_format import entries, seals


class LineIdentity(NamedTuple):
    """The kind of a line, its unique id in that kind, and its time; '' for a gap, which has none."""

    kind: str
    id: str
    at: str


def identify_line(line: bytes) -> LineIdentity:
    """Return the identity of a line of the archive or of an anchor."""
    if line.startswith(entries.SEAL_PREFIX):
        seal = seals.decode_seal(line)
        return LineIdentity("seal", f"{seal.number:012d}", seal.at)
    if line.startswith(entries.GAP_PREFIX):
        numbers = msgspec.structs.astuple(entries.decode_gap(line))
        return LineIdentity("gap", "-".join(map(str, numbers)), "")
    if anchors := seals.find_anchors(line.decode()):
        return LineIdentity("anchor", f"{anchors[0].number:012d}", anchors[0].at)
    entry = entries.decode_entry(line)
    return LineIdentity("entry", entry.id, entry.at)
