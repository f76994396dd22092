"""Whether an archive is what its sealer wrote: with the public keys alone, and an anchor if there is one.

What is wrong is told with its place. A seal speaks of a stretch, so what was changed inside a line
is located to the lines of its stretch (those of a few seconds); what is missing, doubled or moved
to the event. README.md says what nobody can see.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from otp_service.audit.archive_format import merkle, segments
from otp_service.audit.archive_format.entries import GAP, SEAL, entry_on, gap_on, place_named
from otp_service.audit.archive_format.seals import Anchor, PublicKey, Seal
from otp_service.audit.verification.findings import Notebook, Report
from otp_service.audit.verification.seal_chain import Chain
from otp_service.audit.verification.sequences import Sequences


class Segment(NamedTuple):
    """A segment: what its name says, and its lines with their ends."""

    name: str
    day: str
    number: int
    lines: Iterable[bytes]


def verify(
    archive: Sequence[Segment],
    keys: Sequence[PublicKey],
    anchors: Sequence[Anchor] = (),
    *,
    foreign: Iterable[str] = (),
) -> Report:
    """Return what is to be told of an archive; `foreign` names the files in it that are none of it.

    The keys stand in the order in which they were in force.
    """
    verifier = _Verifier(archive[0].number if archive else 1, keys, anchors)
    for index, segment in enumerate(archive, start=1):
        verifier.read(segment, is_newest=index == len(archive))
    return verifier.report(foreign)


def verify_folder(
    folder: Path,
    keys: Sequence[PublicKey],
    anchors: Sequence[Anchor] = (),
    *,
    watch: Callable[[Iterable[bytes]], Iterable[bytes]] = iter,
) -> Report:
    """Do so with a folder; every segment's lines go through `watch`. Raises OSError."""
    read = [
        Segment(
            path.relative_to(folder).as_posix(),
            segments.day_of(path),
            segments.number_of(path),
            watch(segments.whole_lines(path)),
        )
        for path in segments.segments(folder)
    ]
    return verify(read, keys, anchors, foreign=segments.foreign(folder))


