"""Fixtures for the tests of Twilio's API."""

from collections.abc import AsyncIterator, Iterator

import pytest

from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.api.twilio.sdk import VerifyHarness
from tests.clients.conftest import npm_folder  # noqa: F401  # a fixture
from tests.installation import Installation
from tests.processes import RunningService, run_dev
from tests.store import redis_servers


@pytest.fixture
async def installation(server: EmbeddedServer) -> AsyncIterator[Installation]:
    """Return an installation on one empty server."""
    with redis_servers.open_client(server) as client:
        client.flushall()
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as client:
        yield Installation(client)


@pytest.fixture
def verify(installation: Installation) -> VerifyHarness:
    """Return Twilio's API in front of it."""
    return VerifyHarness(installation)


@pytest.fixture(scope="package")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Return `otp-service dev`, whose tests use numbers of their own."""
    with run_dev(tmp_path_factory.mktemp("emulator") / "data") as service:
        yield service
