"""What was taken out of an archive, or cut off it, is found, and where (R72)."""

import pytest

from otp_service.audit.archive_format.seals import Dropped
from tests.audit.archive_builder import Archive, late, standard
from tests.audit.archive_edits import (
    ONE,
    THREE,
    TWO,
    Files,
    cut,
    found,
    newest_anchor,
    short,
    tampered,
    verified,
)


@pytest.fixture
def archive(tmp_path):
    return standard(tmp_path / "archive")


@pytest.fixture
def empty(tmp_path):
    return Archive(tmp_path / "archive")


# --------------------------------------------------------------------------------------- deletion


@pytest.mark.parametrize(
    ("file", "line", "expected"),
    [
        ("one", 6, [f"{ONE}:6-8 changed seal 2", f"{ONE}:8 missing seal 2 event 02-a-2"]),
        ("one", 7, [f"{ONE}:6-8 changed seal 2", f"{ONE}:7 missing seal 2 event 01-a-3"]),
        ("one", 9, [f"{ONE}:6-8 changed seal 2", f"{ONE}:9 missing seal 2 event 02-a-3"]),
        ("one", 4, [f"{ONE}:1-3 changed seal 1", f"{ONE}:4 missing seal 1 event 03-a-1"]),
        ("two", 2, [f"{TWO}:1-4 changed seal 3", f"{TWO}:2 missing seal 3 event 02-a-4"]),
        ("three", 1, [f"{THREE}:1-3 changed seal 5", f"{THREE}:2 missing seal 5 event 01-b-1"]),
    ],
)
def test_a_deletion_is_located_to_the_event(archive, file, line, expected):
    """Wherever it stood: first, in the middle, last of its partition, alone in it, a gap."""
    assert expected == found(tampered(archive, cut(file, line, line)))


def test_the_deletion_of_a_stretch_with_its_seal_is_found(archive):
    """With what is missing of it."""
    assert [
        f"{TWO}:6 seals seal 3",
        f"{TWO}:1 missing seal 3 event 01-a-3",
        f"{TWO}:2 missing seal 3 event 02-a-2",
    ] == found(tampered(archive, cut("one", 6, 10)))


def test_the_deletion_of_a_seal_is_found(archive):
    """Its lines stand under the next one, which was not made over them."""
    assert [
        f"{ONE}:9 seals seal 2",
        f"{ONE}:1-8 changed seal 2",
        f"{ONE}:9 name seal 2",
    ] == found(tampered(archive, cut("one", 5, 5)))


def test_the_deletion_of_a_file_is_found(archive):
    """The heads of the next one tell of partitions that it says nothing else of."""
    report = verified(tampered(archive, lambda files: files.lines.pop(files.names[1])))

    assert [
        f"{THREE}:5 key seal 5",
        f"{THREE}:5 seals seal 5",
        f"{THREE}:2 missing seal 5 event 02-a-4",
        f"{THREE}:5 heads seal 5",
    ] == [short(finding) for finding in report.findings]
    assert 2 == report.verified.number


def test_the_deletion_of_the_beginning_is_found(archive):
    """Only a seal that says so makes it retention."""
    report = verified(tampered(archive, lambda files: files.lines.pop(files.names[0])))

    assert ["beginning seal 3"] == [short(finding) for finding in report.findings]
    assert report.verified is None


def test_more_than_was_dropped_is_not_missing_unnoticed(tmp_path):
    """Everything up to seal 2 was dropped, and not up to seal 4."""
    archive = late(tmp_path / "archive")

    expected = ["beginning seal 5"]
    assert expected == found(tampered(archive, lambda files: files.lines.pop(files.names[0])))


def test_what_is_still_there_although_it_was_to_be_dropped_is_no_finding(tmp_path):
    """The seal says so first, and then a file after the other goes."""
    archive = standard(tmp_path / "archive")
    files = Files(archive)
    archive.drop(4)
    archive.seal()
    lines = Files(archive).lines
    for kept in ((0, 1), (1,), ()):
        files.lines = {
            files.names[index]: files.lines[files.names[index]] for index in kept
        } | lines
        files.write()

        assert [] == found(archive)


@pytest.mark.parametrize(
    ("dropped", "expected"),
    [
        (Dropped(2, "0" * 64), [f"{THREE}:12 beginning seal 7"]),
        (Dropped(7, "0" * 64), [f"{THREE}:12 beginning seal 7"]),
    ],
)
def test_a_seal_that_drops_another_archive_is_found(archive, dropped, expected):
    """What is still there has to be what is said to be dropped."""
    archive.seal(dropped=dropped)

    assert expected == found(archive)


