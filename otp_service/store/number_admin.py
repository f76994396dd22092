"""What operators do: the do-not-send list, the numbers that are locked, and forgetting one.

Changes go through the commit script, so each happens together with its event or not at all.
Looking for keys is SCAN over all masters, which costs Redis a little for a long time.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from otp_service.core.challenge import Challenge
from otp_service.core.errors import StoreTampered
from otp_service.core.events import Event
from otp_service.core.keys import Ring
from otp_service.core.limits import NUMBERS_OWN, ROW_LIMIT, Bucket, Limit
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.pseudonym import pseudonyms
from otp_service.core.tenant import Tenant
from otp_service.store.client import Master
from otp_service.store.commit_request import DELETE, Places
from otp_service.store.redis_store import RedisStore


SCAN_COUNT = 1000
"""Keys that Redis looks at between two other commands: well under a millisecond."""

Progress = Callable[[int, int], None]
"""Is told how many keys were looked at, and of how many, about."""


def silent(done: int, of: int) -> None:
    """Tell nobody."""


class LockedNumber(msgspec.Struct, frozen=True):
    """A number that an operator has to unlock."""

    tenant: str
    masked: str
    failures: int
    last: int
    """When the last one was, in milliseconds."""


class Deleted(msgspec.Struct, frozen=True):
    """What was held about a number, and no longer is."""

    buckets: int
    challenges: int


class Operators:
    """Works on the store; `ring` holds the keys of pseudonyms.

    `event` is what is told, and `operation` names the change, so that repeating it changes
    nothing. Every method raises StoreUnavailable.
    """

    def __init__(self, store: RedisStore, ring: Ring) -> None:
        self._store = store
        self._link = store.link
        self._names = store.names
        self._vault = store.vault
        self._ring = ring

    async def block(self, phone: PhoneNumber, event: Event, operation: str) -> None:
        """Put a number on the do-not-send list, for all tenants and for ever."""
        name, *_ = self._store.entries(phone.collapsed)
        # Not sealed: it is masked, and has to be readable for longer than any key is kept.
        await self._change(phone, event, operation, put=(name, phone.masked.encode()))

    async def unblock(self, phone: PhoneNumber, event: Event, operation: str) -> None:
        """Take a number off the do-not-send list."""
        await self._change(phone, event, operation, delete=self._store.entries(phone.collapsed))

    async def blocked(self, progress: Progress = silent) -> list[str]:
        """Return the numbers on the do-not-send list, masked."""
        names = await self._find(_pattern(self._names.blocked(0, "")), progress)
        records = await self._each(names, "GET")
        return sorted(record.decode(errors="replace") for record in records if record is not None)

    async def locked(
        self, tenants: Mapping[str, Tenant], progress: Progress = silent
    ) -> list[LockedNumber]:
        """Return the numbers that are locked at these tenants, the latest first."""
        least = {name: tenant.rates[Limit.ROW][0].count for name, tenant in tenants.items()}
        row = self._names.bucket(0, Bucket(Limit.ROW, "*"))
        names = await self._find(_pattern(row), progress)
        rows = await self._each(names, "HMGET", "count", "last", "who")
        found = [
            LockedNumber(name.split(":")[3], (who or b"").decode(), int(count), int(last))
            for name, (count, last, who) in zip(names, rows, strict=True)
            if count is not None and int(count) >= least.get(name.split(":")[3], ROW_LIMIT)
        ]
        return sorted(found, key=lambda one: one.last, reverse=True)

    async def forget(
        self,
        phone: PhoneNumber,
        event: Event,
        operation: str,
        *,
        tenants: Iterable[str],
        progress: Progress = silent,
    ) -> Deleted:
        """Delete all buckets and challenges of a number, at all these tenants.

        The do-not-send list keeps it: somebody asked not to be written to. Its events stay until their retention ends; they hold a pseudonym. A challenge that is
        issued meanwhile stays.
        """
        buckets = self._buckets(phone, tenants)
        challenges = await self._challenges(phone, progress)
        present = await self._each(buckets, "EXISTS")
        records = [name for pair in challenges for name in pair]
        await self._change(phone, event, operation, delete=(*buckets, *records))
        return Deleted(sum(present), len(challenges))

    async def _change(
        self,
        phone: PhoneNumber,
        event: Event,
        operation: str,
        *,
        put: tuple[str, bytes] | None = None,
        delete: Sequence[str] = (),
    ) -> None:
        partition = self._store.partition_of(phone.collapsed)
        elsewhere = [name for name in delete if int(name[1:3]) != partition]
        await self._store.delete(elsewhere, operation, durable=True)
        places = Places(self._store.fixed(partition, operation))
        writes = [(places.of(name), DELETE, 0) for name in delete if int(name[1:3]) == partition]
        if put:
            writes.append((places.of(put[0]), places.value(put[1]), 0))
        body = msgspec.json.encode(event)
        told = [(body.decode(), self._vault.sign(body))]
        request = self._store.request(places, writes=writes, events=told)
        await self._store.run(places, request, durable=True)

    def _buckets(self, phone: PhoneNumber, tenants: Iterable[str]) -> list[str]:
        everybody = ("", *tenants)
        return [
            name
            for limit in sorted(NUMBERS_OWN)
            for tenant in everybody
            for name in self._store.buckets(Bucket(limit, tenant, phone.collapsed))
        ]

    async def _challenges(self, phone: PhoneNumber, progress: Progress) -> list[tuple[str, str]]:
        """Return the keys of the number's challenges, also of those that have ended."""
        patterns = [
            self._names.challenge(p, "*", "*") for p in self._store.partitions_of(phone.collapsed)
        ]
        subjects = pseudonyms(self._ring, "number", phone.collapsed)
        names = [name for one in patterns for name in await self._find(one, progress, of=one)]
        records = await self._each(names, "GET")
        return [
            (name, self._names.secret(int(name[1:3]), *name.split(":")[2:]))
            for name, record in zip(names, records, strict=True)
            if record is not None and self._subject(name, record) in subjects
        ]

    def _subject(self, name: str, record: bytes) -> str | None:
        try:
            return _challenge(self._vault.open(name, record)[1]).subject
        except (StoreTampered, msgspec.MsgspecError):
            return None  # nobody's: whoever reads it is told so

    async def _each(self, names: Sequence[str], command: str, *rest: str) -> list[Any]:
        """Return what a command that reads answers for each key."""
        answers: list[Any] = []
        for start in range(0, len(names), SCAN_COUNT):
            some = names[start : start + SCAN_COUNT]
            read = await self._link.read([(name, [(command, name, *rest)]) for name in some])
            answers += [answer for (answer,) in read]
        return answers

    async def _find(self, pattern: str, progress: Progress, *, of: str | None = None) -> list[str]:
        """Return the keys like this, on the master of a key or on all of them."""
        masters = [await self._link.master_of(of)] if of else await self._link.masters()
        found: set[str] = set()  # SCAN may give a key twice
        done, total = 0, sum([await self._link.ask(master, "DBSIZE") for master in masters])
        for master in masters:
            async for names in self._scan(master, pattern):
                found.update(names)
                done += SCAN_COUNT
                progress(min(done, total), total)
        return sorted(found)

    async def _scan(self, master: Master, pattern: str) -> AsyncIterator[list[str]]:
        cursor = b"0"
        while True:
            cursor, names = await self._link.ask(
                master, "SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT
            )
            yield [name.decode() for name in names]
            if cursor == b"0":
                return


_challenge = msgspec.msgpack.Decoder(Challenge).decode


def _pattern(name: str) -> str:
    """Return a pattern for keys like this one of partition 0, in all partitions, of anybody."""
    return ":".join(("{*}", *name.split(":")[1:-1], "*"))
