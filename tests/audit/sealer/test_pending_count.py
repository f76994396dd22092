"""How much is said to wait for the archive: never less than there is, or grants would go on beyond
the bound, and not for long more, or nobody would be granted anything.
"""

import random
from pathlib import Path
from typing import Any

import pytest

from otp_service.core.errors import StoreUnavailable
from tests.audit.sealed_log import Log, redis, streams, until_quiet


async def there(log: Log) -> int:
    """Return how many events are in Redis that are not archived."""
    name, events, _ = streams(log)
    archived, seq, ms = await redis(log, "HMGET", name, "archived", "seq", "ms")
    first = b"(" + archived if archived else "-"
    return len(await redis(log, "XRANGE", events, first, b"%d-%d" % (int(ms or 0), int(seq or 0))))


async def said(log: Log) -> int:
    """Return how many are said to wait, as commits see it."""
    (tail,) = await log.source.tails([7], count=1)
    return tail.waiting


class Busy:
    """Redis, in which something is told whenever the sealer has looked."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.lease, self.mark = log.source.lease, log.source.mark

    async def tails(self, *args: Any, **more: Any) -> Any:
        """Read, and have something come behind it."""
        found = await self._log.source.tails(*args, **more)
        await self._log.tell(f"behind{len(self._log.told)}")
        return found


@pytest.fixture
def full(alone: Log) -> Log:
    """A log of which a partition takes two hundred events."""
    return Log(alone.link, alone.folder, maximum=200)


async def fill(log: Log) -> None:
    """Grant until nothing is granted any more."""
    while await said(log) < 200:
        await log.grant()
    with pytest.raises(StoreUnavailable):
        await log.grant()


async def test_events_that_somebody_deleted_do_not_wait_for_ever(full: Log) -> None:
    """R73: a full partition of which nothing is left."""
    _, events, _ = streams(full)
    await fill(full)
    await redis(full, "DEL", events)
    full.told = []
    sealer = full.sealer()

    await until_quiet(sealer)
    assert 0 == await said(full)

    await full.grant()
    await until_quiet(sealer)
    await sealer.stop()
    full.check(gaps=1)


async def test_events_that_somebody_deleted_behind_what_was_read_do_not_wait_for_ever(
    full: Log,
) -> None:
    """And neither do those in the middle of a partition that is never quiet."""
    _, events, _ = streams(full)
    await fill(full)
    ids = [id_ for id_, _ in await redis(full, "XRANGE", events, "-", "+")]
    await redis(full, "XDEL", events, *ids[40:60], *ids[128:])
    full.told = full.told[:39] + full.told[59:127]
    sealer = full.sealer(source=Busy(full))

    for _ in range(6):
        await sealer.turn()
        assert await there(full) <= await said(full)
    assert await there(full) == await said(full) < 5

    await full.grant()
    await full.lease_ends()
    heir = full.sealer()
    await until_quiet(heir)
    await heir.stop()
    full.check(gaps=2)


@pytest.mark.parametrize("what", ["an old log", "a new folder"])
async def test_an_old_log_and_a_new_folder_are_counted_once_they_are_read(
    full: Log, tmp_path: Path, what: str
) -> None:
    """Though somebody always tells something meanwhile."""
    old = Log(full.link, full.folder, maximum=200, archives=what == "a new folder")
    await old.tell(*map(str, range(150)))
    if what == "a new folder":
        sealer = old.sealer()
        await until_quiet(sealer)
        await sealer.stop()
        full.folder = tmp_path / "another"
    full.told = old.told
    await full.tell(*map(str, range(150, 190)))
    sealer = full.sealer(source=Busy(full))
    for _ in range(9):
        await sealer.turn()
        assert await there(full) <= await said(full)
    assert await there(full) == await said(full) < 5

    await full.grant()
    await full.lease_ends()
    heir = full.sealer()
    await until_quiet(heir)
    await heir.stop()
    full.check()


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_no_less_is_said_to_wait_than_there_is(
    full: Log, tmp_path: Path, seed: int
) -> None:
    """Events, denials, what is deleted, sealers that go on or begin in another folder; quiet, nothing waits."""
    rng = random.Random(seed)  # noqa: S311  # the same each time
    name, events, _ = streams(full)
    sealer = full.sealer()
    for step in range(60):
        kind = rng.choice(["tell", "tell", "deny", "turn", "turn", "delete", "another", "lost"])
        if kind == "tell":
            await full.tell(*(f"{step}-{i}" for i in range(rng.randrange(1, 80))))
        elif kind == "deny":
            await full.deny()
        elif kind == "turn":
            await sealer.turn()
        elif kind == "delete":
            found = [id_ for id_, _ in await redis(full, "XRANGE", events, "-", "+")]
            if some := rng.sample(found, len(found) // 4):
                await redis(full, "XDEL", events, *some)
        elif kind == "another":
            full.folder = tmp_path / str(rng.randrange(2))
            await full.lease_ends()
            sealer._close()
            sealer = full.sealer()
        elif rng.random() < 0.2:
            await redis(full, "HDEL", name, "waiting")
        assert await there(full) <= await said(full), (step, kind)
    await until_quiet(sealer)
    await sealer.stop()

    assert 0 == await there(full) == await said(full)
    assert [] == full.report().findings
