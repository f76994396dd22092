"""What operators do: the do-not-send list, the numbers that are locked, and forgetting one.

Changes go through the commit script, so each happens together with its event or not at all.
Looking for keys is SCAN over all masters, which costs Redis a little for a long time.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from otp_service.core.challenge import Challenge
from otp_service.core.errors import StoreTampered
from otp_service.core.events import Event
from otp_service.core.keys import KeyRing
from otp_service.core.limits import MAX_CONSECUTIVE_FAILURES, NUMBER_LIMITS, Bucket, Limit
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.ports import ErasedCounts, LockedNumber, ProgressCallback
from otp_service.core.pseudonym import derive_pseudonyms
from otp_service.core.tenant import Tenant
from otp_service.store.client import Master
from otp_service.store.key_names import (
    build_key_pattern,
    derive_secret_key,
    parse_bucket_tenant,
    parse_key_partition,
)
from otp_service.store.redis_store import RedisStore


SCAN_BATCH_KEYS = 1000
"""Keys that Redis looks at between two other commands: well under a millisecond."""


def ignore_progress(done: int, total: int) -> None:
    """Do nothing: the default of scans that take no callback."""


class NumberAdmin:
    """Implements `core.ports.NumberRegistry`; `pseudonym_ring` finds the challenges of a number."""

    def __init__(self, store: RedisStore, pseudonym_ring: KeyRing) -> None:
        self._store = store
        self._client = store.client
        self._key_names = store.key_names
        self._cipher = store.cipher
        self._pseudonym_ring = pseudonym_ring

    async def block_number(self, phone: PhoneNumber, event: Event, operation_id: str) -> None:
        """Put a number on the do-not-send list, for all tenants and for ever."""
        name, *_ = self._store.blocklist_keys(phone.canonical)
        # Not sealed: it is masked, and has to be readable for longer than any key is kept.
        await self._commit_change(phone, event, operation_id, put=(name, phone.masked.encode()))

    async def unblock_number(self, phone: PhoneNumber, event: Event, operation_id: str) -> None:
        """Take a number off the do-not-send list."""
        await self._commit_change(
            phone, event, operation_id, delete=self._store.blocklist_keys(phone.canonical)
        )

    async def list_blocked_numbers(self, progress: ProgressCallback = ignore_progress) -> list[str]:
        """Return the numbers on the do-not-send list, masked."""
        names = await self._find_keys(
            build_key_pattern(self._key_names.blocklist_key(0, "")), progress
        )
        records = await self._read_each(names, "GET")
        return sorted(record.decode(errors="replace") for record in records if record is not None)

    async def list_locked_numbers(
        self, tenants: Mapping[str, Tenant], progress: ProgressCallback = ignore_progress
    ) -> list[LockedNumber]:
        """Return the numbers that are locked at these tenants, the latest first."""
        least = {
            name: tenant.limits[Limit.CONSECUTIVE_FAILURES][0].count
            for name, tenant in tenants.items()
        }
        row = self._key_names.bucket_key(0, Bucket(Limit.CONSECUTIVE_FAILURES, "*"))
        names = await self._find_keys(build_key_pattern(row), progress)
        rows = await self._read_each(names, "HMGET", "count", "last", "masked_number")
        found = [
            LockedNumber(parse_bucket_tenant(name), (who or b"").decode(), int(count), int(last))
            for name, (count, last, who) in zip(names, rows, strict=True)
            if count is not None
            and int(count) >= least.get(parse_bucket_tenant(name), MAX_CONSECUTIVE_FAILURES)
        ]
        return sorted(found, key=lambda one: one.last_failure_at, reverse=True)

    async def erase_number(
        self,
        phone: PhoneNumber,
        event: Event,
        operation_id: str,
        *,
        tenants: Iterable[str],
        progress: ProgressCallback = ignore_progress,
    ) -> ErasedCounts:
        """Delete all buckets and challenges of a number, at all these tenants.

        The do-not-send list keeps it: somebody asked not to be written to. Its events stay until their retention ends; they hold a pseudonym. A challenge that is
        issued meanwhile stays.
        """
        buckets = self._list_bucket_keys(phone, tenants)
        challenges = await self._find_challenge_keys(phone, progress)
        present = await self._read_each(buckets, "EXISTS")
        records = [name for pair in challenges for name in pair]
        await self._commit_change(phone, event, operation_id, delete=(*buckets, *records))
        return ErasedCounts(sum(present), len(challenges))

    async def _commit_change(
        self,
        phone: PhoneNumber,
        event: Event,
        operation_id: str,
        *,
        put: tuple[str, bytes] | None = None,
        delete: Sequence[str] = (),
    ) -> None:
        partition = self._store.get_number_partition(phone.canonical)
        elsewhere = [name for name in delete if parse_key_partition(name) != partition]
        await self._store.delete_keys(elsewhere, operation_id, durable=True)
        draft = self._store.start_commit(partition, operation_id)
        for key in delete:
            if parse_key_partition(key) == partition:
                draft.delete(key)
        if put:
            draft.write(*put)
        draft.append(event)
        await self._store.run_commit(draft, durable=True)

    def _list_bucket_keys(self, phone: PhoneNumber, tenants: Iterable[str]) -> list[str]:
        everybody = ("", *tenants)
        return [
            name
            for limit in sorted(NUMBER_LIMITS)
            for tenant in everybody
            for name in self._store.bucket_keys(Bucket(limit, tenant, phone.canonical))
        ]

    async def _find_challenge_keys(
        self, phone: PhoneNumber, progress: ProgressCallback
    ) -> list[tuple[str, str]]:
        """Return the keys of the number's challenges, also of those that have ended."""
        patterns = [
            self._key_names.challenge_record_key(p, "*", "*")
            for p in self._store.list_number_partitions(phone.canonical)
        ]
        subjects = derive_pseudonyms(self._pseudonym_ring, "number", phone.canonical)
        names = [
            name
            for one in patterns
            for name in await self._find_keys(one, progress, only_master_of=one)
        ]
        records = await self._read_each(names, "GET")
        return [
            (name, derive_secret_key(name))
            for name, record in zip(names, records, strict=True)
            if record is not None and self._read_number_pseudonym(name, record) in subjects
        ]

    def _read_number_pseudonym(self, key: str, record: bytes) -> str | None:
        try:
            return _decode_challenge(self._cipher.open_record(key, record)[1]).number_pseudonym
        except (StoreTampered, msgspec.MsgspecError):
            return None  # nobody's: whoever reads it is told so

    async def _read_each(self, keys: Sequence[str], command: str, *rest: str) -> list[Any]:
        """Return what a command that reads answers for each key."""
        answers: list[Any] = []
        for start in range(0, len(keys), SCAN_BATCH_KEYS):
            some = keys[start : start + SCAN_BATCH_KEYS]
            read = await self._client.read_many([(name, [(command, name, *rest)]) for name in some])
            answers += [answer for (answer,) in read]
        return answers

    async def _find_keys(
        self, pattern: str, progress: ProgressCallback, *, only_master_of: str | None = None
    ) -> list[str]:
        """Return the keys like this, on the master of a key or on all of them."""
        masters = (
            [await self._client.find_master(only_master_of)]
            if only_master_of
            else await self._client.list_masters()
        )
        found: set[str] = set()  # SCAN may give a key twice
        done, total = 0, sum([await self._client.read_from(master, "DBSIZE") for master in masters])
        for master in masters:
            async for names in self._scan_keys(master, pattern):
                found.update(names)
                done += SCAN_BATCH_KEYS
                progress(min(done, total), total)
        return sorted(found)

    async def _scan_keys(self, master: Master, pattern: str) -> AsyncIterator[list[str]]:
        cursor = b"0"
        while True:
            cursor, names = await self._client.read_from(
                master, "SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_BATCH_KEYS
            )
            yield [name.decode() for name in names]
            if cursor == b"0":
                return


_decode_challenge = msgspec.msgpack.Decoder(Challenge).decode
