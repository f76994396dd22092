"""R47: connections that send nothing, or half of a header, are closed, and are no outage.

Those with half of a body are in test_framing.py.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import GatewayServer, RunningService, run_service, send_request
from tests.store import redis_servers


pytestmark = pytest.mark.slow

IDLE_SECONDS = 5
PARTIAL_REQUESTS = {
    "silent": b"",
    "half of a header": b"POST /v1/challenges HTTP/1.1\r\nHost: x\r\nContent-Le",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Return a service with one worker, 10 connections and a short deadline."""
    folder: Path = tmp_path_factory.mktemp("slow")
    limits = {"SERVICE__IDLE_SECONDS": str(IDLE_SECONDS), "SERVICE__MAX_CONNECTIONS": "10"}
    with (
        GatewayServer() as gateway,
        redis_servers.start_server(folder / "redis") as redis,
        run_service(folder / "service", redis, [gateway.url], workers=1, **limits) as service,
    ):
        yield service


@pytest.mark.parametrize("sent", PARTIAL_REQUESTS.values(), ids=PARTIAL_REQUESTS.keys())
async def test_a_connection_with_a_partial_request_is_closed(
    service: RunningService, sent: bytes
) -> None:
    """200 of them were open after 80 s."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(sent)
    started_at = time.monotonic()

    async with asyncio.timeout(IDLE_SECONDS + 10):
        answer = await reader.read()

    assert time.monotonic() - started_at < IDLE_SECONDS + 5
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_more_connections_than_allowed_are_refused_for_a_moment_and_are_reported(
    service: RunningService,
) -> None:
    """Others are served, or are 503, within seconds; the deadline makes room. The log names the limit."""
    silent = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(12)]

    answers = [
        await asyncio.to_thread(
            send_request, service.port, "GET", "/health/live", timeout=IDLE_SECONDS
        )
    ]
    while answers[-1].status != 200 and len(answers) < 10:
        await asyncio.sleep(int(answers[-1].headers["retry-after"]))
        answers.append(await asyncio.to_thread(send_request, service.port, "GET", "/health/live"))

    for _, writer in silent:
        with contextlib.suppress(ConnectionError):
            writer.close()
    assert [503, 200] == [answers[0].status, answers[-1].status]
    assert "/problems/overloaded" == answers[0].json["type"]
    assert "the limit of connections is reached" in service.log.read_text()
    assert service.count_samples("otp_connection_limit_reached_total") >= 1
