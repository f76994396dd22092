"""Fixtures for the tests of the use cases."""

from collections.abc import AsyncIterator

import pytest

from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.installation import Installation
from tests.store import redis_servers
from tests.store.faulty_proxy import FaultyProxy


@pytest.fixture
def installation(script_client: ScriptClient) -> Installation:
    """Return an installation on the kind of Redis of this test."""
    return Installation(script_client)


@pytest.fixture
async def proxy(server: EmbeddedServer) -> AsyncIterator[FaultyProxy]:
    """A bad network in front of an empty server."""
    redis_servers.flush_server(server)
    async with FaultyProxy(server) as proxy:
        yield proxy


@pytest.fixture
async def remote(proxy: FaultyProxy) -> AsyncIterator[Installation]:
    """The service behind the bad network."""
    async with ScriptClient(create_redis_lines(url=proxy.url, timeout_ms=5000)) as client:
        yield Installation(client)
