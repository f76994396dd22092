"""What was taken out of an archive, or cut off it, is found, and where (R72)."""

import pytest

from otp_service.audit.archive_format.seals import DroppedPrefix
from tests.audit.archive_builder import (
    ArchiveBuilder,
    build_standard_archive,
    build_trimmed_archive,
)
from tests.audit.archive_edits import (
    FIRST_SEGMENT,
    SECOND_SEGMENT,
    THIRD_SEGMENT,
    ArchiveFiles,
    apply_edit,
    delete_lines,
    format_finding,
    get_newest_anchor,
    list_findings,
    verify_archive,
)


@pytest.fixture
def archive(tmp_path):
    return build_standard_archive(tmp_path / "archive")


@pytest.fixture
def empty(tmp_path):
    return ArchiveBuilder(tmp_path / "archive")


# --------------------------------------------------------------------------------------- deletion


@pytest.mark.parametrize(
    ("file", "line", "expected"),
    [
        (
            "first",
            6,
            [
                f"{FIRST_SEGMENT}:6-8 changed seal 2",
                f"{FIRST_SEGMENT}:8 missing seal 2 event 02-a-2",
            ],
        ),
        (
            "first",
            7,
            [
                f"{FIRST_SEGMENT}:6-8 changed seal 2",
                f"{FIRST_SEGMENT}:7 missing seal 2 event 01-a-3",
            ],
        ),
        (
            "first",
            9,
            [
                f"{FIRST_SEGMENT}:6-8 changed seal 2",
                f"{FIRST_SEGMENT}:9 missing seal 2 event 02-a-3",
            ],
        ),
        (
            "first",
            4,
            [
                f"{FIRST_SEGMENT}:1-3 changed seal 1",
                f"{FIRST_SEGMENT}:4 missing seal 1 event 03-a-1",
            ],
        ),
        (
            "second",
            2,
            [
                f"{SECOND_SEGMENT}:1-4 changed seal 3",
                f"{SECOND_SEGMENT}:2 missing seal 3 event 02-a-4",
            ],
        ),
        (
            "third",
            1,
            [
                f"{THIRD_SEGMENT}:1-3 changed seal 5",
                f"{THIRD_SEGMENT}:2 missing seal 5 event 01-b-1",
            ],
        ),
    ],
)
def test_a_deletion_is_located_to_the_event(archive, file, line, expected):
    """The line is first, in the middle, last of its partition, alone in it, or a gap."""
    assert expected == list_findings(apply_edit(archive, delete_lines(file, line, line)))


def test_the_deletion_of_a_stretch_with_its_seal_is_found(archive):
    """The missing events are listed."""
    assert [
        f"{SECOND_SEGMENT}:6 seals seal 3",
        f"{SECOND_SEGMENT}:1 missing seal 3 event 01-a-3",
        f"{SECOND_SEGMENT}:2 missing seal 3 event 02-a-2",
    ] == list_findings(apply_edit(archive, delete_lines("first", 6, 10)))


def test_the_deletion_of_a_seal_is_found(archive):
    """Its lines now belong to the next seal, which does not cover them."""
    assert [
        f"{FIRST_SEGMENT}:9 seals seal 2",
        f"{FIRST_SEGMENT}:1-8 changed seal 2",
        f"{FIRST_SEGMENT}:9 name seal 2",
    ] == list_findings(apply_edit(archive, delete_lines("first", 5, 5)))


def test_the_deletion_of_a_file_is_found(archive):
    """The heads of the next file name partitions of which that file has no lines."""
    report = verify_archive(apply_edit(archive, lambda files: files.lines.pop(files.names[1])))

    assert [
        f"{THIRD_SEGMENT}:5 key seal 5",
        f"{THIRD_SEGMENT}:5 seals seal 5",
        f"{THIRD_SEGMENT}:2 missing seal 5 event 02-a-4",
        f"{THIRD_SEGMENT}:5 heads seal 5",
    ] == [format_finding(finding) for finding in report.findings]
    assert 2 == report.verified.number


def test_the_deletion_of_the_beginning_is_found(archive):
    """Only a seal that says so makes it retention."""
    report = verify_archive(apply_edit(archive, lambda files: files.lines.pop(files.names[0])))

    assert ["beginning seal 3"] == [format_finding(finding) for finding in report.findings]
    assert report.verified is None


def test_more_than_was_dropped_is_not_missing_unnoticed(tmp_path):
    """Everything up to seal 2 was dropped, and not up to seal 4."""
    archive = build_trimmed_archive(tmp_path / "archive")

    expected = ["beginning seal 5"]
    assert expected == list_findings(
        apply_edit(archive, lambda files: files.lines.pop(files.names[0]))
    )


def test_what_is_still_there_although_it_was_to_be_dropped_is_no_finding(tmp_path):
    """The seal says so first, and then a file after the other goes."""
    archive = build_standard_archive(tmp_path / "archive")
    files = ArchiveFiles(archive)
    archive.drop_segments(4)
    archive.append_seal()
    lines = ArchiveFiles(archive).lines
    for kept in ((0, 1), (1,), ()):
        files.lines = {
            files.names[index]: files.lines[files.names[index]] for index in kept
        } | lines
        files.write_segments()

        assert [] == list_findings(archive)


