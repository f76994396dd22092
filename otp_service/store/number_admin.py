"""The numbers in Redis: locked numbers, erasing a number, and the do-not-send list.

A change and its event are one commit.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

import msgspec

from otp_service.core.challenge import Challenge
from otp_service.core.errors import StoreKeyUnknown, StoreTampered
from otp_service.core.events import Event
from otp_service.core.keys import KeyRing
from otp_service.core.limits import MAX_CONSECUTIVE_FAILURES, NUMBER_LIMITS, Bucket, Limit
from otp_service.core.phone_number import PhoneNumber, mask_number
from otp_service.core.ports import ErasedCounts, LockedNumber, ProgressCallback
from otp_service.core.pumping.commits import KnownNumberName
from otp_service.core.tenant import Tenant
from otp_service.store.do_not_send_list import DoNotSendList
from otp_service.store.key_names import (
    build_key_pattern,
    derive_secret_key,
    parse_bucket_tenant,
    parse_challenge_tenant,
)
from otp_service.store.key_scan import find_keys, ignore_progress
from otp_service.store.redis_store import RedisStore


_decode_challenge = msgspec.msgpack.Decoder(Challenge).decode


class NumberAdmin(DoNotSendList):
    """Implements `core.ports.NumberRegistry`; `pseudonym_ring` finds the challenges of a number."""

    def __init__(self, store: RedisStore, pseudonym_ring: KeyRing) -> None:
        super().__init__(store)
        self._key_names = store.key_names
        self._pseudonym_ring = pseudonym_ring

    async def list_locked_numbers(
        self, tenants: Mapping[str, Tenant], progress: ProgressCallback = ignore_progress
    ) -> list[LockedNumber]:
        """Return the numbers that are locked at these tenants, the latest failure first."""
        limit = Limit.CONSECUTIVE_FAILURES
        max_failures = {name: tenant.limits[limit][0].count for name, tenant in tenants.items()}
        key = self._key_names.bucket_key(0, Bucket(limit, "*"))
        keys = await find_keys(self._client, build_key_pattern(key), progress)
        buckets = await self._client.read_each(keys, "HMGET", "count", "last", "subject")
        names = map(parse_bucket_tenant, keys)
        locked = [
            LockedNumber(tenant, self._mask_subject(key, sealed), int(count), int(last))
            for key, tenant, (count, last, sealed) in zip(keys, names, buckets, strict=True)
            if count and int(count) >= max_failures.get(tenant, MAX_CONSECUTIVE_FAILURES)
        ]
        return sorted(locked, key=attrgetter("last_failure_at"), reverse=True)

    def _mask_subject(self, bucket_key: str, sealed: bytes | None) -> str:
        """Return the masked number of a bucket, or that it cannot be read; it is locked nevertheless."""
        try:
            return mask_number(self._cipher.open_record(bucket_key, sealed or b"")[1].decode())
        except (StoreTampered, StoreKeyUnknown):
            return "(unreadable)"

    async def erase_number(
        self,
        phone: PhoneNumber,
        event: Event,
        operation_id: str,
        *,
        tenants: Iterable[str],
        progress: ProgressCallback = ignore_progress,
    ) -> ErasedCounts:
        """Delete the buckets, challenges and marks of a number at these tenants.

        The marks are of submissions, and that it has verified. Return the counts of the first two. The entries of the do-not-send list stay, because the person
        asked for them. So a START lifts no opt-out until something is sent again. Events hold a
        pseudonym and stay until their retention ends. So does a challenge issued meanwhile.
        """
        tenants = tuple(tenants)
        buckets = self._list_bucket_keys(phone, tenants)
        challenges = await self._find_challenge_keys(phone, progress)
        marks = await self._find_submission_marks(phone, progress)
        present = await self._client.read_each(buckets, "EXISTS")
        records = [name for keys in challenges for name in keys]
        marks += self._list_known_number_keys(phone, tenants)
        await self._delete_with_event(phone, event, operation_id, keys=(*buckets, *records, *marks))
        return ErasedCounts(sum(present), len(challenges))

    def _list_bucket_keys(self, phone: PhoneNumber, tenants: Iterable[str]) -> list[str]:
        all_tenants = ("", *tenants)
        return [
            key
            for limit in sorted(NUMBER_LIMITS)
            for tenant in all_tenants
            for key in self._store.bucket_keys(Bucket(limit, tenant, phone.canonical))
        ]

    def _list_known_number_keys(self, phone: PhoneNumber, tenants: Iterable[str]) -> list[str]:
        return [
            key
            for tenant in tenants
            for key in self._store.known_number_keys(KnownNumberName(tenant, phone.canonical))
        ]

    async def _find_challenge_keys(
        self, phone: PhoneNumber, progress: ProgressCallback
    ) -> list[tuple[str, ...]]:
        """Return the keys of each challenge of a number, also of those that have ended.

        They are those of its record, its secret and the pointers that may lead to it.
        """
        pseudonyms = self._pseudonym_ring.derive_pseudonyms("number", phone.canonical)
        keys: list[str] = []
        for partition in self._store.list_number_partitions(phone.canonical):
            pattern = self._key_names.challenge_record_key(partition, "*", "*")
            keys += await find_keys(self._client, pattern, progress, only_master_of=pattern)
        records = await self._client.read_each(keys, "GET")
        challenges = [
            (key, self._open_challenge(key, record))
            for key, record in zip(keys, records, strict=True)
            if record is not None
        ]
        return [
            (key, derive_secret_key(key), *self._list_pointer_keys(key, challenge, phone))
            for key, challenge in challenges
            if challenge and challenge.number_pseudonym in pseudonyms
        ]

    async def _find_submission_marks(
        self, phone: PhoneNumber, progress: ProgressCallback
    ) -> list[str]:
        """Return the marks of every provider, also of those that are configured no more."""
        patterns = self._store.submission_mark_keys("*", phone.canonical)
        found = [
            await find_keys(self._client, pattern, progress, only_master_of=pattern)
            for pattern in patterns
        ]
        return [key for keys in found for key in keys]

    def _list_pointer_keys(
        self, key: str, challenge: Challenge, phone: PhoneNumber
    ) -> Sequence[str]:
        service = challenge.verify_service
        if service is None:
            return ()
        return self._store.pointer_keys(parse_challenge_tenant(key), service, phone.canonical)

    def _open_challenge(self, key: str, record: bytes) -> Challenge | None:
        try:
            return _decode_challenge(self._cipher.open_record(key, record)[1])
        except (StoreTampered, StoreKeyUnknown, msgspec.MsgspecError):
            return None  # of no number; reading it raises the error
