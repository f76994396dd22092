"""Edited, inserted, moved and doubled lines of an archive are found and located (R72).

Each test lists every finding: no finding is left out, and none follows from another one
far away. `standard` describes the content of each line.
"""

import re

import pytest

from tests.audit.archive_builder import (
    EPOCH,
    ArchiveBuilder,
    build_standard_archive,
    derive_signing_key,
)
from tests.audit.archive_edits import (
    FIRST_SEGMENT,
    SECOND_SEGMENT,
    THIRD_SEGMENT,
    ArchiveFiles,
    apply_edit,
    format_finding,
    list_findings,
    move_line,
    replace_text,
    verify_archive,
)


@pytest.fixture
def archive(tmp_path):
    return build_standard_archive(tmp_path / "archive")


# ------------------------------------------------------------------------------------------- edit


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("shop", "shoq"),
        ('"mac":"1:c2', '"mac":"1:c3'),
        ("Cooldown", "cooldown"),
        ("10:00:06.000", "10:00:06.001"),
        ('"id":"01', '"integrity":"failed","id":"01'),
        ("}}\n", "}}\r\n"),
        ("}}\n", "}} \n"),
    ],
)
def test_an_edit_is_located_to_its_stretch(archive, old, new):
    """A signature says nothing of one line; its stretch is that of a few seconds."""
    report = verify_archive(apply_edit(archive, replace_text("first", 7, old, new)))

    assert [f"{FIRST_SEGMENT}:6-9 changed seal 2"] == [
        format_finding(finding) for finding in report.findings
    ]
    assert 1 == report.verified.number
    assert 4 == report.events


def test_the_mark_of_a_wrong_mac_cannot_be_taken_away(archive):
    """It is sealed as the rest."""
    assert [f"{SECOND_SEGMENT}:7-8 changed seal 4"] == list_findings(
        apply_edit(archive, replace_text("second", 7, ',"integrity":"failed"', ""))
    )


def test_an_edit_of_a_time_is_located_where_the_order_breaks(archive):
    """And to its stretch."""
    assert [
        f"{FIRST_SEGMENT}:6-9 changed seal 2",
        f"{FIRST_SEGMENT}:7 order seal 2 event 01-a-3",
    ] == list_findings(apply_edit(archive, replace_text("first", 7, "10:00:06", "10:00:03")))


def test_an_edit_of_an_id_is_located_by_what_is_missing(archive):
    """The event that it was, and the one that it is said to be."""
    assert [
        f"{FIRST_SEGMENT}:8 order event 01-a-4",
        f"{FIRST_SEGMENT}:6-9 changed seal 2",
        f"{FIRST_SEGMENT}:7 missing seal 2 event 01-a-3",
        f"{FIRST_SEGMENT}:7 missing seal 2 event 01-a-5",
        f"{FIRST_SEGMENT}:10 added seal 2 event 01-a-5",
    ] == list_findings(apply_edit(archive, replace_text("first", 7, '-3"', '-9"')))


@pytest.mark.parametrize(
    ("old", "new"), [('"id":"', '"id":"0'), ('"id"', '"di"'), ("{", ""), ("}", "")]
)
def test_a_line_that_cannot_be_read_is_found(archive, old, new):
    """The event that it was is missing."""
    assert [
        f"{FIRST_SEGMENT}:7 unreadable",
        f"{FIRST_SEGMENT}:6-9 changed seal 2",
        f"{FIRST_SEGMENT}:8 missing seal 2 event 01-a-3",
    ] == list_findings(apply_edit(archive, replace_text("first", 7, old, new)))


@pytest.mark.parametrize(
    ("old", "new", "event"), [('"last":6', '"last":5', 6), ('"first":4', '"first":5', 4)]
)
def test_a_declared_gap_cannot_be_edited(archive, old, new, event):
    """What it no longer declares is missing."""
    (changed, missing) = list_findings(apply_edit(archive, replace_text("second", 2, old, new)))

    assert f"{SECOND_SEGMENT}:1-5 changed seal 3" == changed
    assert re.fullmatch(rf"{SECOND_SEGMENT}:[23] missing seal 3 event 02-a-{event}", missing)


