"""Records about accounts: the state of an authenticator or recovery set, and stored answers.

Redis keeps what a token cannot: which time step or recovery code was used last. An attacker with
write access to Redis who restores an earlier record could use a code again. So each process
remembers the highest version that it has seen of a record, like version_guard.py, and a lower one is
`StoreTampered`. A record may be stored again after it has expired, and then begins with version 1. So
a remembered version counts until that record expires, and until an epoch of the partition begins after
it was seen: Redis may have lost it then. Only a lower version costs a round trip.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec

from otp_service.core.commit import (
    Commit,
    CommitOutcome,
    Committed,
    RecordConflict,
    RecordName,
    RecordSwap,
    StoredRecord,
)
from otp_service.core.errors import StoreTampered, StoreUnavailable
from otp_service.core.timestamps import CLOCK_TOLERANCE_MS
from otp_service.store.client import ScriptClient
from otp_service.store.key_names import KeyNames, parse_key_partition
from otp_service.store.record_cipher import VERSION_DIGITS, RecordCipher
from otp_service.store.version_guard import GenerationalMemory, parse_version, read_field


Records = tuple[StoredRecord | None, ...]
CheckOutcome = Callable[[ScriptClient, CommitOutcome], Awaitable[None]]


class RecordContent(msgspec.Struct, frozen=True, array_like=True):
    """What is sealed of a record."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    expires_at: int
    body: bytes


class RecordFloor(NamedTuple):
    """The lowest version that a record may have until it expires; instants in milliseconds."""

    version: int
    expires_at: int
    seen_at: int
    epoch: int

    def is_violated(self, version: int, now: int) -> bool:
        """Whether a record that was read at `now` is older than the one that was seen.

        The reply of a repeated commit may have been decided before that one was stored.
        """
        return version < self.version and now >= self.seen_at and not self.is_over(now)

    def is_over(self, now: int) -> bool:
        """Whether the record has expired, by a clock that differs by up to the tolerance."""
        return now >= self.expires_at - CLOCK_TOLERANCE_MS

    def is_before(self, epoch: int) -> bool:
        """Whether another epoch began after the version was seen, by clocks that differ as much.

        An attacker who sets a later epoch in Redis gains nothing: no time step up to it is accepted.
        """
        return epoch not in {0, self.epoch} and epoch > self.seen_at - CLOCK_TOLERANCE_MS


Floors = tuple[RecordFloor | None, ...]

_decode_content = msgspec.msgpack.Decoder(RecordContent).decode


class AccountRecords:
    """Opens records about accounts, and finds those that were rolled back."""

    def __init__(self, key_names: KeyNames, cipher: RecordCipher) -> None:
        self._key_names = key_names
        self._cipher = cipher
        self._floors = GenerationalMemory[RecordFloor]()

    def list_keys(self, partition: int, names: Sequence[RecordName]) -> tuple[str, ...]:
        return tuple(self._key_names.account_record_key(partition, name) for name in names)

    def open_records(self, keys: Sequence[str], values: Sequence[bytes | None]) -> Records:
        """Return the records with these values. Raises StoreTampered and StoreKeyUnknown."""
        pairs = zip(keys, values, strict=True)
        return tuple(value and self._open_record(key, value) for key, value in pairs)  # type: ignore[misc]

    def _open_record(self, key: str, value: bytes) -> StoredRecord:
        version, packed = self._cipher.open_record(key, value)
        try:
            content = _decode_content(packed)
        except msgspec.DecodeError as error:
            raise StoreTampered(key) from error
        return StoredRecord(version, content.body, content.expires_at)

    def get_floors(self, keys: Sequence[str]) -> Floors:
        """Return what is known of records. Call this before they are read."""
        return tuple(map(self._floors.get, keys))

    def prepare_check(self, commit: Commit) -> CheckOutcome:
        """Return a function that checks the outcome of a commit. Call this before the commit."""
        read_keys = self.list_keys(commit.partition, commit.reads)
        swap_keys = self.list_keys(commit.partition, [swap.name for swap in commit.record_swaps])
        read_floors, swap_floors = self.get_floors(read_keys), self.get_floors(swap_keys)

        async def check_outcome(client: ScriptClient, outcome: CommitOutcome) -> None:
            if isinstance(outcome, Committed):
                records, now = outcome.records, outcome.now
                await self.check_versions(client, read_keys, records, read_floors, now)
                self._remember_records(read_keys, records, outcome)
                self._remember_swaps(swap_keys, commit.record_swaps, outcome)
            elif isinstance(outcome, RecordConflict):
                now = outcome.now
                await self.check_versions(client, swap_keys, outcome.records, swap_floors, now)

        return check_outcome

    async def check_versions(
        self,
        client: ScriptClient,
        keys: Sequence[str],
        records: Records,
        floors: Floors,
        now: int,
    ) -> None:
        """Compare records with what was known before they were read.

        Raises StoreTampered if one was rolled back, and StoreUnavailable if another server answered.
        A missing record passes: this service may have lost it with a clock that was ahead.
        """
        for key, record, floor in zip(keys, records, floors, strict=True):
            if record and floor and floor.is_violated(record.version, now):
                await self._examine_record(client, key, floor, now)

    def _remember_records(self, keys: Sequence[str], records: Records, outcome: Committed) -> None:
        for key, record in zip(keys, records, strict=True):
            if record:
                self._remember(key, record.version, record.expires_at, outcome)

    def _remember_swaps(
        self, keys: Sequence[str], swaps: Sequence[RecordSwap], outcome: Committed
    ) -> None:
        for key, swap in zip(keys, swaps, strict=True):
            self._remember(key, swap.old_version + 1, swap.expires_at, outcome)

    def _remember(self, key: str, version: int, expires_at: int, outcome: Committed) -> None:
        now = outcome.now
        floor, known = RecordFloor(version, expires_at, now, outcome.epoch), self._floors.get(key)
        if known and not known.is_over(now) and not known.is_before(outcome.epoch):
            floor = max(floor, known)
        self._floors.put(key, floor, now)

    async def _examine_record(
        self, client: ScriptClient, key: str, floor: RecordFloor, now: int
    ) -> None:
        """Return if the server has lost what was seen; else raise."""
        log_key = self._key_names.event_log_keys(parse_key_partition(key))[0]
        commands = [
            ("INFO", "replication"),
            ("HMGET", log_key, "server", "epoch"),
            ("GETRANGE", key, 0, VERSION_DIGITS - 1),
        ]
        info, (server, epoch), record = await client.repeat_commands(key, commands)
        if read_field(info, "role") != "master":
            raise StoreUnavailable(cause="a replica has answered with an old record")
        is_same_server = (server or b"").decode() == read_field(info, "master_replid")
        if not is_same_server or floor.is_before(int(epoch or 0)):
            return
        if parse_version(record) < floor.version:
            raise StoreTampered(key)
        if now > floor.seen_at:  # else a repeated reply of the same millisecond
            raise StoreUnavailable(cause="another server has answered with an old record")