def test_a_beginning_that_follows_on_another_one_is_found(tmp_path):
    """The hash of what was dropped is that of the seal before the first."""
    archive = late(tmp_path / "archive")
    archive.seal(dropped=Dropped(2, "0" * 64))

    assert ["beginning seal 3"] == found(archive)


# ------------------------------------------------------------------------------------- truncation


def test_a_tail_that_was_cut_off_is_found_with_an_anchor(archive):
    """Behind a seal nothing is amiss in the archive itself."""
    anchor = newest_anchor(archive)
    tampered(archive, cut("three", 6))

    assert ["truncated seal 6"] == found(archive, anchor)
    assert (5, []) == (verified(archive).verified.number, found(archive))


def test_a_last_file_that_is_gone_is_found_with_an_anchor(archive):
    """As are all of them."""
    anchor = newest_anchor(archive)

    def change(files: Files) -> None:
        del files.lines[files.names[2]]

    assert ["truncated seal 6"] == found(tampered(archive, change), anchor)
    assert ["truncated seal 6"] == found(tampered(archive, lambda f: f.lines.clear()), anchor)


def test_a_seal_that_was_torn_off_is_found_with_an_anchor(archive):
    """It looks like a sealer that was killed."""
    anchor = newest_anchor(archive)

    def change(files: Files) -> None:
        files.three[8:] = [files.three[8][:-20]]

    assert ["truncated seal 6"] == found(tampered(archive, change), anchor)


@pytest.mark.parametrize(("cut_off", "expected"), [(20, "torn"), (0, "unsealed")])
def test_an_older_segment_that_does_not_end_with_a_seal_is_found(archive, cut_off, expected):
    """Whether a line was cut through or not."""

    def change(files: Files) -> None:
        files.one[8:] = [files.one[8][:-cut_off]] if cut_off else files.one[8:9]

    kinds = [finding.split()[1] for finding in found(tampered(archive, change))]

    assert expected in kinds[:1]
    assert "unsealed" in kinds
    assert f"{TWO}:6 seals seal 3" in found(archive)


def test_an_empty_segment_that_is_not_the_newest_is_found(archive):
    """It has no seal to end with."""
    assert f"{TWO}:1 unsealed" == found(tampered(archive, cut("two", 1)))[0]


def test_a_line_without_an_end_in_sight_is_found(archive):
    """It is not being written, and whoever reads it all has no memory left."""
    tampered(archive, lambda files: files.three.append(b"x" * 5 * 1024 * 1024))

    assert [f"{THREE}:12 torn"] == found(archive)


# ------------------------------------------------------------------------------- gap at a restart


@pytest.mark.parametrize("partition", [1, 2])
def test_a_gap_that_is_not_declared_is_found(archive, partition):
    """Sealed as it is: the sealer missed something, and did not say so."""
    archive.skip(partition, 3)
    lost = archive.tell(partition)
    archive.seal()

    (missing, *_) = verified(archive).findings

    assert ("missing", f"{THREE}:12") == (missing.kind, short(missing).split()[0])
    assert int(lost.split("-")[2]) - 3 == int(missing.event.split("-")[2])
    assert f"{missing.event} to " in missing.says


def test_a_gap_at_a_restart_that_is_not_declared_is_found(archive):
    """The new epoch begins with its first event, or says what is missing."""
    archive.begin_epoch(2)
    archive.skip(2)
    archive.tell(2)
    archive.seal()

    assert [f"{THREE}:12 missing seal 7 event 02-b-1"] == found(archive)


def test_a_gap_at_a_restart_that_is_declared_is_none(archive):
    """It is a note, as the new epoch is."""
    archive.begin_epoch(2)
    archive.gap(2, 4)
    archive.tell(2)
    archive.seal()

    report = verified(archive)

    assert ([], 2, 2) == (report.findings, report.noted["gap"], report.noted["epoch"])


def test_an_archive_that_begins_in_the_middle_says_so(empty):
    """Sequences begin with 1 where nothing was dropped."""
    empty.skip(1, 5)
    empty.tell(1)
    empty.seal()

    assert [f"{ONE}:1 missing seal 1 event 01-a-1"] == found(empty)
