"""Evidence for one challenge: all its events with their proofs, and nothing of the others."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from otp_service.audit.archive_format import segments
from otp_service.audit.verification import evidence
from otp_service.audit.verification.evidence import (
    EvidenceBundle,
    build_evidence,
    verify_evidence,
)
from tests.audit.archive_builder import (
    ArchiveBuilder,
    build_standard_archive,
    derive_signing_key,
)
from tests.audit.archive_edits import list_anchors


CHALLENGE, OTHER = "c07-" + "a" * 32, "c07-" + "b" * 32


@pytest.fixture
def archive(tmp_path: Path) -> ArchiveBuilder:
    """Four events of the challenge under three seals in two segments, and one that is not sealed."""
    archive = build_standard_archive(tmp_path / "archive")
    archive.append_seal()
    archive.add_event(7, challenge=CHALLENGE)
    archive.add_event(8, challenge=OTHER, tenant="other tenant")
    archive.add_event(7, challenge=CHALLENGE, type="otp.sent", provider="east")
    archive.append_seal()
    archive.add_event(7, challenge=CHALLENGE, type="otp.attempted")
    archive.append_seal()
    archive.add_event(7, challenge=OTHER, request=CHALLENGE)
    archive.add_event(7, challenge=CHALLENGE, type="otp.verified", is_ours=False)
    archive.append_seal()
    archive.add_event(7, challenge=CHALLENGE, type="otp.verify_denied")
    return archive


@pytest.fixture
def bundle(archive: ArchiveBuilder) -> EvidenceBundle:
    return build_evidence(archive.folder, CHALLENGE)


def explain_refusal(bundle: EvidenceBundle, archive: ArchiveBuilder) -> str:
    """Return why a bundle is refused; empty if it is not."""
    try:
        verify_evidence(bundle, archive.keys)
    except ValueError as error:
        return str(error)
    return ""


def test_the_bundle_proves_every_sealed_event_of_the_challenge(
    archive: ArchiveBuilder, bundle: EvidenceBundle
) -> None:
    """The recipient has it as JSON, and the public keys alone."""
    received = msgspec.json.decode(msgspec.json.encode(bundle), type=EvidenceBundle)

    proven = verify_evidence(received, archive.keys, list_anchors(archive))

    types = [msgspec.json.decode(one.entry.event)["type"] for one in proven]
    assert ["otp.issued", "otp.sent", "otp.attempted", "otp.verified"] == types
    assert (3, 1) == (len(bundle.seals), bundle.unsealed)
    assert "failed" == proven[-1].entry.integrity


def test_nothing_of_another_event_is_in_the_bundle(bundle: EvidenceBundle) -> None:
    """Not even of one that mentions the challenge in another member."""
    text = msgspec.json.encode(bundle)

    assert b"other tenant" not in text
    assert OTHER.encode() not in text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"index": 1}, "not among those"),
        ({"path": ()}, "fits no tree"),
        ({"count": 4}, "another number of lines"),
        ({"seal": 1}, ""),
        ({"seal": 9}, "does not have"),
        ({"seal": -1}, "a seal that"),
    ],
)
def test_a_changed_entry_proves_nothing(
    archive: ArchiveBuilder, bundle: EvidenceBundle, change: dict[str, Any], reason: str
) -> None:
    """One wrong entry refuses the whole bundle."""
    first, *others = bundle.entries
    line = first.line.replace("otp.issued", "otp.verified")

    told = explain_refusal(replace(bundle, entries=(replace(first, **change), *others)), archive)
    edited = explain_refusal(replace(bundle, entries=(replace(first, line=line), *others)), archive)

    assert told != ""
    assert reason in told
    assert "its line is not among those that were sealed" == edited


def test_a_bundle_cannot_be_padded(archive: ArchiveBuilder, bundle: EvidenceBundle) -> None:
    """With events of another challenge, with one event twice, or with nothing."""
    other = build_evidence(archive.folder, OTHER)
    twice = replace(bundle, entries=(*bundle.entries, bundle.entries[0]))
    foreign = replace(other, challenge=CHALLENGE)

    assert "not of this challenge" in explain_refusal(foreign, archive)
    assert "it has an event twice" == explain_refusal(twice, archive)
    assert "it has no event" == explain_refusal(replace(bundle, entries=()), archive)
    assert "" == explain_refusal(other, archive)


def test_a_bundle_tells_no_other_story(archive: ArchiveBuilder, bundle: EvidenceBundle) -> None:
    """A success before the wrong codes, or more seals than were verified. Seen to fail without."""
    reversed_entries = replace(bundle, entries=bundle.entries[::-1])
    more_seals = replace(bundle, seals=(*bundle.seals, bundle.seals[0], "no seal"))
    no_challenge = replace(bundle, challenge="c07-\u202e")

    assert "its events are not in the order of the archive" == explain_refusal(
        reversed_entries, archive
    )
    assert "it has a seal that covers none of its events" == explain_refusal(more_seals, archive)
    assert "it is about no challenge" == explain_refusal(no_challenge, archive)


def test_a_seal_by_another_key_proves_nothing(archive: ArchiveBuilder, tmp_path: Path) -> None:
    """An attacker can seal another archive, with a key of its own."""
    foreign = ArchiveBuilder(tmp_path / "foreign", derive_signing_key("another"))
    foreign.add_event(7, challenge=CHALLENGE)
    foreign.append_seal()

    assert explain_refusal(build_evidence(foreign.folder, CHALLENGE), archive)


def test_with_anchors_every_seal_needs_one(archive: ArchiveBuilder, bundle: EvidenceBundle) -> None:
    """An attacker with the signing key can write another archive, and no anchor of it."""
    anchors = list_anchors(archive)
    assert 4 == len(verify_evidence(bundle, archive.keys, anchors))

    with pytest.raises(ValueError, match="no anchor is one of its seal"):
        verify_evidence(bundle, archive.keys, anchors[:-1])


def test_an_archive_without_the_challenge_gives_an_empty_bundle(archive: ArchiveBuilder) -> None:
    """The caller says so: an empty bundle is no evidence."""
    missing = build_evidence(archive.folder, "c09-" + "0" * 32)

    assert ((), (), 0) == (missing.entries, missing.seals, missing.unsealed)
    assert missing == build_evidence(archive.folder / "nowhere", missing.challenge)


def test_damaged_files_do_not_hide_the_rest(
    archive: ArchiveBuilder, bundle: EvidenceBundle
) -> None:
    """An empty segment, and lines that are no entry but name the challenge, are passed over."""
    newest = segments.list_segments(archive.folder)[-1]
    (newest.parent / "999999999999.jsonl").touch()
    with newest.open("ab") as file:
        file.write(b'\n{"challenge":"%b"}\n\xff%b' % (CHALLENGE.encode(), CHALLENGE.encode()))

    assert bundle == build_evidence(archive.folder, CHALLENGE)


def test_a_flood_of_events_of_one_challenge_is_refused(
    archive: ArchiveBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client of Redis may append any number of them."""
    monkeypatch.setattr(evidence, "MAX_EVIDENCE_EVENTS", 3)

    with pytest.raises(ValueError, match="more than 3 events"):
        build_evidence(archive.folder, CHALLENGE)
