"""The archive takes no entries, and the event log reaches its bound under load."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from otp_service.core.log_entry import ArchivedPosition
from otp_service.store.archive_source import RedisArchiveSource
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from tests.failover.login_load import LoginLoad
from tests.store import redis_servers


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

WORKERS, ATTACKERS = 6, 3
MAX_ENTRIES = 40
FULL_SECONDS = 3


class Archive:
    """Takes the entries of the log when it is told to, as a sealer does all the time."""

    def __init__(self, load: LoginLoad) -> None:
        store = load.installation.store
        store._log_limits = msgspec.structs.replace(
            store._log_limits, max_stream_entries=MAX_ENTRIES, has_archive=True
        )
        self._source = RedisArchiveSource(
            store.client, store.key_names, max_stream_entries=MAX_ENTRIES
        )
        self.events: list[dict[str, Any]] = []

    async def wait_until_full(self) -> None:
        """Wait until the log grants nothing to the people, and to the attackers."""
        async with asyncio.timeout(60):
            while await self._count_full_partitions() < 2:  # noqa: ASYNC110  # Redis tells nobody
                await asyncio.sleep(0.2)

    async def take_entries(self) -> None:
        fence = await self._source.acquire_lease("lab", 60_000, floor=0, status=b"{}")
        pending = await self._source.fetch_pending(range(64), count=10_000)
        entries = [entry for each in pending for entry in each.entries]
        self.events += [msgspec.json.decode(entry.event) for entry in entries]
        positions = [
            ArchivedPosition(
                pending=each,
                from_start=False,
                sequence_id=(each.entries[-1].epoch, each.entries[-1].position.sequence),
            )
            for each in pending
            if each.entries
        ]
        await self._source.mark_archived(fence, positions)

    async def take_entries_repeatedly(self) -> None:
        while True:
            await self.take_entries()
            await asyncio.sleep(0.2)

    async def _count_full_partitions(self) -> int:
        pending = await self._source.fetch_pending(range(64), count=1)
        return sum(each.waiting_count >= MAX_ENTRIES for each in pending)


async def test_a_full_log_grants_nothing_and_charges_nothing(tmp_path: Path) -> None:
    """R73: codes are neither sent nor compared meanwhile; afterwards everybody logs in who waited."""
    with redis_servers.start_server(tmp_path) as server:
        async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
            load = LoginLoad(link, numbers_per_prefix=10_000)
            archive = Archive(load)
            async with load.run(workers=WORKERS, attackers=ATTACKERS):
                await archive.wait_until_full()
                await asyncio.sleep(1)  # what was granted before is compared and sent
                before = load.count_grants()
                await asyncio.sleep(FULL_SECONDS)
                during = load.count_grants()
                taking = asyncio.create_task(archive.take_entries_repeatedly())
                await load.wait_for_logins(20)
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
            await archive.take_entries()

            assert before == during, "sent or compared while the log was full"
            assert load.refused_count
            assert load.count_guesses()
            await load.assert_promises_kept(archived=archive.events)
