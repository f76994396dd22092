"""The folder of an archive, for readers.

    DIR/2026-11-24/000000000042.jsonl

A segment is a file in the folder of the day (in UTC) on which it was begun. Its name is the number
of the first seal in it. It begins right after a seal and ends with one; only the newest segment may
end with lines that no seal covers yet.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path


LOCK_FILENAME = "lock"
"""The file that sealers of one machine lock; the only other file in the folder."""

MAX_LINE_BYTES = 4 * 1024 * 1024
"""A seal has about 30 bytes for each epoch of each partition, an entry at most 100 KiB."""

MAX_ACCEPTED_BATCH_LINES = 100_000
"""The sealer's batches have about ten thousand lines at most."""

READ_BLOCK_BYTES = 256 * 1024

_match_day = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII).fullmatch
_match_segment_name = re.compile(r"\d{12}\.jsonl", re.ASCII).fullmatch


def build_segment_path(folder: Path, day: datetime, number: int) -> Path:
    """Return the path of the segment whose first seal is `number`, begun on `day` (in UTC)."""
    return folder / f"{day:%Y-%m-%d}" / f"{number:012d}.jsonl"


def parse_segment_number(segment: Path) -> int:
    return int(segment.stem)


def parse_segment_day(segment: Path) -> str:
    return segment.parent.name


def list_segments(folder: Path) -> list[Path]:
    """Return the segments, oldest first; none if the folder is missing. Raises OSError."""
    days = [path for path in _list_folder(folder) if _match_day(path.name) and path.is_dir()]
    paths = [path for day in days for path in _list_folder(day) if _is_segment(path)]
    return sorted(paths, key=lambda path: (parse_segment_number(path), parse_segment_day(path)))


def list_foreign_files(folder: Path) -> list[str]:
    """Return the relative paths of files that no sealer writes. Raises OSError."""
    foreign = []
    for path in _list_folder(folder):
        if path.is_dir():
            is_day = _match_day(path.name)
            foreign += [file for file in _list_folder(path) if not (is_day and _is_segment(file))]
        elif path.name != LOCK_FILENAME:
            foreign.append(path)
    names = (path.relative_to(folder).as_posix() for path in foreign)
    return sorted(os.fsencode(name).decode(errors="backslashreplace") for name in names)


def iterate_raw_lines(segment: Path) -> Iterator[bytes]:
    """Yield the lines of a segment with their line breaks; a torn or too long line has none."""
    with segment.open("rb") as file:
        yield from iter(partial(file.readline, MAX_LINE_BYTES), b"")


def iterate_archive_backward(folder: Path) -> Iterator[bytes]:
    """Yield the complete lines of an archive, newest first. Raises OSError."""
    for segment in reversed(list_segments(folder)):
        yield from iterate_lines_backward(segment)


def iterate_lines_backward(segment: Path) -> Iterator[bytes]:
    """Yield the complete lines of a segment, newest first; a torn last line is left out."""
    for _, block in iterate_blocks_backward(segment, 2**63):
        if block:
            yield from reversed(block[:-1].split(b"\n"))


def iterate_blocks_backward(segment: Path, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield the offset and the bytes of blocks of complete lines before `end`, last block first.

    An empty block stands for a part of a line that is longer than MAX_LINE_BYTES. A segment that
    retention has deleted has no blocks.
    """
    with suppress(FileNotFoundError), segment.open("rb") as file:
        end = min(end, file.seek(0, 2))
        tail = b""  # the part of a line that follows the block which is read next
        while end > 0:
            start = max(0, end - READ_BLOCK_BYTES)
            file.seek(start)
            block = file.read(end - start) + tail
            begins = 0 if start == 0 else block.find(b"\n") + 1
            complete = block.rfind(b"\n") + 1
            tail, end = (block[:begins] if begins else block) if start else b"", start
            if begins < complete:
                yield start + begins, block[begins:complete]
            if len(tail) > MAX_LINE_BYTES:
                tail = b""  # so the bytes before it have no line break either and are left out
                yield start, b""


def _list_folder(folder: Path) -> list[Path]:
    """Return the paths in a folder; none if it was deleted meanwhile."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return [*folder.iterdir()]
    return []


def _is_segment(path: Path) -> bool:
    return _match_segment_name(path.name) is not None and path.is_file()
