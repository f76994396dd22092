"""The store: challenges, buckets and events in Redis, each decision one script.

A call whose reply was lost is repeated with the same operation id and returns its first reply. A
call that cannot be decided raises StoreUnavailable; nothing is compared or sent after that.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, cast

import msgspec

from otp_service.core import ports
from otp_service.core.challenge import ChallengeSecret, parse_partition
from otp_service.core.commit import (
    ChallengeSnapshot,
    Commit,
    CommitOutcome,
    Committed,
    CompareAndSwap,
    Conflict,
    Inspection,
    Pointer,
    PointerName,
    RecordName,
    StoredRecord,
    Undone,
)
from otp_service.core.errors import (
    ChallengeNotFound,
    EventLogFull,
    NotReplicated,
    StoreTampered,
    StoreUnavailable,
)
from otp_service.core.events import EpochStarted, Event
from otp_service.core.limits import NUMBER_LIMITS, Bucket
from otp_service.core.pumping.commits import KnownNumberName
from otp_service.core.timestamps import DAY_MS
from otp_service.store import commit_request
from otp_service.store.account_records import AccountRecords
from otp_service.store.client import ScriptCall, ScriptClient
from otp_service.store.commit_draft import CommitDraft, sign_event
from otp_service.store.commit_request import SignedEvent
from otp_service.store.key_names import KeyNames, SharedRecordName, parse_key_partition
from otp_service.store.lua_script import LuaScript
from otp_service.store.outcome_decoder import OutcomeDecoder, decode_inspection
from otp_service.store.record_cipher import RecordCipher
from otp_service.store.separate_commits import commit_one_by_one
from otp_service.store.version_guard import VersionFloors, VersionGuard, parse_version


IDEMPOTENCY_TTL_MS = DAY_MS

COMMIT_SCRIPT = LuaScript(commit_request.COMMIT_LUA)
FETCH_SCRIPT = LuaScript(commit_request.read_lua("fetch"))
INSPECT_SCRIPT = LuaScript(commit_request.INSPECT_LUA)

_decode_idempotency_record = msgspec.msgpack.Decoder(ports.IdempotencyRecord).decode


class RedisStore:
    """Implements `core.ports.Store`.

    `earlier_key_names` are the names under a limit key that is being rotated (rotating_store.py).
    `max_stream_entries` bounds one stream of a partition. With an archive, entries are kept until
    it has them, and a partition in which that many events wait for it grants nothing.
    `clock_shift_ms` moves the time of decisions, in tests.
    """

    def __init__(  # noqa: PLR0913  # its parts, and one for each setting
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
        self._log_limits = commit_request.LogLimits(retention_ms, max_stream_entries, has_archive)
        self._epoch_event = sign_event(cipher, epoch_event)
        self._clock_shift_ms = clock_shift_ms
        self._version_guard = VersionGuard()
        self._account_records = AccountRecords(key_names, cipher)
        self._decoder = OutcomeDecoder(key_names, cipher, self._account_records)
        self._commit_script = COMMIT_SCRIPT
        self._fetch_script = FETCH_SCRIPT
        self._inspect_script = INSPECT_SCRIPT

    @property
    def limit_key_id(self) -> str:
        return self.key_names.limit_key_id

    def get_number_partition(self, number: str) -> int:
        return self.key_names.compute_number_partition(number)

    def list_number_partitions(self, number: str) -> list[int]:
        """Return the partitions of a number under each limit key, the one in force first."""
        partitions = (names.compute_number_partition(number) for names in self.all_key_names)
        return list(dict.fromkeys(partitions))

    def get_bucket_partition(self, bucket: Bucket) -> int:
        """Return the partition of a bucket that is not in the partition of a number."""
        return self.key_names.compute_bucket_partition(bucket)

    def bucket_keys(self, bucket: Bucket, partition: int | None = None) -> list[str]:
        """Return the possible keys of a bucket, the one in `partition` first.

        A bucket of a number may be in several partitions. A challenge keeps the partition of the
        limit key that it was issued under, while another limit key names its buckets. So each name
        is possible in each partition.
        """
        if bucket.limit not in NUMBER_LIMITS:
            return [
                names.bucket_key(names.compute_bucket_partition(bucket), bucket)
                for names in self.all_key_names
            ]
        return self._list_key_variants(
            lambda names, at: names.bucket_key(at, bucket), bucket.subject, partition
        )

    def known_number_keys(self, name: KnownNumberName, partition: int | None = None) -> list[str]:
        """Return the possible keys of the record of a known number, the one in `partition` first."""
        return self._list_key_variants(
            lambda names, at: names.known_number_key(at, name), name.number, partition
        )

    def submission_mark_keys(self, provider: str, number: str) -> list[str]:
        """Return the possible keys of a mark: like a challenge it is in either partition."""
        return self._list_key_variants(
            lambda names, at: names.submission_mark_key(at, provider, number), number, None
        )

    async def fetch_challenge(self, tenant: str, challenge_id: str) -> ChallengeSnapshot:
        """Return a challenge as it is now. Raises ChallengeNotFound for an invalid id."""
        partition = parse_partition(challenge_id)
        if partition is None:
            raise ChallengeNotFound
        keys = self.key_names.challenge_keys(partition, tenant, challenge_id)
        floors = await self._version_guard.read_floors(self.client, keys)
        now, *values = await self.read_values(keys)
        snapshot = self._decoder.decode_snapshot(now, tenant, challenge_id, values)
        versions = [value and parse_version(value) for value in values]
        await self._version_guard.check_versions(self.client, keys, versions, floors, now)
        return snapshot

    def get_account_partition(self, tenant: str, account: str) -> int:
        return self.key_names.compute_account_partition(tenant, account)

    async def get_record(self, partition: int, name: RecordName) -> tuple[int, StoredRecord | None]:
        """Return the time and the record. Raises StoreTampered if it was rolled back."""
        keys = self._account_records.list_keys(partition, (name,))
        floors = self._account_records.get_floors(keys)
        now, *values = await self.read_values(keys)
        records = self._account_records.open_records(keys, values)
        await self._account_records.check_versions(self.client, keys, records, floors, now)
        return now, records[0]

    async def commit(self, commit: Commit) -> CommitOutcome:
        """Run a commit. Raises StoreTampered if a record of it was rolled back."""
        (outcome,) = await self._run_each((commit,))
        return outcome

    async def commit_together(self, commits: Sequence[Commit]) -> list[CommitOutcome | Undone]:
        """Apply all commits by one script, or none; in a cluster a script has one partition."""
        if self.client.is_cluster:
            return await commit_one_by_one(self, commits)
        return await self._run_commits(commits, all_or_none=True)

    async def commit_all(self, commits: Sequence[Commit]) -> list[CommitOutcome]:
        """Run each of the commits: by one script, or in a cluster concurrently."""
        if self.client.is_cluster:
            return await asyncio.gather(*map(self.commit, commits))
        return await self._run_each(commits)

    async def inspect(self, commits: Sequence[Commit]) -> list[Inspection]:
        """Return what would be decided of each commit: one script for each partition, at once."""
        partitions = sorted({commit.partition for commit in commits})
        groups = [[one for one in commits if one.partition == part] for part in partitions]
        replies = await asyncio.gather(*map(self._inspect_partition, groups))
        decoded = {part: iter(group) for part, group in zip(partitions, replies, strict=True)}
        return [next(decoded[commit.partition]) for commit in commits]

    async def _inspect_partition(self, commits: Sequence[Commit]) -> list[Inspection]:
        """Inspect commits of one partition. It only reads, so it may be repeated."""
        call = self._pack_call([self._draft_commit(commit) for commit in commits])
        run_script = partial(self.client.run_script, self._inspect_script, *call)
        replies = await self.client.retry_lost_reply(run_script)
        return [decode_inspection(*pair) for pair in zip(replies, commits, strict=True)]

    async def _run_each(self, commits: Sequence[Commit]) -> list[CommitOutcome]:
        return cast("list[CommitOutcome]", await self._run_commits(commits))  # none is undone

    async def _run_commits(
        self, commits: Sequence[Commit], *, all_or_none: bool = False
    ) -> list[CommitOutcome | Undone]:
        checks = [await self._prepare_check(commit) for commit in commits]
        drafts = [self._draft_commit(commit) for commit in commits]
        for draft in drafts:
            draft.fields["all_or_none"] = all_or_none
        replies = await self._run_drafts(drafts, durable=any(one.durable for one in commits))
        outcomes: list[CommitOutcome | Undone] = [Undone()] * len(commits)
        for i, reply in enumerate(replies):
            if reply[0] != b"undone":
                outcomes[i] = outcome = await self._decode_or_repair(reply, commits[i])
                await checks[i](outcome)
        return outcomes

    async def _prepare_check(self, commit: Commit) -> Callable[[CommitOutcome], Awaitable[None]]:
        """Return a check of the outcome, which raises StoreTampered if a record was rolled back."""
        if commit.reads or commit.record_swaps:
            check = self._account_records.prepare_check(commit)
            return partial(check, self.client)
        swap = commit.swap
        if swap is None or commit.only_with_refunds:  # which may write nothing
            return _check_nothing
        keys = self.key_names.challenge_keys(commit.partition, swap.new.tenant, swap.new.id)
        floors = await self._version_guard.read_floors(self.client, keys)
        return partial(self._check_swap, swap, keys, floors)

    async def _check_swap(
        self,
        swap: CompareAndSwap,
        keys: tuple[str, str],
        floors: VersionFloors,
        outcome: CommitOutcome,
    ) -> None:
        """Remember the versions that a commit has read and written."""
        if isinstance(outcome, Committed):
            now, stored = outcome.now, swap.old
        elif isinstance(outcome, Conflict):
            now, stored = outcome.snapshot.now, outcome.snapshot.challenge
        else:
            return
        versions = (stored.version if stored else None, None)
        await self._version_guard.check_versions(self.client, keys, versions, floors, now)
        if isinstance(outcome, Committed):
            written = keys if isinstance(swap.secret, ChallengeSecret) else keys[:1]
            for key in written:
                self._version_guard.remember_version(key, swap.new.version, now, floors.era)

    async def _decode_or_repair(self, reply: list[Any], commit: Commit) -> CommitOutcome:
        """Return the outcome. Deletes known addresses with a wrong MAC, and raises StoreTampered."""
        try:
            return self._decoder.decode_outcome(reply, commit)
        except StoreTampered as error:
            # Else every issue of the account would be 503, for 90 days.
            if commit.known_addresses_of:
                await self.delete_keys([error.record_key], f"delete-{commit.operation_id}")
            raise

    async def delete_keys(
        self, keys: Sequence[str], operation_id: str, *, durable: bool = False
    ) -> None:
        for partition in sorted(set(map(parse_key_partition, keys))):
            draft = self.start_commit(partition, operation_id)
            for key in keys:
                if parse_key_partition(key) == partition:
                    draft.delete(key)
            await self.run_commit(draft, durable=durable)

    def pointer_keys(self, tenant: str, service: str, number: str) -> list[str]:
        """Return the possible keys of a pointer to a verification, that of new ones first."""
        return self._list_key_variants(
            lambda names, at: names.pointer_key(at, tenant, service, number), number, None
        )

    async def get_pointer(self, name: PointerName) -> Pointer:
        """Return the pointer under the limit key in force, or else under the earlier one."""
        keys = self.pointer_keys(name.tenant, name.service, name.phone.canonical)
        values = await self.client.read_each(keys, "GET")
        stored = ((key, value) for key, value in zip(keys, values, strict=True) if value)
        for key, sealed in stored:
            version, body = self.cipher.open_record(key, sealed)
            return Pointer(version if key == keys[0] else 0, body.decode())
        return Pointer()

    async def get_idempotency_record(
        self, tenant: str, key: str
    ) -> tuple[int, ports.IdempotencyRecord | None]:
        """Return the time, and the record of an Idempotency-Key."""
        _, name = self.key_names.locate_idempotency_record(tenant, key)
        now, sealed = await self.read_values((name,))
        if sealed is None:
            return now, None
        version, body = self.cipher.open_record(name, sealed)
        return now, msgspec.structs.replace(_decode_idempotency_record(body), version=version)

    async def swap_idempotency_record(
        self,
        tenant: str,
        key: str,
        old: ports.IdempotencyRecord | None,
        new: ports.IdempotencyRecord | None,
        operation_id: str,
    ) -> bool:
        """Replace or delete the record of an Idempotency-Key. Return False after a conflict."""
        partition, name = self.key_names.locate_idempotency_record(tenant, key)
        draft = self.start_commit(partition, operation_id)
        draft.expect(name, old.version if old else 0)
        if new:
            draft.write_record(name, new.version, new, new.lease_until + IDEMPOTENCY_TTL_MS)
        else:
            draft.delete(name)
        return await self._run_swap(draft)

    async def get_shared_record(self, name: SharedRecordName) -> tuple[int, bytes | None]:
        """Return version and body of a record that all processes share; 0 and None without one."""
        _, key = self.key_names.locate_shared_record(name)
        _, sealed = await self.read_values((key,))
        return self.cipher.open_record(key, sealed) if sealed else (0, None)

    async def swap_shared_record(
        self,
        name: SharedRecordName,
        version: int,
        body: bytes,
        events: Sequence[Event],
        operation_id: str,
    ) -> bool:
        """Replace this version, 0 for none, with the events of the change.

        Return False after a conflict.
        """
        partition, key = self.key_names.locate_shared_record(name)
        draft = self.start_commit(partition, operation_id)
        draft.expect(key, version)
        draft.write(key, self.cipher.seal_record(key, version + 1, body))
        for event in events:
            draft.append(event)
        return await self._run_swap(draft)

    async def flush_folds(self, partition: int, operation_id: str) -> None:
        """Append the folded refusals of a partition that are due."""
        draft = self.start_commit(partition, operation_id)
        draft.fields["max_flushed_folds"] = 1000
        await self.run_commit(draft)

    async def read_values(self, keys: tuple[str, ...]) -> list[Any]:
        shift = str(self._clock_shift_ms()).encode()
        fetch = partial(self.client.run_script, self._fetch_script, keys, (shift,))
        reply: list[Any] = await self.client.retry_lost_reply(fetch)
        return reply

    def start_commit(self, partition: int, operation_id: str) -> CommitDraft:
        """Return an empty draft, to fill and to pass to `run_commit`."""
        return CommitDraft(self.key_names, self.cipher, partition, operation_id)

    async def run_commit(self, draft: CommitDraft, *, durable: bool = False) -> list[Any]:
        (reply,) = await self._run_drafts([draft], durable=durable)
        return reply

    async def _run_drafts(
        self, drafts: Sequence[CommitDraft], *, durable: bool = False
    ) -> list[list[Any]]:
        """Run commits in turn, and return the replies of those that ran."""
        replies = await self._run_script(self._pack_call(drafts), durable=durable)
        if any(reply[0] == b"no_epoch" for reply in replies):
            # Under the same operation ids, so that each commit is applied once.
            call = self._pack_call(drafts, self._epoch_event)
            replies = await self._run_script(call, durable=durable)
        return list(map(self._check_reply, replies))

    async def _run_script(self, call: ScriptCall, *, durable: bool) -> list[list[Any]]:
        """Raises NotReplicated if every commit of the call was done, and too few replicas have it."""
        script = self._commit_script
        run_script = partial(self.client.run_script, script, *call, durable=durable)
        try:
            replies: list[list[Any]] = await self.client.retry_lost_reply(run_script)
        except NotReplicated as error:
            replies = cast("list[list[Any]]", error.reply)
            if all(reply[0] == b"done" for reply in replies):
                raise
        return replies

    def _check_reply(self, reply: Any) -> list[Any]:
        """Return the reply to a commit. Raises StoreUnavailable if the commit was not decided."""
        if reply[0] == b"full":
            self.client.failure_log.log(f"a call failed: {EventLogFull.detail}")
            raise EventLogFull
        if reply[0] == b"reversed":
            raise StoreUnavailable(cause="the charge was refunded before it arrived")
        result: list[Any] = reply
        return result

    async def _run_swap(self, draft: CommitDraft) -> bool:
        reply = await self.run_commit(draft)
        return bool(reply[0] == b"done")

    def _draft_commit(self, commit: Commit) -> CommitDraft:
        draft = self.start_commit(commit.partition, commit.operation_id)
        draft.add_commit(commit)
        return draft

    def _pack_call(
        self, drafts: Sequence[CommitDraft], epoch_event: SignedEvent | None = None
    ) -> ScriptCall:
        keys: list[str] = []
        arguments: list[bytes] = []
        for draft in drafts:
            request = commit_request.CommitRequest(
                key_count=len(draft.keys),
                argument_count=1 + len(draft.values),
                clock_shift_ms=self._clock_shift_ms(),
                epoch_event=epoch_event,
                log_limits=self._log_limits,
                **draft.fields,
            )
            keys += draft.keys
            arguments += [commit_request.pack_request(request), *draft.values]
        return keys, arguments

    def _list_key_variants(
        self, build_key: Callable[[KeyNames, int], str], number: str, partition: int | None
    ) -> list[str]:
        partitions = self.list_number_partitions(number)
        first = build_key(self.key_names, partitions[0] if partition is None else partition)
        others = (build_key(names, at) for at in partitions for names in self.all_key_names)
        return list(dict.fromkeys((first, *others)))


async def _check_nothing(outcome: CommitOutcome) -> None:
    """Check an outcome without a record."""
