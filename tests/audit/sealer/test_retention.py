"""What is older than its retention is deleted, in whole segments, and the archive says so (R74)."""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from otp_service.audit.archive_format.seals import DroppedPrefix, decode_seal
from otp_service.audit.archive_format.segments import list_segments, parse_segment_number
from otp_service.audit.sealer.disk import Disk
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_client
from otp_service.store.embedded import EmbeddedServer
from tests.attacks.test_sealer_crashes import Fate, FatedDisk, Killed
from tests.audit.sealed_log import SealedLog, run_until_idle
from tests.store import redis_servers


DAY = 86_400
RETENTION = 30 * DAY * 1000


@pytest.fixture
async def link(server: EmbeddedServer) -> AsyncIterator[ScriptClient]:
    """One empty server."""
    with redis_servers.open_client(server) as client:
        client.flushall()
    async with ScriptClient(create_redis_client(url=server.url, timeout_ms=5000)) as link:
        yield link


class DeletingDisk(FatedDisk):
    """A disk that dies also when a file is deleted, or only its name."""

    def delete_file(self, path: Path) -> None:
        """Delete."""
        self._fate.call("delete", lambda: Disk.delete_file(self, path), path.unlink)


async def aged(link: ScriptClient, folder: Path) -> SealedLog:
    """Return a log whose archive has two segments of one day, and one of 20 days later."""
    log = SealedLog(link, folder)
    sealer = log.create_sealer(segment_bytes=600)
    for id_ in ("first", "second"):
        await log.append_events(id_, partition=1)
        await run_until_idle(sealer)
    log.advance_clock(20 * DAY)
    await log.append_events("third", partition=1)
    await run_until_idle(sealer)
    await sealer.stop()
    log.assert_complete()
    assert 3 <= len(list_segments(folder))
    log.expected_ids.clear()
    return log


def dropped(log: SealedLog) -> list[DroppedPrefix]:
    """Return what the archive's seals say that was dropped."""
    seals = [decode_seal(line) for line in log.read_lines() if line.startswith(b'{"seal":')]
    return [seal.dropped for seal in seals if seal.dropped]


async def test_what_is_older_is_gone_and_the_archive_verifies(
    link: ScriptClient, tmp_path: Path
) -> None:
    """A seal and an event say how far; what is younger is all there."""
    log = await aged(link, tmp_path / "archive")
    before = list_segments(log.folder)
    young = [path for path in before if path.parent.name == "2025-12-12"]
    log.advance_clock(11 * DAY)

    sealer = log.create_sealer(retention_ms=RETENTION)
    await run_until_idle(sealer)
    await sealer.stop()

    left = list_segments(log.folder)
    assert young == left[: len(young)]
    assert not [path for path in before if path.parent.name == "2025-11-22" and path.exists()]
    assert not (log.folder / "2025-11-22").exists()
    (one,) = dropped(log)
    assert parse_segment_number(young[0]) - 1 == one.number
    told = [e["event"]["seal"] for e in log.read_entries() if e["event"].get("reason") == "dropped"]
    assert [one.number] == told
    log.assert_complete()
    assert {"third"} <= {*log.list_event_ids()}
    assert not {"first", "second"} & {*log.list_event_ids()}
    assert [note.kind for note in log.verify_archive().notes if note.kind == "beginning"]


async def test_while_it_runs_it_looks_again_and_drops_everything_that_is_sealed(
    link: ScriptClient, tmp_path: Path
) -> None:
    """Also the segment that was the newest, after a year in which nothing happened."""
    log = await aged(link, tmp_path / "archive")
    sealer = log.create_sealer(retention_ms=RETENTION)
    await run_until_idle(sealer)
    assert [] == dropped(log)
    before = list_segments(log.folder)
    log.advance_clock(300 * DAY)
    await run_until_idle(sealer)
    await sealer.stop()

    assert not [path for path in before if path.exists()]
    assert 1 == len(dropped(log))
    log.assert_complete()


async def test_a_segment_stays_until_its_newest_seal_is_older(
    link: ScriptClient, tmp_path: Path
) -> None:
    """To the hour: the day on which it was begun says less."""
    log = await aged(link, tmp_path / "archive")
    before = list_segments(log.folder)
    log.advance_clock(10 * DAY - 3600)
    sealer = log.create_sealer(retention_ms=RETENTION)
    await run_until_idle(sealer)
    assert all(path.exists() for path in before)

    log.advance_clock(2 * 3600)
    await run_until_idle(sealer)
    await sealer.stop()

    assert {"2025-12-12"} == {path.parent.name for path in before if path.exists()}


async def test_a_clock_that_jumped_deletes_nothing(link: ScriptClient, tmp_path: Path) -> None:
    """Redis's clock has to say so too."""
    log = await aged(link, tmp_path / "archive")
    before = list_segments(log.folder)
    log.advance_clock(30 * 365 * DAY)

    sealer = log.create_sealer(retention_ms=10 * 365 * DAY * 1000)
    await run_until_idle(sealer)
    await sealer.stop()

    assert all(path.exists() for path in before)
    assert [] == dropped(log)


async def test_files_that_cannot_be_deleted_hold_up_nothing_and_go_once_they_can(
    link: ScriptClient, tmp_path: Path
) -> None:
    """The archive has to be writable for that, and somebody is told."""

    class Stubborn(Disk):
        yields = False

        def delete_file(self, path: Path) -> None:
            if not self.yields:
                raise PermissionError(1, "Operation not permitted")
            super().delete_file(path)

    log, disk = await aged(link, tmp_path / "archive"), Stubborn()
    log.advance_clock(11 * DAY)
    sealer = log.create_sealer(disk=disk, retention_ms=RETENTION)
    await run_until_idle(sealer)
    await log.append_events("afterwards")
    await run_until_idle(sealer)
    assert "disk" == sealer.status.trouble
    assert {"afterwards"} <= {*log.list_event_ids()}
    log.assert_complete()

    disk.yields = True
    await run_until_idle(sealer)
    await sealer.stop()

    assert [] == [*log.folder.glob("2025-11-22/*")]
    log.assert_complete()


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after", "half"])
async def test_killed_between_stating_and_deleting_the_archive_verifies_and_the_next_one_ends_it(
    link: ScriptClient, tmp_path: Path, when: str
) -> None:
    """At each call of the disk. Seen to fail with the files deleted before the seal states it."""
    met = set()
    for at in count(1):
        await link.run_pipeline("", [("FLUSHALL",)])
        log, fate = await aged(link, tmp_path / str(at)), Fate(at, when)
        log.advance_clock(11 * DAY)
        dying: Any = log.create_sealer(disk=DeletingDisk(fate), retention_ms=RETENTION)
        try:
            await run_until_idle(dying)
        except Killed:
            met.add(fate.met)
            dying._close_all()
        else:
            break
        if when != "half":  # or its last line is torn, which the next one cuts off
            assert [] == log.verify_archive().findings

        await log.expire_lease()
        heir = log.create_sealer(retention_ms=RETENTION)
        await run_until_idle(heir)
        await heir.stop()

        log.assert_complete()
        assert [] == [*log.folder.glob("2025-11-22/*")]
        assert dropped(log)
    assert {"write", "sync", "delete"} <= met
