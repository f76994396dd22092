"""Verification of an archive with the public keys alone, and with anchors where there are some.

Each finding names its place. A seal covers a batch, so a change inside a line is located to the
lines of its batch (those of a few seconds); missing, doubled and moved lines are located to the
event. `audit/README.md` lists what cannot be detected.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from otp_service.audit.archive_format import entries, merkle, segments
from otp_service.audit.archive_format.seals import Anchor, PublicKey, Seal
from otp_service.audit.verification.findings import FindingLog, VerificationReport
from otp_service.audit.verification.repeated_events import RepeatDetector
from otp_service.audit.verification.seal_chain import SealChain
from otp_service.audit.verification.sequences import SequenceChecker


class Segment(NamedTuple):
    """A segment: the parts of its name, and its lines with their line ends."""

    name: str
    day: str
    number: int
    lines: Iterable[bytes]


def verify_archive(
    archive: Sequence[Segment],
    keys: Sequence[PublicKey],
    anchors: Sequence[Anchor] = (),
    *,
    foreign_files: Iterable[str] = (),
    read_again: Callable[[], Iterable[Segment]] | None = None,
) -> VerificationReport:
    """Return the report on an archive. `keys` are in the order in which they were in force.

    `foreign_files` are the names of other files in its folder. `read_again` returns the segments
    again, with their lines from the beginning; without it, `archive` must have them.
    """
    verifier = _ArchiveVerifier(archive[0].number if archive else 1, keys, anchors)
    for index, segment in enumerate(archive, start=1):
        verifier.read_segment(segment, is_newest=index == len(archive))
    verifier.report_repeats(read_again or (lambda: archive))
    return verifier.build_report(foreign_files)


def verify_folder(
    folder: Path,
    keys: Sequence[PublicKey],
    anchors: Sequence[Anchor] = (),
    *,
    wrap_lines: Callable[[Iterable[bytes]], Iterable[bytes]] = iter,
) -> VerificationReport:
    """Verify the archive in a folder; `wrap_lines` sees each line as it is read. Raises OSError."""
    paths = segments.list_segments(folder)
    found = [_open_segment(folder, path, wrap_lines) for path in paths]
    foreign_files = segments.list_foreign_files(folder)

    def read_again() -> Iterator[Segment]:
        return (_open_segment(folder, path, iter) for path in paths)

    return verify_archive(found, keys, anchors, foreign_files=foreign_files, read_again=read_again)


def _open_segment(
    folder: Path, path: Path, wrap_lines: Callable[[Iterable[bytes]], Iterable[bytes]]
) -> Segment:
    return Segment(
        path.relative_to(folder).as_posix(),
        segments.parse_segment_day(path),
        segments.parse_segment_number(path),
        wrap_lines(segments.iterate_raw_lines(path)),
    )


class _ArchiveVerifier:
    def __init__(
        self, first_number: int, keys: Sequence[PublicKey], anchors: Sequence[Anchor]
    ) -> None:
        self._log = FindingLog()
        self._seal_chain = SealChain(self._log, first_number, keys, anchors)
        self._repeats = RepeatDetector(self._log)
        self._sequences = SequenceChecker(self._log, is_beginning_dropped=first_number > 1)
        self._segments = self._seals = self._lines = self._entries = 0
        self._last_verified: tuple[Anchor | None, int] = None, 0
        self._day = ""
        self._unsealed = 0
        self._begin_batch(1)

    def read_segment(self, segment: Segment, *, is_newest: bool) -> None:
        self._log.file = segment.name
        self._segments += 1
        seals, place = self._seals, 0
        self._begin_batch(1)
        for place, line in enumerate(segment.lines, start=1):
            if not line.endswith(b"\n"):
                self._report_torn(line, place, is_newest=is_newest)
                break
            if len(self._leaves) > segments.MAX_ACCEPTED_BATCH_LINES:
                message = "the batch is too long; the rest was not read"
                self._log.add_finding("unsealed", message, place)
                break
            if line.startswith(entries.SEAL_PREFIX):
                self._check_seal(line[:-1], place, segment, is_first=self._seals == seals)
            else:
                self._check_line(line[:-1], place)
        self._lines += place
        self._end_segment(segment, place, has_seal=self._seals > seals, is_newest=is_newest)

    def report_repeats(self, read_again: Callable[[], Iterable[Segment]]) -> None:
        """Report events that occur twice; `read_again` returns the segments once more."""
        self._repeats.report_repeats(
            lambda: (
                (segment.name, number, line.removesuffix(b"\n"))
                for segment in read_again()
                for number, line in enumerate(segment.lines, start=1)
            )
        )

    def build_report(self, foreign_files: Iterable[str]) -> VerificationReport:
        self._seal_chain.finish_checks()
        for self._log.file in foreign_files:
            self._log.add_finding("foreign", "is not part of an archive")
        log = self._log
        anchor, events = (None, 0) if "beginning" in log.finding_counts else self._last_verified
        return VerificationReport(
            is_sound=anchor is not None and not log.finding_counts,
            verified=anchor,
            events=events,
            segments=self._segments,
            seals=self._seals,
            lines=self._lines,
            unsealed=self._unsealed,
            findings=log.findings,
            notes=log.notes,
            found=dict(log.finding_counts),
            noted=dict(log.note_counts),
        )

    def _begin_batch(self, line_number: int) -> None:
        self._leaves: list[bytes] = []
        self._batch_start = line_number
        self._latest_entry = ("", 0, 0)
        self._first_disorder: tuple[int, str] | None = None

    def _check_line(self, line: bytes, line_number: int) -> None:
        self._leaves.append(merkle.hash_leaf(line))
        self._repeats.add_line(line)
        try:
            if line.startswith(entries.GAP_PREFIX):
                self._check_gap(line, line_number)
            else:
                self._check_entry(line, line_number)
        except ValueError:
            self._log.add_finding("unreadable", "is not an entry, gap or seal", line_number)

    def _check_entry(self, line: bytes, line_number: int) -> None:
        entry = entries.decode_entry(line)
        partition, epoch, sequence = entries.parse_sequence_id(entry.id)
        self._entries += 1
        is_in_turn = self._sequences.check_range(partition, epoch, sequence, sequence, line_number)
        if entry.integrity == "failed":
            message = "its MAC was wrong when it was archived"
            self._log.add_note("integrity", message, line_number, event=entry.id)
        if is_in_turn:
            at = entry.at, partition, sequence
            if at < self._latest_entry and not self._first_disorder:
                self._first_disorder = line_number, entry.id
            self._latest_entry = at

    def _check_gap(self, line: bytes, line_number: int) -> None:
        gap = entries.decode_gap(line)
        if not 1 <= gap.first <= gap.last:
            raise ValueError(gap)
        self._sequences.check_range(gap.partition, gap.epoch, gap.first, gap.last, line_number)
        count, place = gap.last - gap.first + 1, f"partition {gap.partition}, epoch {gap.epoch}"
        message = f"({gap.first} to {gap.last}) were no longer in Redis"
        self._log.add_note("gap", f"{count} events of {place} {message}", line_number)

    def _check_seal(
        self, line: bytes, line_number: int, segment: Segment, *, is_first: bool
    ) -> None:
        self._seals += 1
        seal = self._seal_chain.verify_seal(line, line_number)
        is_whole = seal is not None and self._verify_root(seal, line_number)
        is_named = is_first and seal is not None and seal.number == segment.number
        self._sequences.close_batch(seal, line_number, is_whole=is_whole, is_first=is_named)
        if seal:
            if is_first:
                self._compare_name(segment, seal, line_number)
            self._day = seal.at[:10]
        if not self._log.finding_counts:
            self._last_verified = self._seal_chain.last_anchor, self._entries
        self._begin_batch(line_number + 1)

    def _verify_root(self, seal: Seal, line_number: int) -> bool:
        """Whether the lines are those that were sealed."""
        count = len(self._leaves)
        if count == seal.count and merkle.compute_root(self._leaves).hex() == seal.root:
            return True
        message = "differ from those that were sealed: changed, moved, inserted or deleted"
        if count != seal.count:
            message = f"are {count}, and {seal.count} were sealed"
        first, last = self._batch_start, max(line_number - 1, self._batch_start)
        self._log.add_finding("changed", f"the lines {message}", first, last=last, seal=seal.number)
        if self._first_disorder:
            at, event = self._first_disorder
            message = "this line and the one before it are not in order"
            self._log.add_finding("order", message, at, seal=seal.number, event=event)
        return False

    def _compare_name(self, segment: Segment, seal: Seal, line_number: int) -> None:
        """Report a segment with another number or day than its first seal."""
        if segment.number != seal.number:
            message = f"the first seal in it is {seal.number}"
            self._log.add_finding("name", message, line_number, seal=seal.number)
        if not self._day <= segment.day <= seal.at[:10]:
            message = f"was not begun on {segment.day}: its first seal is of {seal.at[:10]}"
            self._log.add_finding("day", message, line_number, seal=seal.number)

    def _report_torn(self, line: bytes, line_number: int, *, is_newest: bool) -> None:
        if is_newest and len(line) < segments.MAX_LINE_BYTES:
            message = "has no end: it is being written, or will be cut off"
            self._log.add_note("torn", message, line_number)
        else:
            self._log.add_finding("torn", "has no end; nothing after it was read", line_number)

    def _end_segment(self, segment: Segment, last: int, *, has_seal: bool, is_newest: bool) -> None:
        count = len(self._leaves)
        self._sequences.close_batch(None, last, is_whole=False, is_first=False)
        if is_newest:
            self._unsealed = count
            if not has_seal and not self._seal_chain.is_next(segment.number):
                message = "it is not named after the next seal"
                self._log.add_finding("name", message, seal=segment.number)
        elif count or not has_seal:
            message = "a segment that is not the newest has to end with a seal"
            first = self._batch_start
            self._log.add_finding("unsealed", message, first, last=max(last, first))
        self._seal_chain.end_segment()