@pytest.mark.parametrize("first", ["0", "7", "-4"])
def test_a_gap_that_is_none_is_found(archive, first):
    """It has a first and a last sequence, in this order."""
    assert (
        f"{SECOND_SEGMENT}:2 unreadable"
        == list_findings(
            apply_edit(archive, replace_text("second", 2, '"first":4', f'"first":{first}'))
        )[0]
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2025-11-24T10:00:08", "2025-11-24T10:00:07"),
        ('"number":2', '"number":9'),
        ('"previous":"f', '"previous":"e'),
        ('"count":4', '"count":5'),
        ('"root":"d', '"root":"e'),
        ("[[1,", "[[3,"),
        ('"fence":1', '"fence":2'),
        ('"fence":1', '"fence":1,"dropped":{"number":1,"hash":""}'),
        ('"signature":"G', '"signature":"H'),
        ('"signature":"G', '"signature":"'),
        ('=="}', '=="} '),
        ('=="}', '==","x":1}'),
        ('=="}', '","x":1}'),
        ('{"seal":', '{"seal": '),
        ("}\n", "}\r\n"),
    ],
)
def test_a_seal_cannot_be_edited(archive, old, new):
    """Not even what is not signed: an anchor knows the line as it is."""
    report = verify_archive(apply_edit(archive, replace_text("first", 10, old, new)))

    (finding,) = report.findings
    assert ("signature", 10) == (finding.kind, finding.line)
    assert 1 == report.verified.number


def test_the_unused_bits_of_a_signature_cannot_be_edited(archive):
    """Base64 has two ways to write most signatures."""

    def change(files: ArchiveFiles) -> None:
        line = files.first[9]
        at = line.index(b'=="') - 1
        bits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        files.first[9] = line[:at] + bits[bits.index(line[at]) | 1 :][:1] + line[at + 1 :]

    assert [f"{FIRST_SEGMENT}:10 signature seal 2"] == list_findings(apply_edit(archive, change))


def test_a_seal_that_cannot_be_read_is_found(archive):
    """And what follows is not blamed for it."""
    assert [f"{FIRST_SEGMENT}:10 unreadable"] == list_findings(
        apply_edit(archive, replace_text("first", 10, '"count":4', '"count":"4"'))
    )


# -------------------------------------------------------------------------------------- insertion


def test_an_insertion_is_located_to_the_event(archive):
    """Also where its sequence would be the next."""

    def change(files: ArchiveFiles) -> None:
        files.first.insert(9, files.first[8].replace(b'-3"', b'-4"'))

    assert [
        f"{FIRST_SEGMENT}:6-10 changed seal 2",
        f"{FIRST_SEGMENT}:11 added seal 2 event 02-a-4",
        f"{FIRST_SEGMENT}:10 copied event 02-a-4",
    ] == list_findings(apply_edit(archive, change))


def test_an_event_replaced_by_a_declared_gap_is_found(archive):
    """A gap is sealed as an entry is."""

    def change(files: ArchiveFiles) -> None:
        gap = b'{"gap":{"partition":1,"epoch":%d,"first":4,"last":4}}\n'
        files.first[7] = gap % EPOCH

    assert [f"{FIRST_SEGMENT}:6-9 changed seal 2"] == list_findings(apply_edit(archive, change))


def test_an_empty_line_is_found(archive):
    """A line is a line."""
    assert [
        f"{FIRST_SEGMENT}:7 unreadable",
        f"{FIRST_SEGMENT}:6-10 changed seal 2",
    ] == list_findings(apply_edit(archive, lambda files: files.first.insert(6, b"\n")))


