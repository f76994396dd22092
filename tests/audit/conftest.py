"""What the tests of the audit log share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from otp_service.store.client import Link
from otp_service.store.connect import connect
from otp_service.store.embedded import EmbeddedServer
from tests.audit import scenario
from tests.audit.scenario import Step
from tests.audit.sealed_log import Log
from tests.store import redis_servers


@pytest.fixture(scope="session")
def told(server: EmbeddedServer) -> list[Step]:
    """What a run has told that emits every event."""
    return scenario.tell(server)


@pytest.fixture
async def alone(server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[Log]:
    """The log on one server, for what is the same on each."""
    with redis_servers.client_of(server) as client:
        client.flushall()
    async with Link(connect(url=server.url, timeout=5000)) as link:
        yield Log(link, tmp_path / "archive")
