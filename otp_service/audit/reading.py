"""A page of events, newest first, out of all partitions.

Each partition is a log of its own; `walk` merges them by (time, partition, sequence). How
selective the filters are changes nothing but how full a page gets: after `SCANNED` entries it
ends, and its cursor goes on from there.
"""

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from otp_service.audit.walk import NEWEST, Streams, Walk, from_cursor, to_cursor
from otp_service.core.challenge import PARTITIONS, partition_of
from otp_service.core.entry import Entry, Position, rfc3339
from otp_service.core.keys import Ring
from otp_service.core.phone import PhoneNumber
from otp_service.core.pseudonym import pseudonyms


SCANNED = 2000
"""Entries that one page looks at, at most: 20 us each, mostly for reading them."""

Page = tuple[list[dict[str, Any]], str | None]


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are wanted: all that agree with everything that is not None."""

    tenant: str | None
    numbers: frozenset[str] | None
    """The pseudonyms of one number, under each key that there is."""
    type: str | None
    challenge: str | None

    def wants(self, entry: Entry) -> bool:
        """Whether the event agrees; one that cannot be read does so only with no filter at all."""
        if self == _EVERYTHING:
            return True
        try:
            facts = _facts(entry.event)
        except msgspec.MsgspecError:
            return False
        return (
            self.tenant in {None, facts.tenant}
            and self.type in {None, facts.type}
            and self.challenge in {None, facts.challenge}
            and (self.numbers is None or facts.number in self.numbers)
        )


class Facts(msgspec.Struct, frozen=True):
    """What of an event is filtered by."""

    type: str
    tenant: str | None = None
    number: str | None = None
    challenge: str | None = None


_EVERYTHING = Filter(tenant=None, numbers=None, type=None, challenge=None)

_facts = msgspec.json.Decoder(Facts).decode
_object = msgspec.json.Decoder(dict[str, Any]).decode


class Reader:
    """Answers the audit endpoints.

    `partitions_of` tells where a (collapsed) number may live, `ring` holds the keys of pseudonyms,
    and `verify` checks the MAC that a worker put on an event.
    """

    def __init__(
        self,
        streams: Streams,
        *,
        partitions_of: Callable[[str], Collection[int]],
        ring: Ring,
        verify: Callable[[bytes, str], bool],
        scanned: int = SCANNED,
    ) -> None:
        self._streams = streams
        self._partitions_of = partitions_of
        self._ring = ring
        self._verify = verify
        self._scanned = scanned

    async def page(  # noqa: PLR0913  # the filters of the contract
        self,
        *,
        tenant: str | None = None,
        number: PhoneNumber | None = None,
        since: int | None = None,
        until: int | None = None,
        type: str | None = None,  # noqa: A002  # as the contract calls it
        challenge: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page:
        """Return events, newest first, and the cursor of the next page (None: there is none).

        `tenant` is whose events may be seen, None for everybody's; `since` is the first instant
        and `until` the first one after, in milliseconds. The filters have to be the same on every
        page. Raises InvalidRequest for a cursor that is not ours, and StoreUnavailable.
        """
        partitions = self._partitions(number, challenge)
        wanted = Filter(
            tenant=tenant, numbers=self._pseudonyms(number), type=type, challenge=challenge
        )
        first = NEWEST if until is None else Position(max(until, 0), 0)
        at = dict.fromkeys(partitions, first)
        if cursor is not None:
            at = from_cursor(cursor, partitions)
        walk = Walk(self._streams, at, since=max(since or 0, 0), count=limit)
        found: list[dict[str, Any]] = []
        for _ in range(self._scanned):
            entry = await walk.next()
            if entry is None:
                return found, None
            if wanted.wants(entry):
                found.append(self._shown(entry))
            if len(found) == limit:
                break
        return found, None if walk.is_over() else to_cursor(walk.positions)

    def _partitions(self, number: PhoneNumber | None, challenge: str | None) -> list[int]:
        """Return the partitions that can hold what is asked for: one, where that is known."""
        partitions = set(range(PARTITIONS))
        if number is not None:
            partitions &= set(self._partitions_of(number.collapsed))
        if challenge is not None:
            found = partition_of(challenge)
            partitions &= set() if found is None else {found}
        return sorted(partitions)

    def _pseudonyms(self, number: PhoneNumber | None) -> frozenset[str] | None:
        if number is None:
            return None
        return pseudonyms(self._ring, "number", number.collapsed)

    def _shown(self, entry: Entry) -> dict[str, Any]:
        """Return an entry as readers get it; what we know stands above what the event says."""
        told = _told(entry.event)
        is_ours = bool(told) and self._verify(entry.event, entry.mac)
        at, sequence = entry.position
        return {
            "type": "unreadable",
            **told,
            **_stamp(entry.stamp),  # above it, too: only Redis knew why it refused
            "at": rfc3339(at),
            "event_id": f"{entry.partition:02d}-{entry.epoch}-{sequence}",
            "partition": entry.partition,
            "epoch": entry.epoch,
            "sequence": sequence,
            "integrity": "ok" if is_ours else "failed",
        }


def _told(event: bytes) -> dict[str, Any]:
    try:
        return _object(event)
    except msgspec.MsgspecError:
        return {}


def _stamp(stamp: bytes) -> dict[str, Any]:
    said = _told(stamp)
    for name in ("first", "last"):
        if isinstance(said.get(name), int):
            said[name] = rfc3339(said[name])
    return said
