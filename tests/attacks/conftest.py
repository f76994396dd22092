"""The service as it runs in production, for the attacks that do not change its settings."""

import itertools
from collections.abc import Callable, Iterator

import pytest

from otp_service.store.embedded import EmbeddedServer
from tests.processes import HIGH_CAPACITY_SETTINGS, GatewayServer, RunningService, run_service
from tests.store import redis_servers


@pytest.fixture(scope="package")
def gateway() -> Iterator[GatewayServer]:
    """The only provider of `service`."""
    with GatewayServer() as gateway:
        yield gateway


@pytest.fixture(scope="package")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """The Redis of `service`."""
    with redis_servers.start_server(tmp_path_factory.mktemp("attacked")) as redis:
        yield redis


@pytest.fixture(scope="package")
def service(
    tmp_path_factory: pytest.TempPathFactory, redis: EmbeddedServer, gateway: GatewayServer
) -> Iterator[RunningService]:
    """Return a service with two workers. All tests share it, and each uses numbers of its own."""
    folder = tmp_path_factory.mktemp("service")
    with run_service(folder, redis, [gateway.url], workers=2, **HIGH_CAPACITY_SETTINGS) as service:
        yield service


_number_counter = itertools.count()


@pytest.fixture
def generate_number() -> Callable[[], str]:
    """Return a function that returns an unused number in another block of ten thousand each time."""

    def generate_one() -> str:
        line, block = divmod(next(_number_counter), 100)
        return f"+447400{block:02d}{7000 + line}"

    return generate_one


@pytest.fixture
def number(generate_number: Callable[[], str]) -> str:
    """Return an unused number."""
    return generate_number()
