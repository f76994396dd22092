"""What keeps somebody from sealing is told before anything begins."""

from pathlib import Path

import msgspec
import pytest

from otp_service.audit.archive_format.key_files import create_key_files
from otp_service.cli.sealer_runner import find_sealer_errors
from otp_service.settings.model import AuditSettings
from tests.audit import archive_builder


def audit(folder: Path) -> AuditSettings:
    """Return an archive's settings, with a key of its own."""
    key = folder / "audit.pem"
    if not key.exists():
        create_key_files(key)
    return AuditSettings(archive=str(folder / "a/b"), signing_key=str(key))


def test_a_key_for_its_owner_alone_and_a_folder_that_can_be_made_will_do(tmp_path: Path) -> None:
    """Nor is anything asked of who does not seal."""
    assert [] == list(find_sealer_errors(audit(tmp_path)))
    assert [] == list(find_sealer_errors(AuditSettings(archive="/proc/archive", seal="alone")))
    assert [] == list(find_sealer_errors(AuditSettings()))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda key: key.chmod(0o644), "chmod 600"),
        (lambda key: key.chmod(0o660), "can be read by others"),
        (lambda key: key.unlink(), "Create it with 'otp-service audit key'"),
        (lambda key: key.write_text("no key"), "must be an Ed25519 key"),
    ],
)
def test_a_key_file_that_may_not_be_used_is_refused(tmp_path: Path, make, words: str) -> None:
    """With the remedy."""
    settings = audit(tmp_path)
    make(tmp_path / "audit.pem")

    (found,) = find_sealer_errors(settings)

    assert words in found


def test_a_group_may_read_a_key_that_is_roots(tmp_path: Path) -> None:
    """So it is mounted as a secret; of a key that is somebody's own nobody else is to know."""
    settings = audit(tmp_path)
    key = tmp_path / "audit.pem"
    key.chmod(0o440)
    assert (0 == key.stat().st_uid) is ([] == list(find_sealer_errors(settings)))


def test_a_key_that_is_not_the_archives_is_refused(tmp_path: Path) -> None:
    """Unless the right one hands over to it; the sealer would stand still."""
    settings = audit(tmp_path)
    archive = archive_builder.ArchiveBuilder(tmp_path / "a/b")
    archive.add_event(7)
    archive.append_seal()

    (found,) = find_sealer_errors(settings)

    assert f"sealed by {archive.key.public.id}" in found
    (tmp_path / "old.pem").touch(0o600)
    (tmp_path / "old.pem").write_bytes(archive.key.to_pem())
    handing = msgspec.structs.replace(settings, previous_signing_key=str(tmp_path / "old.pem"))
    assert [] == list(find_sealer_errors(handing))


def test_an_archive_where_nothing_can_be_written_is_refused(tmp_path: Path) -> None:
    """A file stands in the way."""
    settings = audit(tmp_path)
    (tmp_path / "a").write_text("")

    (found,) = find_sealer_errors(settings)

    assert "audit.archive" in found


def test_the_public_half_lies_beside_the_key(tmp_path: Path) -> None:
    """As auditors need it, and nothing is overwritten."""
    key = create_key_files(tmp_path / "audit.pem")

    assert f"{key.public}\n" == (tmp_path / "audit.pem.pub").read_text()
    with pytest.raises(FileExistsError):
        create_key_files(tmp_path / "audit.pem")
