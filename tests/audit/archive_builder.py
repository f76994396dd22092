"""Archives for tests, in the real format, without Redis, a clock or randomness.

`ArchiveBuilder(folder)`, then `add_event(partition)` for each event and `append_seal()` after some.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otp_service.audit.archive_format import merkle, segments
from otp_service.audit.archive_format.entries import (
    SEAL_PREFIX,
    Gap,
    SequenceId,
    encode_entry,
    encode_gap,
)
from otp_service.audit.archive_format.seals import (
    ZERO_HASH,
    DroppedPrefix,
    NextKey,
    PublicKey,
    Seal,
    SequenceRange,
    SigningKey,
    build_anchor,
    hash_seal_line,
)
from otp_service.core.log_entry import (
    Entry,
    StreamPosition,
)
from otp_service.core.timestamps import format_rfc3339


START_MS = 1_763_978_400_000
"""2025-11-24T10:00:00Z, in milliseconds."""
EPOCH = START_MS - 1000


def derive_signing_key(name: str) -> SigningKey:
    """Return the signing key of this name; always the same."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


class ArchiveBuilder:
    """Appends to a folder as the sealer does; each event is one second after the previous one."""

    def __init__(self, folder: Path, key: SigningKey | None = None) -> None:
        self.folder = folder
        self.key = key or derive_signing_key("first")
        self.keys: list[PublicKey] = [self.key.public]
        """The file of public keys, oldest first."""
        self.now = START_MS
        self.segment: Path | None = None
        self.number = 0
        self.previous = ZERO_HASH
        self.fence = 1
        self.heads: dict[int, tuple[int, int]] = {}
        self._batch_lines: list[bytes] = []
        self._runs: dict[tuple[int, int], tuple[int, int]] = {}
        self._next_key: SigningKey | None = None
        self._dropped: DroppedPrefix | None = None

    def add_event(
        self, partition: int, *, is_ours: bool = True, stamp: bytes = b"", **fields: Any
    ) -> str:
        """Append the next event of a partition; return its id."""
        self.now += 1000
        epoch, sequence = self.heads.get(partition, (EPOCH, 0))
        event = {"type": "otp.issued", "id": f"{self.now:032x}", "tenant": "shop"} | fields
        entry = Entry(
            partition=partition,
            position=StreamPosition(self.now, sequence + 1),
            epoch=epoch,
            event=msgspec.json.encode(event),
            mac="1:c2lnbmVk",
            stamp=stamp,
        )
        self.append_line(
            encode_entry(entry, has_valid_mac=is_ours), Gap(partition, epoch, *[sequence + 1] * 2)
        )
        return SequenceId(partition, epoch, sequence + 1).id

    def add_gap(self, partition: int, count: int) -> Gap:
        """Declare that the next events of a partition are missing."""
        epoch, sequence = self.heads.get(partition, (EPOCH, 0))
        gap = Gap(partition, epoch, sequence + 1, sequence + count)
        self.append_line(encode_gap(gap), gap)
        return gap

    def skip_events(self, partition: int, count: int = 1) -> None:
        """Leave out the next events of a partition, without declaring a gap."""
        epoch, sequence = self.heads.get(partition, (EPOCH, 0))
        self.heads[partition] = epoch, sequence + count

    def begin_epoch(self, partition: int) -> None:
        """Begin a new epoch: Redis was restarted."""
        self.heads[partition] = self.now + 500, 0

    def append_line(self, line: bytes, gap: Gap) -> None:
        """Append a line for the sequences of `gap`."""
        self.heads[gap.partition] = gap.epoch, gap.last
        first, _ = self._runs.get((gap.partition, gap.epoch), (gap.first, 0))
        self._runs[gap.partition, gap.epoch] = first, gap.last
        self._batch_lines.append(line)
        self._write_line(line)

    def append_seal(self, **changes: Any) -> Seal:
        """Seal the batch; `changes` replace members of the seal."""
        is_first = (
            self.segment is None or segments.parse_segment_number(self.segment) == self.number + 1
        )
        facts: dict[str, Any] = {
            "number": self.number + 1,
            "at": format_rfc3339(self.now),
            "previous": self.previous,
            "count": len(self._batch_lines),
            "root": merkle.compute_root(map(merkle.hash_leaf, self._batch_lines)).hex(),
            "runs": tuple(SequenceRange(*epoch, *run) for epoch, run in sorted(self._runs.items())),
            "key": self.key.public.id,
            "fence": self.fence,
            "heads": tuple(SequenceId(p, *at) for p, at in sorted(self.heads.items()) if is_first),
            "next": self._next_key
            and NextKey(self._next_key.public.id, self._next_key.public.text),
            "dropped": self._dropped,
        }
        seal = Seal(**(facts | changes))
        self._end_batch(self.key.sign_seal(seal))
        return seal

    def hand_over_key(self, key: SigningKey) -> Seal:
        """Seal the batch, naming another key that signs from then on."""
        self._next_key = key
        seal = self.append_seal()
        self.key, self._next_key = key, None
        self.keys.append(key.public)
        return seal

    def start_segment(self, days: int = 0) -> None:
        """Begin a new segment with the next line, `days` later."""
        self.now += days * 24 * 3600 * 1000
        self.segment = None

    def drop_segments(self, number: int) -> None:
        """Delete the segments up to this seal; the next seal states it."""
        for path in segments.list_segments(self.folder):
            last = next(
                line
                for line in segments.iterate_lines_backward(path)
                if line.startswith(SEAL_PREFIX)
            )
            if (anchor := build_anchor(last)).number <= number:
                path.unlink()
                self._dropped = DroppedPrefix(anchor.number, anchor.hash)

    def _end_batch(self, line: bytes) -> None:
        self._write_line(line)
        self.number, self.previous = self.number + 1, hash_seal_line(line)
        self._batch_lines, self._runs, self._dropped = [], {}, None

    def _write_line(self, line: bytes) -> None:
        if self.segment is None:
            day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self.now)
            self.segment = segments.build_segment_path(self.folder, day, self.number + 1)
            self.segment.parent.mkdir(parents=True, exist_ok=True)
        with self.segment.open("ab") as file:
            file.write(line + b"\n")


