"""The service as it runs in production, for the attacks that change nothing about it."""

import itertools
from collections.abc import Callable, Iterator

import pytest

from otp_service.store.embedded import EmbeddedServer
from tests.processes import ROOMY, Gateway, Service, serve
from tests.store import redis_servers


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    """The only provider of `service`."""
    with Gateway() as gateway:
        yield gateway


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """The Redis of `service`."""
    with redis_servers.start_server(tmp_path_factory.mktemp("attacked")) as redis:
        yield redis


@pytest.fixture(scope="session")
def service(
    tmp_path_factory: pytest.TempPathFactory, redis: EmbeddedServer, gateway: Gateway
) -> Iterator[Service]:
    """Two workers, for the whole run: each test takes numbers of its own."""
    folder = tmp_path_factory.mktemp("service")
    with serve(folder, redis, [gateway.url], workers=2, **ROOMY) as service:
        yield service


_counted = itertools.count()


@pytest.fixture
def another() -> Callable[[], str]:
    """Return numbers that nobody had before, each of another block of ten thousand."""

    def another() -> str:
        line, block = divmod(next(_counted), 100)
        return f"+447400{block:02d}{7000 + line}"

    return another


@pytest.fixture
def number(another: Callable[[], str]) -> str:
    """A number that nobody had before."""
    return another()
