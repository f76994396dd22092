"""Fixtures of pytest that start a service for tests and read the codes that it sends.

    pytest_plugins = ["otp_service_client.pytest_plugin"]    # in conftest.py

docs/testing.md of the repository of otp-service has an example.
"""

from collections.abc import Iterator, Sequence

import pytest

from otp_service_client.client import OtpClient
from otp_service_client.development_service import (
    DevelopmentService,
    Inbox,
    start_development_service,
)


@pytest.fixture(scope="session")
def otp_service_options() -> Sequence[str]:
    """Return the options of `otp-service dev`; a conftest.py may replace this fixture.

    A cooldown of a second instead of 30, so that a test can resend a code.
    """
    return ["--cooldown", "1"]


@pytest.fixture(scope="session")
def otp_service_process(
    tmp_path_factory: pytest.TempPathFactory, otp_service_options: Sequence[str]
) -> Iterator[DevelopmentService]:
    """Return the service that runs for the whole session; each process of xdist has its own."""
    folder = tmp_path_factory.mktemp("otp-service")
    with start_development_service(folder, otp_service_options) as service:
        yield service


@pytest.fixture
def otp_service(otp_service_process: DevelopmentService) -> DevelopmentService:
    """Return the service without the challenges, limits and messages of earlier tests."""
    otp_service_process.reset()
    return otp_service_process


@pytest.fixture
def otp_inbox(otp_service: DevelopmentService) -> Inbox:
    """Return the messages of this test, newest first."""
    return otp_service.inbox


@pytest.fixture
def otp_client(otp_service: DevelopmentService) -> Iterator[OtpClient]:
    """Return a client of the service."""
    with OtpClient(otp_service.url, otp_service.api_key) as client:
        yield client
