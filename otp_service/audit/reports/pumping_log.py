"""Reads an archive from its beginning for a replay of the brake on SMS pumping.

Only the lines of events that a replay reads are decoded. The archive is not verified here: `audit verify`
does that.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from otp_service.audit.archive_format import entries, segments
from otp_service.core.errors import InvalidRequest
from otp_service.core.ip_address import client_ip_limit_key, parse_client_ip
from otp_service.core.log_entry import MAX_JSON_BRACKETS, create_bounded_decoder, decode_stamp
from otp_service.core.pumping.logged_event import LoggedEvent
from otp_service.core.timestamps import format_rfc3339, parse_rfc3339


MAX_FOLDED: Final = 2**40
WrapLines = Callable[[Iterable[bytes]], Iterable[bytes]]

_EVENT_TYPE = re.compile(rb'\{"id":"[^"]*","at":"[^"]*","event":\{"type":"([a-z_.]{1,40})"')
"""The beginning of each line that a sealer writes for an event of the service."""


class LogProblems(msgspec.Struct):
    """What a reading has left out."""

    invalid_macs: int = 0
    """Events whose MAC was invalid when they were archived."""
    unreadable: int = 0
    missing: int = 0
    """Events that the archive declares missing."""


class LogExtent(NamedTuple):
    """The instants of the first and the last event, in milliseconds since 1970."""

    start: int
    end: int


_decode_event = create_bounded_decoder(LoggedEvent, MAX_JSON_BRACKETS)


def find_extent(folder: Path) -> LogExtent | None:
    """Return the instants of the first and last event of an archive; None without any. Raises OSError."""
    paths = segments.list_segments(folder)
    forward = (line for path in paths for line in segments.iterate_raw_lines(path))
    first = next(filter(None, map(_find_instant, forward)), None)
    backward = segments.iterate_archive_backward(folder)
    last = next(filter(None, map(_find_instant, backward)), None)
    return None if first is None or last is None else LogExtent(first, last)


def list_segments_since(folder: Path, since: int) -> list[Path]:
    """Return the segments that may have events from `since` on: a segment has none after the next one's day."""
    paths, day = segments.list_segments(folder), format_rfc3339(max(0, since))[:10]
    return [
        path
        for path, following in zip(paths, [*paths[1:], None], strict=True)
        if following is None or segments.parse_segment_day(following) >= day
    ]


class PumpingLog:
    """The events of an archive for a replay; `problems` counts what is left out."""

    def __init__(self, event_types: Collection[str]) -> None:
        self.problems = LogProblems()
        self.lines = 0
        self._event_types = frozenset(name.encode() for name in event_types)

    def iterate_events(
        self, lines: Iterable[bytes], since: int, until: int
    ) -> Iterator[LoggedEvent]:
        """Yield the events of these lines within a time, in their order. A torn last line is left out."""
        for line in lines:
            self.lines += 1
            match = _EVENT_TYPE.match(line)
            if match is None:
                self._count_other_line(line)
            elif match[1] in self._event_types and line.endswith(b"\n"):
                event = self._decode_line(line)
                if event is not None and since <= event.at < until:
                    yield event

    def _decode_line(self, line: bytes) -> LoggedEvent | None:
        try:
            entry = entries.decode_entry(line)
            if entry.integrity is not msgspec.UNSET:
                self.problems.invalid_macs += 1
                return None
            event = _decode_event(bytes(entry.event))
            event.at = parse_rfc3339(entry.at)
            if event.client_ip is not None:
                event.client_ip = _find_limit_key(event.client_ip)
            if entry.stamp is not msgspec.UNSET:
                _apply_stamp(event, decode_stamp(bytes(entry.stamp)))
        except ValueError:  # a MsgspecError is one
            self.problems.unreadable += 1
            return None
        return event

    def _count_other_line(self, line: bytes) -> None:
        """Count a line that is no event of the service: a gap is no event, and a seal nothing."""
        if line.startswith(entries.GAP_PREFIX):
            with suppress(ValueError):
                gap = entries.decode_gap(line)
                self.problems.missing += max(0, gap.last - gap.first + 1)
        elif not line.startswith(entries.SEAL_PREFIX):
            self.problems.unreadable += line.endswith(b"\n")


def _apply_stamp(event: LoggedEvent, stamp: dict[str, Any]) -> None:
    """Set what only Redis knew of a refusal: the limit, the reason, how many it counts."""
    event.limit = stamp.get("limit", event.limit)
    event.reason = stamp.get("reason", event.reason)
    event.folded = min(max(1, stamp.get("folded", 1)), MAX_FOLDED)


@lru_cache(maxsize=4096)
def _find_limit_key(client_ip: str) -> str | None:
    """Return the address as limits count it; None if it is invalid."""
    try:
        return client_ip_limit_key(parse_client_ip(client_ip))
    except InvalidRequest:
        return None


def _find_instant(line: bytes) -> int | None:
    """Return the instant of an event's line; None of another line."""
    if not _EVENT_TYPE.match(line):
        return None
    try:
        return parse_rfc3339(entries.decode_entry(line).at)
    except ValueError:
        return None
