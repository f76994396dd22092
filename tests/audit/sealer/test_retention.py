"""What is older than its retention is deleted, in whole segments, and the archive says so (R74)."""

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from otp_service.audit.archive_format.seals import Dropped, seal_on
from otp_service.audit.archive_format.segments import number_of, segments
from otp_service.audit.sealer.disk import Disk
from otp_service.store.client import Link
from otp_service.store.connect import connect
from otp_service.store.embedded import EmbeddedServer
from tests.attacks.test_sealer_crashes import Fate, FatedDisk, Killed
from tests.audit.sealed_log import Log, until_quiet
from tests.store import redis_servers


DAY = 86_400
RETENTION = 30 * DAY * 1000


@pytest.fixture
async def link(server: EmbeddedServer) -> AsyncIterator[Link]:
    """One empty server."""
    with redis_servers.client_of(server) as client:
        client.flushall()
    async with Link(connect(url=server.url, timeout=5000)) as link:
        yield link


class DeletingDisk(FatedDisk):
    """A disk that dies also when a file is deleted, or only its name."""

    def delete(self, path: Path) -> None:
        """Delete."""
        self._fate.call("delete", lambda: Disk.delete(self, path), path.unlink)


async def aged(link: Link, folder: Path) -> Log:
    """Return a log whose archive has two segments of one day, and one of 20 days later."""
    log = Log(link, folder)
    sealer = log.sealer(segment_bytes=600)
    for id_ in ("first", "second"):
        await log.tell(id_, partition=1)
        await until_quiet(sealer)
    log.passes(20 * DAY)
    await log.tell("third", partition=1)
    await until_quiet(sealer)
    await sealer.stop()
    log.check()
    assert 3 <= len(segments(folder))
    log.told.clear()
    return log


def dropped(log: Log) -> list[Dropped]:
    """Return what the archive's seals say that was dropped."""
    seals = [seal_on(line) for line in log.lines() if line.startswith(b'{"seal":')]
    return [seal.dropped for seal in seals if seal.dropped]


async def test_what_is_older_is_gone_and_the_archive_verifies(link: Link, tmp_path: Path) -> None:
    """A seal and an event say how far; what is younger is all there."""
    log = await aged(link, tmp_path / "archive")
    before = segments(log.folder)
    young = [path for path in before if path.parent.name == "2025-12-12"]
    log.passes(11 * DAY)

    sealer = log.sealer(retention=RETENTION)
    await until_quiet(sealer)
    await sealer.stop()

    left = segments(log.folder)
    assert young == left[: len(young)]
    assert not [path for path in before if path.parent.name == "2025-11-22" and path.exists()]
    assert not (log.folder / "2025-11-22").exists()
    (one,) = dropped(log)
    assert number_of(young[0]) - 1 == one.number
    told = [e["event"]["seal"] for e in log.entries() if e["event"].get("reason") == "dropped"]
    assert [one.number] == told
    log.check()
    assert {"third"} <= {*log.ids()}
    assert not {"first", "second"} & {*log.ids()}
    assert [note.kind for note in log.report().notes if note.kind == "beginning"]


async def test_while_it_runs_it_looks_again_and_drops_everything_that_is_sealed(
    link: Link, tmp_path: Path
) -> None:
    """Also the segment that was the newest, after a year in which nothing happened."""
    log = await aged(link, tmp_path / "archive")
    sealer = log.sealer(retention=RETENTION)
    await until_quiet(sealer)
    assert [] == dropped(log)
    before = segments(log.folder)
    log.passes(300 * DAY)
    await until_quiet(sealer)
    await sealer.stop()

    assert not [path for path in before if path.exists()]
    assert 1 == len(dropped(log))
    log.check()


async def test_a_segment_stays_until_its_newest_seal_is_older(link: Link, tmp_path: Path) -> None:
    """To the hour: the day on which it was begun says less."""
    log = await aged(link, tmp_path / "archive")
    before = segments(log.folder)
    log.passes(10 * DAY - 3600)
    sealer = log.sealer(retention=RETENTION)
    await until_quiet(sealer)
    assert all(path.exists() for path in before)

    log.passes(2 * 3600)
    await until_quiet(sealer)
    await sealer.stop()

    assert {"2025-12-12"} == {path.parent.name for path in before if path.exists()}


async def test_a_clock_that_jumped_deletes_nothing(link: Link, tmp_path: Path) -> None:
    """Redis's clock has to say so too."""
    log = await aged(link, tmp_path / "archive")
    before = segments(log.folder)
    log.passes(30 * 365 * DAY)

    sealer = log.sealer(retention=10 * 365 * DAY * 1000)
    await until_quiet(sealer)
    await sealer.stop()

    assert all(path.exists() for path in before)
    assert [] == dropped(log)


async def test_files_that_cannot_be_deleted_hold_up_nothing_and_go_once_they_can(
    link: Link, tmp_path: Path
) -> None:
    """The archive has to be writable for that, and somebody is told."""

    class Stubborn(Disk):
        yields = False

        def delete(self, path: Path) -> None:
            if not self.yields:
                raise PermissionError(1, "Operation not permitted")
            super().delete(path)

    log, disk = await aged(link, tmp_path / "archive"), Stubborn()
    log.passes(11 * DAY)
    sealer = log.sealer(disk=disk, retention=RETENTION)
    await until_quiet(sealer)
    await log.tell("afterwards")
    await until_quiet(sealer)
    assert "disk" == sealer.told.trouble
    assert {"afterwards"} <= {*log.ids()}
    log.check()

    disk.yields = True
    await until_quiet(sealer)
    await sealer.stop()

    assert [] == [*log.folder.glob("2025-11-22/*")]
    log.check()


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after", "half"])
async def test_killed_between_stating_and_deleting_the_archive_verifies_and_the_next_one_ends_it(
    link: Link, tmp_path: Path, when: str
) -> None:
    """At each call of the disk. Seen to fail with the files deleted before the seal states it."""
    met = set()
    for at in count(1):
        await link.together("", [("FLUSHALL",)])
        log, fate = await aged(link, tmp_path / str(at)), Fate(at, when)
        log.passes(11 * DAY)
        dying: Any = log.sealer(disk=DeletingDisk(fate), retention=RETENTION)
        try:
            await until_quiet(dying)
        except Killed:
            met.add(fate.met)
            dying._close()
        else:
            break
        if when != "half":  # or its last line is torn, which the next one cuts off
            assert [] == log.report().findings

        await log.lease_ends()
        heir = log.sealer(retention=RETENTION)
        await until_quiet(heir)
        await heir.stop()

        log.check()
        assert [] == [*log.folder.glob("2025-11-22/*")]
        assert dropped(log)
    assert {"write", "sync", "delete"} <= met
