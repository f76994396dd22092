"""Events that an archive has twice, and challenges whose code was accepted twice.

The first pass keeps 8 bytes for each event. Only if something occurs twice are the lines read again,
to name them.
"""

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from otp_service.audit.archive_format.entries import parse_sequence_id
from otp_service.audit.archive_format.event_copies import (
    EventPlace,
    describe_copy,
    is_failover_repeat,
)
from otp_service.audit.verification.findings import FindingLog
from otp_service.core.timestamps import parse_rfc3339


_BUCKET_COUNT = 256

_match_entry = re.compile(
    rb'\{"id":"([^"]*)","at":"([^"]*)","event":\{"type":"([^"]*)","id":"([0-9a-f]{32})"'
).match
_search_challenge = re.compile(rb'"challenge":"(c\d\d-([0-9a-f]{32}))"').search


class EntryKeys(NamedTuple):
    """What an entry is compared by."""

    event: int
    """The last 64 bits of the event's id."""
    challenge: int | None
    """The last 64 bits of the challenge's id, if the event is the acceptance of its code."""


class NamedEntry(NamedTuple):
    file: str
    line_number: int
    place: EventPlace
    event_id: bytes
    challenge: str | None


class KeyIndex:
    """Many numbers of 64 bits, of which those that occur twice can be listed."""

    def __init__(self) -> None:
        self._buckets = [array("Q") for _ in range(_BUCKET_COUNT)]

    def add(self, key: int) -> None:
        self._buckets[key % _BUCKET_COUNT].append(key)

    def list_repeated(self) -> set[int]:
        repeated = set[int]()
        for bucket in self._buckets:
            if len(set(bucket)) < len(bucket):
                repeated |= {key for key, count in Counter(bucket).items() if count > 1}
        return repeated


class RepeatedKeys(NamedTuple):
    events: set[int]
    challenges: set[int]


class RepeatDetector:
    """Sees each line of an archive once, and reports from a second reading."""

    def __init__(self, finding_log: FindingLog) -> None:
        self._log = finding_log
        self._events, self._acceptances = KeyIndex(), KeyIndex()

    def add_line(self, line: bytes) -> None:
        if keys := _extract_keys(line):
            self._events.add(keys.event)
            if keys.challenge is not None:
                self._acceptances.add(keys.challenge)

    def report_repeats(self, read_lines: Callable[[], Iterable[tuple[str, int, bytes]]]) -> None:
        """Add the findings; `read_lines` returns file, number and text of each line again."""
        repeated = RepeatedKeys(self._events.list_repeated(), self._acceptances.list_repeated())
        if not any(repeated):
            return
        by_event = defaultdict[bytes, list[NamedEntry]](list)
        by_challenge = defaultdict[str | None, list[NamedEntry]](list)
        for keys, entry in _select_entries(read_lines(), repeated):
            by_event[entry.event_id].append(entry)
            if keys.challenge is not None:
                by_challenge[entry.challenge].append(entry)
        for group in by_event.values():
            self._report_copies(group)
        for group in by_challenge.values():
            self._report_acceptances(group)

    def _report_copies(self, entries: list[NamedEntry]) -> None:
        first = entries[0]
        for entry in entries[1:]:
            if entry.place.sequence_id == first.place.sequence_id:
                continue  # the sequences report a line that occurs twice
            self._log.file = entry.file
            message, event = describe_copy(first.place, entry.place), entry.place.sequence_id.id
            if is_failover_repeat(first.place, entry.place):
                self._log.add_note("repeated", message, entry.line_number, event=event)
            else:
                self._log.add_finding("copied", message, entry.line_number, event=event)

    def _report_acceptances(self, entries: list[NamedEntry]) -> None:
        first = entries[0]
        for entry in entries[1:]:
            if entry.event_id == first.event_id:
                continue  # a copy
            self._log.file = entry.file
            before, event = first.place.sequence_id.id, entry.place.sequence_id.id
            message = f"the code of {entry.challenge} was accepted before, in the event {before}"
            self._log.add_finding("accepted", message, entry.line_number, event=event)


def _extract_keys(line: bytes) -> EntryKeys | None:
    """Return the keys of an entry with a valid MAC; None for other lines and for `log.epoch`."""
    match = _match_entry(line)
    if match is None or line.endswith(b'"integrity":"failed"}'):
        return None
    challenge = None
    if match[3] == b"otp.verified" and b'"repeated":true' not in line:
        found = _search_challenge(line)
        challenge = int(found[2][16:], 16) if found else None
    return EntryKeys(int(match[4][16:], 16), challenge)


def _select_entries(
    lines: Iterable[tuple[str, int, bytes]], repeated: RepeatedKeys
) -> Iterator[tuple[EntryKeys, NamedEntry]]:
    """Yield the entries of which a key occurs twice."""
    for file, number, line in lines:
        keys = _extract_keys(line)
        if keys and (keys.event in repeated.events or keys.challenge in repeated.challenges):
            with suppress(ValueError):  # a line without a valid time or position is a finding
                yield keys, _name_entry(file, number, line)


def _name_entry(file: str, number: int, line: bytes) -> NamedEntry:
    match = _match_entry(line)
    assert match  # its keys were extracted
    found = _search_challenge(line)
    at = parse_rfc3339(match[2].decode())
    place = EventPlace(parse_sequence_id(match[1].decode()), at)
    return NamedEntry(file, number, place, match[4], found[1].decode() if found else None)
