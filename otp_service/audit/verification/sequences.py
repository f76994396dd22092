"""The sequences of an archive's entries: nothing missing, nothing twice, nothing too late.

Inside an epoch of a partition they are 1, 2, 3… over the whole archive. What is missing may still
come, later in the same stretch: then it was moved. A seal that can be believed says which
sequences its stretch had, so that what follows is not found fault with once more.
"""

from typing import NamedTuple

from otp_service.audit.archive_format.entries import SequenceId
from otp_service.audit.archive_format.seals import Seal
from otp_service.audit.verification.findings import FindingLog


MAX_PENDING_HOLES = 200
"""In a stretch, that are waited for: every late line is looked for among all of them."""

NO_HEAD = (0, 0)
"""Epoch and sequence of a partition of which nothing was archived."""


class SequenceHole(NamedTuple):
    """Sequences that were skipped, and the line that stands behind them."""

    partition: int
    epoch: int
    first: int
    last: int
    line_number: int


class SequenceChecker:
    """Follows every partition; with `is_late` the beginning of the archive was dropped."""

    def __init__(self, finding_log: FindingLog, *, is_beginning_dropped: bool) -> None:
        self._finding_log = finding_log
        self._is_beginning_dropped = is_beginning_dropped
        self._heads: dict[int, tuple[int, int]] = {}
        self._epochs: set[tuple[int, int]] = set()
        self._late_heads: dict[int, tuple[int, int]] = {}
        self._has_late_lines = False
        self._runs: dict[tuple[int, int], list[int]] = {}
        self._holes: list[SequenceHole] = []

    def check_range(
        self, partition: int, epoch: int, first: int, last: int, line_number: int
    ) -> bool:
        """Take an entry, or a gap that is declared; False if it stands too late."""
        head = self._heads.get(partition, NO_HEAD)
        if head != (epoch, first - 1) and not self._is_ahead(
            head, partition, epoch, first, line_number
        ):
            self._report_late(SequenceHole(partition, epoch, first, last, line_number))
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
        self, head: tuple[int, int], partition: int, epoch: int, first: int, line_number: int
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
            if head == NO_HEAD and self._is_beginning_dropped:
                return True
            if head != NO_HEAD:
                self._finding_log.add_note(
                    "epoch",
                    f"partition {partition} begins epoch {epoch}: Redis was restarted or replaced,"
                    " and what it had not kept is missing",
                    line_number,
                )
        if first > sequence + 1:
            self._add_hole(SequenceHole(partition, epoch, sequence + 1, first - 1, line_number))
        return True

    def _add_hole(self, hole: SequenceHole) -> None:
        if len(self._holes) < MAX_PENDING_HOLES:
            self._holes.append(hole)
        else:
            self._report_missing(hole, hole.line_number, None)

    def _report_late(self, late: SequenceHole) -> None:
        """Take what stands behind what should follow it: once for all that go on from it."""
        self._has_late_lines = True
        event = SequenceId(late.partition, late.epoch, late.first).id
        for index, hole in enumerate(self._holes):
            if hole[:2] == late[:2] and hole.first <= late.first <= late.last <= hole.last:
                before = hole._replace(last=late.first - 1)
                after = hole._replace(first=late.last + 1)
                self._holes[index : index + 1] = [h for h in (before, after) if h.first <= h.last]
                self._finding_log.add_finding(
                    "order", "stands behind later ones", late.line_number, event=event
                )
                return
        if self._late_heads.get(late.partition) != (late.epoch, late.first - 1):
            says = "stands here although its partition was already there or further"
            self._finding_log.add_finding("doubled", says, late.line_number, event=event)
        self._late_heads[late.partition] = late.epoch, late.last

    def close_batch(
        self, seal: Seal | None, line_number: int, *, is_whole: bool, is_first: bool
    ) -> None:
        """End a stretch; `seal` is None if it cannot be believed.

        With `is_whole` the lines are those that were sealed; with `is_first` the seal is the one
        that its segment is named after, which says where all partitions stand.
        """
        for hole in self._holes:
            self._report_missing(hole, hole.line_number, seal)
        if seal:
            self._compare_runs(seal, line_number, is_whole=is_whole)
            if is_first:
                self._compare_heads(seal, line_number)
        self._runs.clear()
        self._holes.clear()
        self._has_late_lines = False

    def _compare_runs(self, seal: Seal, line_number: int, *, is_whole: bool) -> None:
        """Find what the seal's stretch had or had not, and go on from where it ended."""
        runs = {(run.partition, run.epoch): [run.first, run.last] for run in seal.runs}
        if is_whole and not self._has_late_lines and runs != self._runs:
            says = "names other sequences than those that it was made over"
            self._finding_log.add_finding("runs", says, line_number, seal=seal.number)
        for (partition, epoch), (first, last) in runs.items():
            _, seen = self._runs.get((partition, epoch), (0, first - 1))
            if not is_whole and seen < last:
                self._report_missing(
                    SequenceHole(partition, epoch, seen + 1, last, line_number), line_number, seal
                )
            elif not is_whole and seen > last:
                event = SequenceId(partition, epoch, last + 1).id
                says = f"{event} stands before it, and was not sealed: it was put in"
                self._finding_log.add_finding(
                    "added", says, line_number, seal=seal.number, event=event
                )
            self._heads[partition] = epoch, last
            self._epochs.add((partition, epoch))

    def _compare_heads(self, seal: Seal, line_number: int) -> None:
        heads = {head.partition: (head.epoch, head.sequence) for head in seal.heads}
        if heads != self._heads and not self._is_beginning_dropped:
            partition, _ = min(set(heads.items()) ^ set(self._heads.items()))
            epoch, sequence = heads.get(partition, NO_HEAD)
            says = f"says that partition {partition} stands at {sequence} of epoch {epoch}"
            self._finding_log.add_finding(
                "heads", f"{says}, which it does not", line_number, seal=seal.number
            )
        self._heads, self._is_beginning_dropped = heads or self._heads, False

    def _report_missing(self, hole: SequenceHole, line_number: int, seal: Seal | None) -> None:
        partition, epoch, first, last, _ = hole
        event = SequenceId(partition, epoch, first).id
        until = f" to {SequenceId(partition, epoch, last).id}" if last > first else ""
        says = f"{event}{until} is missing before this line, and no gap is declared"
        number = seal.number if seal else None
        self._finding_log.add_finding("missing", says, line_number, seal=number, event=event)
