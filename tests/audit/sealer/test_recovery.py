"""An archive that is complete, with a Redis that was emptied, restored, or has lost an epoch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otp_service.audit.archive_format.entries import SEAL_PREFIX
from otp_service.audit.archive_format.seals import Seal
from otp_service.audit.sealer import archive_writer, recovery
from tests.audit.sealed_log import (
    SealedLog,
    decode_line,
    get_stream_keys,
    run_redis_command,
    run_until_idle,
)


async def count_epochs(log: SealedLog) -> int:
    """Return the number of archived epochs of the partition."""
    return len({e["id"].split("-")[1] for e in log.read_entries() if e["id"].startswith("07")})


async def dump_log(log: SealedLog) -> list[tuple[str, bytes]]:
    """Return a copy of the partition's log."""
    return [(key, await run_redis_command(log, "DUMP", key)) for key in get_stream_keys(log)[:2]]


async def restore_log(log: SealedLog, copy: list[tuple[str, bytes]], server: str) -> None:
    """Restore the keys of a copy, on a server with another replication id."""
    for key, value in copy:
        await run_redis_command(log, "RESTORE", key, 0, value, "REPLACE")
    await run_redis_command(log, "HSET", get_stream_keys(log)[0], "server", server)


class EmptiedSource:
    """A Redis that is emptied after each read of the sealer."""

    def __init__(self, log: SealedLog) -> None:
        self._log = log
        self.acquire_lease, self.mark_archived = log.source.acquire_lease, log.source.mark_archived

    async def fetch_pending(self, *args: Any, **more: Any) -> Any:
        """Read, and delete everything."""
        found = await self._log.source.fetch_pending(*args, **more)
        await self._log.script_client.run_pipeline("", [("FLUSHALL",)])
        return found


@pytest.mark.parametrize("shift", [0, -86_400_000])
@pytest.mark.parametrize("sealing", ["the same one", "another"])
async def test_a_redis_that_was_emptied_begins_an_epoch_in_the_same_archive(
    sealed_log: SealedLog, shift: int, sealing: str
) -> None:
    """R79: also with a clock that is a day behind the archive, and in the middle of a turn."""
    before = sealed_log.create_sealer()
    await run_until_idle(before)
    await before.stop()
    sealer = sealed_log.create_sealer(segment_bytes=1)
    await sealed_log.append_events("a", "b")
    await run_until_idle(sealer)
    await sealed_log.append_events("c")
    sealer._source = EmptiedSource(sealed_log)
    await sealer.run_once()
    sealed_log.clock_shift_ms = shift
    sealer._source = sealed_log.source
    if sealing == "another":
        sealer._close_all()
        await sealed_log.expire_lease()
        sealer = sealed_log.create_sealer()
    sealed_log.advance_clock()
    await sealed_log.append_events("d")
    await run_until_idle(sealer)
    await sealed_log.append_grant()
    await run_until_idle(sealer)
    await sealer.stop()

    sealed_log.assert_complete()
    assert 2 == await count_epochs(sealed_log)
    fences = [
        decode_line(line)["seal"]["fence"]
        for line in sealed_log.read_lines()
        if line.startswith(SEAL_PREFIX)
    ]
    assert sorted(fences) == fences


async def test_a_redis_restored_from_a_copy_is_archived_in_the_same_archive(
    sealed_log: SealedLog,
) -> None:
    """Later events are in the archive alone, and no event after the restore is hidden."""
    sealer = sealed_log.create_sealer(segment_bytes=1)
    await sealed_log.append_events("a", "b")
    await run_until_idle(sealer)
    copy = await dump_log(sealed_log)
    await sealed_log.append_events("c", "d", "e")
    await run_until_idle(sealer)
    await restore_log(sealed_log, copy, "another")
    await run_until_idle(sealer)
    await sealed_log.append_events("f")
    await run_until_idle(sealer)
    await sealed_log.append_grant()
    await run_until_idle(sealer)
    await sealer.stop()

    sealed_log.assert_complete()
    assert 2 == await count_epochs(sealed_log)


async def test_the_search_for_an_old_epoch_may_take_longer_than_a_lease(
    sealed_log: SealedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only sealer continues with what it has found. A newer seal is not searched twice."""
    sealer = sealed_log.create_sealer(segment_bytes=1)
    for i in range(5):
        await sealed_log.append_events(f"{i}")
        await run_until_idle(sealer)
    copy = await dump_log(sealed_log)
    sealed_log.clock_shift_ms = 60_000
    await run_redis_command(sealed_log, "HSET", get_stream_keys(sealed_log)[0], "server", "ahead")
    await sealed_log.append_events("later")
    await run_until_idle(sealer)
    await sealer.stop()
    sealed_log.clock_shift_ms = 0
    await restore_log(sealed_log, copy, "a third one")
    read = 0

    def slow(archive: Path) -> Iterator[Seal]:
        nonlocal read
        for seal in recovery.iterate_seals(archive):
            read += 1
            sealed_log.advance_clock(5)
            yield seal

    monkeypatch.setattr(archive_writer, "iterate_seals", slow)
    count = sum(line.startswith(SEAL_PREFIX) for line in sealed_log.read_lines())
    heir = sealed_log.create_sealer()
    await run_until_idle(heir)
    assert 1 <= read < count  # it stops at the seal with the epoch
    await sealed_log.append_events("b")
    await run_until_idle(heir)
    await heir.stop()

    sealed_log.assert_complete()
    assert read >= count
