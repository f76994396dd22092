"""The sequences of an archive's entries: nothing missing, nothing twice, nothing too late.

Inside an epoch of a partition they are 1, 2, 3… over the whole archive. What is missing may still
come, later in the same stretch: then it was moved. A seal that can be believed says which
sequences its stretch had, so that what follows is not found fault with once more.
"""

from typing import NamedTuple

from otp_service.audit.archive_format.entries import Place
from otp_service.audit.archive_format.seals import Seal
from otp_service.audit.verification.findings import Notebook


MOST_HOLES = 200
"""In a stretch, that are waited for: every late line is looked for among all of them."""

NOWHERE = (0, 0)
"""Epoch and sequence of a partition of which nothing was archived."""


class Hole(NamedTuple):
    """Sequences that were skipped, and the line that stands behind them."""

    partition: int
    epoch: int
    first: int
    last: int
    line: int


class Sequences:
    """Follows every partition; with `is_late` the beginning of the archive was dropped."""

    def __init__(self, book: Notebook, *, is_late: bool) -> None:
        self._book = book
        self._is_late = is_late
        self._heads: dict[int, tuple[int, int]] = {}
        self._epochs: set[tuple[int, int]] = set()
        self._behind: dict[int, tuple[int, int]] = {}
        self._has_late = False
        self._runs: dict[tuple[int, int], list[int]] = {}
        self._holes: list[Hole] = []

    def take(self, partition: int, epoch: int, first: int, last: int, line: int) -> bool:
        """Take an entry, or a gap that is declared; False if it stands too late."""
        head = self._heads.get(partition, NOWHERE)
        if head != (epoch, first - 1) and not self._is_ahead(head, partition, epoch, first, line):
            self._take_late(Hole(partition, epoch, first, last, line))
            return False
        self._heads[partition] = epoch, last
        self._epochs.add((partition, epoch))
        run = self._runs.get((partition, epoch))
        if run:
            run[1] = last
        else:
            self._runs[partition, epoch] = [first, last]
        return True

    def _is_ahead(
        self, head: tuple[int, int], partition: int, epoch: int, first: int, line: int
    ) -> bool:
        """Whether it stands behind the head; what is between is missing, for now."""
        known, sequence = head
        # A new epoch mostly counts higher; but the one before may have been lost by Redis, and have
        # been begun by a clock that was ahead.
        is_new = epoch != known and (partition, epoch) not in self._epochs
        if (epoch, first) <= head and not is_new:
            return False
        if epoch != known:
            sequence = 0
            if head == NOWHERE and self._is_late:
                return True
            if head != NOWHERE:
                self._book.note(
                    "epoch",
                    f"partition {partition} begins epoch {epoch}: Redis was restarted or replaced,"
                    " and what it had not kept is missing",
                    line,
                )
        if first > sequence + 1:
            self._skip(Hole(partition, epoch, sequence + 1, first - 1, line))
        return True

    def _skip(self, hole: Hole) -> None:
        if len(self._holes) < MOST_HOLES:
            self._holes.append(hole)
        else:
            self._missing(hole, hole.line, None)

    def _take_late(self, one: Hole) -> None:
        """Take what stands behind what should follow it: once for all that go on from it."""
        self._has_late = True
        event = Place(one.partition, one.epoch, one.first).id
        for index, hole in enumerate(self._holes):
            if hole[:2] == one[:2] and hole.first <= one.first <= one.last <= hole.last:
                before = hole._replace(last=one.first - 1)
                after = hole._replace(first=one.last + 1)
                self._holes[index : index + 1] = [h for h in (before, after) if h.first <= h.last]
                self._book.find("order", "stands behind later ones", one.line, event=event)
                return
        if self._behind.get(one.partition) != (one.epoch, one.first - 1):
            says = "stands here although its partition was already there or further"
            self._book.find("doubled", says, one.line, event=event)
        self._behind[one.partition] = one.epoch, one.last

    def close(self, seal: Seal | None, line: int, *, is_whole: bool, is_first: bool) -> None:
        """End a stretch; `seal` is None if it cannot be believed.

        With `is_whole` the lines are those that were sealed; with `is_first` the seal is the one
        that its segment is named after, which says where all partitions stand.
        """
        for hole in self._holes:
            self._missing(hole, hole.line, seal)
        if seal:
            self._compare(seal, line, is_whole=is_whole)
            if is_first:
                self._compare_heads(seal, line)
        self._runs.clear()
        self._holes.clear()
        self._has_late = False

    def _compare(self, seal: Seal, line: int, *, is_whole: bool) -> None:
        """Find what the seal's stretch had or had not, and go on from where it ended."""
        runs = {(run.partition, run.epoch): [run.first, run.last] for run in seal.runs}
        if is_whole and not self._has_late and runs != self._runs:
            says = "names other sequences than those that it was made over"
            self._book.find("runs", says, line, seal=seal.number)
        for (partition, epoch), (first, last) in runs.items():
            _, seen = self._runs.get((partition, epoch), (0, first - 1))
            if not is_whole and seen < last:
                self._missing(Hole(partition, epoch, seen + 1, last, line), line, seal)
            elif not is_whole and seen > last:
                event = Place(partition, epoch, last + 1).id
                says = f"{event} stands before it, and was not sealed: it was put in"
                self._book.find("added", says, line, seal=seal.number, event=event)
            self._heads[partition] = epoch, last
            self._epochs.add((partition, epoch))

    def _compare_heads(self, seal: Seal, line: int) -> None:
        heads = {head.partition: (head.epoch, head.sequence) for head in seal.heads}
        if heads != self._heads and not self._is_late:
            partition, _ = min(set(heads.items()) ^ set(self._heads.items()))
            epoch, sequence = heads.get(partition, NOWHERE)
            says = f"says that partition {partition} stands at {sequence} of epoch {epoch}"
            self._book.find("heads", f"{says}, which it does not", line, seal=seal.number)
        self._heads, self._is_late = heads or self._heads, False

    def _missing(self, hole: Hole, line: int, seal: Seal | None) -> None:
        partition, epoch, first, last, _ = hole
        event = Place(partition, epoch, first).id
        until = f" to {Place(partition, epoch, last).id}" if last > first else ""
        says = f"{event}{until} is missing before this line, and no gap is declared"
        number = seal.number if seal else None
        self._book.find("missing", says, line, seal=number, event=event)
