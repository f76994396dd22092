"""The count of pending events: never less than there are, or grants would exceed the capacity, and
never more for long, or all grants would be refused.
"""

import random
from pathlib import Path
from typing import Any

import pytest

from otp_service.core.errors import StoreUnavailable
from tests.audit.sealed_log import SealedLog, get_stream_keys, run_redis_command, run_until_idle


async def count_pending(log: SealedLog) -> int:
    """Return the number of events in Redis that are not archived."""
    name, events, _ = get_stream_keys(log)
    archived, seq, ms = await run_redis_command(log, "HMGET", name, "archived", "seq", "ms")
    first = b"(" + archived if archived else "-"
    return len(
        await run_redis_command(
            log, "XRANGE", events, first, b"%d-%d" % (int(ms or 0), int(seq or 0))
        )
    )


async def read_pending_count(log: SealedLog) -> int:
    """Return the stored count, which commits check."""
    (tail,) = await log.source.fetch_pending([7], count=1)
    return tail.waiting_count


class BusySource:
    """A Redis that gets an event after each read of the sealer."""

    def __init__(self, log: SealedLog) -> None:
        self._log = log
        self.acquire_lease, self.mark_archived = log.source.acquire_lease, log.source.mark_archived

    async def fetch_pending(self, *args: Any, **more: Any) -> Any:
        """Read, and append an event behind it."""
        found = await self._log.source.fetch_pending(*args, **more)
        await self._log.append_events(f"behind{len(self._log.expected_ids)}")
        return found


@pytest.fixture
def full(sealed_log: SealedLog) -> SealedLog:
    """A log with a capacity of 200 events in each partition."""
    return SealedLog(sealed_log.script_client, sealed_log.folder, maximum=200)


async def fill(log: SealedLog) -> None:
    """Append grants until they are refused."""
    while await read_pending_count(log) < 200:
        await log.append_grant()
    with pytest.raises(StoreUnavailable):
        await log.append_grant()


async def test_deleted_events_do_not_stay_in_the_count(full: SealedLog) -> None:
    """R73: a full partition whose events were all deleted."""
    _, events, _ = get_stream_keys(full)
    await fill(full)
    await run_redis_command(full, "DEL", events)
    full.expected_ids = []
    sealer = full.create_sealer()

    await run_until_idle(sealer)
    assert 0 == await read_pending_count(full)

    await full.append_grant()
    await run_until_idle(sealer)
    await sealer.stop()
    full.assert_complete(gaps=1)


async def test_events_deleted_behind_the_last_read_do_not_stay_in_the_count(
    full: SealedLog,
) -> None:
    """Nor do those deleted in the middle of a partition that always gets new events."""
    _, events, _ = get_stream_keys(full)
    await fill(full)
    ids = [id_ for id_, _ in await run_redis_command(full, "XRANGE", events, "-", "+")]
    await run_redis_command(full, "XDEL", events, *ids[40:60], *ids[128:])
    full.expected_ids = full.expected_ids[:39] + full.expected_ids[59:127]
    sealer = full.create_sealer(source=BusySource(full))

    for _ in range(6):
        await sealer.run_once()
        assert await count_pending(full) <= await read_pending_count(full)
    assert await count_pending(full) == await read_pending_count(full) < 5

    await full.append_grant()
    await full.expire_lease()
    heir = full.create_sealer()
    await run_until_idle(heir)
    await heir.stop()
    full.assert_complete(gaps=2)


@pytest.mark.parametrize("what", ["an old log", "a new folder"])
async def test_an_old_log_and_a_new_folder_are_counted_after_they_are_read(
    full: SealedLog, tmp_path: Path, what: str
) -> None:
    """While new events are appended all the time."""
    old = SealedLog(full.script_client, full.folder, maximum=200, archives=what == "a new folder")
    await old.append_events(*map(str, range(150)))
    if what == "a new folder":
        sealer = old.create_sealer()
        await run_until_idle(sealer)
        await sealer.stop()
        full.folder = tmp_path / "another"
    full.expected_ids = old.expected_ids
    await full.append_events(*map(str, range(150, 190)))
    sealer = full.create_sealer(source=BusySource(full))
    for _ in range(9):
        await sealer.run_once()
        assert await count_pending(full) <= await read_pending_count(full)
    assert await count_pending(full) == await read_pending_count(full) < 5

    await full.append_grant()
    await full.expire_lease()
    heir = full.create_sealer()
    await run_until_idle(heir)
    await heir.stop()
    full.assert_complete()


@pytest.mark.parametrize("seed", range(3))
async def test_the_count_is_never_less_than_the_number_of_pending_events(
    full: SealedLog, tmp_path: Path, seed: int
) -> None:
    """With random events, denials, deletions, sealers and folders; in the end it is 0."""
    rng = random.Random(seed)  # noqa: S311  # reproducible
    name, events, _ = get_stream_keys(full)
    sealer = full.create_sealer()
    for step in range(60):
        kind = rng.choice(["append", "append", "deny", "turn", "turn", "delete", "another", "lost"])
        if kind == "append":
            await full.append_events(*(f"{step}-{i}" for i in range(rng.randrange(1, 80))))
        elif kind == "deny":
            await full.append_denial()
        elif kind == "turn":
            await sealer.run_once()
        elif kind == "delete":
            found = [id_ for id_, _ in await run_redis_command(full, "XRANGE", events, "-", "+")]
            if some := rng.sample(found, len(found) // 4):
                await run_redis_command(full, "XDEL", events, *some)
        elif kind == "another":
            full.folder = tmp_path / str(rng.randrange(2))
            await full.expire_lease()
            sealer._close_all()
            sealer = full.create_sealer()
        elif rng.random() < 0.2:
            await run_redis_command(full, "HDEL", name, "waiting")
        assert await count_pending(full) <= await read_pending_count(full), (step, kind)
    await run_until_idle(sealer)
    await sealer.stop()

    assert 0 == await count_pending(full) == await read_pending_count(full)
    assert [] == full.verify_archive().findings
