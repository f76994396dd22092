"""Records that were rolled back: a valid MAC does not show that a record is the newest one.

An attacker with write access to Redis can restore an earlier record of a challenge, and so get its
attempts back. So each process remembers the highest version that it has seen of a record, for ten
minutes, the longest life of a code. A lower one is `StoreTampered`, unless it was lost legitimately:

- A failover or a restart may lose changes. The server then has another replication id, which also begins
  an epoch in the event log. All versions are forgotten.
- A server that is no longer the master may answer with old data. Only a master's answer counts.

Both are asked only where a version is lower, in one round trip with the version itself.
"""

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from otp_service.core.errors import StoreTampered, StoreUnavailable
from otp_service.core.timestamps import MINUTE_MS
from otp_service.store.client import ScriptClient
from otp_service.store.key_names import parse_key_partition
from otp_service.store.record_cipher import VERSION_DIGITS


MEMORY_MS = 10 * MINUTE_MS
MAX_RECORDS = 50_000
"""Records of one generation, of which there are two: together 10 MB. More shorten the memory."""


T = TypeVar("T")


class GenerationalMemory(Generic[T]):
    """Values by key name, each remembered for 10 to 20 minutes; fewer if there are many."""

    def __init__(self, max_records: int = MAX_RECORDS) -> None:
        self._max_records = max_records
        self._recent: dict[int, T] = {}
        self._older: dict[int, T] = {}
        self._rotates_at = 0

    def get(self, key: str) -> T | None:
        key_hash = hash(key)
        found = self._recent.get(key_hash)
        return self._older.get(key_hash) if found is None else found

    def put(self, key: str, value: T, now: int) -> None:
        """Remember a value from `now` on, in milliseconds since 1970."""
        if now >= self._rotates_at or len(self._recent) >= self._max_records:
            self._older, self._recent = self._recent, {}
            self._rotates_at = now + MEMORY_MS
        self._recent[hash(key)] = value

    def clear(self) -> None:
        self._recent, self._older = {}, {}


class VersionFloors(NamedTuple):
    """The versions that records must have at least, as they were known before a call."""

    era: int
    versions: tuple[int, ...]


class VersionGuard:
    """Remembers the versions of the records of challenges."""

    def __init__(self, max_records: int = MAX_RECORDS) -> None:
        self._versions = GenerationalMemory[int](max_records)
        self._server_ids: dict[int, str] = {}
        self._era = 0

    async def read_floors(self, client: ScriptClient, keys: Sequence[str]) -> VersionFloors:
        """Return the floors of records of one partition. Call this before they are read.

        The first call of a partition asks for the id of its server. Raises StoreUnavailable.
        """
        partition = parse_key_partition(keys[0])
        if partition not in self._server_ids:
            (info,) = await client.repeat_commands(keys[0], [("INFO", "replication")])
            self._server_ids[partition] = read_field(info, "master_replid")
        floors = tuple(self._versions.get(key) or 0 for key in keys)
        return VersionFloors(self._era, floors)

    async def check_versions(
        self,
        client: ScriptClient,
        keys: Sequence[str],
        versions: Sequence[int | None],
        floors: VersionFloors,
        now: int,
    ) -> None:
        """Remember versions that were read after the floors; None for a missing record.

        They must be those of records with a valid MAC. `now` is in milliseconds since 1970. Raises
        StoreTampered if one was rolled back, and StoreUnavailable if another server answered.
        """
        for key, version, floor in zip(keys, versions, floors.versions, strict=True):
            if version is None:
                continue
            if version < floor:
                await self._examine_server(client, key, floor, floors.era)
            self.remember_version(key, version, now, floors.era)

    def remember_version(self, key: str, version: int, now: int, era: int) -> None:
        """Remember a version that was read or written by a call that began in this era.

        A reply of a server that has been replaced since says nothing about the new one, which may
        have lost the change.
        """
        if era == self._era:
            self._versions.put(key, max(version, self._versions.get(key) or 0), now)

    async def _examine_server(self, client: ScriptClient, key: str, floor: int, era: int) -> None:
        """Return if the server has been replaced; else raise. Other calls may have found out first."""
        commands = [("INFO", "replication"), ("GETRANGE", key, 0, VERSION_DIGITS - 1)]
        info, record = await client.repeat_commands(key, commands)
        if era != self._era:
            return
        if read_field(info, "role") != "master":
            raise StoreUnavailable(cause="a replica has answered with an old record")
        server_id, partition = read_field(info, "master_replid"), parse_key_partition(key)
        if server_id != self._server_ids.get(partition):
            self._forget_versions()
            self._server_ids[partition] = server_id
        elif record and parse_version(record) < floor:
            raise StoreTampered(key)
        else:
            raise StoreUnavailable(cause="another server has answered with an old record")

    def _forget_versions(self) -> None:
        self._era += 1
        self._versions.clear()
        self._server_ids.clear()


def parse_version(record: bytes) -> int:
    """Return the version at the start of a record, which may be anybody's; 0 if it has none."""
    digits = record[:VERSION_DIGITS]
    return int(digits) if digits.isdigit() else 0


def read_field(info: bytes, name: str) -> str:
    """Return a field of the reply to INFO, empty if it is missing."""
    for line in info.decode().splitlines():
        field, _, value = line.partition(":")
        if field == name:
            return value
    return ""
