"""Where an archive stands, learnt from its folder: whoever begins to write it keeps no other state.

The first seal of the newest segment says where every partition stands, so no more than what comes
after it is read, however long the archive is.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from otp_service.audit.archive_format.entries import SEAL
from otp_service.audit.archive_format.seals import Seal, seal_on
from otp_service.audit.archive_format.segments import lines_backward, segments
from otp_service.audit.sealer.state import ArchiveDamaged, Standing


def recover(folder: Path) -> tuple[Standing, Path | None, int]:
    """Return where an archive stands, its newest segment, and how far that can be gone on with.

    Raises ArchiveDamaged and OSError.
    """
    standing, newest, size = Standing(), None, 0
    for segment in _not_sealed_before(segments(folder)):
        standing.begins = True
        newest, size = segment, _read(segment, standing)
    return standing, newest, size


def seals(folder: Path) -> Iterator[Seal]:
    """Give the seals of an archive, newest first."""
    for segment in reversed(segments(folder)):
        yield from map(seal_on, filter(is_seal, lines_backward(segment)))


def is_seal(line: bytes) -> bool:
    """Whether it is one that can be read: of what was being written when all ended, some is there."""
    if not line.startswith(SEAL):
        return False
    try:
        seal_on(line)
    except ValueError:
        return False
    return True


def _not_sealed_before(found: Sequence[Path]) -> Sequence[Path]:
    """Return the newest segment that has a seal, and what comes after it."""
    for place in reversed(range(len(found))):
        if any(map(is_seal, lines_backward(found[place]))):
            return found[place:]
    return found


def _read(segment: Path, standing: Standing) -> int:
    """Learn what stands in a segment; return how far it can be gone on with."""
    *whole, _ = segment.read_bytes().split(b"\n")
    sealed = max((i for i, line in enumerate(whole) if is_seal(line)), default=-1)
    size = 0
    for i, line in enumerate(whole):
        try:
            if i > sealed or line.startswith(SEAL):
                standing.add(line)
        except ValueError:
            if i > sealed:
                break  # a machine that stopped may have left anything
            raise ArchiveDamaged(f"line {i + 1} of {segment} is no seal") from None
        size += len(line) + 1
    return size
