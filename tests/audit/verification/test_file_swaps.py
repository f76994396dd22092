"""Files that were swapped, and archives that were continued twice, are found (R72)."""

import pytest

from otp_service.audit.archive_format.seals import Anchor
from tests.audit.archive_builder import Archive, standard
from tests.audit.archive_edits import (
    ONE,
    THREE,
    TWO,
    Files,
    found,
    newest_anchor,
    put,
    short,
    tampered,
    verified,
)


@pytest.fixture
def archive(tmp_path):
    return standard(tmp_path / "archive")


# --------------------------------------------------------------------------------- swap of a file


def test_two_files_that_were_swapped_are_found(archive):
    """Each is named after a seal that the other has."""

    def change(files: Files) -> None:
        files.one[:], files.two[:] = files.two[:], files.one[:]

    places = found(tampered(archive, change))

    assert {f"{ONE}:6 name seal 3", f"{TWO}:5 name seal 1", f"{TWO}:5 fork seal 1"} <= set(places)
    assert verified(archive).verified is None


def test_a_file_of_another_archive_is_found(archive, tmp_path):
    """With the same key, and the same numbers."""
    other = Archive(tmp_path / "other")
    for _ in range(2):
        other.tell(1)
        other.seal()

    def change(files: Files) -> None:
        files.one[:] = Files(other).one

    report = verified(tampered(archive, change))

    assert f"{TWO}:6 fork seal 3" == short(report.findings[0])
    assert 2 == report.verified.number, "nothing but an anchor tells which of the two is ours"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("2025-11-24/000000000004.jsonl", ["2025-11-24/4:6 name seal 3"]),
        ("2025-11-23/000000000003.jsonl", ["2025-11-23/3:6 day seal 3"]),
        ("2025-11-25/000000000003.jsonl", ["2025-11-25/3:6 day seal 3"]),
    ],
)
def test_a_file_with_another_name_or_in_another_folder_is_found(archive, name, expected):
    """Nobody finds it where it is looked for."""
    assert expected == found(tampered(archive, lambda files: files.rename(1, name)))


def test_a_newest_segment_with_another_name_is_found_before_it_has_a_seal(archive):
    """It is named after the one that it will have."""
    archive.rotate()
    archive.number = 7
    archive.tell(1)

    assert [f"{THREE}:10-11 unsealed", "2025-11-25/8: name seal 8"] == found(archive)


@pytest.mark.parametrize(
    "name",
    ["x", "2025-11-24/x", "2025-11-24/000000000001.jsonl.bak", "2025-11-24/1.jsonl", ".hidden/x"],
)
def test_a_file_that_is_no_segment_is_found(archive, name):
    """Also one that nobody sees."""
    path = archive.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()

    (finding,) = verified(archive).findings

    assert ("foreign", name) == (finding.kind, finding.file)


def test_the_lock_of_the_sealer_is_no_foreign_file(archive):
    """And neither is an empty folder of a day."""
    (archive.folder / "lock").touch()
    (archive.folder / "2025-11-22").mkdir()

    assert [] == found(archive)


# ------------------------------------------------------------------------------------------- fork


def test_a_second_continuation_beside_the_first_is_found(archive):
    """Two segments whose seals overlap."""
    fork = Archive(archive.folder)
    fork.number = 1
    fork.rotate(days=1)
    fork.tell(9)
    fork.seal()

    assert f"{TWO}:6 fork seal 3" in found(archive)
    assert "2025-11-25/2:2 fork seal 2" in found(archive)


def test_an_archive_that_was_continued_twice_is_found_with_an_anchor(tmp_path):
    """Whoever has the key can make another one, which is right in itself."""
    ours, theirs = (Archive(tmp_path / name) for name in ("ours", "theirs"))
    for archive, tenant in ((ours, "shop"), (theirs, "mine")):
        archive.tell(1)
        archive.seal()
        archive.tell(1, tenant=tenant)
        archive.seal()

    assert [] == found(theirs)
    assert [f"{ONE}:4 anchor seal 2"] == found(theirs, newest_anchor(ours))


def test_a_seal_that_does_not_know_the_one_before_is_found(archive):
    """The key is right, and the number is."""
    archive.seal(previous="0" * 64)

    assert [f"{THREE}:12 fork seal 7"] == found(archive)


def test_an_anchor_of_another_archive_is_found(archive):
    """It names a seal that this one has, with another hash or of another time."""
    number, at, hashed = newest_anchor(archive)

    assert [f"{THREE}:9 anchor seal 6"] == found(archive, Anchor(number, at, "0" * 64))
    assert [f"{THREE}:9 anchor seal 6"] == found(archive, Anchor(number, at[:-2] + "1Z", hashed))


def test_an_anchor_of_a_seal_that_is_no_longer_right_is_found(archive):
    """The archive has it, but nobody can believe it."""
    anchor = newest_anchor(archive)
    tampered(archive, put("three", 9, '"count":3', '"count":2'))

    assert [f"{THREE}:9 signature seal 6", "anchor seal 6"] == found(archive, anchor)
