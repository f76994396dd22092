"""Reads the state of an archive from its folder: a writer keeps no other state.

The first seal of the newest segment states the head of every partition, so only the lines after it
are read, however long the archive is.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from otp_service.audit.archive_format import segments
from otp_service.audit.archive_format.entries import SEAL_PREFIX
from otp_service.audit.archive_format.seals import Seal, decode_seal
from otp_service.audit.sealer.state import ArchiveDamagedError, ArchiveState


def recover_state(folder: Path) -> tuple[ArchiveState, Path | None, int]:
    """Return the state of an archive, its newest segment, and the bytes of that to keep.

    Raises ArchiveDamagedError and OSError.
    """
    state, newest, size = ArchiveState(), None, 0
    for segment in _select_recent_segments(segments.list_segments(folder)):
        state.is_segment_start = True
        newest, size = segment, _load_segment(segment, state)
    return state, newest, size


def iterate_seals(folder: Path) -> Iterator[Seal]:
    """Yield the seals of an archive, newest first."""
    yield from map(decode_seal, filter(is_seal, segments.iterate_archive_backward(folder)))


def is_seal(line: bytes) -> bool:
    """Whether a line is a seal that can be decoded: a crash may leave a part of one."""
    if not line.startswith(SEAL_PREFIX):
        return False
    try:
        decode_seal(line)
    except ValueError:
        return False
    return True


def _select_recent_segments(paths: Sequence[Path]) -> Sequence[Path]:
    """Return the newest segment that has a seal, and those after it."""
    for i in reversed(range(len(paths))):
        if any(map(is_seal, segments.iterate_lines_backward(paths[i]))):
            return paths[i:]
    return paths


def _load_segment(segment: Path, state: ArchiveState) -> int:
    """Record the lines of a segment; return its size without an incomplete end."""
    *lines, _ = segment.read_bytes().split(b"\n")
    last_seal = max((i for i, line in enumerate(lines) if is_seal(line)), default=-1)
    size = 0
    for i, line in enumerate(lines):
        try:
            if i > last_seal or line.startswith(SEAL_PREFIX):
                state.add_line(line)
        except ValueError:
            if i > last_seal:
                break  # a crash of the machine may have left any bytes here
            raise ArchiveDamagedError(f"line {i + 1} of {segment} is not a valid seal") from None
        size += len(line) + 1
    return size
