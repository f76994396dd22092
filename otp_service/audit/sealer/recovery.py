"""Where an archive stands, learnt from its folder: whoever begins to write it keeps no other state.

The first seal of the newest segment says where every partition stands, so no more than what comes
after it is read, however long the archive is.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from otp_service.audit.archive_format.entries import SEAL_PREFIX
from otp_service.audit.archive_format.seals import Seal, decode_seal
from otp_service.audit.archive_format.segments import iterate_lines_backward, list_segments
from otp_service.audit.sealer.state import ArchiveDamagedError, ArchiveState


def recover_state(folder: Path) -> tuple[ArchiveState, Path | None, int]:
    """Return where an archive stands, its newest segment, and how far that can be gone on with.

    Raises ArchiveDamaged and OSError.
    """
    standing, newest, size = ArchiveState(), None, 0
    for segment in _select_recent_segments(list_segments(folder)):
        standing.is_segment_start = True
        newest, size = segment, _load_segment(segment, standing)
    return standing, newest, size


def iterate_seals(folder: Path) -> Iterator[Seal]:
    """Give the seals of an archive, newest first."""
    for segment in reversed(list_segments(folder)):
        yield from map(decode_seal, filter(is_seal, iterate_lines_backward(segment)))


def is_seal(line: bytes) -> bool:
    """Whether it is one that can be read: of what was being written when all ended, some is there."""
    if not line.startswith(SEAL_PREFIX):
        return False
    try:
        decode_seal(line)
    except ValueError:
        return False
    return True


def _select_recent_segments(paths: Sequence[Path]) -> Sequence[Path]:
    """Return the newest segment that has a seal, and what comes after it."""
    for place in reversed(range(len(paths))):
        if any(map(is_seal, iterate_lines_backward(paths[place]))):
            return paths[place:]
    return paths


def _load_segment(segment: Path, state: ArchiveState) -> int:
    """Learn what stands in a segment; return how far it can be gone on with."""
    *whole, _ = segment.read_bytes().split(b"\n")
    sealed = max((i for i, line in enumerate(whole) if is_seal(line)), default=-1)
    size = 0
    for i, line in enumerate(whole):
        try:
            if i > sealed or line.startswith(SEAL_PREFIX):
                state.add_line(line)
        except ValueError:
            if i > sealed:
                break  # a machine that stopped may have left anything
            raise ArchiveDamagedError(f"line {i + 1} of {segment} is no seal") from None
        size += len(line) + 1
    return size
