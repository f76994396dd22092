"""A13: stopping and replacing workers neither loses a message nor sends one twice."""

import asyncio
import http.client
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from otp_service.core.tenant import hash_api_key
from tests.processes import (
    WAIT_TIMEOUT_SECONDS,
    GatewayServer,
    HttpResponse,
    RunningService,
    build_request,
    run_service,
    send_request,
)
from tests.store import redis_servers


pytestmark = pytest.mark.slow

NUMBER, OTHER_NUMBER = "+447400123456", "+447400223456"


class PendingIssue(NamedTuple):
    """An issue whose provider has not responded yet."""

    thread: threading.Thread
    answers: list[HttpResponse]


@pytest.fixture
def gateway() -> Iterator[GatewayServer]:
    """Return a provider that can be slow."""
    with GatewayServer() as gateway:
        yield gateway


@pytest.fixture
def service(tmp_path, gateway: GatewayServer) -> Iterator[RunningService]:
    """Return a service that the test stops."""
    with (
        redis_servers.start_server(tmp_path / "redis") as redis,
        run_service(tmp_path, redis, [gateway.url], workers=2) as service,
    ):
        yield service


def begin_issue(service: RunningService, gateway: GatewayServer) -> PendingIssue:
    """Issue in a thread; return once the provider has the message and is silent."""
    answers: list[HttpResponse] = []
    gateway.hold_replies()
    thread = threading.Thread(target=lambda: answers.append(service.issue(OTHER_NUMBER)))
    thread.start()
    redis_servers.wait_until(lambda: gateway.messages, description="the message")
    return PendingIssue(thread, answers)


def is_refused(service: RunningService) -> bool:
    """Return whether a new connection is refused, and not only ignored."""
    try:
        send_request(service.port, "GET", "/health/live", timeout=0.5)
    except ConnectionRefusedError:
        return True
    except (OSError, http.client.HTTPException):
        return False
    return False


async def test_replaced_workers_and_a_stopping_service_finish_their_requests(
    service: RunningService, gateway: GatewayServer
) -> None:
    """SIGHUP, which key rotation uses: other workers serve meanwhile, and no request fails.

    SIGTERM during a send: its caller still receives 201, and no new connection is accepted.
    """
    await replace_workers(service, gateway)
    await asyncio.to_thread(stop_service, service, gateway)


def stop_service(service: RunningService, gateway: GatewayServer) -> None:
    """Stop the service while the provider is silent."""
    gateway.messages.clear()
    pending = begin_issue(service, gateway)

    service.process.terminate()
    redis_servers.wait_until(lambda: is_refused(service), description="the end of listening")
    time.sleep(0.5)  # a service that does not wait for requests in flight would have closed by now
    was_in_flight = pending.thread.is_alive()
    gateway.accept_messages()
    pending.thread.join(WAIT_TIMEOUT_SECONDS)

    assert was_in_flight
    assert [201] == [answer.status for answer in pending.answers]
    assert 0 == service.process.wait(WAIT_TIMEOUT_SECONDS)
    assert 1 == len(gateway.messages)


async def replace_workers(service: RunningService, gateway: GatewayServer) -> None:
    """Replace the workers while the provider is silent."""
    before = service.list_worker_pids()
    gateway.hold_replies()
    numbers = [NUMBER, "+447400987654"]

    async with service.open_connections(2) as connections:
        for connection, number in zip(connections, numbers, strict=True):
            await connection.send_partial(build_issue_request(service, number), held_bytes=0)
        redis_servers.wait_until(
            lambda: len(gateway.messages) == 2, description="a message of each worker"
        )
        os.kill(service.process.pid, signal.SIGHUP)
        redis_servers.wait_until(
            lambda: "is to stop" in service.log.read_text(), description="a replacement"
        )
        was_served = send_request(service.port, "GET", "/health/live").status == 200
        await asyncio.sleep(0.5)  # as above
        gateway.accept_messages()
        answers = [await connection.read_response() for connection in connections]
    redis_servers.wait_until(
        lambda: not set(before) & set(service.list_worker_pids()), description="the second one"
    )

    assert was_served
    assert [201, 201] == [answer.status for answer in answers]
    assert 200 == service.verify(answers[0], gateway.find_code(NUMBER)).status
    assert 2 == len(gateway.messages)


def build_issue_request(service: RunningService, number: str) -> bytes:
    """Return the bytes of an issue request."""
    body, key = {"phone_number": number}, service.keys["shop"]
    return build_request("POST", "/v1/challenges", body=body, key=key)


DELAY_SECONDS = 7
"""Longer than the 5 s after which uvicorn, which supervised workers before, killed them.

The delay is real time: the supervisor waits in the kernel for a pipe to another process, and
neither process has a clock that a test could advance.
"""

SLOW_START = f"""
import sys, time

if "otp_service.cli.worker_main" in sys.orig_argv:
    time.sleep({DELAY_SECONDS})
"""
"""Delays each worker before it responds to its supervisor, as a machine with a busy CPU does."""


@pytest.fixture(scope="module")
def slow_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Return a service whose workers all start slowly, those of a reload as well."""
    folder = tmp_path_factory.mktemp("slow")
    with (
        GatewayServer() as gateway,
        redis_servers.start_server(folder / "redis") as redis,
        run_service(folder, redis, [gateway.url], workers=1, sitecustomize=SLOW_START) as service,
    ):
        yield service


def test_a_service_starts_with_workers_that_start_slowly(slow_service: RunningService) -> None:
    """E1, K5: each worker was killed after 5 s and started again, so it never served."""
    assert 201 == slow_service.issue(NUMBER).status
    assert "is replaced" not in slow_service.log.read_text()


def test_a_key_is_revoked_when_new_workers_start_slowly(slow_service: RunningService) -> None:
    """E1: the reload was abandoned after 5 s, and the old worker accepted the old key for ever."""
    before = slow_service.list_worker_pids()
    revoked = hash_api_key(slow_service.keys["bank"]).hex()
    config = slow_service.log.with_name("otp.toml")
    config.write_text(config.read_text().replace(revoked, hash_api_key("another key").hex()))

    assert 404 == request_missing_challenge(slow_service, by="bank").status
    os.kill(slow_service.process.pid, signal.SIGHUP)
    redis_servers.wait_until(
        lambda: request_missing_challenge(slow_service, by="bank").status == 401,
        timeout_seconds=WAIT_TIMEOUT_SECONDS,
        description="the end of the revoked key",
    )

    assert 404 == request_missing_challenge(slow_service, by="shop").status
    redis_servers.wait_until(
        lambda: not set(before) & set(slow_service.list_worker_pids()),
        description="the old one's end",
    )


def request_missing_challenge(service: RunningService, *, by: str) -> HttpResponse:
    """Request a challenge that does not exist: 404 with a valid key, 401 with an invalid key."""
    return service.send_request("GET", f"/v1/challenges/c00-{'0' * 32}", by=by)
