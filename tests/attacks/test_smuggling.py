"""A1: a body is never parsed as a request, on any listener of the deployed processes."""

import re
from collections.abc import Iterator

import pytest

from tests.processes import RunningService, exchange_bytes, run_dev


pytestmark = pytest.mark.slow

INNER_REQUEST = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"

LAST_REQUEST = b"GET /last HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"

UPGRADE_HEADERS = b"Connection: upgrade\r\nUpgrade: h2c\r\n"
"""The headers that nginx forwards with its usual lines for WebSocket if a client requests h2c."""


@pytest.fixture(scope="module")
def dev_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Return a running `otp-service dev`."""
    with run_dev(tmp_path_factory.mktemp("dev") / "data") as service:
        yield service


@pytest.mark.parametrize("later", [False, True], ids=["same segment", "later segment"])
@pytest.mark.parametrize("listener", ["port", "admin_port"])
@pytest.mark.parametrize("command", ["service", "dev_service"])
def test_the_body_of_an_upgrade_is_not_answered(
    request: pytest.FixtureRequest, command: str, listener: str, *, later: bool
) -> None:
    """The smallest input of the report: without an API key, it received two responses.

    `Upgrade` is ignored (RFC 9110 §7.8), the body read by its length, and the next request answered.
    """
    service: RunningService = request.getfixturevalue(command)
    length = b"Content-Length: %d\r\n\r\n" % len(INNER_REQUEST)
    head = b"POST /v1/callbacks/a HTTP/1.1\r\nHost: 127.0.0.1\r\n" + UPGRADE_HEADERS + length
    segments = [head, INNER_REQUEST] if later else [head + INNER_REQUEST]

    answer = exchange_bytes(getattr(service, listener), *segments, LAST_REQUEST)

    statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)
    # A body that arrives after its response ends the connection.
    assert statuses in ([b"404"], [b"404", b"404"])
