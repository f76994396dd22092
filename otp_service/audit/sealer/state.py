"""Where an archive stands: it learns of every line that is written or found, and says what the
next seal states.
"""

import msgspec

from otp_service.audit.archive_format import merkle
from otp_service.audit.archive_format.entries import GAP, SEAL, entry_on, gap_on, place_on
from otp_service.audit.archive_format.seals import (
    NOTHING,
    Dropped,
    Head,
    NextKey,
    Run,
    Seal,
    hash_of,
    seal_on,
)
from otp_service.core.log_entry import milliseconds_of


class ArchiveDamaged(Exception):
    """What is there cannot be gone on with; the text says what it is."""


class Standing:
    """Where an archive stands: what is in it, what is not sealed, and what the last seal was."""

    def __init__(self) -> None:
        self.number = self.fence = 0
        self.previous = NOTHING
        self.seal_line = b""
        """The last seal's."""
        self.sealed_at = ""
        self.key: str | None = None
        """The id of the key that is to sign the next seal; None if any may."""
        self.oldest: int | None = None
        """When the first entry was told that is not sealed."""
        self.begins = True
        """Whether the next seal is the first one of its segment."""
        self.dropped: Dropped | None = None
        """What retention has deleted, for the next seal to say."""
        self._last: dict[tuple[int, int], int] = {}
        self._newest: dict[int, int] = {}
        self._leaves: list[bytes] = []
        self._runs: dict[tuple[int, int], tuple[int, int]] = {}

    @property
    def is_sealed(self) -> bool:
        """Whether nothing stands behind the last seal."""
        return not self._leaves

    @property
    def waiting(self) -> int:
        """How many lines are not sealed yet."""
        return len(self._leaves)

    def last(self, partition: int, epoch: int) -> int:
        """Return the last sequence of an epoch that is in the archive."""
        return self._last.get((partition, epoch), 0)

    def newest(self, partition: int) -> int:
        """Return the epoch of a partition that was archived last; 0 if there is none."""
        return self._newest.get(partition, 0)

    def learn(self, partition: int, epoch: int, sequence: int) -> None:
        """Take over what was found of an epoch elsewhere in the archive."""
        self._last[partition, epoch] = max(sequence, self.last(partition, epoch))

    def add(self, line: bytes) -> None:
        """Learn of a line that is written. Raises ValueError if it cannot be read."""
        if line.startswith(SEAL):
            self._add_seal(line)
            return
        if line.startswith(GAP):
            partition, epoch, first, last = msgspec.structs.astuple(gap_on(line))
        else:
            partition, epoch, last = place_on(line)
            first = last
            if self.oldest is None:
                self.oldest = milliseconds_of(entry_on(line).at)
        self._leaves.append(merkle.leaf(line))
        began, _ = self._runs.get((partition, epoch), (first, last))
        self._runs[partition, epoch] = (began, last)
        self._move(partition, epoch, last)

    def seal(self, at: str, *, key: str, fence: int, next_key: NextKey | None = None) -> Seal:
        """Return the seal over everything that is not sealed yet."""
        return Seal(
            number=self.number + 1,
            at=at,
            previous=self.previous,
            count=len(self._leaves),
            root=merkle.root(self._leaves).hex(),
            runs=self._told(),
            key=key,
            fence=fence,
            heads=self._heads() if self.begins else (),
            next=next_key,
            dropped=self.dropped,
        )

    def _told(self) -> tuple[Run, ...]:
        """Return the runs by partition; its epochs stand in the order in which they were met."""
        runs = sorted(self._runs.items(), key=lambda run: run[0][0])
        return tuple(Run(*who, *run) for who, run in runs)

    def _heads(self) -> tuple[Head, ...]:
        newest = sorted(self._newest.items())
        return tuple(Head(p, epoch, self._last[p, epoch]) for p, epoch in newest)

    def _add_seal(self, line: bytes) -> None:
        seal = seal_on(line)
        for head in seal.heads:
            self._move(*head)
        for run in seal.runs:
            self._move(run.partition, run.epoch, run.last)
        self.number, self.fence, self.previous = seal.number, seal.fence, hash_of(line)
        self.seal_line, self.sealed_at = line, seal.at
        self.key = seal.next.id if seal.next else seal.key
        self.oldest, self.begins, self.dropped = None, False, None
        self._leaves.clear()
        self._runs.clear()

    def _move(self, partition: int, epoch: int, last: int) -> None:
        self.learn(partition, epoch, last)
        self._newest[partition] = epoch
