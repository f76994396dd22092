"""The end of a page: the position of each partition, and how far back the archive was read.

The first page fixes the positions, and an archive only grows at its end. So an event that was there
is on exactly one page, and a later event is on none.
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
    """The first byte of a line in an archive."""

    segment: int
    """The number of the segment's first seal."""
    offset: int
    """Bytes from the beginning of the segment."""


class PageCursor(NamedTuple):
    """The start of the next page; with an offset Redis is read, and the archive goes on before it."""

    positions: dict[int, StreamPosition]
    archive_offset: FileOffset | None = None

    def __str__(self) -> str:
        """Return text, which holds positions alone and so no personal data."""
        rows = [(p, *self.positions[p]) for p in sorted(self.positions)]
        packed = _pack((_CURSOR_VERSION, rows, self.archive_offset))
        return urlsafe_b64encode(packed).rstrip(b"=").decode()


_CURSOR_VERSION = 2
_CURSOR_TEXT = re.compile(r"[A-Za-z0-9_-]+")
_pack = msgspec.msgpack.Encoder().encode
_CursorFields = tuple[int, list[tuple[int, int, int]], tuple[int, int] | None]
_unpack = msgspec.msgpack.Decoder(_CursorFields).decode


def parse_cursor(text: str, partitions: Sequence[int], *, has_archive: bool) -> PageCursor:
    """Return the cursor of a text. Raises InvalidRequest unless it fits the query and the archive."""
    error = InvalidRequest(("cursor", "must be the `next` of a page with the same filters"))
    if not _CURSOR_TEXT.fullmatch(text):
        raise error
    try:
        version, rows, offset = _unpack(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, msgspec.MsgspecError):
        raise error from None
    is_in_range = all(0 <= number < 2**64 for row in (*rows, offset or ()) for number in row)
    fits_query = [row[0] for row in rows] == list(partitions) and (has_archive or offset is None)
    if version != _CURSOR_VERSION or not is_in_range or not fits_query:
        raise error
    positions = {partition: StreamPosition(at, sequence) for partition, at, sequence in rows}
    return PageCursor(positions, FileOffset(*offset) if offset else None)