def test_a_seal_of_somebody_else_is_found(archive):
    """Put in with a stretch of its own; it changes nothing of what is expected."""
    mine = ArchiveBuilder(archive.folder.with_name("mine"), derive_signing_key("mine"))
    mine.number, mine.previous = 2, "0" * 64
    mine.add_event(3, id="f" * 32)
    mine.append_seal()

    def change(files: ArchiveFiles) -> None:
        files.first.extend(ArchiveFiles(mine).first)

    assert [
        f"{FIRST_SEGMENT}:11 doubled event 03-a-1",
        f"{FIRST_SEGMENT}:12 key seal 3",
    ] == list_findings(apply_edit(archive, change))


# ------------------------------------------------------------------------------------- reordering


def test_a_reordering_is_located_to_the_event(archive):
    """Inside a partition."""
    assert [
        f"{FIRST_SEGMENT}:8 order event 01-a-3",
        f"{FIRST_SEGMENT}:6-9 changed seal 2",
    ] == list_findings(apply_edit(archive, move_line("first", 7, 8)))


def test_a_reordering_of_two_partitions_is_located_to_the_event(archive):
    """The times of the events reveal it."""
    assert [
        f"{FIRST_SEGMENT}:6-9 changed seal 2",
        f"{FIRST_SEGMENT}:7 order seal 2 event 02-a-2",
    ] == list_findings(apply_edit(archive, move_line("first", 6, 7)))


def test_a_reordering_over_a_seal_is_located_to_the_event(archive):
    """The place where it is missing and the place where it is too late are both reported."""
    assert [
        f"{FIRST_SEGMENT}:1-3 changed seal 1",
        f"{FIRST_SEGMENT}:4 missing seal 1 event 03-a-1",
        f"{FIRST_SEGMENT}:6 doubled event 03-a-1",
        f"{FIRST_SEGMENT}:5-9 changed seal 2",
    ] == list_findings(apply_edit(archive, move_line("first", 4, 6)))


def test_a_reordering_of_stretches_is_found(archive):
    """Each batch is valid by itself; their order is not."""

    def change(files: ArchiveFiles) -> None:
        files.first[:] = files.first[5:10] + files.first[:5]

    kinds = {finding.split()[1] for finding in list_findings(apply_edit(archive, change))}

    assert {"seals", "fork", "missing", "doubled", "name"} == kinds


# ------------------------------------------------------------------------------- doubled sequence


def test_a_line_that_stands_twice_is_located_to_the_event(archive):
    """An attacker copied it."""
    assert [
        f"{FIRST_SEGMENT}:9 doubled event 01-a-3",
        f"{FIRST_SEGMENT}:6-10 changed seal 2",
    ] == list_findings(apply_edit(archive, lambda files: files.first.insert(8, files.first[6])))


def test_a_stretch_that_stands_twice_is_found(archive):
    """It is doubled with its seal; the first doubled event of each partition is reported once."""
    assert [
        f"{FIRST_SEGMENT}:11 doubled event 02-a-2",
        f"{FIRST_SEGMENT}:12 doubled event 01-a-3",
        f"{FIRST_SEGMENT}:15 fork seal 2",
    ] == list_findings(apply_edit(archive, lambda files: files.first.extend(files.first[5:10])))


def test_a_sequence_that_was_sealed_twice_is_found(archive):
    """The sealer itself was wrong, or Redis was turned back."""
    epoch, sequence = archive.heads[2]
    archive.heads[2] = epoch, sequence - 1
    archive.add_event(2)
    archive.append_seal()

    assert [f"{THIRD_SEGMENT}:12 doubled event 02-a-12"] == list_findings(archive)


def test_an_epoch_that_was_over_is_found(archive):
    """A partition does not go back to it."""
    archive.heads[1] = EPOCH, 6
    archive.add_event(1)
    archive.add_event(1)
    archive.append_seal(heads=())

    assert [f"{THIRD_SEGMENT}:12 doubled event 01-a-7"] == list_findings(archive)
