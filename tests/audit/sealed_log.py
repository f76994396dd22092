"""A log in a real Redis, a sealer beside it, and what its archive says."""

import json
import os
import secrets
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from otp_service.audit.archive_format.entries import GAP, SEAL
from otp_service.audit.archive_format.seals import SigningKey
from otp_service.audit.archive_format.segments import segments
from otp_service.audit.sealer.archive_writer import Folder
from otp_service.audit.sealer.disk import Disk
from otp_service.audit.sealer.ports import Outside
from otp_service.audit.sealer.sealer import Sealer
from otp_service.audit.sealer.signer import Signing
from otp_service.audit.verification.verifier import verify_folder
from otp_service.core.events import ArchiveChanged, Attempted, EpochBegan, Event, IssueDenied
from otp_service.core.keys import Keys
from otp_service.core.limits import Bucket, Charge, Limit, Window
from otp_service.core.ports import Commit
from otp_service.store.archive_source import RedisSealing
from otp_service.store.client import Link
from otp_service.store.key_names import Names
from otp_service.store.record_cipher import Vault
from otp_service.store.redis_store import RedisStore
from tests.installation import fresh_keys


KEYS = fresh_keys()
KEY = SigningKey.new()
FULL = Charge(Bucket(Limit.SENDS_TENANT, "shop"), (Window(1, 3600),))


class Log:
    """Commits events, and makes sealers for them."""

    def __init__(
        self,
        link: Link,
        folder: Path,
        *,
        maximum: int = 1000,
        keys: Keys = KEYS,
        archives: bool = True,
    ) -> None:
        self.link = link
        self.folder = folder
        self.shift = 0
        self.vault = Vault(keys, os.urandom)
        names = Names(keys.limit.current)
        self.store = RedisStore(
            link,
            names,
            self.vault,
            epoch_event=EpochBegan(id="epoch"),
            maximum=maximum,
            archives=archives,
            shift=lambda: self.shift,
        )
        self.source = RedisSealing(link, names, maximum=maximum)
        self.told: list[str] = []
        self.clock = 0.0

    async def commit(self, partition: int = 7, **fields: Any) -> Any:
        """Commit something."""
        commit = Commit(partition=partition, operation=secrets.token_hex(8), **fields)
        return await self.store.commit(commit)

    async def tell(self, *ids: str, partition: int = 7) -> None:
        """Commit an outcome of what was granted before for each of these ids, which must be kept."""
        await self.commit(partition, events=tuple(ArchiveChanged(id=id_) for id_ in ids))
        self.told += ids

    async def grant(self, partition: int = 7, *, durable: bool = False) -> None:
        """Commit a claim."""
        id_ = secrets.token_hex(4)
        await self.commit(partition, events=(Attempted(id=id_),), durable=durable)
        self.told.append(id_)

    async def deny(self, partition: int = 7, number: str = "") -> None:
        """Commit a denial."""
        id_ = secrets.token_hex(4)
        number = number or secrets.token_hex(4)
        await self.commit(partition, denial=IssueDenied(id=id_, tenant="shop", number=number))

    def sealer(
        self,
        *,
        disk: Disk | None = None,
        source: Any = None,
        signing: Signing | None = None,
        segment_bytes: int = 1 << 20,
        seal_seconds: float = 0.0,
        **outside: Any,
    ) -> Sealer:
        """Return a sealer of this log's archive; it seals with each turn unless told otherwise."""

        async def tell(reason: str, number: int) -> None:
            event: Event = ArchiveChanged(
                id=f"sealer-{reason}",
                reason=reason,
                missing=number if reason == "gap" else 0,
                seal=number if reason == "dropped" else 0,
            )
            await self.commit(0, events=(event,))

        given: dict[str, Any] = {
            "holder": secrets.token_hex(8),
            "now": lambda: 1_763_814_000_000 + int(self.clock * 1000),
            "clock": lambda: self.clock,
            "is_ours": self.vault.verify,
            "tell": tell,
        }
        return Sealer(
            source or self.source,
            Folder(self.folder, segment_bytes=segment_bytes, disk=disk),
            signing or Signing(KEY),
            Outside(**given | outside),
            seal_seconds=seal_seconds,
        )

    def passes(self, seconds: float = 5.0) -> None:
        """Let time pass for sealers: a lease is over after 4."""
        self.clock += seconds

    async def lease_ends(self) -> None:
        """Let the lease in Redis be over."""
        name = self.store.names.sealer()
        await self.link.together(name, [("HSET", name, "until", 0)])

    # ------------------------------------------------------------------------------ the archive

    def lines(self) -> list[bytes]:
        """Return every line of the archive."""
        return [line for s in segments(self.folder) for line in s.read_bytes().splitlines()]

    def entries(self) -> list[dict[str, Any]]:
        """Return its entries."""
        lines = self.lines()
        return [json.loads(line) for line in lines if not line.startswith((GAP, SEAL))]

    def gaps(self) -> list[dict[str, int]]:
        """Return its gaps."""
        return [json.loads(line)["gap"] for line in self.lines() if line.startswith(GAP)]

    def ids(self) -> list[str]:
        """Return the events' own ids, but for those of epochs and sealers."""
        found = [entry["event"]["id"] for entry in self.entries()]
        return [id_ for id_ in found if id_ != "epoch" and not id_.startswith("sealer-")]

    def report(self, *keys: SigningKey) -> Any:
        """Return what the verifier says."""
        return verify_folder(self.folder, [key.public for key in keys or (KEY,)])

    def check(self, *keys: SigningKey, gaps: int = 0, sealed: bool = True) -> None:
        """Everything that was told is there once, in a sound archive."""
        report = self.report(*keys)
        assert [] == report.findings
        if sealed:
            assert 0 == report.unsealed
        places = Counter(entry["id"] for entry in self.entries())
        assert {1} == set(places.values())
        counted = Counter(self.ids())
        assert dict.fromkeys(self.told, 1) == {id_: counted[id_] for id_ in self.told}
        assert gaps == len(self.gaps())


def streams(log: Log, partition: int = 7) -> Sequence[str]:
    """Return log, events and refusals of a partition."""
    return log.store.names.log(partition)[:3]


async def redis(log: Log, *command: Any) -> Any:
    """Run a command as somebody who can write to Redis."""
    (answer,) = await log.link.together(command[1], [command])
    return answer


async def until_quiet(sealer: Sealer) -> None:
    """Take turns until there is nothing more, and what the sealer told is there too."""
    for _ in range(3):
        more = True
        while more:
            more = await sealer.turn()


def decoded(line: bytes) -> Any:
    """Return what stands on a line."""
    return msgspec.json.decode(line)
