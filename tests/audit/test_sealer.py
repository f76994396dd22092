"""What a sealer archives, on each kind of Redis."""

from pathlib import Path

import pytest

from otp_service.store.link import Link
from tests.audit.sealed import Log, until_quiet


@pytest.fixture
def log(link: Link, tmp_path: Path) -> Log:
    """The log on each kind of Redis in turn."""
    return Log(link, tmp_path / "archive")


async def test_everything_is_archived_in_order_and_verifies(log: Log) -> None:
    """Several partitions, events and refusals, over several turns and seals."""
    sealer = log.sealer()
    for round_ in range(3):
        for partition in (0, 7, 63):
            await log.tell(
                f"{round_}-{partition}-a", f"{round_}-{partition}-b", partition=partition
            )
            await log.deny(partition)
        await until_quiet(sealer)
    await sealer.stop()

    log.check()
    assert 9 == sum("denied" in entry["event"]["type"] for entry in log.entries())
