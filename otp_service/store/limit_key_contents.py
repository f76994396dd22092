"""What is stored under each limit key, and where the key in force would name it.

A record here holds its subject under keys derived from the limit key that names it
(record_cipher.py), so its name under another key can be computed. What expires by itself is only
counted: marks of numbers that were sent to, numbers that have verified, and codes that are still valid.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from otp_service.core.challenge import ChallengeSecret
from otp_service.core.do_not_send import DoNotSendEntry
from otp_service.core.errors import StoreKeyUnknown, StoreTampered
from otp_service.core.limits import NUMBER_LIMITS, Bucket
from otp_service.core.phone_number import canonicalize_number
from otp_service.core.ports import ProgressCallback
from otp_service.core.pumping.commits import KnownNumberName
from otp_service.store.key_names import (
    KeyNames,
    build_failures_pattern,
    build_key_pattern,
    parse_bucket,
    parse_key_partition,
    parse_kind,
    parse_opt_out_tenant,
)
from otp_service.store.key_scan import find_keys, ignore_progress, iterate_keys
from otp_service.store.known_numbers import parse_known_number
from otp_service.store.record_cipher import RecordCipher
from otp_service.store.redis_store import RedisStore


class ContentKind(StrEnum):
    """What a limit key names and a later key has to name, too; the values are for people."""

    BLOCK = "blocks"
    OPT_OUT = "opt-outs"
    FAILURES = "consecutive failures"
    RECIPIENT = "recipients"
    """Marks of numbers that were sent to, without which a STOP does not count. They are not moved."""
    KNOWN_NUMBER = "known numbers"
    """Numbers that have verified, which the brake on SMS pumping exempts. They are not moved."""
    LIVE_CODE = "valid codes"
    """Codes in the partition that another limit key has chosen. They are not moved."""


MOVED_KINDS = (ContentKind.OPT_OUT, ContentKind.BLOCK, ContentKind.FAILURES)
EXPIRING_KINDS = (ContentKind.RECIPIENT, ContentKind.KNOWN_NUMBER, ContentKind.LIVE_CODE)

READ_BATCH_KEYS = 1000

_decode_entry = msgspec.msgpack.Decoder(DoNotSendEntry).decode
_decode_secret = msgspec.msgpack.Decoder(ChallengeSecret).decode


class MisplacedKey(msgspec.Struct, frozen=True):
    """A key with another name than the limit key in force would give it."""

    kind: ContentKind
    key: str
    target: str
    """Its name under the key in force."""
    number: str = ""
    """The canonical number; empty for an account."""

    def __repr__(self) -> str:
        return f"MisplacedKey({self.key!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("key", self.key)]  # msgspec's own would show the number


class LimitKeyContents(msgspec.Struct):
    """What a scan has found."""

    key_ids: tuple[str, ...]
    """Those of the configured keys, the one in force first."""
    in_place: Counter[ContentKind] = msgspec.field(default_factory=Counter)
    """What is named under the key in force."""
    elsewhere: Counter[tuple[str, ContentKind]] = msgspec.field(default_factory=Counter)
    """What has another name, by the id of the key that it is under."""
    unreadable: Counter[ContentKind] = msgspec.field(default_factory=Counter)
    """What does not open although its key is configured, or that names no key."""
    misplaced: list[MisplacedKey] = msgspec.field(default_factory=list)
    """What can be moved."""
    live_numbers: set[str] = msgspec.field(default_factory=set)
    """The canonical numbers of the valid codes that are elsewhere."""

    def list_missing_keys(self) -> list[str]:
        """Return the ids of keys that something is under, and that are not configured."""
        return [key_id for key_id in self.list_used_keys() if key_id not in self.key_ids]

    def list_used_keys(self) -> list[str]:
        """Return the ids of keys that something elsewhere is under."""
        return sorted({key_id for (key_id, _), count in self.elsewhere.items() if count})

    def count_under(self, key_id: str, kinds: Sequence[ContentKind] = tuple(ContentKind)) -> int:
        """Return how much is elsewhere under a key."""
        return sum(self.elsewhere[key_id, kind] for kind in kinds)

    def is_waiting(self, item: MisplacedKey) -> bool:
        """Whether this is moved only after a valid code of its number has ended.

        That code is charged in the partition of the earlier key.
        """
        return item.kind is ContentKind.FAILURES and item.number in self.live_numbers

    @property
    def is_settled(self) -> bool:
        """Whether no key but the one in force is needed by anything."""
        return not self.elsewhere.total() and not self.unreadable.total()


class LimitKeyScan:
    """Counts what is under each limit key. Its methods raise StoreUnavailable."""

    def __init__(self, store: RedisStore, progress: ProgressCallback = ignore_progress) -> None:
        self._store = store
        self._names = store.key_names
        self._cipher = store.cipher
        self._progress = progress
        self._contents = LimitKeyContents(
            tuple(names.limit_key_id for names in store.all_key_names)
        )

    async def count_all(self) -> LimitKeyContents:
        """Return what is under each key, also what expires by itself."""
        await self.count_moved_kinds()
        if len(self._contents.key_ids) > 1:
            mark = self._names.submission_mark_key(0, "*", "")
            await self._scan_many(build_key_pattern(mark), self._count_mark)
            known = self._names.known_number_key(0, KnownNumberName("*", ""))
            await self._scan_many(build_key_pattern(known), self._count_known_number)
            secret = self._names.secret_record_key(0, "*", "")
            await self._scan_many(build_key_pattern(secret), self._count_secret)
        return self._contents

    async def count_moved_kinds(self) -> LimitKeyContents:
        """Return what is under each key, without what expires by itself."""
        names = self._names
        for pattern in (names.block_key(0, ""), names.opt_out_key(0, "*", "")):
            await self._scan(build_key_pattern(pattern), self._count_entry, "GET")
        fields = ("HMGET", "subject", "count")
        await self._scan(build_failures_pattern(), self._count_failures, *fields)
        return self._contents

    async def _scan(self, pattern: str, count: Callable[[str, Any], None], *command: str) -> None:
        """Call `count` with each key of a pattern and its value."""
        keys = await find_keys(self._store.client, pattern, self._progress)
        for start in range(0, len(keys), READ_BATCH_KEYS):
            await self._read(keys[start : start + READ_BATCH_KEYS], count, *command)

    async def _scan_many(self, pattern: str, count: Callable[[str, bytes], None]) -> None:
        """Do as `_scan` with strings, without all names in memory; a key may be counted twice."""
        async for keys in iterate_keys(self._store.client, pattern, self._progress):
            await self._read(keys, count, "GET")

    async def _read(
        self, keys: Sequence[str], count: Callable[[str, Any], None], *command: str
    ) -> None:
        values = await self._store.client.read_each(keys, *command)
        for key, value in zip(keys, values, strict=True):
            if value is not None:
                count(key, value)

    def _count_entry(self, key: str, value: bytes) -> None:
        is_block = parse_kind(key) == "blocked"
        kind = ContentKind.BLOCK if is_block else ContentKind.OPT_OUT
        body = self._open(kind, key, value)
        if body is None:
            return
        try:
            number = canonicalize_number(_decode_entry(body).number)
        except msgspec.MsgspecError:
            self._contents.unreadable[kind] += 1
            return
        partition = self._names.compute_number_partition(number)
        target = (
            self._names.block_key(partition, number)
            if is_block
            else self._names.opt_out_key(partition, parse_opt_out_tenant(key), number)
        )
        self._count(MisplacedKey(kind, key, target, number), value)

    def _count_failures(self, key: str, fields: list[bytes | None]) -> None:
        subject, count = fields
        if not int(count or 0):
            return  # deleted meanwhile, or empty after a move
        body = self._open(ContentKind.FAILURES, key, subject or b"")
        if body is None:
            return
        limit, tenant = parse_bucket(key)
        bucket = Bucket(limit, tenant, body.decode())
        is_number = limit in NUMBER_LIMITS
        target = locate_bucket(self._names, bucket)
        number = bucket.subject if is_number else ""
        self._count(MisplacedKey(ContentKind.FAILURES, key, target, number), subject or b"")

    def _count_mark(self, _: str, value: bytes) -> None:
        self._count_expiring(ContentKind.RECIPIENT, value.decode(errors="replace"))

    def _count_known_number(self, _: str, value: bytes) -> None:
        self._count_expiring(ContentKind.KNOWN_NUMBER, parse_known_number(value).key_id)

    def _count_expiring(self, kind: ContentKind, key_id: str) -> None:
        if key_id == self._contents.key_ids[0]:
            self._contents.in_place[kind] += 1
        else:
            self._contents.elsewhere[key_id, kind] += 1

    def _count_secret(self, key: str, value: bytes) -> None:
        """Count a valid code whose challenge is in another partition than that of its number."""
        try:
            secret = _decode_secret(self._cipher.open_record(key, value)[1])
        except (StoreTampered, StoreKeyUnknown, msgspec.MsgspecError):
            return  # it can be neither verified nor sent again
        number = canonicalize_number(secret.number)
        partition = self._names.compute_number_partition(number)
        if parse_key_partition(key) != partition:
            self._contents.elsewhere[self._earlier_id, ContentKind.LIVE_CODE] += 1
            self._contents.live_numbers.add(number)

    def _open(self, kind: ContentKind, key: str, record: bytes) -> bytes | None:
        """Return the body of a record. Counts one that cannot be opened, and returns None."""
        try:
            return self._cipher.open_record(key, record)[1]
        except StoreKeyUnknown:
            self._contents.elsewhere[RecordCipher.parse_key_id(record), kind] += 1
        except StoreTampered:
            self._contents.unreadable[kind] += 1
        return None

    def _count(self, item: MisplacedKey, record: bytes) -> None:
        contents = self._contents
        if item.key == item.target:
            contents.in_place[item.kind] += 1
            return
        key_id = RecordCipher.parse_key_id(record)
        if key_id == contents.key_ids[0]:
            # The key in force names it, in the partition that the earlier key has chosen.
            key_id = self._earlier_id
        contents.elsewhere[key_id, item.kind] += 1
        contents.misplaced.append(item)

    @property
    def _earlier_id(self) -> str:
        """The id of the other key; that of the key in force if it is alone."""
        return self._contents.key_ids[-1]


def locate_bucket(names: KeyNames, bucket: Bucket) -> str:
    """Return the key of a bucket under one limit key."""
    if bucket.limit in NUMBER_LIMITS:
        return names.bucket_key(names.compute_number_partition(bucket.subject), bucket)
    return names.bucket_key(names.compute_bucket_partition(bucket), bucket)
