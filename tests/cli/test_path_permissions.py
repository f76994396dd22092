"""Files and folders that the user of the service may not use are named with their setting."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from otp_service.audit.sinks import FileSinkSettings
from otp_service.audit.sinks.http import HttpSinkSettings
from otp_service.cli.path_permissions import find_archive_errors, find_path_errors
from otp_service.core.keys import generate_secret
from otp_service.settings import load_settings, render_config
from otp_service.settings.service_tables import AuditSettings, RedisSettings


NOBODY = 65534


@contextmanager
def run_as_other_user():
    """Give up the rights of root for a moment; other users keep theirs, which are the same here."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


def load_least():
    """Return settings without any path."""
    text, _ = render_config(
        tenant="shop",
        brand="Shop",
        countries=["GB"],
        generate_token=lambda: generate_secret(os.urandom),
    )
    return load_settings(text, {}, str, cores=1)


@pytest.fixture
def folder():
    """A folder that each user can enter; only its owner, root, can write into it."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o555)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


def write(path, mode):
    path.parent.chmod(0o755)
    path.write_text("x")
    path.chmod(mode)
    path.parent.chmod(0o555)
    return path


def list_archive_errors(path):
    with run_as_other_user():
        return list(find_archive_errors(AuditSettings(archive=str(path), signing_key="k")))


def test_an_archive_that_cannot_be_created_is_named_with_the_folder_in_its_way(folder):
    """`serve` had no path in its error, and `check` found the archive safe."""
    (error,) = list_archive_errors(folder / "a" / "archive")

    assert error.startswith(
        f"audit.archive: {folder / 'a' / 'archive'} cannot be created: {folder}"
    )
    assert "cannot be written by user" in error
    assert "dr-xr-xr-x" in error
    assert "chown or chmod it" in error


def test_an_archive_of_another_user_is_reported_at_each_depth(folder):
    """A first start as root leaves folders and files that the service cannot continue."""
    archive = folder / "archive"
    folder.chmod(0o755)
    day = archive / "2026-11-29"
    day.mkdir(parents=True)
    last = day / "000000000002.jsonl"
    for name in ("000000000001.jsonl", last.name):
        (day / name).write_text("x")
        (day / name).chmod(0o666)
    archive.chmod(0o777)
    day.chmod(0o777)
    assert [] == list_archive_errors(archive)

    for path, mode, usual in ((last, 0o444, 0o666), (day, 0o555, 0o777), (archive, 0o555, 0o777)):
        path.chmod(mode)
        (error,) = list_archive_errors(archive)
        assert error.startswith(f"audit.archive: {path} cannot be written by user"), error
        path.chmod(usual)


def test_a_file_in_the_place_of_the_archive_is_reported(folder):
    """It is no folder, whatever its mode is."""
    path = write(folder / "archive", 0o666)

    assert [f"audit.archive: {path} is a file: name a folder"] == list_archive_errors(path)


@pytest.mark.parametrize(
    ("setting", "change"),
    [
        ("redis.tls_ca", lambda path: {"redis": RedisSettings(tls_ca=path)}),
        ("audit.public_keys", lambda path: {"audit": AuditSettings(public_keys=path)}),
        (
            "audit.sinks.siem.tls_ca",
            lambda path: {
                "audit": AuditSettings(
                    sinks={"siem": HttpSinkSettings(url="https://a.example", tls_ca=path)}
                )
            },
        ),
        (
            "audit.anchor.tls_ca",
            lambda path: {
                "audit": AuditSettings(
                    anchor=HttpSinkSettings(url="https://a.example", tls_ca=path)
                )
            },
        ),
        (
            "audit.anchor.path",
            lambda path: {
                "audit": AuditSettings(
                    archive="/a", signing_key="k", anchor=FileSinkSettings(path=path)
                )
            },
        ),
    ],
)
def test_each_path_that_cannot_be_used_is_named_with_its_setting(folder, setting, change):
    """A missing right was found at the first connection, or in the middle of the night."""
    settings = load_least()
    for name, mode, words in (("file", 0o400, "cannot be"), ("gone/file", None, "")):
        path = folder / name
        if mode:
            write(path, mode)
        with run_as_other_user():
            found = list(find_path_errors(msgspec.structs.replace(settings, **change(str(path)))))

        assert [setting] == [error.split(":")[0] for error in found]
        assert str(path) in found[0]
        assert words in found[0]


def test_paths_that_can_be_used_are_not_reported(folder):
    """Neither readable ones, nor an anchor that is written by another process."""
    readable = str(write(folder / "ca.pem", 0o444))
    settings = msgspec.structs.replace(
        load_least(),
        redis=RedisSettings(tls_ca=readable),
        audit=AuditSettings(
            archive=str(folder), public_keys=readable, anchor=FileSinkSettings(path="/no")
        ),
    )

    with run_as_other_user():
        assert [] == list(find_path_errors(settings))


def test_an_archive_that_another_process_seals_must_be_readable(folder):
    """The page and the searches read it."""
    folder.chmod(0o700)
    settings = msgspec.structs.replace(load_least(), audit=AuditSettings(archive=str(folder)))

    with run_as_other_user():
        found = list(find_path_errors(settings))

    assert (
        [] == found
        if os.geteuid()
        else found[0].startswith(f"audit.archive: {folder} cannot be read")
    )