@pytest.mark.parametrize(
    ("dropped", "expected"),
    [
        (DroppedPrefix(2, "0" * 64), [f"{THIRD_SEGMENT}:12 beginning seal 7"]),
        (DroppedPrefix(7, "0" * 64), [f"{THIRD_SEGMENT}:12 beginning seal 7"]),
    ],
)
def test_a_seal_that_drops_another_archive_is_found(archive, dropped, expected):
    """What is still there has to be what is said to be dropped."""
    archive.append_seal(dropped=dropped)

    assert expected == list_findings(archive)


def test_a_beginning_that_follows_on_another_one_is_found(tmp_path):
    """The hash of what was dropped is that of the seal before the first."""
    archive = build_trimmed_archive(tmp_path / "archive")
    archive.append_seal(dropped=DroppedPrefix(2, "0" * 64))

    assert ["beginning seal 3"] == list_findings(archive)


# ------------------------------------------------------------------------------------- truncation


def test_a_tail_that_was_cut_off_is_found_with_an_anchor(archive):
    """Behind a seal nothing is amiss in the archive itself."""
    anchor = get_newest_anchor(archive)
    apply_edit(archive, delete_lines("third", 6))

    assert ["truncated seal 6"] == list_findings(archive, anchor)
    assert (5, []) == (verify_archive(archive).verified.number, list_findings(archive))


def test_a_last_file_that_is_gone_is_found_with_an_anchor(archive):
    """As are all of them."""
    anchor = get_newest_anchor(archive)

    def change(files: ArchiveFiles) -> None:
        del files.lines[files.names[2]]

    assert ["truncated seal 6"] == list_findings(apply_edit(archive, change), anchor)
    assert ["truncated seal 6"] == list_findings(
        apply_edit(archive, lambda f: f.lines.clear()), anchor
    )


def test_a_seal_that_was_torn_off_is_found_with_an_anchor(archive):
    """It looks like a sealer that was killed."""
    anchor = get_newest_anchor(archive)

    def change(files: ArchiveFiles) -> None:
        files.third[8:] = [files.third[8][:-20]]

    assert ["truncated seal 6"] == list_findings(apply_edit(archive, change), anchor)


@pytest.mark.parametrize(("cut_off", "expected"), [(20, "torn"), (0, "unsealed")])
def test_an_older_segment_that_does_not_end_with_a_seal_is_found(archive, cut_off, expected):
    """Whether a line was cut through or not."""

    def change(files: ArchiveFiles) -> None:
        files.first[8:] = [files.first[8][:-cut_off]] if cut_off else files.first[8:9]

    kinds = [finding.split()[1] for finding in list_findings(apply_edit(archive, change))]

    assert expected in kinds[:1]
    assert "unsealed" in kinds
    assert f"{SECOND_SEGMENT}:6 seals seal 3" in list_findings(archive)


def test_an_empty_segment_that_is_not_the_newest_is_found(archive):
    """It has no seal to end with."""
    assert (
        f"{SECOND_SEGMENT}:1 unsealed"
        == list_findings(apply_edit(archive, delete_lines("second", 1)))[0]
    )


def test_a_line_without_an_end_in_sight_is_found(archive):
    """The sealer does not write such a line, and reading it whole would exhaust the memory."""
    apply_edit(archive, lambda files: files.third.append(b"x" * 5 * 1024 * 1024))

    assert [f"{THIRD_SEGMENT}:12 torn"] == list_findings(archive)


# ------------------------------------------------------------------------------- gap at a restart


@pytest.mark.parametrize("partition", [1, 2])
def test_a_gap_that_is_not_declared_is_found(archive, partition):
    """Sealed as it is: the sealer missed something, and did not say so."""
    archive.skip_events(partition, 3)
    lost = archive.add_event(partition)
    archive.append_seal()

    (missing, *_) = verify_archive(archive).findings

    assert ("missing", f"{THIRD_SEGMENT}:12") == (missing.kind, format_finding(missing).split()[0])
    assert int(lost.split("-")[2]) - 3 == int(missing.event.split("-")[2])
    assert f"{missing.event} to " in missing.message


def test_a_gap_at_a_restart_that_is_not_declared_is_found(archive):
    """The new epoch begins with its first event, or says what is missing."""
    archive.begin_epoch(2)
    archive.skip_events(2)
    archive.add_event(2)
    archive.append_seal()

    assert [f"{THIRD_SEGMENT}:12 missing seal 7 event 02-b-1"] == list_findings(archive)


def test_a_gap_at_a_restart_that_is_declared_is_none(archive):
    """It is a note, as the new epoch is."""
    archive.begin_epoch(2)
    archive.add_gap(2, 4)
    archive.add_event(2)
    archive.append_seal()

    report = verify_archive(archive)

    assert ([], 2, 2) == (report.findings, report.noted["gap"], report.noted["epoch"])


def test_an_archive_that_begins_in_the_middle_says_so(empty):
    """Sequences begin with 1 where nothing was dropped."""
    empty.skip_events(1, 5)
    empty.add_event(1)
    empty.append_seal()

    assert [f"{FIRST_SEGMENT}:1 missing seal 1 event 01-a-1"] == list_findings(empty)
