"""An event log in a real Redis, its sealers, and its archive."""

import json
import os
import secrets
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from otp_service.audit.archive_format.entries import GAP_PREFIX, SEAL_PREFIX
from otp_service.audit.archive_format.seals import SigningKey
from otp_service.audit.archive_format.segments import list_segments
from otp_service.audit.sealer.archive_writer import ArchiveWriter
from otp_service.audit.sealer.disk import Disk
from otp_service.audit.sealer.environment import SealerEnvironment
from otp_service.audit.sealer.sealer import Sealer
from otp_service.audit.sealer.signer import Signer
from otp_service.audit.verification.verifier import verify_folder
from otp_service.core.commit import Commit
from otp_service.core.events import ArchiveChanged, Attempted, EpochStarted, Event, IssueDenied
from otp_service.core.keys import ServiceKeys
from otp_service.core.limits import Bucket, Charge, Limit, Window
from otp_service.store.archive_source import RedisArchiveSource
from otp_service.store.client import ScriptClient
from otp_service.store.key_names import KeyNames
from otp_service.store.record_cipher import RecordCipher
from otp_service.store.redis_store import RedisStore
from tests.installation import generate_keys


STORE_KEYS = generate_keys()
SIGNING_KEY = SigningKey.generate()
EXHAUSTED_CHARGE = Charge(Bucket(Limit.SENDS_TENANT, "shop"), (Window(1, 3600),))


class SealedLog:
    """Commits events, and creates sealers for them."""

    def __init__(
        self,
        link: ScriptClient,
        folder: Path,
        *,
        maximum: int = 1000,
        keys: ServiceKeys = STORE_KEYS,
        archives: bool = True,
    ) -> None:
        self.script_client = link
        self.folder = folder
        self.clock_shift_ms = 0
        self.cipher = RecordCipher(keys, os.urandom)
        names = KeyNames(keys.limit.current)
        self.store = RedisStore(
            link,
            names,
            self.cipher,
            epoch_event=EpochStarted(id="epoch"),
            max_stream_entries=maximum,
            has_archive=archives,
            clock_shift_ms=lambda: self.clock_shift_ms,
        )
        self.source = RedisArchiveSource(link, names, max_stream_entries=maximum)
        self.expected_ids: list[str] = []
        self.clock_seconds = 0.0

    async def commit_event(self, partition: int = 7, **fields: Any) -> Any:
        """Commit with these fields."""
        commit = Commit(partition=partition, operation_id=secrets.token_hex(8), **fields)
        return await self.store.commit(commit)

    async def append_events(self, *ids: str, partition: int = 7) -> None:
        """Commit an outcome with each of these ids, which are expected in the archive."""
        await self.commit_event(partition, events=tuple(ArchiveChanged(id=id_) for id_ in ids))
        self.expected_ids += ids

    async def append_grant(self, partition: int = 7, *, durable: bool = False) -> None:
        """Commit a grant, which is expected in the archive."""
        id_ = secrets.token_hex(4)
        await self.commit_event(partition, events=(Attempted(id=id_),), durable=durable)
        self.expected_ids.append(id_)

    async def append_denial(self, partition: int = 7, number: str = "") -> None:
        """Commit a denial."""
        id_ = secrets.token_hex(4)
        number = number or secrets.token_hex(4)
        await self.commit_event(
            partition, foldable_event=IssueDenied(id=id_, tenant="shop", number=number)
        )

    def create_sealer(
        self,
        *,
        disk: Disk | None = None,
        source: Any = None,
        signing: Signer | None = None,
        segment_bytes: int = 1 << 20,
        seal_seconds: float = 0.0,
        **environment: Any,
    ) -> Sealer:
        """Return a sealer of this log's archive; by default it seals in each turn."""

        async def record_archive_change(reason: str, number: int) -> None:
            event: Event = ArchiveChanged(
                id=f"sealer-{reason}",
                reason=reason,
                missing=number if reason == "gap" else 0,
                seal=number if reason == "dropped" else 0,
            )
            await self.commit_event(0, events=(event,))

        given: dict[str, Any] = {
            "holder": secrets.token_hex(8),
            "now": lambda: 1_763_814_000_000 + int(self.clock_seconds * 1000),
            "clock": lambda: self.clock_seconds,
            "has_valid_mac": self.cipher.verify_event,
            "record_archive_change": record_archive_change,
        }
        return Sealer(
            source or self.source,
            ArchiveWriter(self.folder, segment_bytes=segment_bytes, disk=disk),
            signing or Signer(SIGNING_KEY),
            SealerEnvironment(**given | environment),
            seal_seconds=seal_seconds,
        )

    def advance_clock(self, seconds: float = 5.0) -> None:
        """Advance the clock of the sealers; a lease lasts 4 s."""
        self.clock_seconds += seconds

    async def expire_lease(self) -> None:
        """End the lease in Redis."""
        name = self.store.key_names.sealer_key()
        await self.script_client.run_pipeline(name, [("HSET", name, "until", 0)])

    # ------------------------------------------------------------------------------ the archive

    def read_lines(self) -> list[bytes]:
        """Return every line of the archive."""
        return [line for s in list_segments(self.folder) for line in s.read_bytes().splitlines()]

    def read_entries(self) -> list[dict[str, Any]]:
        """Return the entries of the archive."""
        lines = self.read_lines()
        return [
            json.loads(line) for line in lines if not line.startswith((GAP_PREFIX, SEAL_PREFIX))
        ]

    def read_gaps(self) -> list[dict[str, int]]:
        """Return the gaps of the archive."""
        return [
            json.loads(line)["gap"] for line in self.read_lines() if line.startswith(GAP_PREFIX)
        ]

    def list_event_ids(self) -> list[str]:
        """Return the ids of the events, without those of epochs and sealers."""
        found = [entry["event"]["id"] for entry in self.read_entries()]
        return [id_ for id_ in found if id_ != "epoch" and not id_.startswith("sealer-")]

    def verify_archive(self, *keys: SigningKey) -> Any:
        """Return the report of the verifier."""
        return verify_folder(self.folder, [key.public for key in keys or (SIGNING_KEY,)])

    def assert_complete(self, *keys: SigningKey, gaps: int = 0, sealed: bool = True) -> None:
        """Assert that every expected event is archived once, in a sound archive."""
        report = self.verify_archive(*keys)
        assert [] == report.findings
        if sealed:
            assert 0 == report.unsealed
        entry_ids = Counter(entry["id"] for entry in self.read_entries())
        assert {1} == set(entry_ids.values())
        counted = Counter(self.list_event_ids())
        assert dict.fromkeys(self.expected_ids, 1) == {
            id_: counted[id_] for id_ in self.expected_ids
        }
        assert gaps == len(self.read_gaps())


def get_stream_keys(log: SealedLog, partition: int = 7) -> Sequence[str]:
    """Return the keys of log, events and refusals of a partition."""
    return log.store.key_names.event_log_keys(partition)[:3]


async def run_redis_command(log: SealedLog, *command: Any) -> Any:
    """Run a command as an attacker who can write to Redis."""
    (reply,) = await log.script_client.run_pipeline(command[1], [command])
    return reply


async def run_until_idle(sealer: Sealer) -> None:
    """Run turns until nothing is pending, the sealer's own events included."""
    for _ in range(3):
        more = True
        while more:
            more = await sealer.run_once()


def decode_line(line: bytes) -> Any:
    """Return the JSON on a line."""
    return msgspec.json.decode(line)
