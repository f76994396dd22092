"""The simulated disk of an archive: what is durable, and where its process dies."""

import errno
import fcntl
import os

import pytest

from tests.simulation.archive.folder import ArchiveFolder, ProcessEndedError, SealerDisk
from tests.simulation.kernel.chance import Chance


LINE = b"0123456789\n"


@pytest.fixture
def folder():
    folder = ArchiveFolder()
    folder.path.mkdir()
    yield folder
    folder.close()


@pytest.fixture
def disk(folder):
    disk = SealerDisk(folder, die=lambda: setattr(disk, "is_dead", True))
    return disk


@pytest.fixture
def segment(folder):
    return folder.path / "2026-09-21" / "000000000001.jsonl"


@pytest.fixture
def handle(disk, segment):
    handle = disk.open_file(segment)
    yield handle
    os.close(handle)


def test_a_synced_line_survives_the_machine(folder, disk, segment, handle):
    disk.write_all(handle, LINE)
    disk.sync_file(handle)

    assert [] == folder.lose_unsynced(Chance(1))
    assert LINE == segment.read_bytes()


def test_a_line_that_was_not_synced_may_be_lost_or_torn(folder, disk, segment, handle):
    sizes = set()
    for number in range(60):
        disk.truncate_file(handle, 0)
        disk.write_all(handle, LINE)
        folder.lose_unsynced(Chance(number))
        sizes.add(segment.stat().st_size)

    assert set(range(len(LINE) + 1)) == sizes


def test_what_is_lost_is_named_by_its_whole_lines(folder, disk, segment, handle):
    for number in range(60):
        disk.truncate_file(handle, 0)
        disk.write_all(handle, LINE)
        disk.sync_file(handle)
        disk.write_all(handle, LINE.upper() + LINE)

        lost = folder.lose_unsynced(Chance(number))

        assert 3 == segment.read_bytes().count(b"\n") + len(lost)


def test_a_new_file_is_lost_until_its_folder_is_synced(folder, disk, segment):
    disk.calls_left = 1  # it dies before its folder is synced
    segment.parent.mkdir(parents=True)
    with pytest.raises(ProcessEndedError):
        disk.open_file(segment)
    assert segment.exists()

    folder.lose_unsynced(Chance(1))

    assert not segment.exists()


def test_a_process_dies_before_after_or_within_a_write(folder, segment):
    written = set()
    for calls in range(3):
        disk = SealerDisk(folder, die=lambda: setattr(disk, "is_dead", True))  # noqa: B023  # its own
        handle = disk.open_file(segment)
        disk.truncate_file(handle, 0)
        disk.calls_left = calls
        try:
            disk.write_all(handle, LINE)
        except ProcessEndedError:
            written.add(segment.stat().st_size)
        with pytest.raises(ProcessEndedError):
            disk.sync_file(handle)
        os.close(handle)

    assert {len(LINE) // 2, len(LINE)} == written


def test_a_full_disk_takes_half_of_a_write(folder, disk, segment, handle):
    folder.is_full = True

    with pytest.raises(OSError, match="space") as caught:
        disk.write_all(handle, LINE)

    assert errno.ENOSPC == caught.value.errno
    assert len(LINE) // 2 == segment.stat().st_size


def test_a_broken_disk_fails_for_so_many_calls(folder, disk, handle):
    folder.failing_calls = 2

    for _ in range(2):
        with pytest.raises(OSError, match="output"):
            disk.sync_file(handle)
    disk.sync_file(handle)


def test_what_retention_deletes_is_kept_for_the_auditor(folder, disk, segment, handle):
    disk.write_all(handle, LINE)

    disk.delete_file(segment)

    assert [("dropped", LINE[:-1])] == list(folder.read_lines())


def test_a_locked_folder_is_locked_until_it_is_released(folder):
    folder.hold_lock()
    handle = os.open(folder.path / "lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    folder.release_lock()

    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(handle)
