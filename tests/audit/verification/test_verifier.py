"""An unchanged archive is sound; lines that a sealer must not write are found."""

import pytest

from otp_service.audit.archive_format.entries import Gap, SequenceId
from otp_service.audit.archive_format.seals import Anchor, SequenceRange
from tests.audit.archive_builder import (
    EPOCH,
    START_MS,
    ArchiveBuilder,
    build_standard_archive,
    build_trimmed_archive,
)
from tests.audit.archive_edits import (
    SECOND_SEGMENT,
    THIRD_SEGMENT,
    apply_edit,
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


# ---------------------------------------------------------------------------------- nothing wrong


def test_an_archive_that_nobody_touched_is_sound(archive):
    """Across rotation, another day, a restart, a new epoch, a gap and another key."""
    report = verify_archive(archive, get_newest_anchor(archive))

    assert ([], True) == (report.findings, report.is_sound)
    assert get_newest_anchor(archive) == report.verified
    assert (21, 3, 6, 30, 2) == (
        report.events,
        report.segments,
        report.seals,
        report.lines,
        report.unsealed,
    )
    assert [
        f"{SECOND_SEGMENT}:2 gap",
        f"{SECOND_SEGMENT}:7 integrity event 01-a-6",
        f"{SECOND_SEGMENT}:9 key seal 4",
        f"{THIRD_SEGMENT}:1 epoch",
    ] == [format_finding(note) for note in report.notes]


def test_an_archive_with_members_of_an_earlier_version_is_sound(empty):
    """The verifier interprets no member: `tail` was the name of `number_suffix` until 2026-11."""
    for _ in range(3):
        empty.add_event(1, number="p1:1", country="GB", tail="56")
    empty.append_seal()

    report = verify_archive(empty, get_newest_anchor(empty))

    assert (True, 3, []) == (report.is_sound, report.events, report.notes)


def test_an_archive_whose_beginning_was_dropped_is_sound(tmp_path):
    """A seal says what was dropped, and an older anchor says nothing about the rest."""
    before = get_newest_anchor(build_standard_archive(tmp_path / "before"))
    archive = build_trimmed_archive(tmp_path / "archive")

    report = verify_archive(archive, Anchor(1, before.at, "0" * 64), get_newest_anchor(archive))

    assert ([], 7, 15) == (report.findings, report.verified.number, report.events)
    assert {"beginning": 1, "anchor": 1}.items() <= report.noted.items()


@pytest.mark.parametrize("seals", [0, 1])
def test_an_archive_that_has_just_begun_is_sound(empty, seals):
    """Without a seal, nothing is verified."""
    empty.add_event(1)
    for _ in range(seals):
        empty.append_seal()

    report = verify_archive(empty)

    assert ([], seals, 1 - seals) == (report.findings, report.events, report.unsealed)
    assert (get_newest_anchor(empty) if seals else None) == report.verified


def test_a_line_that_is_being_written_is_no_finding(archive):
    """It will be whole, or cut off by the sealer that takes over."""
    report = verify_archive(apply_edit(archive, lambda files: files.third.append(b'{"id":"03-')))

    assert ([], 1) == (report.findings, report.noted["torn"])


# --------------------------------------------------------------------- what a sealer must not say


def test_a_fence_that_falls_is_found(archive):
    """A sealer that had lost its lease wrote on."""
    archive.fence -= 1
    archive.add_event(1)
    archive.append_seal()

    assert [f"{THIRD_SEGMENT}:13 fence seal 7"] == list_findings(archive)


@pytest.mark.parametrize(
    "runs",
    [
        (),
        (SequenceRange(1, START_MS, 5, 5), SequenceRange(2, EPOCH, 12, 12)),
        (SequenceRange(2, EPOCH, 12, 12), SequenceRange(9, 1, 1, 1)),
    ],
)
def test_runs_that_are_not_those_of_the_lines_are_found(archive, runs):
    """The root is valid, but the runs listed with it are not."""
    archive.append_seal(runs=runs)

    assert [f"{THIRD_SEGMENT}:12 runs seal 7"] == list_findings(archive)


@pytest.mark.parametrize(
    "change", [{"count": 3}, {"root": "0" * 64}, {"root": "", "count": 0}], ids=str
)
def test_a_count_or_root_that_is_not_that_of_the_lines_is_found(archive, change):
    """Signed with the right key."""
    archive.append_seal(**change)

    assert f"{THIRD_SEGMENT}:10-11 changed seal 7" in list_findings(archive)


@pytest.mark.parametrize("heads", [(), (SequenceId(1, EPOCH, 6),)])
def test_heads_that_are_not_where_the_partitions_stand_are_found(archive, heads):
    """A sealer that takes over would go on from there."""
    archive.append_seal()
    archive.start_segment()
    archive.add_event(3)
    archive.append_seal(heads=heads)

    assert ["2025-11-25/8:2 heads seal 8"] == list_findings(archive)


def test_seals_that_are_skipped_are_found(archive):
    """The sealer does not count like this."""
    archive.append_seal(number=9)

    assert [f"{THIRD_SEGMENT}:12 seals seal 9"] == list_findings(archive)


def test_what_is_found_is_capped_and_counted(empty):
    """An archive of invalid lines only does not fill the memory of the verifier."""
    for _ in range(300):
        empty.append_line(b"?", Gap(1, EPOCH, 1, 1))

    report = verify_archive(empty)

    assert (200, 300) == (len(report.findings), report.found["unreadable"])
    assert not report.is_sound
