"""Pages of events, newest first, out of Redis and, where this machine has one, out of an archive.

How selective the filters are changes nothing but how full a page gets: after what `PageBudget` allow
it ends, and its cursor goes on from there.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from typing import Any, TypedDict, Unpack

from otp_service.audit.event_decoder import DecodedEvent, decode_event
from otp_service.audit.query.archive_scan import ArchivedEntry, ArchiveReader
from otp_service.audit.query.filters import EventFilter
from otp_service.audit.query.merged_scan import (
    PAGE_BUDGET,
    UNLIMITED_BUDGET,
    ArchiveScanCursor,
    MergedScan,
    PageBudget,
    sort_key,
)
from otp_service.audit.query.page_cursor import PageCursor, parse_cursor
from otp_service.audit.query.stream_scan import MAX_POSITION, EventStreams, StreamScan
from otp_service.core.challenge import PARTITION_COUNT, parse_partition
from otp_service.core.keys import KeyRing
from otp_service.core.log_entry import Entry, StreamPosition
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.pseudonym import derive_pseudonyms


EventPage = tuple[list[dict[str, Any]], str | None]


class EventQuery(TypedDict, total=False):
    """What is asked of the log; it has to be the same on every page."""

    tenant: str | None
    """Whose events may be seen; None for everybody's."""
    number: PhoneNumber | None
    since: int | None
    """The first instant, in milliseconds."""
    until: int | None
    """The first one after."""
    type: str | None
    challenge: str | None
    address: str | None
    """The person's, as events hold it."""


class EventReader:
    """Answers whoever asks for events.

    `partitions_of` tells where a (collapsed) number may live, `ring` holds the keys of pseudonyms,
    `verify` checks the MAC that a worker put on an event, and `knows` says whether its key is
    still there to do so.
    """

    def __init__(  # noqa: PLR0913  # what it is made of, once
        self,
        streams: EventStreams,
        *,
        partitions_of: Callable[[str], Collection[int]],
        ring: KeyRing,
        verify_mac: Callable[[bytes, str], bool],
        has_mac_key: Callable[[str], bool] = lambda _: True,
        archive: ArchiveReader | None = None,
        budget: PageBudget = PAGE_BUDGET,
    ) -> None:
        self._streams = streams
        self._partitions_of = partitions_of
        self._ring = ring
        self._verify_mac = verify_mac
        self._has_mac_key = has_mac_key
        self._archive = archive
        self._budget = budget

    async def read_page(
        self, *, limit: int = 100, cursor: str | None = None, **query: Unpack[EventQuery]
    ) -> EventPage:
        """Return events, newest first, and the cursor of the next page (None: there is none).

        Raises InvalidRequest for a cursor that is not ours, and StoreUnavailable.
        """
        wanted = self._build_filter(query)
        search = await self._create_scan(query, wanted, cursor, self._budget, limit)
        found: list[Entry] = []
        while len(found) < limit and (entry := await search.read_next()):
            if wanted.matches(entry):
                found.append(entry)
        # What was archived together is in order already; what was, late, one after another, is not.
        found.sort(key=sort_key, reverse=True)
        following = search.build_cursor()
        shown = [self.decode_event(entry).to_public() for entry in found]
        return shown, None if following is None else str(following)

    async def iterate_entries(self, **query: Unpack[EventQuery]) -> AsyncGenerator[Entry, None]:
        """Give all that is asked for, newest first, however much it is. Raises StoreUnavailable."""
        wanted = self._build_filter(query)
        search = await self._create_scan(query, wanted, None, UNLIMITED_BUDGET, 1000)
        while entry := await search.read_next():
            if wanted.matches(entry):
                yield entry

    def decode_event(self, entry: Entry) -> DecodedEvent:
        """Return the event of an entry, checked with the key that made its MAC.

        Where that key has been retired, the archive's own check when it copied the entry counts.
        """
        if isinstance(entry, ArchivedEntry) and not self._has_mac_key(entry.mac):
            return decode_event(entry, has_valid_mac=not entry.has_invalid_mac)
        return decode_event(entry, has_valid_mac=self._verify_mac(entry.event, entry.mac))

    def _build_filter(self, query: EventQuery) -> EventFilter:
        number = query.get("number")
        return EventFilter(
            tenant=query.get("tenant"),
            number_pseudonyms=derive_pseudonyms(self._ring, "number", number.canonical)
            if number
            else None,
            type=query.get("type"),
            challenge=query.get("challenge"),
            address=query.get("address"),
        )

    async def _create_scan(
        self,
        query: EventQuery,
        event_filter: EventFilter,
        cursor: str | None,
        budget: PageBudget,
        limit: int,
    ) -> MergedScan:
        """Return what goes through all that may be wanted, from the cursor on."""
        partitions = self._select_partitions(query.get("number"), query.get("challenge"))
        since, until = max(query.get("since") or 0, 0), query.get("until")
        first = MAX_POSITION if until is None else StreamPosition(max(until, 0), 0)
        start = PageCursor(dict.fromkeys(partitions, first))
        if cursor is not None:
            start = parse_cursor(cursor, partitions, has_archive=self._archive is not None)
        if self._archive is None or not partitions:
            walk = StreamScan(self._streams, start.positions, since=since, count=limit)
            return MergedScan(walk, None, max_entries=budget.entries)
        reach = await asyncio.to_thread(self._archive.read_extent)
        walk = StreamScan(
            self._streams,
            start.positions,
            since=since,
            count=limit,
            is_past_end=reach.has_entry,
            end_position=StreamPosition(reach.newest_at + 1, 0),
            is_ended=start.archive_offset is not None,
        )
        items = self._archive.scan_backward(
            start.archive_offset, can_match=event_filter.can_match, since=since, until=until
        )
        return MergedScan(
            walk,
            ArchiveScanCursor(items, start.archive_offset, budget.blocks),
            max_entries=budget.entries,
        )

    def _select_partitions(self, number: PhoneNumber | None, challenge: str | None) -> list[int]:
        """Return the partitions that can hold what is asked for: one, where that is known."""
        partitions = set(range(PARTITION_COUNT))
        if number is not None:
            partitions &= set(self._partitions_of(number.canonical))
        if challenge is not None:
            found = parse_partition(challenge)
            partitions &= set() if found is None else {found}
        return sorted(partitions)
