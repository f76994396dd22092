"""A key is right only for the stretch that the chain of handovers gives it (R72)."""

import pytest
from msgspec.structs import replace

from otp_service.audit.archive_format.seals import (
    NextKey,
    SigningKey,
    decode_seal,
    hash_seal_line,
    parse_public_keys,
)
from tests.audit.archive_builder import ArchiveBuilder, build_standard_archive, derive_signing_key
from tests.audit.archive_edits import (
    FIRST_SEGMENT,
    SECOND_SEGMENT,
    THIRD_SEGMENT,
    ArchiveFiles,
    format_finding,
    list_findings,
    verify_archive,
)


@pytest.fixture
def archive(tmp_path):
    return build_standard_archive(tmp_path / "archive")


def resealed(archive: ArchiveBuilder, key: SigningKey, first: int, last: int) -> None:
    """Seal some batches again, as if another key had been valid."""
    files = ArchiveFiles(archive)
    other = ArchiveBuilder(archive.folder.with_name("resealed"), key)
    for name, lines in files.lines.items():
        for index, line in enumerate(lines):
            if line.startswith(b'{"seal"'):
                other.number += 1
                if first <= other.number <= last:
                    lines[index] = _signed(other, line)
                other.previous = _hash(lines[index])
        files.lines[name] = lines
    files.write_segments()


def _signed(archive: ArchiveBuilder, line: bytes) -> bytes:
    seal = replace(decode_seal(line), previous=archive.previous, key=archive.key.public.id)
    return archive.key.sign_seal(seal) + b"\n"


def _hash(line: bytes) -> str:
    return hash_seal_line(line.rstrip(b"\n"))


def test_old_entries_sealed_with_the_newer_key_are_found(archive):
    """A key is right only from where it was handed over (as journald forgot, CVE-2023-31439)."""
    resealed(archive, derive_signing_key("second"), 2, 3)

    report = verify_archive(archive)

    assert [f"{FIRST_SEGMENT}:10 key seal 2", f"{SECOND_SEGMENT}:9 fork seal 4"] == [
        format_finding(f) for f in report.findings
    ]
    assert 1 == report.verified.number


def test_everything_sealed_anew_with_the_newer_key_is_found(archive):
    """The oldest of the public keys is the one that an archive begins with."""
    resealed(archive, derive_signing_key("second"), 1, 6)

    assert f"{FIRST_SEGMENT}:5 key seal 1" == list_findings(archive)[0]


def test_new_entries_sealed_with_the_older_key_are_found(archive):
    """It was handed over, and may have been lost since."""
    resealed(archive, derive_signing_key("first"), 6, 6)

    assert [f"{THIRD_SEGMENT}:9 key seal 6"] == list_findings(archive)


def test_an_archive_of_a_key_that_the_auditor_has_not_is_found(archive):
    """Once; nothing of it can be believed."""
    archive.keys = [derive_signing_key("mine").public]

    report = verify_archive(archive)

    assert [f"{FIRST_SEGMENT}:5 key seal 1", f"{THIRD_SEGMENT}:5 key seal 5"] == [
        format_finding(f) for f in report.findings
    ]
    assert report.verified is None


def test_a_signature_of_another_key_is_no_signature(archive):
    """Whatever the seal says by whom it is."""
    archive.key = derive_signing_key("mine")
    archive.append_seal(key=derive_signing_key("second").public.id)

    assert [f"{THIRD_SEGMENT}:12 signature seal 7"] == list_findings(archive)


def test_a_key_that_was_handed_over_need_not_be_known(archive):
    """The old key vouches for it; the report names it for the auditor."""
    archive.keys = archive.keys[:1]

    report = verify_archive(archive)

    (note,) = [note for note in report.notes if note.kind == "key"]
    assert report.is_sound
    assert "is not in your file" in note.message


@pytest.mark.parametrize(("key_id", "text"), [("0" * 16, None), (None, "AAAA"), (None, "?")])
def test_a_handover_to_no_key_is_found(archive, key_id, text):
    """Its id is that of the key, and that is one."""
    key = derive_signing_key("third").public
    archive.append_seal(next=NextKey(key_id or key.id, text or key.text))

    assert [f"{THIRD_SEGMENT}:12 key seal 7"] == list_findings(archive)


def test_a_stray_key_hands_over_nothing(archive):
    """Otherwise the older key could make itself right again."""
    archive.key = derive_signing_key("first")
    archive.hand_over_key(derive_signing_key("first"))
    archive.add_event(1)
    archive.append_seal()

    report = verify_archive(archive)

    assert f"{THIRD_SEGMENT}:12 key seal 7" == format_finding(report.findings[0])
    assert 6 == report.verified.number
    assert 1 == report.noted["key"], "only the handover that was right"


def test_a_file_of_public_keys_keeps_its_order_and_its_comments(archive):
    """The oldest key is first."""
    text = "# the first\n\n" + "\n".join(map(str, archive.keys))

    assert [key.id for key in archive.keys] == [key.id for key in parse_public_keys(text)]


@pytest.mark.parametrize("part", range(3))
def test_a_public_key_with_another_id_is_none(archive, part):
    """What a seal names would be another key than the one that is checked."""
    first, second = (str(key).split() for key in archive.keys)
    second[0] = "ssh-ed25519"
    first[part] = second[part]

    with pytest.raises(ValueError, match="line 2: the id is not that of the key"):
        parse_public_keys("# ours\n" + " ".join(first))