class _Verifier:
    def __init__(self, begins: int, keys: Sequence[PublicKey], anchors: Sequence[Anchor]) -> None:
        self._book = Notebook()
        self._chain = Chain(self._book, begins, keys, anchors)
        self._sequences = Sequences(self._book, is_late=begins > 1)
        self._segments = self._seals = self._lines = self._entries = 0
        self._verified: tuple[Anchor | None, int] = None, 0
        self._day = ""
        self._unsealed = 0
        self._begin(1)

    def read(self, segment: Segment, *, is_newest: bool) -> None:
        """Read one segment to its end."""
        self._book.file = segment.name
        self._segments += 1
        seals, place = self._seals, 0
        self._begin(1)
        for place, line in enumerate(segment.lines, start=1):
            if not line.endswith(b"\n"):
                self._take_torn(line, place, is_newest=is_newest)
                break
            if len(self._leaves) > segments.LONGEST_STRETCH:
                self._book.find("unsealed", "no stretch is that long; the rest was not read", place)
                break
            if line.startswith(SEAL):
                self._take_seal(line[:-1], place, segment, is_first=self._seals == seals)
            else:
                self._take_line(line[:-1], place)
        self._lines += place
        self._end_segment(segment, place, has_seal=self._seals > seals, is_newest=is_newest)

    def report(self, foreign: Iterable[str]) -> Report:
        """Return what was found."""
        self._chain.end()
        for self._book.file in foreign:
            self._book.find("foreign", "is no part of an archive")
        book = self._book
        anchor, events = (None, 0) if "beginning" in book.found else self._verified
        return Report(
            is_sound=anchor is not None and not book.found,
            verified=anchor,
            events=events,
            segments=self._segments,
            seals=self._seals,
            lines=self._lines,
            unsealed=self._unsealed,
            findings=book.findings,
            notes=book.notes,
            found=dict(book.found),
            noted=dict(book.noted),
        )

    # ------------------------------------------------------------------------------- a stretch

    def _begin(self, place: int) -> None:
        self._leaves: list[bytes] = []
        self._begun = place
        self._latest = ("", 0, 0)
        self._disorder: tuple[int, str] | None = None

    def _take_line(self, line: bytes, place: int) -> None:
        self._leaves.append(merkle.leaf(line))
        try:
            if line.startswith(GAP):
                self._take_gap(line, place)
            else:
                self._take_entry(line, place)
        except ValueError:
            self._book.find("unreadable", "is no entry, gap or seal", place)

    def _take_entry(self, line: bytes, place: int) -> None:
        entry = entry_on(line)
        partition, epoch, sequence = place_named(entry.id)
        self._entries += 1
        is_in_turn = self._sequences.take(partition, epoch, sequence, sequence, place)
        if entry.integrity == "failed":
            says = "its MAC was wrong when it was archived"
            self._book.note("integrity", says, place, event=entry.id)
        if is_in_turn:
            at = entry.at, partition, sequence
            if at < self._latest and not self._disorder:
                self._disorder = place, entry.id
            self._latest = at

    def _take_gap(self, line: bytes, place: int) -> None:
        gap = gap_on(line)
        if not 1 <= gap.first <= gap.last:
            raise ValueError(gap)
        self._sequences.take(gap.partition, gap.epoch, gap.first, gap.last, place)
        says = (
            f"{gap.last - gap.first + 1} events of partition {gap.partition}, epoch {gap.epoch}"
            f" ({gap.first} to {gap.last}) were no longer in Redis"
        )
        self._book.note("gap", says, place)

    def _take_seal(self, line: bytes, place: int, segment: Segment, *, is_first: bool) -> None:
        self._seals += 1
        seal = self._chain.take(line, place)
        is_whole = seal is not None and self._is_whole(seal, place)
        is_named = is_first and seal is not None and seal.number == segment.number
        self._sequences.close(seal, place, is_whole=is_whole, is_first=is_named)
        if seal:
            if is_first:
                self._compare_name(segment, seal, place)
            self._day = seal.at[:10]
        if not self._book.found:
            self._verified = self._chain.last, self._entries
        self._begin(place + 1)

    def _is_whole(self, seal: Seal, place: int) -> bool:
        """Whether the lines are those that were sealed."""
        count = len(self._leaves)
        if count == seal.count and merkle.root(self._leaves).hex() == seal.root:
            return True
        says = "are not those that were sealed: something was changed, moved, put in or taken out"
        if count != seal.count:
            says = f"are {count}, and {seal.count} were sealed"
        last = max(place - 1, self._begun)
        self._book.find("changed", f"the lines {says}", self._begun, last=last, seal=seal.number)
        if self._disorder:
            at, event = self._disorder
            says = "this line and the one before it are not in order"
            self._book.find("order", says, at, seal=seal.number, event=event)
        return False

    # ------------------------------------------------------------------------------- a segment

    def _compare_name(self, segment: Segment, seal: Seal, place: int) -> None:
        """Find a segment that is not named after its first seal, or lies where it was not begun."""
        if segment.number != seal.number:
            says = f"the first seal in it is {seal.number}"
            self._book.find("name", says, place, seal=seal.number)
        if not self._day <= segment.day <= seal.at[:10]:
            says = f"was not begun on {segment.day}: its first seal is of {seal.at[:10]}"
            self._book.find("day", says, place, seal=seal.number)

    def _take_torn(self, line: bytes, place: int, *, is_newest: bool) -> None:
        if is_newest and len(line) < segments.LONGEST_LINE:
            self._book.note("torn", "has no end: it is being written, or will be cut off", place)
        else:
            self._book.find("torn", "has no end; nothing behind it was read", place)

    def _end_segment(self, segment: Segment, last: int, *, has_seal: bool, is_newest: bool) -> None:
        count = len(self._leaves)
        self._sequences.close(None, last, is_whole=False, is_first=False)
        if is_newest:
            self._unsealed = count
            if not has_seal and not self._chain.is_next(segment.number):
                says = "it is not named after the seal that is the next"
                self._book.find("name", says, seal=segment.number)
        elif count or not has_seal:
            says = "a segment that is not the newest has to end with a seal"
            self._book.find("unsealed", says, self._begun, last=max(last, self._begun))
        self._chain.end_segment()
