"""The folder of an archive, for readers.

    DIR/2026-11-24/000000000042.jsonl

A segment is named after the number of the first seal in it, and lies in the folder of the day (in
UTC) on which it was begun. It begins right after a seal and ends with one; only the newest may
have lines behind its last seal, which are not sealed yet.
"""

import os
import re
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path


LOCK = "lock"
"""The file by which one machine's sealers keep each other out; the only other one in the folder."""

LONGEST_LINE = 4 * 1024 * 1024
"""Bytes; a seal has some 30 for each epoch of each partition, and an entry at most 100 KiB."""

_NAME = re.compile(r"(\d{4}-\d\d-\d\d)/(\d{12})\.jsonl", re.ASCII)


def segment_path(folder: Path, day: datetime, number: int) -> Path:
    """Return where the segment lies that begins with this seal on this day (in UTC)."""
    return folder / f"{day:%Y-%m-%d}" / f"{number:012d}.jsonl"


def number_of(segment: Path) -> int:
    """Return the number of the first seal in a segment."""
    return int(segment.stem)


def day_of(segment: Path) -> str:
    """Return the day on which a segment was begun: 2026-11-24."""
    return segment.parent.name


def segments(folder: Path) -> list[Path]:
    """Return the segments, oldest first."""
    found = [p for p in folder.glob("*/*.jsonl") if p.is_file() and is_segment(folder, p)]
    return sorted(found, key=lambda path: (number_of(path), day_of(path)))


def is_segment(folder: Path, path: Path) -> bool:
    """Whether a file is named like a segment."""
    return _NAME.fullmatch(path.relative_to(folder).as_posix()) is not None


def foreign(folder: Path) -> list[str]:
    """Return the files that no sealer has put into the folder of an archive."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    own = {path.relative_to(folder).as_posix() for path in segments(folder)}
    return sorted(os.fsencode(n).decode(errors="backslashreplace") for n in names - own - {LOCK})


def whole_lines(segment: Path) -> Iterator[bytes]:
    """Give the lines of a segment with their ends; one without an end is torn, or far too long."""
    with segment.open("rb") as file:
        yield from iter(partial(file.readline, LONGEST_LINE), b"")


def lines(segment: Path) -> Iterator[bytes]:
    """Give the lines of a segment without their ends; a last one without an end is torn, and given."""
    with segment.open("rb") as file:
        for line in file:
            yield line.removesuffix(b"\n")


def lines_backward(segment: Path) -> Iterator[bytes]:
    """Give the whole lines of a segment, newest first; a torn last one is left out."""
    *whole, _ = segment.read_bytes().split(b"\n")
    yield from reversed(whole)
