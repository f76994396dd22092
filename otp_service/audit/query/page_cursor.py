"""Where a page ended: each partition's position, and how far back the archive was read.

What happens later is on no later page, and what was there is on exactly one: positions are fixed
when the first page is read, and an archive only grows at its end.
"""

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from otp_service.core.errors import InvalidRequest
from otp_service.core.log_entry import StreamPosition


class FileOffset(NamedTuple):
    """The beginning of a line in an archive."""

    segment: int
    """The number of its first seal."""
    offset: int
    """In bytes."""


class PageCursor(NamedTuple):
    """Where to go on; with a spot, Redis has nothing more and the archive goes on before it."""

    positions: dict[int, StreamPosition]
    archive_offset: FileOffset | None = None

    def __str__(self) -> str:
        """As text; it holds nothing else, and so nothing about anybody."""
        rows = [(p, *self.positions[p]) for p in sorted(self.positions)]
        packed = _pack((_CURSOR_VERSION, rows, self.archive_offset))
        return urlsafe_b64encode(packed).rstrip(b"=").decode()


_CURSOR_VERSION = 2
_CURSOR_TEXT = re.compile(r"[A-Za-z0-9_-]+")
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(
    tuple[int, list[tuple[int, int, int]], tuple[int, int] | None]
).decode


def parse_cursor(text: str, partitions: Sequence[int], *, has_archive: bool) -> PageCursor:
    """Return what the text says. Raises InvalidRequest unless it is of what is there."""
    error = InvalidRequest(("cursor", "must be the `next` of a page with the same filters"))
    if not _CURSOR_TEXT.fullmatch(text):
        raise error
    try:
        version, rows, spot = _unpack(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, msgspec.MsgspecError):
        raise error from None
    numbers = [number for row in (*rows, spot or ()) for number in row]
    is_id = all(0 <= number < 2**64 for number in numbers)
    is_here = [row[0] for row in rows] == list(partitions) and (has_archive or spot is None)
    if version != _CURSOR_VERSION or not is_id or not is_here:
        raise error
    positions = {partition: StreamPosition(at, sequence) for partition, at, sequence in rows}
    return PageCursor(positions, FileOffset(*spot) if spot else None)
