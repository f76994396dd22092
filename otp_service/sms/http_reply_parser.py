"""Parses one HTTP/1 reply as leniently as its meaning allows, without I/O.

A dialect reads the status and the body, so nothing else may decide what a reply means. Vendors and
the proxies in front of them send odd bytes in the reason phrase and in headers, equal or joined
Content-Length fields, long headers, bare LF, header lines without a colon, and close early. Of 69
forms like those in `tests/sms/test_odd_replies.py` aiohttp refuses 24 and h11 22, so neither is used.

Lenient framing is safe here because a reply that deviates is the last one on its connection
(`is_reusable`): octets of one reply are never read as the next one.
"""

import re
from collections.abc import Generator
from typing import Final


MAX_HEAD_BYTES: Final = 128 * 1024
"""Of the status line and all headers, also those of interim replies (1xx)."""

_STATUS_LINE_PATTERN: Final = re.compile(
    rb"HTTP/([0-9](?:\.[0-9])?)[ \t]+([1-9][0-9]{2})(?![0-9])", re.IGNORECASE
)
_REGULAR_LINE_PATTERN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r")
_LENGTH_PATTERN: Final = re.compile(rb"\+?([0-9]{1,18})")
_CHUNK_SIZE_PATTERN: Final = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\r?", re.DOTALL)
_STATUSES_WITHOUT_BODY: Final = (204, 304)

_Steps = Generator[None, None, None]


class _BrokenReplyError(Exception):
    """The rest of the reply cannot be read; its text is the reason."""


class ReplyParser:
    """One reply, as far as it was received."""

    def __init__(self, max_body_bytes: int) -> None:
        self.status = 0
        """0 while the status line is incomplete."""
        self.headers: list[tuple[bytes, bytes]] = []
        """Names in lower case."""
        self.body = bytearray()
        """As far as it was received."""
        self.broken_by = ""
        """Why the reply ended before it was complete; empty for a complete one."""
        self.is_done = False
        self.is_reusable = False
        """Whether another request may follow on the connection."""
        self._max_body_bytes = max_body_bytes
        self._buffer = bytearray()
        self._is_eof = False
        self._is_regular = True
        self._is_persistent = False
        self._head_bytes = 0
        self._steps = self._parse()
        next(self._steps)

    def feed(self, data: bytes) -> None:
        """Parse the next octets; those after the end of the reply end the connection."""
        self._buffer += data
        self._advance()

    def feed_eof(self) -> None:
        """Parse the end of the connection, which ends a reply without a length."""
        self._is_eof = True
        self._advance()

    def _advance(self) -> None:
        if not self.is_done:
            try:
                next(self._steps)
            except StopIteration:
                self.is_done = True
            except _BrokenReplyError as error:
                self.is_done, self._is_regular, self.broken_by = True, False, str(error)
        is_alone = not self._buffer and not self._is_eof
        self.is_reusable = self.is_done and self._is_regular and self._is_persistent and is_alone

    def _parse(self) -> _Steps:
        yield
        yield from self._read_head()
        while 100 <= self.status < 200:  # noqa: PLR2004  # interim: the reply follows
            self.headers.clear()
            yield from self._read_head()
        codings = b",".join(self._list_values(b"transfer-encoding")).lower()
        if self.status in _STATUSES_WITHOUT_BODY:
            return
        if b"chunked" in codings:
            # RFC 9112 section 6.3: it overrides a Content-Length, and the connection ends.
            self._is_regular &= codings.strip() == b"chunked" and not self._list_lengths()
            yield from self._read_chunks()
        else:
            self._is_regular &= not codings
            yield from self._read_body(self._parse_length())

    def _read_head(self) -> _Steps:
        line = yield from self._read_line()
        while not line.strip():
            self._is_regular = False
            line = yield from self._read_line()
        found = _STATUS_LINE_PATTERN.match(line.strip())
        if not found:
            raise _BrokenReplyError("bad-reply")
        self.status = int(found[2])
        while (line := (yield from self._read_line())).strip():
            self._add_header(line)
        tokens = b",".join(self._list_values(b"connection")).lower()
        self._is_persistent = found[1] == b"1.1" and b"close" not in tokens

    def _add_header(self, line: bytes) -> None:
        self._is_regular &= _REGULAR_LINE_PATTERN.fullmatch(line) is not None
        name, colon, value = line.partition(b":")
        if line[:1] in {b" ", b"\t"} and self.headers:  # the obsolete folding of RFC 9112
            name, value = self.headers.pop()
            self.headers.append((name, value + b" " + line.strip()))
        elif colon and name.strip():
            self.headers.append((name.strip().lower(), value.strip()))

    def _read_chunks(self) -> _Steps:
        while True:
            line = yield from self._read_line("incomplete-reply")
            size = _CHUNK_SIZE_PATTERN.fullmatch(line)
            if not size:
                raise _BrokenReplyError("bad-reply")
            if not int(size[1], 16):
                break
            yield from self._read_body(int(size[1], 16))
            if (yield from self._read_line("incomplete-reply")).strip():
                raise _BrokenReplyError("bad-reply")
        # The body is complete: only trailers, which are not used, may be missing.
        self._is_regular &= self._buffer == b"\r\n"
        self._buffer.clear()

    def _read_body(self, length: int | None) -> _Steps:
        """Add this many octets to the body; without a length all that follow."""
        while length is None or length > 0:
            if not self._buffer:
                if self._is_eof and length is not None:
                    raise _BrokenReplyError("incomplete-reply")
                if self._is_eof:
                    return
                yield
                continue
            data = self._buffer[:length]
            del self._buffer[: len(data)]
            self.body += data
            length = None if length is None else length - len(data)
            if len(self.body) > self._max_body_bytes:
                raise _BrokenReplyError("reply-too-big")

    def _read_line(self, reason_at_eof: str = "disconnected") -> Generator[None, None, bytes]:
        """Return the next line, without its LF."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if self._is_eof:
                raise _BrokenReplyError(reason_at_eof)
            if searched > MAX_HEAD_BYTES:
                raise _BrokenReplyError("bad-reply")
            yield
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._head_bytes += len(line) + 1
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _BrokenReplyError("bad-reply")
        return line

    def _parse_length(self) -> int | None:
        """Return the length of the body; None if the connection ends it."""
        lengths = set(self._list_lengths())
        self._is_regular &= len(self._list_values(b"content-length")) == 1
        matches = [_LENGTH_PATTERN.fullmatch(length) for length in lengths]
        parsed = {int(match[1]) if match else None for match in matches}
        self._is_regular &= len(parsed) == 1
        return parsed.pop() if len(parsed) == 1 else None

    def _list_lengths(self) -> list[bytes]:
        values = self._list_values(b"content-length")
        return [part.strip() for value in values for part in value.split(b",")]

    def _list_values(self, name: bytes) -> list[bytes]:
        return [value for other, value in self.headers if other == name]
