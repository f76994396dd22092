"""The position of an archive, updated with each line, and the seal over its newest batch."""

import msgspec

from otp_service.audit.archive_format import entries, merkle, seals
from otp_service.core.timestamps import parse_rfc3339


class ArchiveDamagedError(Exception):
    """An archive cannot be continued; the message says why."""


class ArchiveState:
    """The last sequence of each partition, the last seal, and the lines after it.

    Pure: a writer and a reader call `add_line` with every line that is written or found.
    """

    def __init__(self) -> None:
        self.seal_number = self.fence = 0
        self.previous_hash = seals.ZERO_HASH
        self.last_seal_line = b""
        self.sealed_at = ""
        self.next_key_id: str | None = None
        """The id of the key that has to sign the next seal; None if any may."""
        self.oldest_unsealed_at: int | None = None
        """The time of the first entry that is not sealed, in milliseconds since 1970."""
        self.is_segment_start = True
        """Whether the next seal is the first of its segment."""
        self.dropped: seals.DroppedPrefix | None = None
        """The deleted segments that the next seal has to state."""
        self._last_sequences: dict[tuple[int, int], int] = {}
        self._newest_epochs: dict[int, int] = {}
        self._unsealed_leaves: list[bytes] = []
        self._runs: dict[tuple[int, int], tuple[int, int]] = {}

    @property
    def is_sealed(self) -> bool:
        """Whether the last line is a seal."""
        return not self._unsealed_leaves

    @property
    def unsealed_count(self) -> int:
        return len(self._unsealed_leaves)

    def get_last_sequence(self, partition: int, epoch: int) -> int:
        """Return the last archived sequence of an epoch; 0 if none is known."""
        return self._last_sequences.get((partition, epoch), 0)

    def get_newest_epoch(self, partition: int) -> int:
        """Return the last archived epoch of a partition; 0 if the archive has none."""
        return self._newest_epochs.get(partition, 0)

    def record_sequence(self, partition: int, epoch: int, sequence: int) -> None:
        """Record a sequence that is archived, without a new head for its partition."""
        last = self.get_last_sequence(partition, epoch)
        self._last_sequences[partition, epoch] = max(sequence, last)

    def add_line(self, line: bytes) -> None:
        """Record a line of the archive. Raises ValueError if it cannot be decoded."""
        if line.startswith(entries.SEAL_PREFIX):
            self._add_seal(line)
            return
        if line.startswith(entries.GAP_PREFIX):
            partition, epoch, first, last = msgspec.structs.astuple(entries.decode_gap(line))
        else:
            partition, epoch, first = entries.sequence_id_from_line(line)
            last = first
            if self.oldest_unsealed_at is None:
                self.oldest_unsealed_at = parse_rfc3339(entries.decode_entry(line).at)
        self._unsealed_leaves.append(merkle.hash_leaf(line))
        first, _ = self._runs.get((partition, epoch), (first, last))
        self._runs[partition, epoch] = (first, last)
        self._advance_head(partition, epoch, last)

    def _add_seal(self, line: bytes) -> None:
        seal = seals.decode_seal(line)
        for head in seal.heads:
            self._advance_head(*head)
        for run in seal.runs:
            self._advance_head(run.partition, run.epoch, run.last)
        self.seal_number, self.fence, self.sealed_at = seal.number, seal.fence, seal.at
        self.last_seal_line, self.previous_hash = line, seals.hash_seal_line(line)
        self.next_key_id = seal.next.id if seal.next else seal.key
        self.oldest_unsealed_at, self.is_segment_start, self.dropped = None, False, None
        self._unsealed_leaves.clear()
        self._runs.clear()

    def _advance_head(self, partition: int, epoch: int, sequence: int) -> None:
        self.record_sequence(partition, epoch, sequence)
        self._newest_epochs[partition] = epoch

    def build_seal(
        self, at: str, *, key_id: str, fence: int, next_key: seals.NextKey | None = None
    ) -> seals.Seal:
        """Return the seal over all lines that are not sealed."""
        return seals.Seal(
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

    def _build_runs(self) -> tuple[seals.SequenceRange, ...]:
        """Return the runs by partition, and the epochs of each in the order of the lines."""
        runs = sorted(self._runs.items(), key=lambda run: run[0][0])
        return tuple(seals.SequenceRange(*epoch, *sequences) for epoch, sequences in runs)

    def _build_heads(self) -> tuple[entries.SequenceId, ...]:
        heads = sorted(self._newest_epochs.items())
        return tuple(entries.SequenceId(*head, self._last_sequences[head]) for head in heads)
