"""The sequences of an archive's entries: none is missing, doubled or late.

Inside an epoch of a partition they are 1, 2, 3… over the whole archive. A missing sequence may
follow later in the same batch: then its line was moved. A verified seal names the sequences of its
batch, so that one error is not reported again for the lines after it.
"""

from typing import NamedTuple

from otp_service.audit.archive_format.entries import SequenceId
from otp_service.audit.archive_format.seals import Seal
from otp_service.audit.verification.findings import FindingLog


MAX_PENDING_HOLES = 200
"""Holes of a batch that a late line may still fill. Each late line is compared with all of them."""

NO_HEAD = (0, 0)
"""Epoch and sequence of a partition of which nothing was archived."""


class SequenceHole(NamedTuple):
    """Sequences that were skipped, and the line after them."""

    partition: int
    epoch: int
    first: int
    last: int
    line_number: int


class SequenceChecker:
    """Follows every partition, from the beginning of the archive or from where retention left it."""

    def __init__(self, finding_log: FindingLog, *, is_beginning_dropped: bool) -> None:
        self._log = finding_log
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
        """Check an entry or a declared gap. Return False if it is late."""
        head = self._heads.get(partition, NO_HEAD)
        lines = SequenceHole(partition, epoch, first, last, line_number)
        if head != (epoch, first - 1) and not self._is_ahead(head, lines):
            self._report_late(lines)
            return False
        self._heads[partition] = epoch, last
        self._epochs.add((partition, epoch))
        run = self._runs.setdefault((partition, epoch), [first, last])
        run[1] = last
        return True

    def _is_ahead(self, head: tuple[int, int], lines: SequenceHole) -> bool:
        """Whether these sequences are after the head; those between are missing, for now."""
        partition, epoch, first, _, line_number = lines
        head_epoch, sequence = head
        # A new epoch mostly counts higher; but the one before may have been lost by Redis, and have
        # been begun by a clock that was ahead.
        is_new = epoch != head_epoch and (partition, epoch) not in self._epochs
        if (epoch, first) <= head and not is_new:
            return False
        if epoch != head_epoch:
            sequence = 0
            if head == NO_HEAD and self._is_beginning_dropped:
                return True
            if head != NO_HEAD:
                cause = "Redis was restarted or replaced, and what it had not kept is missing"
                message = f"partition {partition} begins epoch {epoch}: {cause}"
                self._log.add_note("epoch", message, line_number)
        if first > sequence + 1:
            self._add_hole(SequenceHole(partition, epoch, sequence + 1, first - 1, line_number))
        return True

    def _add_hole(self, hole: SequenceHole) -> None:
        if len(self._holes) < MAX_PENDING_HOLES:
            self._holes.append(hole)
        else:
            self._report_missing(hole, hole.line_number, None)

    def _report_late(self, late: SequenceHole) -> None:
        """Report a line that follows later ones: once for all lines that continue it."""
        self._has_late_lines = True
        event = SequenceId(late.partition, late.epoch, late.first).id
        for index, hole in enumerate(self._holes):
            if hole[:2] == late[:2] and hole.first <= late.first <= late.last <= hole.last:
                before = hole._replace(last=late.first - 1)
                after = hole._replace(first=late.last + 1)
                self._holes[index : index + 1] = [h for h in (before, after) if h.first <= h.last]
                message = "follows later ones"
                self._log.add_finding("order", message, late.line_number, event=event)
                return
        if self._late_heads.get(late.partition) != (late.epoch, late.first - 1):
            message = "occurs although its partition had already reached or passed it"
            self._log.add_finding("doubled", message, late.line_number, event=event)
        self._late_heads[late.partition] = late.epoch, late.last

    def close_batch(
        self, seal: Seal | None, line_number: int, *, is_whole: bool, is_first: bool
    ) -> None:
        """End a batch, with its seal if that is valid.

        `is_whole` means that the lines are those that were sealed, `is_first` that the segment is
        named after the seal, which then holds the head of every partition.
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
        """Compare the batch with the sequences that its seal names, and continue after those."""
        runs = {(run.partition, run.epoch): [run.first, run.last] for run in seal.runs}
        if is_whole and not self._has_late_lines and runs != self._runs:
            message = "names other sequences than its lines have"
            self._log.add_finding("runs", message, line_number, seal=seal.number)
        for (partition, epoch), (first, last) in runs.items():
            _, seen = self._runs.get((partition, epoch), (0, first - 1))
            if not is_whole and seen < last:
                hole = SequenceHole(partition, epoch, seen + 1, last, line_number)
                self._report_missing(hole, line_number, seal)
            elif not is_whole and seen > last:
                event = SequenceId(partition, epoch, last + 1).id
                message = f"{event} is before it, and was not sealed: it was inserted"
                self._log.add_finding("added", message, line_number, seal=seal.number, event=event)
            self._heads[partition] = epoch, last
            self._epochs.add((partition, epoch))

    def _compare_heads(self, seal: Seal, line_number: int) -> None:
        heads = {head.partition: (head.epoch, head.sequence) for head in seal.heads}
        if heads != self._heads and not self._is_beginning_dropped:
            partition, _ = min(set(heads.items()) ^ set(self._heads.items()))
            epoch, sequence = heads.get(partition, NO_HEAD)
            message = f"puts partition {partition} at {sequence} of epoch {epoch}, which is wrong"
            self._log.add_finding("heads", message, line_number, seal=seal.number)
        self._heads, self._is_beginning_dropped = heads or self._heads, False

    def _report_missing(self, hole: SequenceHole, line_number: int, seal: Seal | None) -> None:
        partition, epoch, first, last, _ = hole
        event = SequenceId(partition, epoch, first).id
        until = f" to {SequenceId(partition, epoch, last).id}" if last > first else ""
        message = f"{event}{until} is missing before this line, and no gap is declared"
        number = seal.number if seal else None
        self._log.add_finding("missing", message, line_number, seal=number, event=event)
