"""Fixtures for the tests of the use cases."""

import zlib
from collections.abc import AsyncIterator

import pytest

from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.installation import Installation
from tests.store import redis_servers
from tests.store.faulty_proxy import FaultyProxy


KINDS = ("server", "cluster")

MODULES_OF_BOTH_KINDS = {
    "test_code_sender",
    "test_commit_guards",
    "test_refunds_after_outages",
    "test_running_calls",
}
"""Their subject is how commits in several partitions go together, which is code of its own in a cluster."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on one kind of Redis, and those of MODULES_OF_BOTH_KINDS on both.

    A use case has no code for a kind: it calls the store, which tests/store runs on every kind. So each
    half of the tests would show a fault of a kind; the digest of its name says in which one a test is.
    """
    if "masters" not in metafunc.fixturenames:
        return
    module = metafunc.module.__name__.rpartition(".")[2]
    half = zlib.crc32(metafunc.function.__name__.encode()) % len(KINDS)
    kinds = KINDS if module in MODULES_OF_BOTH_KINDS else (KINDS[half],)
    metafunc.parametrize("masters", kinds, indirect=True, scope="function")


@pytest.fixture
def masters(request: pytest.FixtureRequest) -> list[EmbeddedServer]:
    """Return a server or a cluster, with no data.

    Redis 7 runs each script in tests/store. The use cases send it no other command, except WAIT.
    """
    return redis_servers.empty_masters(request.getfixturevalue(request.param))


@pytest.fixture
def installation(script_client: ScriptClient) -> Installation:
    """Return an installation on each kind of Redis in turn."""
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
