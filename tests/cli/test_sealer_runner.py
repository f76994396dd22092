"""What keeps a sealer from working is reported before it starts."""

import json
import os
from pathlib import Path

import msgspec
import pytest

from otp_service.audit.archive_format.key_files import create_key_files
from otp_service.cli import sealer_runner
from otp_service.cli.sealer_runner import find_sealer_errors
from otp_service.core.keys import generate_secret
from otp_service.settings import render_config
from otp_service.settings.service_tables import AuditSettings
from tests.audit import archive_builder


def audit(folder: Path) -> AuditSettings:
    """Return settings of an archive with a new key."""
    key = folder / "audit.pem"
    if not key.exists():
        create_key_files(key)
    return AuditSettings(archive=str(folder / "a/b"), signing_key=str(key))


def test_a_private_key_file_and_a_folder_that_can_be_created_are_accepted(tmp_path: Path) -> None:
    """Nothing is checked while sealing is off."""
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
def test_an_unsafe_key_file_is_refused(tmp_path: Path, make, words: str) -> None:
    """The message has the remedy."""
    settings = audit(tmp_path)
    make(tmp_path / "audit.pem")

    (found,) = find_sealer_errors(settings)

    assert words in found


def test_a_group_may_read_a_key_of_root(tmp_path: Path) -> None:
    """A container mounts a secret in this way. A key with another owner must be private."""
    settings = audit(tmp_path)
    key = tmp_path / "audit.pem"
    key.chmod(0o440)
    assert (0 == key.stat().st_uid) is ([] == list(find_sealer_errors(settings)))


def test_a_key_of_another_archive_is_refused(tmp_path: Path) -> None:
    """The sealer would be stuck, unless the right key hands over to the new one."""
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


def test_an_archive_that_is_not_writable_is_refused(tmp_path: Path) -> None:
    """The path of the folder contains a file."""
    settings = audit(tmp_path)
    (tmp_path / "a").write_text("")

    (found,) = find_sealer_errors(settings)

    assert "audit.archive" in found


def test_a_sealer_keeps_its_settings_after_a_reload_that_cannot_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """As `serve` does: before, the sealer of its own ended, with plain text among its JSON lines."""
    text, _ = render_config(
        tenant="shop",
        brand="Shop",
        countries=["GB"],
        generate_token=lambda: generate_secret(os.urandom),
        provider_url="https://sms.example/messages",
        archive=str(tmp_path / "archive"),
        signing_key=str(tmp_path / "audit.pem"),
    )
    create_key_files(tmp_path / "audit.pem")
    config, used = tmp_path / "otp.toml", []
    config.write_text(text)

    async def seal_until_signal(settings):
        used.append(settings)
        config.write_text(
            text.replace("segment_mib = 64", "x = ").replace('mode = "live"', "mode = 7")
        )
        return len(used) < 3

    monkeypatch.setattr(sealer_runner, "_seal_until_signal", seal_until_signal)

    assert 0 == sealer_runner.run_sealer_process(config)

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    refusals = [line for line in lines if "the reload is refused" in line["event"]]
    assert [used[0]] * 3 == used
    assert any(line["reason"].startswith("mode: must be") for line in refusals)
    assert {"error"} == {line["level"] for line in refusals}


def test_the_public_key_is_written_next_to_the_key(tmp_path: Path) -> None:
    """Auditors need it; an existing file is not overwritten."""
    key = create_key_files(tmp_path / "audit.pem")

    assert f"{key.public}\n" == (tmp_path / "audit.pem.pub").read_text()
    with pytest.raises(FileExistsError):
        create_key_files(tmp_path / "audit.pem")
