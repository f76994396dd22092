"""Where an archive stands: it learns of every line that is written or found, and says what the
next seal states.
"""

import msgspec

from otp_service.audit.archive_format import merkle
from otp_service.audit.archive_format.entries import (
    GAP_PREFIX,
    SEAL_PREFIX,
    decode_entry,
    decode_gap,
    sequence_id_from_line,
)
from otp_service.audit.archive_format.seals import (
    ZERO_HASH,
    DroppedPrefix,
    NextKey,
    PartitionHead,
    Seal,
    SequenceRange,
    decode_seal,
    hash_seal_line,
)
from otp_service.core.timestamps import parse_rfc3339


class ArchiveDamagedError(Exception):
    """What is there cannot be gone on with; the text says what it is."""


class ArchiveState:
    """Where an archive stands: what is in it, what is not sealed, and what the last seal was."""

    def __init__(self) -> None:
        self.seal_number = self.fence = 0
        self.previous_hash = ZERO_HASH
        self.last_seal_line = b""
        """The last seal's."""
        self.sealed_at = ""
        self.next_key_id: str | None = None
        """The id of the key that is to sign the next seal; None if any may."""
        self.oldest_unsealed_at: int | None = None
        """When the first entry was told that is not sealed."""
        self.is_segment_start = True
        """Whether the next seal is the first one of its segment."""
        self.dropped: DroppedPrefix | None = None
        """What retention has deleted, for the next seal to say."""
        self._last_sequences: dict[tuple[int, int], int] = {}
        self._newest_epochs: dict[int, int] = {}
        self._unsealed_leaves: list[bytes] = []
        self._runs: dict[tuple[int, int], tuple[int, int]] = {}

    @property
    def is_sealed(self) -> bool:
        """Whether nothing stands behind the last seal."""
        return not self._unsealed_leaves

    @property
    def unsealed_count(self) -> int:
        """How many lines are not sealed yet."""
        return len(self._unsealed_leaves)

    def get_last_sequence(self, partition: int, epoch: int) -> int:
        """Return the last sequence of an epoch that is in the archive."""
        return self._last_sequences.get((partition, epoch), 0)

    def get_newest_epoch(self, partition: int) -> int:
        """Return the epoch of a partition that was archived last; 0 if there is none."""
        return self._newest_epochs.get(partition, 0)

    def record_sequence(self, partition: int, epoch: int, sequence: int) -> None:
        """Take over what was found of an epoch elsewhere in the archive."""
        self._last_sequences[partition, epoch] = max(
            sequence, self.get_last_sequence(partition, epoch)
        )

    def add_line(self, line: bytes) -> None:
        """Learn of a line that is written. Raises ValueError if it cannot be read."""
        if line.startswith(SEAL_PREFIX):
            self._add_seal(line)
            return
        if line.startswith(GAP_PREFIX):
            partition, epoch, first, last = msgspec.structs.astuple(decode_gap(line))
        else:
            partition, epoch, last = sequence_id_from_line(line)
            first = last
            if self.oldest_unsealed_at is None:
                self.oldest_unsealed_at = parse_rfc3339(decode_entry(line).at)
        self._unsealed_leaves.append(merkle.hash_leaf(line))
        began, _ = self._runs.get((partition, epoch), (first, last))
        self._runs[partition, epoch] = (began, last)
        self._advance_head(partition, epoch, last)

    def build_seal(
        self, at: str, *, key_id: str, fence: int, next_key: NextKey | None = None
    ) -> Seal:
        """Return the seal over everything that is not sealed yet."""
        return Seal(
            number=self.seal_number + 1,
            at=at,
            previous=self.previous_hash,
            count=len(self._unsealed_leaves),
            root=merkle.compute_root(self._unsealed_leaves).hex(),
            runs=self._build_runs(),
            key=key_id,
            fence=fence,
            heads=self._build_heads() if self.is_segment_start else (),
            next=next_key,
            dropped=self.dropped,
        )

    def _build_runs(self) -> tuple[SequenceRange, ...]:
        """Return the runs by partition; its epochs stand in the order in which they were met."""
        runs = sorted(self._runs.items(), key=lambda run: run[0][0])
        return tuple(SequenceRange(*who, *run) for who, run in runs)

    def _build_heads(self) -> tuple[PartitionHead, ...]:
        newest = sorted(self._newest_epochs.items())
        return tuple(PartitionHead(p, epoch, self._last_sequences[p, epoch]) for p, epoch in newest)

    def _add_seal(self, line: bytes) -> None:
        seal = decode_seal(line)
        for head in seal.heads:
            self._advance_head(*head)
        for run in seal.runs:
            self._advance_head(run.partition, run.epoch, run.last)
        self.seal_number, self.fence, self.previous_hash = (
            seal.number,
            seal.fence,
            hash_seal_line(line),
        )
        self.last_seal_line, self.sealed_at = line, seal.at
        self.next_key_id = seal.next.id if seal.next else seal.key
        self.oldest_unsealed_at, self.is_segment_start, self.dropped = None, False, None
        self._unsealed_leaves.clear()
        self._runs.clear()

    def _advance_head(self, partition: int, epoch: int, sequence: int) -> None:
        self.record_sequence(partition, epoch, sequence)
        self._newest_epochs[partition] = epoch