def build_standard_archive(folder: Path) -> ArchiveBuilder:
    """Write an archive with every kind of line, and lines after its last seal.

    Three partitions, two epochs of one of them, a gap, a wrong MAC, a stamp; six seals in three
    segments of two days, and the second key from the fifth seal on.
    """
    archive = ArchiveBuilder(folder)
    for partition in (1, 2, 1, 3):
        archive.add_event(partition)
    archive.append_seal()
    for partition in (2, 1, 1, 2):
        archive.add_event(partition, stamp=b'{"limit":"CooldownPerNumber"}')
    archive.append_seal()
    archive.start_segment()
    archive.add_event(1)
    archive.add_gap(2, 3)
    for partition in (2, 3, 2):
        archive.add_event(partition)
    archive.append_seal()
    archive.add_event(1, is_ours=False)
    archive.add_event(2)
    archive.hand_over_key(derive_signing_key("second"))
    archive.start_segment(days=1)
    archive.begin_epoch(1)
    for partition in (1, 2, 1, 1):
        archive.add_event(partition)
    archive.fence += 1
    archive.append_seal()
    for partition in (3, 1, 2):
        archive.add_event(partition)
    archive.append_seal()
    for partition in (1, 2):
        archive.add_event(partition)
    return archive


def build_trimmed_archive(folder: Path) -> ArchiveBuilder:
    """Write an archive whose first segment was deleted after its retention."""
    archive = build_standard_archive(folder)
    archive.drop_segments(2)
    archive.append_seal()
    return archive
