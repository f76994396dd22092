"""Files that were swapped, and archives that were continued twice, are found (R72)."""

import pytest

from otp_service.audit.archive_format.seals import Anchor
from tests.audit.archive_builder import ArchiveBuilder, build_standard_archive
from tests.audit.archive_edits import (
    FIRST_SEGMENT,
    SECOND_SEGMENT,
    THIRD_SEGMENT,
    ArchiveFiles,
    apply_edit,
    format_finding,
    get_newest_anchor,
    list_findings,
    replace_text,
    verify_archive,
)


@pytest.fixture
def archive(tmp_path):
    return build_standard_archive(tmp_path / "archive")


# --------------------------------------------------------------------------------- swap of a file


def test_two_files_that_were_swapped_are_found(archive):
    """Each is named after a seal that the other has."""

    def change(files: ArchiveFiles) -> None:
        files.first[:], files.second[:] = files.second[:], files.first[:]

    places = list_findings(apply_edit(archive, change))

    assert {
        f"{FIRST_SEGMENT}:6 name seal 3",
        f"{SECOND_SEGMENT}:5 name seal 1",
        f"{SECOND_SEGMENT}:5 fork seal 1",
    } <= set(places)
    assert verify_archive(archive).verified is None


def test_a_file_of_another_archive_is_found(archive, tmp_path):
    """With the same key, and the same numbers."""
    other = ArchiveBuilder(tmp_path / "other")
    for _ in range(2):
        other.add_event(1)
        other.append_seal()

    def change(files: ArchiveFiles) -> None:
        files.first[:] = ArchiveFiles(other).first

    report = verify_archive(apply_edit(archive, change))

    assert f"{SECOND_SEGMENT}:6 fork seal 3" == format_finding(report.findings[0])
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
    """A reader would not find it under its expected path."""
    assert expected == list_findings(
        apply_edit(archive, lambda files: files.rename_segment(1, name))
    )


def test_a_newest_segment_with_another_name_is_found_before_it_has_a_seal(archive):
    """It is named after the seal that it will have."""
    archive.start_segment()
    archive.number = 7
    archive.add_event(1)

    assert [f"{THIRD_SEGMENT}:10-11 unsealed", "2025-11-25/8: name seal 8"] == list_findings(
        archive
    )


@pytest.mark.parametrize(
    "name",
    ["x", "2025-11-24/x", "2025-11-24/000000000001.jsonl.bak", "2025-11-24/1.jsonl", ".hidden/x"],
)
def test_a_file_that_is_no_segment_is_found(archive, name):
    """This includes hidden files."""
    path = archive.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()

    (finding,) = verify_archive(archive).findings

    assert ("foreign", name) == (finding.kind, finding.file)


def test_the_lock_of_the_sealer_is_no_foreign_file(archive):
    """And neither is an empty folder of a day."""
    (archive.folder / "lock").touch()
    (archive.folder / "2025-11-22").mkdir()

    assert [] == list_findings(archive)


# ------------------------------------------------------------------------------------------- fork


def test_a_second_continuation_beside_the_first_is_found(archive):
    """Two segments whose seals overlap."""
    fork = ArchiveBuilder(archive.folder)
    fork.number = 1
    fork.start_segment(days=1)
    fork.add_event(9)
    fork.append_seal()

    assert f"{SECOND_SEGMENT}:6 fork seal 3" in list_findings(archive)
    assert "2025-11-25/2:2 fork seal 2" in list_findings(archive)


def test_an_archive_that_was_continued_twice_is_found_with_an_anchor(tmp_path):
    """An attacker with the key can write another archive that is consistent in itself."""
    ours, theirs = (ArchiveBuilder(tmp_path / name) for name in ("ours", "theirs"))
    for archive, tenant in ((ours, "shop"), (theirs, "mine")):
        archive.add_event(1)
        archive.append_seal()
        archive.add_event(1, tenant=tenant)
        archive.append_seal()

    assert [] == list_findings(theirs)
    assert [f"{FIRST_SEGMENT}:4 anchor seal 2"] == list_findings(theirs, get_newest_anchor(ours))


def test_a_seal_that_does_not_know_the_one_before_is_found(archive):
    """The key is right, and the number is."""
    archive.append_seal(previous="0" * 64)

    assert [f"{THIRD_SEGMENT}:12 fork seal 7"] == list_findings(archive)


def test_an_anchor_of_another_archive_is_found(archive):
    """It names a seal that this one has, with another hash or of another time."""
    number, at, hashed = get_newest_anchor(archive)

    assert [f"{THIRD_SEGMENT}:9 anchor seal 6"] == list_findings(
        archive, Anchor(number, at, "0" * 64)
    )
    assert [f"{THIRD_SEGMENT}:9 anchor seal 6"] == list_findings(
        archive, Anchor(number, at[:-2] + "1Z", hashed)
    )


def test_an_anchor_of_a_seal_that_is_no_longer_right_is_found(archive):
    """The archive contains the seal, but it does not verify."""
    anchor = get_newest_anchor(archive)
    apply_edit(archive, replace_text("third", 9, '"count":3', '"count":2'))

    assert [f"{THIRD_SEGMENT}:9 signature seal 6", "anchor seal 6"] == list_findings(
        archive, anchor
    )
