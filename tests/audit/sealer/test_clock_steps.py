"""An archive verifies after clocks were set back, and after days with a full disk."""

import asyncio
import os

from otp_service.audit.archive_format.entries import SEAL_PREFIX
from otp_service.audit.archive_format.segments import list_segments
from otp_service.audit.sealer.disk import Disk
from tests.audit.sealed_log import SealedLog, decode_line, run_until_idle


HOUR = 3600
EVENING = 1_763_850_600_000
"""2025-11-22T22:30:00Z, in milliseconds."""


class Clock:
    """A machine's clock that the test sets."""

    def __init__(self) -> None:
        self.hours = 0.0

    def __call__(self) -> int:
        """Return the time in milliseconds since 1970."""
        return EVENING + int(self.hours * HOUR * 1000)


async def test_a_clock_that_is_set_back_over_midnight_seals_no_earlier_than_before(
    sealed_log: SealedLog,
) -> None:
    """R68: a segment is in the folder of the day on which it was begun, and days only grow."""
    now = Clock()
    sealer = sealed_log.create_sealer(now=now, segment_bytes=1)
    for hours in (0, 2, 1, 3, -30):
        now.hours = hours
        await sealed_log.append_events(str(hours))
        await run_until_idle(sealer)
    await sealer.stop()

    sealed_log.assert_complete()
    seals = [
        decode_line(line)["seal"]["at"]
        for line in sealed_log.read_lines()
        if line.startswith(SEAL_PREFIX)
    ]
    assert sorted(seals) == seals


async def test_a_clock_that_is_set_back_between_a_line_and_its_seal(sealed_log: SealedLog) -> None:
    """The first line of a segment decides its day, also for the next sealer."""
    now = Clock()
    now.hours = 2
    dead = sealed_log.create_sealer(now=now, seal_seconds=3600)
    await sealed_log.append_events("tomorrow")
    await run_until_idle(dead)
    dead._writer.close()
    now.hours = 0
    await sealed_log.expire_lease()
    heir = sealed_log.create_sealer(now=now)
    await sealed_log.append_events("today")
    await run_until_idle(heir)
    await heir.stop()

    sealed_log.assert_complete()


async def test_a_lease_of_a_clock_that_was_ahead_ends_after_its_duration(
    sealed_log: SealedLog,
) -> None:
    """R81: its holder died while Redis's clock was a day ahead; without a sealer the log fills."""
    source, key = sealed_log.source, sealed_log.store.key_names.sealer_key()
    assert await source.acquire_lease("dead", 4000, floor=0, status=b"{}")
    ahead = (await source.read_status())[0] + 26 * HOUR * 1000
    await sealed_log.store.client.run_pipeline(key, [("HSET", key, "until", ahead)])

    assert not await source.acquire_lease("heir", 100, floor=0, status=b"{}")
    await asyncio.sleep(0.2)

    assert await source.acquire_lease("heir", 100, floor=0, status=b"{}")


class FullDisk(Disk):
    """A disk that has no space for data at times, and creates files."""

    is_full = False

    def write_all(self, handle: int, data: bytes) -> None:
        """Write all, or a part and fail."""
        if self.is_full:
            os.write(handle, data[:20])
            raise OSError(28, "No space left on device")
        super().write_all(handle, data)


async def test_a_disk_that_is_full_for_days_leaves_no_segment_without_a_seal(
    sealed_log: SealedLog,
) -> None:
    """R73: it may become full at any line, also at the first one of a day."""
    now, disk = Clock(), FullDisk()
    sealer = sealed_log.create_sealer(now=now, disk=disk)
    await sealed_log.append_events("a")
    await run_until_idle(sealer)
    for day in (1, 2, 3):
        disk.is_full = True
        now.hours = day * 24
        await sealed_log.append_events(str(day))
        await run_until_idle(sealer)
        if day == 2:  # another sealer starts in this state
            sealer._handle_lost_lease()
    disk.is_full = False
    now.hours += 24
    await run_until_idle(sealer)
    await sealer.stop()

    sealed_log.assert_complete()
    assert all(path.stat().st_size for path in list_segments(sealed_log.folder))
