"""Bytes of all that is sealed are changed, and each change is located to its stretch (R72)."""

import re
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.audit.archive_format.entries import SEAL_PREFIX
from otp_service.audit.archive_format.seals import decode_seal
from otp_service.audit.verification.findings import Finding, VerificationReport
from otp_service.audit.verification.verifier import Segment, verify_archive
from tests.audit.archive_builder import (
    ArchiveBuilder,
    build_standard_archive,
    build_trimmed_archive,
)
from tests.audit.archive_edits import ArchiveFiles


class Untouched:
    """An archive, to be changed without touching a disk; `sealed` are the lines that are protected."""

    def __init__(self, archive: ArchiveBuilder) -> None:
        self.keys = archive.keys
        self.lines = ArchiveFiles(archive).lines
        self.sealed = {name: lines[: _last_seal(lines)] for name, lines in self.lines.items()}

    def verify(self, name: str, lines: list[bytes]) -> VerificationReport:
        """Return the report if this segment had these lines."""
        return verify_archive(
            [
                Segment(one, one[:10], int(one[11:23]), lines if one == name else kept)
                for one, kept in self.lines.items()
            ],
            self.keys,
        )

    def stretch(self, name: str, line: int) -> tuple[int, int]:
        """Return the first and the last line of the stretch that a line is of."""
        seals = [
            place for place, one in enumerate(self.lines[name], 1) if one.startswith(SEAL_PREFIX)
        ]
        last = min(place for place in seals if place >= line)
        return max([0, *(place for place in seals if place < line)]) + 1, last

    def seal_before(self, name: str, line: int) -> int:
        """Return the number of the last seal before a line."""
        names = list(self.lines)
        before = [one for other in names[: names.index(name)] for one in self.lines[other]]
        before += self.lines[name][: line - 1]
        return max([0, *(decode_seal(one).number for one in before if one.startswith(SEAL_PREFIX))])

    def change(self, name: str, line: int, column: int, byte: int) -> None:
        """Put a byte there, and see that this is located."""
        lines = list(self.lines[name])
        old = lines[line - 1]
        lines[line - 1] = old[:column] + bytes([byte]) + old[column + 1 :]
        if lines == self.lines[name]:
            return
        report = self.verify(name, BytesIO(b"".join(lines)).readlines())

        assert not report.is_sound, (name, line, column, byte)
        assert _is_in(report.findings[0], name, *self.stretch(name, line)), (line, column, byte)
        if "beginning" not in report.found:
            assert self.seal_before(name, line) == (report.verified or [0])[0]


def _last_seal(lines: list[bytes]) -> int:
    return max(place for place, line in enumerate(lines, 1) if line.startswith(SEAL_PREFIX))


def _is_in(finding: Finding, name: str, first: int, last: int) -> bool:
    return finding.file == name and first <= (finding.last or finding.line or 0) <= last


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return Untouched(build_standard_archive(tmp_path_factory.mktemp("standard")))


FIELDS = {
    "the id": rb'\{"id":"(.)',
    "the partition": rb'"id":"0(.)-',
    "the epoch": rb'"id":"\d\d-\d{12}(.)',
    "the sequence": rb'"id":"\d\d-\d+-(.)',
    "the time": rb'"at":"[^"]*(\d)Z',
    "the event": rb'"event":\{"type":"(.)',
    "a brace of the event": rb'"event":(\{)',
    "the MAC": rb'"mac":"1:(.)',
    "the stamp": rb'"stamp":\{"limit":"(.)',
    "the mark of a wrong MAC": rb'"integrity":"(f)',
    "a gap": rb'\{"gap":\{"partition":(\d)',
    "a gap's epoch": rb'\{"gap":.*"epoch":(\d)',
    "a gap's first": rb'\{"gap":.*"first":(\d)',
    "a gap's last": rb'\{"gap":.*"last":(\d)',
    "a seal": rb'\{"(s)eal"',
    "a seal's number": rb'\{"seal":\{"number":(\d)',
    "a seal's time": rb'\{"seal":.*"at":"(\d)',
    "a seal's previous": rb'"previous":"(.)',
    "a seal's count": rb'"count":(\d)',
    "a seal's root": rb'"root":"(.)',
    "a seal's runs": rb'"runs":\[\[(\d)',
    "a seal's key": rb'"key":"(.)',
    "a seal's fence": rb'"fence":(\d)',
    "a seal's heads": rb'"heads":\[\[(\d)',
    "the id of the next key": rb'"next":\{"id":"(.)',
    "the next key": rb'"public":"(.)',
    "a signature": rb'"signature":"(.)',
    "the end of a signature": rb'"signature":"[^"]*(.)=="',
    "the end of a line": rb"(\n)",
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_change_of_any_field_is_located(archive, field):
    """In each line that has it: other digits, letters, and what is no text."""
    places = [
        (name, place, found.start(1))
        for name, lines in archive.sealed.items()
        for place, line in enumerate(lines, start=1)
        if (found := re.search(FIELDS[field], line))
    ]
    assert places
    for name, place, column in places:
        for byte in b"9z{\n\xff":
            archive.change(name, place, column, byte)


def test_what_was_dropped_is_protected_as_well(tmp_path):
    """The seal that says so is signed as the others are."""
    archive = Untouched(build_trimmed_archive(tmp_path))
    name = list(archive.lines)[-1]
    place = next(n for n, line in enumerate(archive.lines[name], 1) if b'"dropped"' in line)
    for column in re.search(rb'"dropped":\{[^}]*', archive.lines[name][place - 1]).span():
        archive.change(name, place, column, ord("x"))


@given(data=st.data())
def test_a_change_of_any_byte_is_located(archive, data):
    """Wherever it is, whatever it becomes."""
    name = data.draw(st.sampled_from(list(archive.lines)))
    place = data.draw(st.integers(1, len(archive.sealed[name])))
    column = data.draw(st.integers(0, len(archive.lines[name][place - 1]) - 1))
    archive.change(name, place, column, data.draw(st.integers(0, 255)))


@pytest.mark.slow
def test_a_change_of_any_part_is_located(archive):
    """Every fifth byte, some 1,400: no part of a line is shorter that FIELDS does not name.

    Lines begin at different bytes, so that of five lines of one kind each byte is changed.
    """
    for name, lines in archive.sealed.items():
        for place, line in enumerate(lines, start=1):
            for column in range(place % 5, len(line), 5):
                archive.change(name, place, column, line[column] ^ 1)


@given(data=st.data())
def test_a_change_of_the_order_of_any_lines_is_located(archive, data):
    """Moved within its segment, wherever to."""
    name = data.draw(st.sampled_from(list(archive.lines)))
    lines = list(archive.lines[name])
    old, new = (data.draw(st.integers(0, len(archive.sealed[name]) - 1)) for _ in range(2))
    lines.insert(new, lines.pop(old))

    report = archive.verify(name, lines)

    assert report.is_sound == (lines == archive.lines[name])
    if not report.is_sound:
        first, _ = archive.stretch(name, min(old, new) + 1)
        _, last = archive.stretch(name, max(old, new) + 1)
        assert _is_in(report.findings[0], name, first, last)
