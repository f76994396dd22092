"""Fixtures that the tests of the audit log share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.audit import scenario
from tests.audit.scenario import ScenarioStep
from tests.audit.sealed_log import SealedLog
from tests.store import redis_servers


@pytest.fixture(scope="session")
def scenario_steps(server: EmbeddedServer) -> list[ScenarioStep]:
    """Return the steps of a run that emits every event."""
    return scenario.run_scenario(server)


@pytest.fixture
async def sealed_log(server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[SealedLog]:
    """The log on one server, for behaviour that is the same on every kind of Redis."""
    redis_servers.flush_server(server)
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
        yield SealedLog(link, tmp_path / "archive")
