"""The folder of an archive, for readers.

    DIR/2026-11-24/000000000042.jsonl

A segment is named after the number of the first seal in it, and lies in the folder of the day (in
UTC) on which it was begun. It begins right after a seal and ends with one; only the newest may
have lines behind its last seal, which are not sealed yet.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path


LOCK_FILENAME = "lock"
"""The file by which one machine's sealers keep each other out; the only other one in the folder."""

MAX_LINE_BYTES = 4 * 1024 * 1024
"""Bytes; a seal has some 30 for each epoch of each partition, and an entry at most 100 KiB."""

MAX_ACCEPTED_BATCH_LINES = 100_000
"""Lines; a sealer seals some ten thousand at most."""

READ_BLOCK_BYTES = 256 * 1024
"""Bytes that are read at once."""

_DAY_NAME = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_SEGMENT_NAME = re.compile(r"\d{12}\.jsonl", re.ASCII)


def build_segment_path(folder: Path, day: datetime, number: int) -> Path:
    """Return where the segment lies that begins with this seal on this day (in UTC)."""
    return folder / f"{day:%Y-%m-%d}" / f"{number:012d}.jsonl"


def parse_segment_number(segment: Path) -> int:
    """Return the number of the first seal in a segment."""
    return int(segment.stem)


def parse_segment_day(segment: Path) -> str:
    """Return the day on which a segment was begun: 2026-11-24."""
    return segment.parent.name


def list_segments(folder: Path) -> list[Path]:
    """Return the segments, oldest first. Raises OSError, but not for a folder that is gone."""
    days = [day for day in _list_folder(folder) if _DAY_NAME.fullmatch(day.name) and day.is_dir()]
    found = [path for day in days for path in _list_folder(day) if _is_segment(path)]
    return sorted(found, key=lambda path: (parse_segment_number(path), parse_segment_day(path)))


def list_foreign_files(folder: Path) -> list[str]:
    """Return what no sealer has put into the folder of an archive. Raises OSError."""
    found = []
    for path in _list_folder(folder):
        if path.is_dir():
            is_day = _DAY_NAME.fullmatch(path.name)
            found += [one for one in _list_folder(path) if not (is_day and _is_segment(one))]
        elif path.name != LOCK_FILENAME:
            found.append(path)
    names = (path.relative_to(folder).as_posix() for path in found)
    return sorted(os.fsencode(name).decode(errors="backslashreplace") for name in names)


def iterate_raw_lines(segment: Path) -> Iterator[bytes]:
    """Give the lines of a segment with their ends; one without an end is torn, or far too long."""
    with segment.open("rb") as file:
        yield from iter(partial(file.readline, MAX_LINE_BYTES), b"")


def iterate_lines(segment: Path) -> Iterator[bytes]:
    """Give the lines of a segment without their ends; a last one without an end is torn, and given."""
    with segment.open("rb") as file:
        for line in file:
            yield line.removesuffix(b"\n")


def iterate_lines_backward(segment: Path) -> Iterator[bytes]:
    """Give the whole lines of a segment, newest first; a torn last one is left out."""
    for _, block in iterate_blocks_backward(segment, 2**63):
        if block:
            yield from reversed(block[:-1].split(b"\n"))


def iterate_blocks_backward(segment: Path, end: int) -> Iterator[tuple[int, bytes]]:
    """Give whole lines in blocks, the last ones first, and where each block begins.

    An empty block is a part of a line that is far too long. One that retention has deleted has none.
    """
    with suppress(FileNotFoundError), segment.open("rb") as file:
        end = min(end, file.seek(0, 2))
        rest = b""  # what of a line stands behind the beginning of the block after this one
        while end > 0:
            start = max(0, end - READ_BLOCK_BYTES)
            file.seek(start)
            block = file.read(end - start) + rest
            begins = 0 if start == 0 else block.find(b"\n") + 1
            whole = block.rfind(b"\n") + 1
            rest, end = (block[:begins] if begins else block) if start else b"", start
            if begins < whole:
                yield start + begins, block[begins:whole]
            if len(rest) > MAX_LINE_BYTES:
                rest = b""  # so what is before it has no end either, and is left out
                yield start, b""


def _list_folder(folder: Path) -> list[Path]:
    """Return what is in a folder: nothing if that was deleted just now."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return [*folder.iterdir()]
    return []


def _is_segment(path: Path) -> bool:
    return _SEGMENT_NAME.fullmatch(path.name) is not None and path.is_file()
