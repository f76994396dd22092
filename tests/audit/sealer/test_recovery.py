"""A Redis that was emptied, put back, or has lost an epoch, beside an archive that has it all."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otp_service.audit.archive_format.entries import SEAL
from otp_service.audit.archive_format.seals import Seal
from otp_service.audit.sealer import archive_writer, recovery
from tests.audit.sealed_log import Log, decoded, redis, streams, until_quiet


async def epochs(log: Log) -> int:
    """Return how many epochs of the partition are archived."""
    return len({e["id"].split("-")[1] for e in log.entries() if e["id"].startswith("07")})


async def kept(log: Log) -> list[tuple[str, bytes]]:
    """Return a copy of the partition's log."""
    return [(key, await redis(log, "DUMP", key)) for key in streams(log)[:2]]


async def put_back(log: Log, copy: list[tuple[str, bytes]], server: str) -> None:
    """Have Redis hold what it held then, and be another one."""
    for key, value in copy:
        await redis(log, "RESTORE", key, 0, value, "REPLACE")
    await redis(log, "HSET", streams(log)[0], "server", server)


class Emptied:
    """A Redis that is emptied when its entries have been read."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.lease, self.mark = log.source.lease, log.source.mark

    async def tails(self, *args: Any, **more: Any) -> Any:
        """Read, and lose everything."""
        found = await self._log.source.tails(*args, **more)
        await self._log.link.together("", [("FLUSHALL",)])
        return found


@pytest.mark.parametrize("shift", [0, -86_400_000])
@pytest.mark.parametrize("sealing", ["the same one", "another"])
async def test_a_redis_that_was_emptied_begins_an_epoch_in_the_same_archive(
    alone: Log, shift: int, sealing: str
) -> None:
    """R79: also where its clock is a day behind what the archive has, and in the middle of a turn."""
    before = alone.sealer()
    await until_quiet(before)
    await before.stop()
    sealer = alone.sealer(segment_bytes=1)
    await alone.tell("a", "b")
    await until_quiet(sealer)
    await alone.tell("c")
    sealer._source = Emptied(alone)
    await sealer.turn()
    alone.shift = shift
    sealer._source = alone.source
    if sealing == "another":
        sealer._close()
        await alone.lease_ends()
        sealer = alone.sealer()
    alone.passes()
    await alone.tell("d")
    await until_quiet(sealer)
    await alone.grant()
    await until_quiet(sealer)
    await sealer.stop()

    alone.check()
    assert 2 == await epochs(alone)
    fences = [decoded(line)["seal"]["fence"] for line in alone.lines() if line.startswith(SEAL)]
    assert sorted(fences) == fences


async def test_a_redis_that_was_put_back_from_a_copy_goes_on_in_the_same_archive(
    alone: Log,
) -> None:
    """What was told since is in the archive alone, and nothing that is told afterwards is hidden."""
    sealer = alone.sealer(segment_bytes=1)
    await alone.tell("a", "b")
    await until_quiet(sealer)
    copy = await kept(alone)
    await alone.tell("c", "d", "e")
    await until_quiet(sealer)
    await put_back(alone, copy, "another")
    await until_quiet(sealer)
    await alone.tell("f")
    await until_quiet(sealer)
    await alone.grant()
    await until_quiet(sealer)
    await sealer.stop()

    alone.check()
    assert 2 == await epochs(alone)


async def test_looking_for_an_old_epoch_may_take_longer_than_a_lease(
    alone: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is alone goes on with what he has found; what a newer seal tells is not looked for."""
    sealer = alone.sealer(segment_bytes=1)
    for i in range(5):
        await alone.tell(f"{i}")
        await until_quiet(sealer)
    copy = await kept(alone)
    alone.shift = 60_000
    await redis(alone, "HSET", streams(alone)[0], "server", "ahead")
    await alone.tell("later")
    await until_quiet(sealer)
    await sealer.stop()
    alone.shift = 0
    await put_back(alone, copy, "a third one")
    read = 0

    def slow(archive: Path) -> Iterator[Seal]:
        nonlocal read
        for seal in recovery.seals(archive):
            read += 1
            alone.passes(5)
            yield seal

    monkeypatch.setattr(archive_writer, "seals", slow)
    count = sum(line.startswith(SEAL) for line in alone.lines())
    heir = alone.sealer()
    await until_quiet(heir)
    assert 1 <= read < count  # of what it has, until it has found it
    await alone.tell("b")
    await until_quiet(heir)
    await heir.stop()

    alone.check()
    assert read >= count
