"""The report on a verified archive: findings, notes, and how far it is sound."""

from collections import Counter
from typing import Literal, TypedDict, Unpack

import msgspec

from otp_service.audit.archive_format.seals import Anchor


FindingKind = Literal[
    "accepted",  # the code of a challenge was accepted twice
    "added",  # entries that were not sealed
    "anchor",  # an anchor names another seal, or a missing one
    "beginning",  # the archive begins late, and no seal declares the rest dropped
    "changed",  # lines differ from those that were sealed
    "copied",  # an event occurs again, at another position
    "day",  # a segment is in the folder of another day
    "doubled",  # a sequence occurs twice
    "epoch",  # a partition began a new epoch
    "fence",  # the fencing token fell: the sealer had lost its lease
    "foreign",  # a file that is not a segment
    "fork",  # a seal's number occurs twice, or its previous seal is another
    "gap",  # entries that are missing, and declared
    "heads",  # a seal's heads differ from those of the partitions
    "integrity",  # a MAC that was wrong when the entry was archived
    "key",  # a key that is not the one in force
    "missing",  # entries that are missing
    "name",  # a segment is named after another seal
    "order",  # lines in another order
    "repeated",  # an event was appended again after a failover
    "runs",  # a seal names other sequences than its lines have
    "seals",  # seals that are missing
    "signature",  # a seal that was changed
    "torn",  # a line without an end
    "truncated",  # an anchor names a seal after the last one
    "unreadable",  # a line that is not an entry, gap or seal
    "unsealed",  # lines after the last seal
]

MAX_FINDINGS, MAX_NOTES_PER_KIND = 200, 20
"""How many are listed: findings, and notes of each kind. The others are counted."""


class Finding(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A message about a place in the archive: a finding, or a note."""

    kind: FindingKind
    message: str
    file: str | None = None
    line: int | None = None
    last: int | None = None
    """The last line, if the message is about several."""
    seal: int | None = None
    event: str | None = None

    def __str__(self) -> str:
        """Return one line, the place first, as compilers print it."""
        lines = f"{self.line}-{self.last}" if self.last else self.line
        place = ":".join(str(part) for part in (self.file, lines) if part)
        about = [f"seal {self.seal}"] if self.seal else []
        about += [f"event {self.event}"] if self.event else []
        text = f"{self.kind}: {self.message}" + (f" ({', '.join(about)})" if about else "")
        return f"{place}: {text}" if place else text


class VerificationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was verified, and the result."""

    is_sound: bool
    """Whether at least one seal was verified, and there is no finding."""
    verified: Anchor | None
    """The last seal before the first finding."""
    events: int
    """Events up to that seal."""
    segments: int
    seals: int
    lines: int
    """Lines that were read, seals included."""
    unsealed: int
    """Lines after the last seal, which nothing protects yet."""
    findings: list[Finding]
    notes: list[Finding]
    found: dict[FindingKind, int]
    """Findings of each kind, including those that are not listed."""
    noted: dict[FindingKind, int]


class FindingPlace(TypedDict, total=False):
    """More about the place of a finding than its file and line."""

    last: int
    seal: int | None
    event: str


class FindingLog:
    """Collects findings and notes; `file` is the segment that is being read."""

    def __init__(self) -> None:
        self.file: str | None = None
        self.findings: list[Finding] = []
        self.notes: list[Finding] = []
        self.finding_counts: Counter[FindingKind] = Counter()
        self.note_counts: Counter[FindingKind] = Counter()

    def add_finding(
        self, kind: FindingKind, text: str, line: int | None = None, **place: Unpack[FindingPlace]
    ) -> None:
        self.finding_counts[kind] += 1
        if place.get("last") == line:
            place.pop("last", None)
        if len(self.findings) < MAX_FINDINGS:
            finding = Finding(kind=kind, message=text, file=self.file, line=line, **place)
            self.findings.append(finding)

    def add_note(
        self, kind: FindingKind, text: str, line: int | None = None, **place: Unpack[FindingPlace]
    ) -> None:
        """Record what the auditor should know, although nothing is wrong."""
        self.note_counts[kind] += 1
        if self.note_counts[kind] <= MAX_NOTES_PER_KIND:
            note = Finding(kind=kind, message=text, file=self.file, line=line, **place)
            self.notes.append(note)
