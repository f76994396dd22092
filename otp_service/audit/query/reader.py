"""Pages of events, newest first, from Redis and from the archive if this machine has one.

A page is read in parts of the work that `PageBudget` allows. It ends after the first part with events,
or after some seconds, and its cursor continues from there. So a page may be short or empty before the
last one. Parts of all calls take turns (`ReadPacer`).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from typing import Any, TypedDict, Unpack

from otp_service.audit.archive_format.event_copies import mark_copies
from otp_service.audit.event_decoder import DecodedEvent, decode_event
from otp_service.audit.query import merged_scan
from otp_service.audit.query.archive_scan import ArchivedEntry, ArchiveReader
from otp_service.audit.query.filters import CRITERIA_NAMES, EventFilter, build_event_filter
from otp_service.audit.query.page_cursor import PageCursor, parse_cursor
from otp_service.audit.query.read_pacer import ReadPacer, yield_after
from otp_service.audit.query.stream_scan import MAX_POSITION, EventStreams, StreamScan
from otp_service.core.challenge import PARTITION_COUNT, parse_partition
from otp_service.core.keys import KeyRing
from otp_service.core.log_entry import Entry, StreamPosition
from otp_service.core.phone_number import PhoneNumber


EventPage = tuple[list[dict[str, Any]], str | None]


class EventQuery(TypedDict, total=False):
    """The filters of a query; they have to be the same on every page."""

    tenant: str | None
    """Only its events; None for those of all tenants."""
    number: PhoneNumber | None
    account: str | None
    """The tenant's name for the user; with a number, both must match."""
    since: int | None
    """Inclusive, in milliseconds since 1970."""
    until: int | None
    """Exclusive."""
    type: str | None
    """One type, or several with commas between them."""
    event_reason: str | None
    event_limit: str | None
    challenge: str | None
    pseudonym: str | None
    """Of a number, an account, a prefix or an operator block, under one key."""
    country: str | None
    provider: str | None
    client_ip: str | None
    """An address, which finds those of its /64 if it is IPv6, or that network."""
    client_ip_changed: bool | None


class EventReader:
    """Reads events for the API, the commands and the page.

    `partitions_of` returns the partitions of a canonical number, `ring` holds the keys of
    pseudonyms, `verify_mac` checks the MAC that a worker put on an event, and `has_mac_key`
    whether its key is still in force.
    """

    def __init__(  # noqa: PLR0913  # its dependencies, once
        self,
        streams: EventStreams,
        *,
        partitions_of: Callable[[str], Collection[int]],
        ring: KeyRing,
        verify_mac: Callable[[bytes, str], bool],
        has_mac_key: Callable[[str], bool] = lambda _: True,
        archive: ArchiveReader | None = None,
        budget: merged_scan.PageBudget = merged_scan.PAGE_BUDGET,
        pacer: ReadPacer | None = None,
    ) -> None:
        self._streams = streams
        self._partitions_of = partitions_of
        self._ring = ring
        self._verify_mac = verify_mac
        self._has_mac_key = has_mac_key
        self._archive = archive
        self._budget = budget
        self._pacer = pacer or ReadPacer()

    async def read_page(
        self, *, limit: int = 100, cursor: str | None = None, **query: Unpack[EventQuery]
    ) -> EventPage:
        """Return events, newest first, and the cursor of the next page, None on the last page.

        Raises InvalidRequest for an invalid cursor or `client_ip`, and StoreUnavailable.
        """
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._budget.seconds
        while True:
            async with self._pacer.take_turn():
                events, cursor = await self._read_part(limit, cursor, query)
            if events or cursor is None or loop.time() >= ends_at:
                return events, cursor

    async def _read_part(self, limit: int, cursor: str | None, query: EventQuery) -> EventPage:
        """Return what the work of `PageBudget` finds, and the cursor of what follows."""
        event_filter = self._build_filter(query)
        scan = await self._create_scan(query, event_filter, cursor, self._budget, limit)
        found: list[Entry] = []
        count = 0
        while len(found) < limit and (entry := await scan.read_next()):
            await yield_after(count := count + 1)
            if event_filter.matches(entry):
                found.append(entry)
        # One batch of the archive is in order; batches that were archived late are not.
        found.sort(key=merged_scan.sort_key, reverse=True)
        following = scan.build_cursor()
        events = []
        for entry in found:
            events.append(self.decode_event(entry).to_public())
            await yield_after(len(events))
        mark_copies(events)
        return events, None if following is None else str(following)

    async def iterate_entries(self, **query: Unpack[EventQuery]) -> AsyncGenerator[Entry, None]:
        """Yield all matching entries, newest first, without a limit. Raises StoreUnavailable."""
        event_filter = self._build_filter(query)
        scan = await self._create_scan(
            query, event_filter, None, merged_scan.UNLIMITED_BUDGET, 1000
        )
        while entry := await scan.read_next():
            if event_filter.matches(entry):
                yield entry

    def decode_event(self, entry: Entry) -> DecodedEvent:
        """Return the event of an entry, checked with the key that made its MAC.

        Where that key has been retired, the archive's own check when it copied the entry counts.
        """
        if isinstance(entry, ArchivedEntry) and not self._has_mac_key(entry.mac):
            return decode_event(entry, has_valid_mac=not entry.has_invalid_mac)
        return decode_event(entry, has_valid_mac=self._verify_mac(entry.event, entry.mac))

    def _build_filter(self, query: EventQuery) -> EventFilter:
        number, account = query.get("number"), query.get("account")
        derive = self._ring.derive_pseudonyms
        return build_event_filter(
            {name: value for name, value in query.items() if name in CRITERIA_NAMES},
            number_pseudonyms=derive("number", number.canonical) if number else None,
            account_pseudonyms=None if account is None else derive("account", account),
        )

    async def _create_scan(
        self,
        query: EventQuery,
        event_filter: EventFilter,
        cursor: str | None,
        budget: merged_scan.PageBudget,
        limit: int,
    ) -> merged_scan.MergedScan:
        """Return a scan of all entries that may match, from the cursor on."""
        partitions = self._select_partitions(query.get("number"), query.get("challenge"))
        since, until = max(query.get("since") or 0, 0), query.get("until")
        first = MAX_POSITION if until is None else StreamPosition(max(until, 0), 0)
        start = PageCursor(dict.fromkeys(partitions, first))
        if cursor is not None:
            start = parse_cursor(cursor, partitions, has_archive=self._archive is not None)
        if self._archive is None or not partitions:
            streams = StreamScan(self._streams, start.positions, since=since, count=limit)
            return merged_scan.MergedScan(streams, None, max_entries=budget.entries)
        extent = await asyncio.to_thread(self._archive.read_extent)
        streams = StreamScan(
            self._streams,
            start.positions,
            since=since,
            count=limit,
            is_stop_entry=extent.has_entry,
            empty_partition_position=StreamPosition(extent.newest_at + 1, 0),
            was_read_before=start.archive_offset is not None,
        )
        items = self._archive.scan_backward(
            start.archive_offset, can_match=event_filter.can_match, since=since, until=until
        )
        archive = merged_scan.ArchiveScanCursor(items, start.archive_offset, budget.blocks)
        return merged_scan.MergedScan(streams, archive, max_entries=budget.entries)

    def _select_partitions(self, number: PhoneNumber | None, challenge: str | None) -> list[int]:
        """Return the partitions that can hold matching events."""
        partitions = set(range(PARTITION_COUNT))
        if number is not None:
            partitions &= set(self._partitions_of(number.canonical))
        if challenge is not None:
            partitions &= {parse_partition(challenge)}
        return sorted(partitions)
