"""R72: events with one id, and codes that were accepted twice, whose MACs and seals are valid."""

import pytest

from tests.audit.archive_builder import ArchiveBuilder
from tests.audit.archive_edits import format_finding, list_findings, verify_archive


ID, OTHER = "a" * 32, "b" * 32
CHALLENGE = "c07-" + "5" * 32


@pytest.fixture
def archive(tmp_path):
    """An archive that its sealer wrote: what is in it was in Redis."""
    return ArchiveBuilder(tmp_path / "archive")


def seal_archive(archive: ArchiveBuilder) -> ArchiveBuilder:
    archive.append_seal()
    return archive


def add_success(archive: ArchiveBuilder, event_id: str, **fields) -> None:
    archive.add_event(7, type="otp.verified", challenge=CHALLENGE, id=event_id, **fields)


def test_a_copy_in_the_same_partition_is_found(archive):
    """An attacker with write access to Redis can copy a success with its MAC."""
    archive.start_segment()
    add_success(archive, ID)
    archive.add_event(7)
    add_success(archive, ID)

    report = verify_archive(seal_archive(archive))

    (finding,) = report.findings
    assert ("copied", 3) == (finding.kind, finding.line)
    assert "is a copy of the event 07-" in finding.message
    assert "at another position of its partition" in finding.message
    assert not report.is_sound
    assert 3 == report.events


def test_a_copy_in_another_partition_is_found(archive):
    """There it would be an event of another number."""
    archive.start_segment()
    archive.add_event(7, id=ID)
    archive.add_event(8, id=ID)

    (finding,) = verify_archive(seal_archive(archive)).findings

    assert "which is in another partition" in finding.message


def test_an_event_that_was_appended_again_after_a_failover_is_a_note(archive):
    """K8: the call was repeated, because its reply was lost with the old master."""
    archive.start_segment()
    add_success(archive, ID)
    archive.begin_epoch(7)
    archive.add_event(7, type="log.epoch", id="epoch")
    add_success(archive, ID)

    report = verify_archive(seal_archive(archive))

    assert report.is_sound
    assert ["epoch", "repeated"] == [note.kind for note in report.notes]
    assert "a call was repeated after Redis was replaced" in report.notes[1].message


def test_a_copy_in_a_later_epoch_is_no_repeat_after_some_minutes(archive):
    """A call is repeated for seconds."""
    archive.start_segment()
    add_success(archive, ID)
    archive.now += 180_000
    archive.begin_epoch(7)
    add_success(archive, ID)

    assert ["copied"] == [f.kind for f in verify_archive(seal_archive(archive)).findings]


def test_a_code_that_was_accepted_twice_is_found(archive):
    """K1: the archive is unaltered, and shows that a failover lost the first success."""
    archive.start_segment()
    add_success(archive, ID)
    add_success(archive, OTHER)

    (finding,) = verify_archive(seal_archive(archive)).findings

    assert ("accepted", 2) == (finding.kind, finding.line)
    assert f"the code of {CHALLENGE} was accepted before" in finding.message


@pytest.mark.parametrize(
    "fields", [{"repeated": True}, {"is_ours": False}, {"challenge": "c08-" + "5" * 31 + "6"}]
)
def test_what_is_no_second_acceptance_is_not_found(archive, fields):
    """A repeated answer, an event with an invalid MAC, and another challenge."""
    archive.start_segment()
    add_success(archive, ID)
    archive.add_event(7, **({"type": "otp.verified", "challenge": CHALLENGE, "id": OTHER} | fields))

    assert [] == list_findings(seal_archive(archive))


def test_events_with_an_invalid_mac_are_no_copies(archive):
    """They are a note already, and anybody can write them."""
    archive.start_segment()
    archive.add_event(7, id=ID)
    archive.add_event(7, id=ID, is_ours=False)

    report = verify_archive(seal_archive(archive))

    assert ["integrity"] == [note.kind for note in report.notes]
    assert [] == [format_finding(finding) for finding in report.findings]


def test_ids_that_end_alike_are_not_the_same(archive):
    """The first pass compares 64 bits, the second one all of them."""
    archive.start_segment()
    archive.add_event(7, id="0" + ID[1:])
    archive.add_event(7, id=ID)

    assert [] == list_findings(seal_archive(archive))
