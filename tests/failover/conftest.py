"""Masters and replicas that change places."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.failover.failover_pair import FailoverPair
from tests.store import redis_servers


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[FailoverPair]:
    with (
        redis_servers.start_server(
            tmp_path / "old", port=redis_servers.find_free_port(), repl_diskless_sync_delay="0"
        ) as old,
        redis_servers.start_replica(tmp_path / "new", old) as new,
    ):
        yield FailoverPair(old, new)
