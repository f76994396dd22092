"""A service, a proxy in front of it, and both clients as one kind of object."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest

from otp_service_client import AsyncOtpClient, OtpClient
from otp_service_client.pytest_plugin import (  # noqa: F401  # `pytest_plugins` is of the root alone
    otp_client,
    otp_inbox,
    otp_service,
    otp_service_options,
    otp_service_process,
)
from tests.faulty_http_proxy import FaultyHttpProxy
from tests.processes import CODE_PATTERN, RunningService, run_dev


class BlockingAsyncClient:
    """An AsyncOtpClient whose coroutines are run to their end."""

    def __init__(self, base_url: str, api_key: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncOtpClient(base_url, api_key, **options)

    def __enter__(self) -> Self:
        self._runner.run(self._client.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self._runner.run(self._client.__aexit__())
        self._runner.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        async def run_method(*args: Any, **kwargs: Any) -> Any:
            return await method(*args, **kwargs)

        return lambda *args, **kwargs: self._runner.run(run_method(*args, **kwargs))


CLIENT_TYPES = {"sync": OtpClient, "async": BlockingAsyncClient}


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Return `otp-service dev`."""
    with run_dev(tmp_path_factory.mktemp("dev") / "data") as service:
        yield service


@pytest.fixture
def proxy(service: RunningService) -> Iterator[FaultyHttpProxy]:
    """Return a proxy in front of the service."""
    with FaultyHttpProxy(service.port) as proxy:
        yield proxy


@pytest.fixture(params=CLIENT_TYPES)
def client_type(request: pytest.FixtureRequest) -> Any:
    """Return OtpClient, then AsyncOtpClient as an object that blocks."""
    return CLIENT_TYPES[request.param]


@pytest.fixture
def client(client_type: Any, proxy: FaultyHttpProxy, service: RunningService) -> Iterator[Any]:
    """Return a client of the service, through the proxy."""
    with client_type(proxy.url, service.keys["dev"]) as client:
        yield client


_ends = itertools.count()


@pytest.fixture
def number() -> str:
    """Return a fictitious number that no other test has."""
    return f"+447700900{next(_ends):03}"


@pytest.fixture
def account() -> str:
    """Return an account that no other test has: sets of recovery codes have a limit of a day."""
    return f"u-{next(_ends)}"


def list_codes(service: RunningService, number: str) -> list[str]:
    """Return the codes that were sent to a number, newest first."""
    texts = [message["text"] for message in service.fetch_inbox() if message["to"] == number]
    return [CODE_PATTERN.findall(text)[0] for text in texts]


def change_code(code: str) -> str:
    """Return another code."""
    return f"{(int(code) + 1) % 10**6:06}"
