"""Archives for tests: written in the real format, without Redis, time or chance.

`Archive(folder)`, then `tell(partition)` for each event and `seal()` after some of them.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otp_service.audit.archive_format import merkle, segments
from otp_service.audit.archive_format.entries import SEAL, Gap, Place, gap_line, line_of
from otp_service.audit.archive_format.seals import (
    NOTHING,
    Dropped,
    Head,
    NextKey,
    PublicKey,
    Run,
    Seal,
    SigningKey,
    anchor_of,
    hash_of,
)
from otp_service.core.log_entry import Entry, Position, rfc3339


BEGIN = 1_763_978_400_000
"""2025-11-24T10:00:00Z, in milliseconds."""
EPOCH = BEGIN - 1000


def signing_key(name: str) -> SigningKey:
    """Return the key of this name: the same each time."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


class Archive:
    """Appends to a folder as the sealer does; each event is a second after the one before."""

    def __init__(self, folder: Path, key: SigningKey | None = None) -> None:
        self.folder = folder
        self.key = key or signing_key("first")
        self.keys: list[PublicKey] = [self.key.public]
        """The file of public keys, oldest first."""
        self.now = BEGIN
        self.segment: Path | None = None
        self.number = 0
        self.previous = NOTHING
        self.fence = 1
        self.heads: dict[int, tuple[int, int]] = {}
        self._stretch: list[bytes] = []
        self._runs: dict[tuple[int, int], tuple[int, int]] = {}
        self._next: SigningKey | None = None
        self._dropped: Dropped | None = None

    def tell(
        self, partition: int, *, is_ours: bool = True, stamp: bytes = b"", **fields: Any
    ) -> str:
        """Append the next event of a partition, and return its id."""
        self.now += 1000
        epoch, sequence = self.heads.get(partition, (EPOCH, 0))
        event = {"type": "otp.issued", "id": f"{self.now:032x}", "tenant": "shop"} | fields
        entry = Entry(
            partition=partition,
            position=Position(self.now, sequence + 1),
            epoch=epoch,
            event=msgspec.json.encode(event),
            mac="1:c2lnbmVk",
            stamp=stamp,
        )
        self.append(line_of(entry, is_ours=is_ours), Gap(partition, epoch, *[sequence + 1] * 2))
        return Place(partition, epoch, sequence + 1).id

    def gap(self, partition: int, count: int) -> Gap:
        """Declare that the next events of a partition are missing."""
        epoch, sequence = self.heads.get(partition, (EPOCH, 0))
        gap = Gap(partition, epoch, sequence + 1, sequence + count)
        self.append(gap_line(gap), gap)
        return gap

    def skip(self, partition: int, count: int = 1) -> None:
        """Lose the next events of a partition, and say nothing."""
        epoch, sequence = self.heads.get(partition, (EPOCH, 0))
        self.heads[partition] = epoch, sequence + count

    def begin_epoch(self, partition: int) -> None:
        """Begin a new epoch: Redis was restarted."""
        self.heads[partition] = self.now + 500, 0

    def append(self, line: bytes, of: Gap) -> None:
        """Append a line that takes these sequences."""
        self.heads[of.partition] = of.epoch, of.last
        first, _ = self._runs.get((of.partition, of.epoch), (of.first, 0))
        self._runs[of.partition, of.epoch] = first, of.last
        self._stretch.append(line)
        self._write(line)

    def seal(self, **changes: Any) -> Seal:
        """Close the stretch; `changes` are what the seal says otherwise."""
        is_first = self.segment is None or segments.number_of(self.segment) == self.number + 1
        facts: dict[str, Any] = {
            "number": self.number + 1,
            "at": rfc3339(self.now),
            "previous": self.previous,
            "count": len(self._stretch),
            "root": merkle.root(map(merkle.leaf, self._stretch)).hex(),
            "runs": tuple(Run(*where, *run) for where, run in sorted(self._runs.items())),
            "key": self.key.public.id,
            "fence": self.fence,
            "heads": tuple(Head(p, *at) for p, at in sorted(self.heads.items()) if is_first),
            "next": self._next and NextKey(self._next.public.id, self._next.public.text),
            "dropped": self._dropped,
        }
        seal = Seal(**(facts | changes))
        self._end_stretch(self.key.line(seal))
        return seal

    def hand_over(self, key: SigningKey) -> Seal:
        """Close the stretch, and sign with another key from then on."""
        self._next = key
        seal = self.seal()
        self.key, self._next = key, None
        self.keys.append(key.public)
        return seal

    def rotate(self, days: int = 0) -> None:
        """Begin a new segment with the next line, so many days later."""
        self.now += days * 24 * 3600 * 1000
        self.segment = None

    def drop(self, number: int) -> None:
        """Delete the segments up to this seal, and say so in the next one."""
        for path in segments.segments(self.folder):
            last = next(line for line in segments.lines_backward(path) if line.startswith(SEAL))
            if (anchor := anchor_of(last)).number <= number:
                path.unlink()
                self._dropped = Dropped(anchor.number, anchor.hash)

    def _end_stretch(self, line: bytes) -> None:
        self._write(line)
        self.number, self.previous = self.number + 1, hash_of(line)
        self._stretch, self._runs, self._dropped = [], {}, None

    def _write(self, line: bytes) -> None:
        if self.segment is None:
            day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self.now)
            self.segment = segments.segment_path(self.folder, day, self.number + 1)
            self.segment.parent.mkdir(parents=True, exist_ok=True)
        with self.segment.open("ab") as file:
            file.write(line + b"\n")


def standard(folder: Path) -> Archive:
    """Write an archive with everything that may be in one, and lines behind its last seal.

    Three partitions, two epochs of one of them, a gap, a wrong MAC, a stamp; six seals in three
    segments of two days, and the second key from the fifth seal on.
    """
    archive = Archive(folder)
    for partition in (1, 2, 1, 3):
        archive.tell(partition)
    archive.seal()
    for partition in (2, 1, 1, 2):
        archive.tell(partition, stamp=b'{"limit":"CooldownPerNumber"}')
    archive.seal()
    archive.rotate()
    archive.tell(1)
    archive.gap(2, 3)
    for partition in (2, 3, 2):
        archive.tell(partition)
    archive.seal()
    archive.tell(1, is_ours=False)
    archive.tell(2)
    archive.hand_over(signing_key("second"))
    archive.rotate(days=1)
    archive.begin_epoch(1)
    for partition in (1, 2, 1, 1):
        archive.tell(partition)
    archive.fence += 1
    archive.seal()
    for partition in (3, 1, 2):
        archive.tell(partition)
    archive.seal()
    for partition in (1, 2):
        archive.tell(partition)
    return archive


def late(folder: Path) -> Archive:
    """Write an archive whose first segment was dropped when its retention had ended."""
    archive = standard(folder)
    archive.drop(2)
    archive.seal()
    return archive
