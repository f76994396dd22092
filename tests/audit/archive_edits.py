"""Edits of an attacker to an archive, line by line, and the findings in a short form."""

from collections.abc import Callable

from otp_service.audit.archive_format import segments
from otp_service.audit.archive_format.seals import Anchor, build_anchor
from otp_service.audit.verification.findings import Finding, VerificationReport
from otp_service.audit.verification.verifier import verify_folder
from tests.audit.archive_builder import EPOCH, ArchiveBuilder


FIRST_SEGMENT, SECOND_SEGMENT, THIRD_SEGMENT = "2025-11-24/1", "2025-11-24/3", "2025-11-25/5"
"""The segments of `standard`, as `short` calls them."""


class ArchiveFiles:
    """The lines of each segment, with their ends, to be changed: the first line of `one` is one[0].

    The segments of `standard` are `one`, `two` and `three`.
    """

    def __init__(self, archive: ArchiveBuilder) -> None:
        self.folder = archive.folder
        self.names = [
            p.relative_to(self.folder).as_posix() for p in segments.list_segments(self.folder)
        ]
        self.lines = {
            name: (self.folder / name).read_bytes().splitlines(keepends=True) for name in self.names
        }

    @property
    def first(self) -> list[bytes]:
        return self.lines[self.names[0]]

    @property
    def second(self) -> list[bytes]:
        return self.lines[self.names[1]]

    @property
    def third(self) -> list[bytes]:
        return self.lines[self.names[2]]

    def rename_segment(self, old: int, new: str) -> None:
        """Give a file another name, its lines as they are."""
        self.lines[new] = self.lines.pop(self.names[old])

    def write_segments(self) -> None:
        """Write the lines to the folder."""
        for path in segments.list_segments(self.folder):
            path.unlink()
        for name, lines in self.lines.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"".join(lines))


ArchiveEdit = Callable[[ArchiveFiles], object]


def replace_text(file: str, line: int, old: str, new: str) -> ArchiveEdit:
    """Replace text of a line."""

    def edit_archive(files: ArchiveFiles) -> None:
        lines = getattr(files, file)
        assert old.encode() in lines[line - 1]
        lines[line - 1] = lines[line - 1].replace(old.encode(), new.encode(), 1)

    return edit_archive


def delete_lines(file: str, first: int, last: int | None = None) -> ArchiveEdit:
    """Delete lines."""

    def edit_archive(files: ArchiveFiles) -> None:
        del getattr(files, file)[first - 1 : last]

    return edit_archive


def move_line(file: str, line: int, target: int) -> ArchiveEdit:
    """Move a line."""

    def edit_archive(files: ArchiveFiles) -> None:
        lines = getattr(files, file)
        lines.insert(target - 1, lines.pop(line - 1))

    return edit_archive


def apply_edit(archive: ArchiveBuilder, edit: ArchiveEdit) -> ArchiveBuilder:
    """Return the archive with the edit of an attacker applied."""
    files = ArchiveFiles(archive)
    edit(files)
    files.write_segments()
    return archive


def verify_archive(archive: ArchiveBuilder, *anchors: Anchor) -> VerificationReport:
    """Verify it with the public keys alone."""
    return verify_folder(archive.folder, archive.keys, anchors)


def list_anchors(archive: ArchiveBuilder) -> list[Anchor]:
    """Return what was kept of every seal."""
    return [
        build_anchor(line)
        for path in segments.list_segments(archive.folder)
        for line in path.read_bytes().splitlines()
        if line.startswith(b'{"seal"')
    ]


def get_newest_anchor(archive: ArchiveBuilder) -> Anchor:
    """Return what was kept of the last seal."""
    lines = [
        line
        for path in segments.list_segments(archive.folder)
        for line in path.read_bytes().splitlines()
    ]
    return build_anchor([line for line in lines if line.startswith(b'{"seal"')][-1])


def list_findings(archive: ArchiveBuilder, *anchors: Anchor) -> list[str]:
    """Return what is found, each in the words of `short`."""
    return [format_finding(finding) for finding in verify_archive(archive, *anchors).findings]


def format_finding(finding: Finding) -> str:
    """Return a remark as '2025-11-24/3:7-8 changed seal 4 event 01-a-6'; epochs are a and b."""
    day, _, number = (finding.file or "").removesuffix(".jsonl").partition("/")
    file = f"{day}/{int(number)}" if number.isdigit() else finding.file or ""
    lines = f"{finding.line}-{finding.last}" if finding.last else f"{finding.line or ''}"
    told = f"{file}:{lines} {finding.kind}".removeprefix(": ")
    if finding.seal is not None:
        told += f" seal {finding.seal}"
    if finding.event:
        partition, epoch, sequence = finding.event.split("-")
        told += f" event {partition}-{'a' if int(epoch) == EPOCH else 'b'}-{sequence}"
    return told
