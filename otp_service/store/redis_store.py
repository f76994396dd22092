"""The store: challenges, buckets and events in Redis, each decision one script.

A call whose reply was lost is made again with the same operation id and answers what it answered;
one that cannot be decided raises StoreUnavailable, on which nobody compares or sends anything.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from otp_service.core.challenge import Challenge, ChallengeSecret, parse_partition
from otp_service.core.errors import ChallengeNotFound, StoreTampered, StoreUnavailable
from otp_service.core.events import GRANT_EVENTS, EpochStarted, Event
from otp_service.core.limits import Bucket, Charge, LimitRefusal
from otp_service.core.policy import ENDED_RETENTION_MS
from otp_service.core.ports import (
    Blocked,
    ChallengeSnapshot,
    Commit,
    CommitOutcome,
    Committed,
    CompareAndSwap,
    Conflict,
    IdempotencyRecord,
    Locked,
)
from otp_service.core.timestamps import DAY_MS, SECOND_MS
from otp_service.store.client import LuaScript, ScriptClient
from otp_service.store.commit_request import (
    BASE_KEY_COUNT,
    COMMIT_LUA,
    FETCH_LUA,
    BucketOperation,
    CommitRequest,
    ExpectedVersion,
    FoldableEvent,
    KeyWrite,
    LogLimits,
    ScriptKeys,
    SignedEvent,
    pack_request,
)
from otp_service.store.key_names import KeyNames, parse_key_partition
from otp_service.store.lost_reply import retry_lost_reply
from otp_service.store.record_cipher import RecordCipher


SECRET_GRACE_MS = 10 * SECOND_MS
"""How long a claim that was paid in time may still need what it is compared with."""

IDEMPOTENCY_TTL_MS = DAY_MS

_encode_record = msgspec.msgpack.Encoder().encode
_decode_challenge = msgspec.msgpack.Decoder(Challenge).decode
_decode_secret = msgspec.msgpack.Decoder(ChallengeSecret).decode
_decode_idempotency_record = msgspec.msgpack.Decoder(IdempotencyRecord).decode
_encode_event = msgspec.json.Encoder().encode


class RedisStore:
    """Implements `core.ports.Store`.

    `shift` moves the clock that decisions are made by, in milliseconds: 0 but in tests.
    `earlier` are the names under a limit key that is being rotated: see rotating.py.
    `retention` is in milliseconds; `maximum` is the most entries of one partition's stream.
    With `archives`, entries stay until a sealer has them, and while `maximum` events of a partition
    wait for it, nothing is granted there.
    """

    def __init__(  # noqa: PLR0913  # what it is made of, once
        self,
        client: ScriptClient,
        key_names: KeyNames,
        cipher: RecordCipher,
        *,
        epoch_event: EpochStarted,
        earlier_key_names: Sequence[KeyNames] = (),
        retention_ms: int = 7 * DAY_MS,
        max_stream_entries: int = 5_000,
        has_archive: bool = False,
        clock_shift_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        self.client = client
        self.key_names = key_names
        self.all_key_names = (key_names, *earlier_key_names)
        self.cipher = cipher
        self._log_limits = LogLimits(retention_ms, max_stream_entries, has_archive)
        self._epoch_event = self.sign_event(epoch_event)
        self._clock_shift_ms = clock_shift_ms
        self._commit_script = LuaScript(COMMIT_LUA)
        self._fetch_script = LuaScript(FETCH_LUA)

    def get_number_partition(self, number: str) -> int:
        """Return the partition in which everything about a (collapsed) number lives."""
        return self.key_names.compute_number_partition(number)

    def list_number_partitions(self, number: str) -> list[int]:
        """Return where a number lives by each limit key, the one in force first."""
        return list(
            dict.fromkeys(names.compute_number_partition(number) for names in self.all_key_names)
        )

    def bucket_keys(self, bucket: Bucket, partition: int | None = None) -> list[str]:
        """Return what a number's bucket may be called; first what it is called in `partition`.

        A challenge that was issued under one limit key keeps its partition when another one names
        the buckets in it, so each key's name may stand in each key's partition.
        """
        return self._list_key_variants(
            lambda names, at: names.bucket_key(at, bucket), bucket.subject, partition
        )

    def blocklist_keys(self, number: str, partition: int | None = None) -> list[str]:
        """Return what a number's entry on the do-not-send list may be called, in the same way."""
        return self._list_key_variants(
            lambda names, at: names.blocklist_key(at, number), number, partition
        )

    async def delete_keys(
        self, keys: Sequence[str], operation: str, *, durable: bool = False
    ) -> None:
        """Delete keys of whatever partitions."""
        for partition in sorted(set(map(parse_key_partition, keys))):
            script_keys = ScriptKeys(self.base_keys(partition, operation))
            writes = [
                KeyWrite(script_keys.add_key(key))
                for key in keys
                if parse_key_partition(key) == partition
            ]
            request = self.build_request(script_keys, writes=writes)
            await self.run_commit(script_keys, request, durable=durable)

    def get_bucket_partition(self, bucket: Bucket) -> int:
        """Return the partition of a bucket that is not a number's own."""
        return self.key_names.compute_bucket_partition(bucket)

    async def fetch_challenge(self, tenant: str, challenge_id: str) -> ChallengeSnapshot:
        """Read a challenge; Raises ChallengeNotFound for an id that is none."""
        partition = parse_partition(challenge_id)
        if partition is None:
            raise ChallengeNotFound
        names = self._list_record_keys(partition, tenant, challenge_id)
        now, *values = await self.read_values(names)
        return self._decode_snapshot(now, names, values)

    async def commit(self, commit: Commit) -> CommitOutcome:
        """Run the commit; the answers are described in `core.ports`."""
        records, script_keys, request = self._prepare_commit(commit)
        reply = await self.run_commit(script_keys, request, durable=commit.durable)
        return self._decode_outcome(reply, commit, records)

    async def commit_all(self, commits: Sequence[Commit]) -> list[CommitOutcome]:
        """Run each of the commits, in one round trip."""
        prepared = [self._prepare_commit(commit) for commit in commits]
        calls = [
            (script_keys.keys, _pack_arguments(script_keys, request))
            for _, script_keys, request in prepared
        ]
        replies = await retry_lost_reply(
            lambda: self.client.run_scripts(self._commit_script, calls)
        )
        return [
            self._decode_outcome(reply, commit, records)
            for reply, commit, (records, *_) in zip(replies, commits, prepared, strict=True)
        ]

    async def get_idempotency_record(
        self, tenant: str, key: str
    ) -> tuple[int, IdempotencyRecord | None]:
        """Read what is known of an Idempotency-Key, and the time."""
        _, name = self.key_names.locate_idempotency_record(tenant, key)
        now, record = await self.read_values((name,))
        if record is None:
            return now, None
        version, body = self.cipher.open_record(name, record)
        replayed = _decode_idempotency_record(body)
        return now, msgspec.structs.replace(replayed, version=version)

    async def swap_idempotency_record(
        self,
        tenant: str,
        key: str,
        old: IdempotencyRecord | None,
        new: IdempotencyRecord | None,
        operation_id: str,
    ) -> bool:
        """Replace what is known of an Idempotency-Key; False if somebody was first."""
        partition, name = self.key_names.locate_idempotency_record(tenant, key)
        script_keys = ScriptKeys(self.base_keys(partition, operation_id))
        key_index = script_keys.add_key(name)
        write = KeyWrite(key_index)
        if new:
            record = self.cipher.seal_record(name, new.version, _encode_record(new))
            expires_at = new.lease_until + IDEMPOTENCY_TTL_MS
            write = KeyWrite(key_index, script_keys.add_value(record), expires_at)
        request = self.build_request(
            script_keys,
            expected_versions=[_expect_version(key_index, old.version if old else 0)],
            writes=[write],
        )
        reply = await self.run_commit(script_keys, request)
        return bool(reply[0] == b"done")

    async def get_provider_health(self) -> tuple[int, bytes | None]:
        """Return version and body of what is remembered of providers; 0 and None if nothing is."""
        _, name = self.key_names.locate_provider_health()
        _, record = await self.read_values((name,))
        return self.cipher.open_record(name, record) if record else (0, None)

    async def swap_provider_health(
        self, version: int, body: bytes, events: Sequence[Event], operation: str
    ) -> bool:
        """Replace it, with the events of what has changed; False if this is not its version."""
        partition, name = self.key_names.locate_provider_health()
        script_keys = ScriptKeys(self.base_keys(partition, operation))
        key_index = script_keys.add_key(name)
        record = script_keys.add_value(self.cipher.seal_record(name, version + 1, body))
        request = self.build_request(
            script_keys,
            expected_versions=[_expect_version(key_index, version)],
            writes=[KeyWrite(key_index, record)],
            events=[self.sign_event(event) for event in events],
        )
        reply = await self.run_commit(script_keys, request)
        return bool(reply[0] == b"done")

    async def flush_folds(self, partition: int, operation: str) -> None:
        """Append the folded refusals of a partition that are due."""
        script_keys = ScriptKeys(self.base_keys(partition, operation))
        await self.run_commit(script_keys, self.build_request(script_keys, max_flushed_folds=1000))

    async def read_values(self, keys: tuple[str, ...]) -> list[Any]:
        """Return the time and the values of keys of one partition; reading twice is harmless."""
        shift = str(self._clock_shift_ms()).encode()
        reply: list[Any] = await retry_lost_reply(
            lambda: self.client.run_script(self._fetch_script, keys, (shift,))
        )
        return reply

    def build_request(self, script_keys: ScriptKeys, **fields: Any) -> CommitRequest:
        """Return a request with what every one of them carries."""
        assert len(script_keys.keys) >= BASE_KEY_COUNT  # a mistake of ours, not of a caller
        return CommitRequest(
            clock_shift_ms=self._clock_shift_ms(),
            epoch_event=self._epoch_event,
            log_limits=self._log_limits,
            **fields,
        )

    async def run_commit(
        self, script_keys: ScriptKeys, request: CommitRequest, *, durable: bool = False
    ) -> list[Any]:
        """Run the commit script."""
        arguments = _pack_arguments(script_keys, request)
        reply: list[Any] = await retry_lost_reply(
            lambda: self.client.run_script(
                self._commit_script, script_keys.keys, arguments, durable=durable
            )
        )
        if reply[0] == b"full":
            raise StoreUnavailable("The event log has no room until its archive goes on.")
        return reply

    def _prepare_commit(self, commit: Commit) -> tuple[tuple[str, ...], ScriptKeys, CommitRequest]:
        """Return the names of the records that it swaps, and what to run."""
        script_keys = ScriptKeys(self.base_keys(commit.partition, commit.operation_id))
        records: tuple[str, ...] = ()
        swapped: dict[str, Any] = {}
        if commit.swap:
            records = self._list_record_keys(
                commit.partition, commit.swap.new.tenant, commit.swap.new.id
            )
            swapped = self._build_swap(script_keys, records, commit.swap)
        request = self.build_request(
            script_keys,
            **swapped,
            absent_keys=self._add_absent_keys(script_keys, commit),
            charges=[
                self._build_bucket_operation(script_keys, commit, c, commit.operation_id)
                for c in commit.charges
            ],
            refunds=[
                self._build_bucket_operation(script_keys, commit, g.charge, g.operation_id)
                for g in commit.refunds
            ],
            reset_buckets=[
                script_keys.add_key(self.key_names.bucket_key(commit.partition, b))
                for b in commit.reset_buckets
            ],
            events=[self.sign_event(event) for event in commit.events],
            event_if_refused=self._sign_foldable_event(commit.event_if_refused),
            foldable_event=self._sign_foldable_event(commit.foldable_event),
            requires_log_capacity=commit.requires_log_capacity
            or any(isinstance(event, GRANT_EVENTS) for event in commit.events),
        )
        return records, script_keys, request

    def _decode_outcome(
        self, reply: list[Any], commit: Commit, record_keys: tuple[str, ...]
    ) -> CommitOutcome:
        """Return the outcome that a reply of lua/commit.lua stands for; its indexes are from 1."""
        match reply:
            case [b"done", now, consecutive_failures]:
                return Committed(now, consecutive_failures)
            case [b"refused", _, charge_index, window_index, wait_ms]:
                charge = commit.charges[charge_index - 1]
                return LimitRefusal(charge.bucket.limit, charge.windows[window_index - 1], wait_ms)
            case [b"locked", _, charge_index]:
                return Locked(commit.charges[charge_index - 1].bucket.limit)
            case [b"blocked", _]:
                return Blocked()
            case [b"late", now]:
                assert commit.swap  # only a swap has a deadline
                return Conflict(ChallengeSnapshot(now, commit.swap.old, None))
            case [b"conflict", now, *values]:
                return Conflict(self._decode_snapshot(now, record_keys, values))
            case _:
                raise AssertionError(reply[0])

    def _list_key_variants(
        self, build_key: Callable[[KeyNames, int], str], number: str, partition: int | None
    ) -> list[str]:
        partitions = self.list_number_partitions(number)
        first = build_key(self.key_names, partitions[0] if partition is None else partition)
        called = [build_key(names, place) for place in partitions for names in self.all_key_names]
        return list(dict.fromkeys((first, *called)))

    def base_keys(self, partition: int, operation: str) -> tuple[str, ...]:
        """Return the names that every commit begins with: operation and log."""
        return (
            self.key_names.operation_key(partition, operation),
            *self.key_names.event_log_keys(partition),
        )

    def _list_record_keys(self, partition: int, tenant: str, challenge_id: str) -> tuple[str, str]:
        return (
            self.key_names.challenge_record_key(partition, tenant, challenge_id),
            self.key_names.secret_record_key(partition, tenant, challenge_id),
        )

    def _decode_snapshot(
        self, now: int, record_keys: tuple[str, ...], values: list[bytes | None]
    ) -> ChallengeSnapshot:
        record, sealed = values
        if record is None:
            return ChallengeSnapshot(now, None, None)
        try:
            _, body = self.cipher.open_record(record_keys[0], record)
            challenge = _decode_challenge(body)
            opened = None if sealed is None else self.cipher.open_record(record_keys[1], sealed)[1]
            secret = None if opened is None else _decode_secret(opened)
        except msgspec.DecodeError as error:
            raise StoreTampered(record_keys[0]) from error
        if challenge.is_purged(now):
            return ChallengeSnapshot(now, None, None)
        return ChallengeSnapshot(now, challenge, secret)

    def _build_swap(
        self, script_keys: ScriptKeys, record_keys: tuple[str, ...], swap: CompareAndSwap
    ) -> dict[str, Any]:
        record, secret = (script_keys.add_key(name) for name in record_keys)
        new, old = swap.new, swap.old
        closed = script_keys.add_value(
            self.cipher.seal_record(record_keys[0], new.version, _encode_record(new))
        )
        writes = [KeyWrite(record, closed, new.ends_at + ENDED_RETENTION_MS)]
        if swap.secret is None:
            writes.append(KeyWrite(secret))
        elif swap.secret is not msgspec.UNSET:
            sealed = self.cipher.seal_record(
                record_keys[1], new.version, _encode_record(swap.secret)
            )
            value_index = script_keys.add_value(sealed)
            writes.append(KeyWrite(secret, value_index, new.deadline + SECRET_GRACE_MS))
        return {
            "expected_versions": [_expect_version(record, old.version if old else 0)],
            "returned_keys": [record, secret],
            "deadline": swap.deadline,
            "writes": writes,
        }

    def _add_absent_keys(self, script_keys: ScriptKeys, commit: Commit) -> list[int]:
        if commit.unless_blocked is None:
            return []
        return [
            script_keys.add_key(
                self.key_names.blocklist_key(commit.partition, commit.unless_blocked)
            )
        ]

    def _build_bucket_operation(
        self, script_keys: ScriptKeys, commit: Commit, charge: Charge, operation: str
    ) -> BucketOperation:
        bucket = charge.bucket
        return BucketOperation(
            bucket.limit.algorithm,
            script_keys.add_key(self.key_names.bucket_key(commit.partition, bucket)),
            charge.windows,
            charge.cost,
            operation,
            charge.force,
            bucket.limit,
            commit.masked_number,
            charge.initial_count,
        )

    def sign_event(self, event: Event) -> SignedEvent:
        """Return an event as the commit script appends it."""
        body = _encode_event(event)
        return SignedEvent(body.decode(), self.cipher.sign_event(body))

    def _sign_foldable_event(self, event: Event | None) -> FoldableEvent | None:
        if event is None:
            return None
        kind = event.__struct_config__.tag  # or refused resends would count as refused verifies
        name = f"{kind}:{event.tenant}:{event.number or ''}:{event.reason or ''}"
        signed = self.sign_event(event)
        return FoldableEvent(signed.body, signed.mac, name, event.client_address or "")


def _expect_version(key_index: int, version: int) -> ExpectedVersion:
    """Return the expectation of this version; 0 expects no record."""
    return ExpectedVersion(key_index, RecordCipher.format_version(version) if version else "")


def _pack_arguments(script_keys: ScriptKeys, request: CommitRequest) -> tuple[bytes, ...]:
    return pack_request(request), *script_keys.values
