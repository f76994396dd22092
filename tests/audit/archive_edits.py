"""What an attacker does to an archive, line by line, and what is found, in few words."""

from collections.abc import Callable

from otp_service.audit.archive_format import segments
from otp_service.audit.archive_format.seals import Anchor, anchor_of
from otp_service.audit.verification.findings import Remark, Report
from otp_service.audit.verification.verifier import verify_folder
from tests.audit.archive_builder import EPOCH, Archive


ONE, TWO, THREE = "2025-11-24/1", "2025-11-24/3", "2025-11-25/5"
"""The segments of `standard`, as `short` calls them."""


class Files:
    """The lines of each segment, with their ends, to be changed: the first line of `one` is one[0].

    The segments of `standard` are `one`, `two` and `three`.
    """

    def __init__(self, archive: Archive) -> None:
        self.folder = archive.folder
        self.names = [p.relative_to(self.folder).as_posix() for p in segments.segments(self.folder)]
        self.lines = {
            name: (self.folder / name).read_bytes().splitlines(keepends=True) for name in self.names
        }

    @property
    def one(self) -> list[bytes]:
        return self.lines[self.names[0]]

    @property
    def two(self) -> list[bytes]:
        return self.lines[self.names[1]]

    @property
    def three(self) -> list[bytes]:
        return self.lines[self.names[2]]

    def rename(self, old: int, new: str) -> None:
        """Give a file another name, its lines as they are."""
        self.lines[new] = self.lines.pop(self.names[old])

    def write(self) -> None:
        """Let the folder be like this."""
        for path in segments.segments(self.folder):
            path.unlink()
        for name, lines in self.lines.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"".join(lines))


Change = Callable[[Files], object]


def put(file: str, line: int, old: str, new: str) -> Change:
    """Write something else into a line."""

    def change(files: Files) -> None:
        lines = getattr(files, file)
        assert old.encode() in lines[line - 1]
        lines[line - 1] = lines[line - 1].replace(old.encode(), new.encode(), 1)

    return change


def cut(file: str, first: int, last: int | None = None) -> Change:
    """Delete lines."""

    def change(files: Files) -> None:
        del getattr(files, file)[first - 1 : last]

    return change


def move(file: str, line: int, to: int) -> Change:
    """Move a line."""

    def change(files: Files) -> None:
        lines = getattr(files, file)
        lines.insert(to - 1, lines.pop(line - 1))

    return change


def tampered(archive: Archive, change: Change) -> Archive:
    """Return the archive after an attacker was at it."""
    files = Files(archive)
    change(files)
    files.write()
    return archive


def verified(archive: Archive, *anchors: Anchor) -> Report:
    """Verify it with the public keys alone."""
    return verify_folder(archive.folder, archive.keys, anchors)


def newest_anchor(archive: Archive) -> Anchor:
    """Return what was kept of the last seal."""
    lines = [line for path in segments.segments(archive.folder) for line in segments.lines(path)]
    return anchor_of([line for line in lines if line.startswith(b'{"seal"')][-1])


def found(archive: Archive, *anchors: Anchor) -> list[str]:
    """Return what is found, each in the words of `short`."""
    return [short(finding) for finding in verified(archive, *anchors).findings]


def short(remark: Remark) -> str:
    """Return a remark as '2025-11-24/3:7-8 changed seal 4 event 01-a-6'; epochs are a and b."""
    day, _, number = (remark.file or "").removesuffix(".jsonl").partition("/")
    file = f"{day}/{int(number)}" if number.isdigit() else remark.file or ""
    lines = f"{remark.line}-{remark.last}" if remark.last else f"{remark.line or ''}"
    told = f"{file}:{lines} {remark.kind}".removeprefix(": ")
    if remark.seal is not None:
        told += f" seal {remark.seal}"
    if remark.event:
        partition, epoch, sequence = remark.event.split("-")
        told += f" event {partition}-{'a' if int(epoch) == EPOCH else 'b'}-{sequence}"
    return told
