"""What is told of an archive that was verified: findings, notes, and how far it is sound."""

from collections import Counter
from typing import Literal

import msgspec

from otp_service.audit.archive_format.seals import Anchor


FindingKind = Literal[
    "added",  # entries that were not sealed
    "anchor",  # an anchor knows another seal, or one that is not there
    "beginning",  # it begins late, and nothing says that the rest was dropped
    "changed",  # lines are not those that their seal was made over
    "day",  # a segment lies in the folder of another day
    "doubled",  # a sequence stands a second time
    "epoch",  # a partition began a new epoch
    "fence",  # the fence fell: a sealer that had lost its lease
    "foreign",  # a file that is no segment
    "fork",  # a seal's number stands a second time, or its previous one is another
    "gap",  # entries that are missing, and declared
    "heads",  # a seal's heads are not where the partitions stand
    "integrity",  # a MAC that was wrong when the entry was archived
    "key",  # a key that is not the one for this place
    "missing",  # entries that are missing
    "name",  # a segment is named after another seal
    "order",  # lines in another order
    "runs",  # a seal names other sequences than it is over
    "seals",  # seals that are missing
    "signature",  # a seal that was changed
    "torn",  # a line without an end
    "truncated",  # an anchor knows a seal behind the last one
    "unreadable",  # a line that is none
    "unsealed",  # lines behind the last seal
]

MAX_FINDINGS, MAX_NOTES_PER_KIND = 200, 20
"""How many are listed: findings, and notes of each kind. The others are counted."""


class Finding(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A sentence about a place: a finding, or a note."""

    kind: FindingKind
    message: str
    file: str | None = None
    line: int | None = None
    last: int | None = None
    """The last line, where it is about several."""
    seal: int | None = None
    event: str | None = None

    def __str__(self) -> str:
        """In one line: the place first, as compilers tell it."""
        lines = f"{self.line}-{self.last}" if self.last else self.line
        place = ":".join(str(part) for part in (self.file, lines) if part)
        about = f"seal {self.seal}" if self.seal else ""
        about += f"{', ' if about else ''}event {self.event}" if self.event else ""
        told = f"{self.kind}: {self.message}" + (f" ({about})" if about else "")
        return f"{place}: {told}" if place else told


class VerificationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was verified."""

    is_sound: bool
    """Whether something was verified, and nothing was found."""
    verified: Anchor | None
    """The last seal up to which everything is right."""
    events: int
    """Events up to there."""
    segments: int
    seals: int
    lines: int
    """Lines that were read, seals among them."""
    unsealed: int
    """Lines behind the last seal, which nothing protects yet."""
    findings: list[Finding]
    notes: list[Finding]
    found: dict[FindingKind, int]
    """How many findings of each kind there are, those that are not listed among them."""
    noted: dict[FindingKind, int]


class FindingLog:
    """Takes down what is found in one file after the other."""

    def __init__(self) -> None:
        self.file: str | None = None
        self.findings: list[Finding] = []
        self.notes: list[Finding] = []
        self.finding_counts: Counter[FindingKind] = Counter()
        self.note_counts: Counter[FindingKind] = Counter()

    def add_finding(  # noqa: PLR0913  # a place has that many parts
        self,
        kind: FindingKind,
        message: str,
        line: int | None = None,
        *,
        last: int | None = None,
        seal: int | None = None,
        event: str | None = None,
    ) -> None:
        """Take down that something is wrong."""
        self.finding_counts[kind] += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(
                Finding(
                    kind=kind,
                    message=message,
                    file=self.file,
                    line=line,
                    last=None if last == line else last,
                    seal=seal,
                    event=event,
                )
            )

    def add_note(
        self,
        kind: FindingKind,
        message: str,
        line: int | None = None,
        *,
        seal: int | None = None,
        event: str | None = None,
    ) -> None:
        """Take down what somebody should know, though nothing is wrong."""
        self.note_counts[kind] += 1
        if self.note_counts[kind] <= MAX_NOTES_PER_KIND:
            self.notes.append(
                Finding(
                    kind=kind, message=message, file=self.file, line=line, seal=seal, event=event
                )
            )
