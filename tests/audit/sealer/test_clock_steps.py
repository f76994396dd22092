"""Clocks that are set back, and days on which nothing can be written: an archive verifies all the same."""

import os

from otp_service.audit.archive_format.entries import SEAL
from otp_service.audit.archive_format.segments import segments
from otp_service.audit.sealer.disk import Disk
from tests.audit.sealed_log import Log, decoded, until_quiet


HOUR = 3600
EVENING = 1_763_850_600_000
"""2025-11-22T22:30:00Z, in milliseconds."""


class Clock:
    """A machine's clock, which somebody sets."""

    def __init__(self) -> None:
        self.hours = 0.0

    def __call__(self) -> int:
        """Return the time in milliseconds."""
        return EVENING + int(self.hours * HOUR * 1000)


async def test_a_clock_that_is_set_back_over_midnight_seals_no_earlier_than_before(
    alone: Log,
) -> None:
    """R68: a segment lies in the day on which it was begun, and days only grow."""
    now = Clock()
    sealer = alone.sealer(now=now, segment_bytes=1)
    for hours in (0, 2, 1, 3, -30):
        now.hours = hours
        await alone.tell(str(hours))
        await until_quiet(sealer)
    await sealer.stop()

    alone.check()
    seals = [decoded(line)["seal"]["at"] for line in alone.lines() if line.startswith(SEAL)]
    assert sorted(seals) == seals


async def test_a_clock_that_is_set_back_between_a_line_and_its_seal(alone: Log) -> None:
    """The first line of a segment has said of which day it is; also to whoever takes over."""
    now = Clock()
    now.hours = 2
    dead = alone.sealer(now=now, seal_seconds=3600)
    await alone.tell("tomorrow")
    await until_quiet(dead)
    dead._folder.close()
    now.hours = 0
    await alone.lease_ends()
    heir = alone.sealer(now=now)
    await alone.tell("today")
    await until_quiet(heir)
    await heir.stop()

    alone.check()


class FullDisk(Disk):
    """One that has room for names and for nothing else, from time to time."""

    is_full = False

    def write(self, handle: int, data: bytes) -> None:
        """Write, or half of it."""
        if self.is_full:
            os.write(handle, data[:20])
            raise OSError(28, "No space left on device")
        super().write(handle, data)


async def test_a_disk_that_is_full_for_days_leaves_no_segment_without_a_seal(alone: Log) -> None:
    """R73: it may fill with any line, also with the first one of a day."""
    now, disk = Clock(), FullDisk()
    sealer = alone.sealer(now=now, disk=disk)
    await alone.tell("a")
    await until_quiet(sealer)
    for day in (1, 2, 3):
        disk.is_full = True
        now.hours = day * 24
        await alone.tell(str(day))
        await until_quiet(sealer)
        if day == 2:  # and another one finds it so
            sealer._lose()
    disk.is_full = False
    now.hours += 24
    await until_quiet(sealer)
    await sealer.stop()

    alone.check()
    assert all(path.stat().st_size for path in segments(alone.folder))
