"""One event can be proved without showing any other."""

from itertools import chain

import msgspec
import pytest
from msgspec.structs import replace

from otp_service.audit.archive_format import segments
from otp_service.audit.archive_format.seals import decode_seal
from otp_service.audit.verification.inclusion_proof import InclusionProof, build_proof, verify_proof
from tests.audit.archive_builder import (
    EPOCH,
    ArchiveBuilder,
    build_standard_archive,
    build_trimmed_archive,
    derive_signing_key,
)
from tests.audit.archive_edits import get_newest_anchor, list_anchors


@pytest.fixture
def archive(tmp_path):
    return build_standard_archive(tmp_path / "archive")


def proof_of(archive: ArchiveBuilder, event: str):
    lines = (path.read_bytes().splitlines() for path in segments.list_segments(archive.folder))
    return build_proof(chain.from_iterable(lines), event)


def proves_nothing(proof: InclusionProof, archive: ArchiveBuilder) -> bool:
    try:
        verify_proof(proof, archive.keys)
    except ValueError:
        return True
    return False


def sealed_ids(archive: ArchiveBuilder) -> list[str]:
    """Return the ids of all events under a seal."""
    lines = [
        line
        for path in segments.list_segments(archive.folder)
        for line in path.read_bytes().splitlines()
    ]
    return [msgspec.json.decode(line)["id"] for line in lines[:-2] if line.startswith(b'{"id')]


def test_each_sealed_event_can_be_proved(archive):
    """In every segment, and under each of the keys."""
    ids = sealed_ids(archive)

    assert 21 == len(ids)
    for event in ids:
        proof = proof_of(archive, event)
        assert event == verify_proof(proof, archive.keys, list_anchors(archive)).entry.id


def test_a_proof_names_the_seal_that_an_anchor_holds(archive):
    """So that it proves when, too."""
    last = sealed_ids(archive)[-1]

    assert get_newest_anchor(archive) == verify_proof(proof_of(archive, last), archive.keys).anchor


def test_nothing_of_another_event_is_in_a_proof(tmp_path):
    """Hashes, and the sequences that the seal names."""
    archive = ArchiveBuilder(tmp_path / "archive")
    event, *others = [
        archive.add_event(partition, tenant=f"tenant-{partition}", request=f"request-{partition}")
        for partition in (1, 2, 3, 4, 5)
    ]
    archive.append_seal()

    told = msgspec.json.encode(proof_of(archive, event)).decode()

    assert "tenant-1" in told
    assert not [n for n in (2, 3, 4, 5) if f"tenant-{n}" in told or f"request-{n}" in told]
    assert not [other for other in others if other in told]


@pytest.mark.parametrize("event", [f"09-{EPOCH}-1", f"02-{EPOCH}-1", f"02-{EPOCH}-1000"])
def test_what_is_not_there_cannot_be_proved(tmp_path, event):
    """The second one was dropped, and another one, which is there, begins with it."""
    assert proof_of(build_trimmed_archive(tmp_path / "archive"), event) is None


def test_what_is_not_sealed_cannot_be_proved(archive):
    """It may still be."""
    event = archive.add_event(3)

    assert proof_of(archive, event) is None


def test_a_proof_of_another_line_proves_nothing(archive):
    """Nor at another place, or over another number of lines, or with other hashes."""
    first, other = (proof_of(archive, event) for event in sealed_ids(archive)[1:3])
    for wrong in (
        replace(first, line=first.line.replace("shop", "shoq")),
        replace(first, line=other.line),
        replace(first, index=2),
        replace(first, index=4),
        replace(first, count=3),
        replace(first, path=other.path),
        replace(first, path=first.path[:-1]),
        replace(first, path=("x", *first.path[1:])),
    ):
        assert proves_nothing(wrong, archive)


def test_a_proof_with_another_seal_proves_nothing(archive):
    """The seal was edited, was signed with another key, or covers another batch."""
    proof = proof_of(archive, sealed_ids(archive)[0])
    later = proof_of(archive, sealed_ids(archive)[5])
    seal = replace(decode_seal(proof.seal.encode()), at="2020-01-01T00:00:00.000Z")
    for wrong in (
        later.seal,
        proof.seal.replace('"fence":1', '"fence":2'),
        proof.seal + " ",
        derive_signing_key("first").sign_seal(seal).decode().replace("2020", "2021"),
        derive_signing_key("mine").sign_seal(seal).decode(),
        "{}",
    ):
        assert proves_nothing(replace(proof, seal=wrong), archive)


def test_a_proof_under_a_key_that_is_not_known_proves_nothing(archive):
    """An attacker who made the proof may have made the key as well."""
    proof = proof_of(archive, sealed_ids(archive)[0])

    with pytest.raises(ValueError, match="not among the public keys"):
        verify_proof(proof, archive.keys[1:])


def test_a_seal_by_a_replaced_key_needs_its_anchor(tmp_path):
    """R71: an attacker with the old key could sign a seal of an archive that never existed."""
    archive = ArchiveBuilder(tmp_path / "archive")
    archive.start_segment()
    event = archive.add_event(7)
    archive.append_seal()
    lines = [line.removesuffix(b"\n") for line in archive.segment.read_bytes().splitlines()]
    proof, anchor = build_proof(lines, event), get_newest_anchor(archive)
    keys = [*archive.keys, derive_signing_key("second").public]
    other = anchor._replace(hash="0" * 64)

    assert verify_proof(proof, archive.keys).anchor == anchor
    assert verify_proof(proof, keys, [other, anchor]).anchor == anchor
    for known, anchors, said in (
        (keys, [], "has replaced: give the anchor of seal 1"),
        (archive.keys, [other], "differs from the anchor"),
        (archive.keys, [other._replace(number=9)], "no anchor is one of its seal 1"),
    ):
        with pytest.raises(ValueError, match=said):
            verify_proof(proof, known, anchors)
