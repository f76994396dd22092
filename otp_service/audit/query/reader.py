"""Pages of events, newest first, out of Redis and, where this machine has one, out of an archive.

How selective the filters are changes nothing but how full a page gets: after what `Bounds` allow
it ends, and its cursor goes on from there.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from typing import Any, TypedDict, Unpack

import msgspec

from otp_service.audit.archive_format.entries import LONGEST
from otp_service.audit.query.archive_scan import Archive, Archived
from otp_service.audit.query.filters import Filter
from otp_service.audit.query.merged_scan import EVERYTHING, PAGE, Bounds, Search, Trail, order
from otp_service.audit.query.page_cursor import Cursor, cursor_of
from otp_service.audit.query.stream_scan import NEWEST, Streams, Walk
from otp_service.core.challenge import PARTITIONS, partition_of
from otp_service.core.keys import Ring
from otp_service.core.log_entry import MOST_BRACKETS, Entry, Position, decoder, rfc3339, stamped
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.pseudonym import pseudonyms


Page = tuple[list[dict[str, Any]], str | None]

_object = decoder(dict[str, Any], MOST_BRACKETS)


class Asked(TypedDict, total=False):
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


class Reader:
    """Answers whoever asks for events.

    `partitions_of` tells where a (collapsed) number may live, `ring` holds the keys of pseudonyms,
    `verify` checks the MAC that a worker put on an event, and `knows` says whether its key is
    still there to do so.
    """

    def __init__(  # noqa: PLR0913  # what it is made of, once
        self,
        streams: Streams,
        *,
        partitions_of: Callable[[str], Collection[int]],
        ring: Ring,
        verify: Callable[[bytes, str], bool],
        knows: Callable[[str], bool] = lambda _: True,
        archive: Archive | None = None,
        bounds: Bounds = PAGE,
    ) -> None:
        self._streams = streams
        self._partitions_of = partitions_of
        self._ring = ring
        self._verify = verify
        self._knows = knows
        self._archive = archive
        self._bounds = bounds

    async def page(
        self, *, limit: int = 100, cursor: str | None = None, **asked: Unpack[Asked]
    ) -> Page:
        """Return events, newest first, and the cursor of the next page (None: there is none).

        Raises InvalidRequest for a cursor that is not ours, and StoreUnavailable.
        """
        wanted = self._filter(asked)
        search = await self._search(asked, wanted, cursor, self._bounds, limit)
        found: list[Entry] = []
        while len(found) < limit and (entry := await search.next()):
            if wanted.wants(entry):
                found.append(entry)
        # What was archived together is in order already; what was, late, one after another, is not.
        found.sort(key=order, reverse=True)
        following = search.cursor()
        shown = [self.shown(entry) for entry in found]
        return shown, None if following is None else str(following)

    async def entries(self, **asked: Unpack[Asked]) -> AsyncGenerator[Entry, None]:
        """Give all that is asked for, newest first, however much it is. Raises StoreUnavailable."""
        wanted = self._filter(asked)
        search = await self._search(asked, wanted, None, EVERYTHING, 1000)
        while entry := await search.next():
            if wanted.wants(entry):
                yield entry

    def is_ours(self, entry: Entry) -> bool:
        """Whether a worker told this event; what a retired key has signed, the archive vouches for."""
        if isinstance(entry, Archived) and not self._knows(entry.mac):
            return not entry.failed
        return self._verify(entry.event, entry.mac)

    def shown(self, entry: Entry) -> dict[str, Any]:
        """Return an entry as readers get it; what we know stands above what the event says."""
        told, stamp = _told(entry.event), _stamp(entry.stamp)
        is_ours = bool(told) and stamp is not None and self.is_ours(entry)
        at, sequence = entry.position
        return {
            "type": "unreadable",
            **told,
            **(stamp or {}),  # above it, too: only Redis knew why it refused
            "at": rfc3339(at),
            "event_id": f"{entry.partition:02d}-{entry.epoch}-{sequence}",
            "partition": entry.partition,
            "epoch": entry.epoch,
            "sequence": sequence,
            "integrity": "ok" if is_ours else "failed",
        }

    def _filter(self, asked: Asked) -> Filter:
        number = asked.get("number")
        return Filter(
            tenant=asked.get("tenant"),
            numbers=pseudonyms(self._ring, "number", number.collapsed) if number else None,
            type=asked.get("type"),
            challenge=asked.get("challenge"),
            address=asked.get("address"),
        )

    async def _search(
        self, asked: Asked, wanted: Filter, cursor: str | None, bounds: Bounds, limit: int
    ) -> Search:
        """Return what goes through all that may be wanted, from the cursor on."""
        partitions = self._partitions(asked.get("number"), asked.get("challenge"))
        since, until = max(asked.get("since") or 0, 0), asked.get("until")
        first = NEWEST if until is None else Position(max(until, 0), 0)
        start = Cursor(dict.fromkeys(partitions, first))
        if cursor is not None:
            start = cursor_of(cursor, partitions, has_archive=self._archive is not None)
        if self._archive is None or not partitions:
            walk = Walk(self._streams, start.positions, since=since, count=limit)
            return Search(walk, None, entries=bounds.entries)
        reach = await asyncio.to_thread(self._archive.reach)
        walk = Walk(
            self._streams,
            start.positions,
            since=since,
            count=limit,
            is_behind=reach.holds,
            last=Position(reach.at + 1, 0),
            is_ended=start.spot is not None,
        )
        items = self._archive.backward(
            start.spot, may_want=wanted.may_want, since=since, until=until
        )
        return Search(walk, Trail(items, start.spot, bounds.blocks), entries=bounds.entries)

    def _partitions(self, number: PhoneNumber | None, challenge: str | None) -> list[int]:
        """Return the partitions that can hold what is asked for: one, where that is known."""
        partitions = set(range(PARTITIONS))
        if number is not None:
            partitions &= set(self._partitions_of(number.collapsed))
        if challenge is not None:
            found = partition_of(challenge)
            partitions &= set() if found is None else {found}
        return sorted(partitions)


def _told(event: bytes) -> dict[str, Any]:
    try:
        return _object(event) if len(event) <= LONGEST else {}
    except msgspec.MsgspecError:
        return {}


def _stamp(stamp: bytes) -> dict[str, Any] | None:
    """Return what a stamp says, or None if it is none of Redis's."""
    try:
        said = stamped(stamp)
    except msgspec.MsgspecError:
        return None
    return said | {name: rfc3339(said[name]) for name in ("first", "last") if name in said}
