"""A13: stopping and replacing workers loses no message and sends none twice."""

import asyncio
import http.client
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
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

NUMBER = "+447400123456"


class Begun(NamedTuple):
    """An issue whose provider takes its time."""

    thread: threading.Thread
    answers: list[HttpResponse]


@pytest.fixture
def gateway() -> Iterator[GatewayServer]:
    """A provider that can be slow."""
    with GatewayServer() as gateway:
        yield gateway


@pytest.fixture
def service(tmp_path, gateway: GatewayServer) -> Iterator[RunningService]:
    """A service that is going to be stopped."""
    with (
        redis_servers.start_server(tmp_path / "redis") as redis,
        run_service(tmp_path, redis, [gateway.url], workers=2) as service,
    ):
        yield service


def begin(service: RunningService, gateway: GatewayServer) -> Begun:
    """Issue in a thread, and come back once the message is printed and its provider is silent."""
    answers: list[HttpResponse] = []
    gateway.hold_replies()
    thread = threading.Thread(target=lambda: answers.append(service.issue(NUMBER)))
    thread.start()
    redis_servers.wait_until(lambda: gateway.messages, description="the message")
    return Begun(thread, answers)


def is_refused(service: RunningService) -> bool:
    """Whether a new connection is refused, and not only left alone."""
    try:
        send_request(service.port, "GET", "/health/live", timeout=0.5)
    except ConnectionRefusedError:
        return True
    except (OSError, http.client.HTTPException):
        return False
    return False


def test_what_is_in_flight_finishes_and_nothing_new_is_let_in(
    service: RunningService, gateway: GatewayServer
) -> None:
    """SIGTERM in the middle of a send: its caller still gets his 201."""
    begun = begin(service, gateway)

    service.process.terminate()
    redis_servers.wait_until(lambda: is_refused(service), description="the end of listening")
    time.sleep(0.5)  # whoever does not wait for what is in flight would have hung up by now
    was_in_flight = begun.thread.is_alive()
    gateway.accept_messages()
    begun.thread.join(WAIT_TIMEOUT_SECONDS)

    assert was_in_flight
    assert [201] == [answer.status for answer in begun.answers]
    assert 0 == service.process.wait(WAIT_TIMEOUT_SECONDS)
    assert 1 == len(gateway.messages)


async def test_workers_that_are_replaced_finish_what_they_have_begun(
    service: RunningService, gateway: GatewayServer
) -> None:
    """SIGHUP, by which keys are rotated: others serve meanwhile, and nobody notices."""
    before = service.list_worker_pids()
    gateway.hold_replies()
    numbers = [NUMBER, "+447400987654"]

    async with service.open_connections(2) as lines:
        for line, number in zip(lines, numbers, strict=True):
            await line.send_partial(issuing(service, number), held_bytes=0)
        redis_servers.wait_until(
            lambda: len(gateway.messages) == 2, description="a message of each worker"
        )
        os.kill(service.process.pid, signal.SIGHUP)
        redis_servers.wait_until(
            lambda: "Shutting down" in service.log.read_text(), description="a replacement"
        )
        was_served = send_request(service.port, "GET", "/health/live").status == 200
        await asyncio.sleep(0.5)  # as above
        gateway.accept_messages()
        answers = [await line.read_response() for line in lines]
    redis_servers.wait_until(
        lambda: not set(before) & set(service.list_worker_pids()), description="the second one"
    )

    assert was_served
    assert [201, 201] == [answer.status for answer in answers]
    assert 200 == service.verify(answers[0], gateway.find_code(NUMBER)).status
    assert 2 == len(gateway.messages)


def issuing(service: RunningService, number: str) -> bytes:
    """Return an issue as it goes over the wire."""
    body, key = {"phone_number": number}, service.keys["shop"]
    return build_request("POST", "/v1/challenges", body=body, key=key)


SLOW_START = """
import sys, time
from pathlib import Path

delay = Path(__file__).with_name("delay_seconds")
if "--multiprocessing-fork" in sys.orig_argv and delay.exists():
    time.sleep(float(delay.read_text()))
"""
"""Delays each worker before it answers its supervisor, as a machine with a busy CPU does."""

DELAY_SECONDS = 7
"""More than uvicorn's default of 5 s. It passes in real time: the supervisor waits in the kernel, for
a pipe to another process, and neither has a clock that a test could move."""


def start_with_delay(folder: Path) -> None:
    """Delay the workers that are started from now on."""
    (folder / "delay_seconds").write_text(str(DELAY_SECONDS))


def test_a_service_starts_with_workers_that_start_slowly(
    tmp_path: Path, gateway: GatewayServer
) -> None:
    """E1, K5: each one was killed after 5 s and started again, so it never served."""
    start_with_delay(tmp_path)
    with (
        redis_servers.start_server(tmp_path / "redis") as redis,
        run_service(tmp_path, redis, [gateway.url], workers=1, sitecustomize=SLOW_START) as service,
    ):
        assert 201 == service.issue(NUMBER).status
        assert "died" not in service.log.read_text()


def test_a_key_is_revoked_although_the_new_workers_start_slowly(
    tmp_path: Path, gateway: GatewayServer
) -> None:
    """E1: the reload was given up after 5 s, and the old worker accepted the old key for ever."""
    with (
        redis_servers.start_server(tmp_path / "redis") as redis,
        run_service(tmp_path, redis, [gateway.url], workers=1, sitecustomize=SLOW_START) as service,
    ):
        before = service.list_worker_pids()
        revoked = hash_api_key(service.keys["bank"]).hex()
        config = tmp_path / "otp.toml"
        config.write_text(config.read_text().replace(revoked, hash_api_key("another key").hex()))
        start_with_delay(tmp_path)

        assert 404 == look(service, by="bank").status
        os.kill(service.process.pid, signal.SIGHUP)
        redis_servers.wait_until(
            lambda: look(service, by="bank").status == 401,
            timeout_seconds=WAIT_TIMEOUT_SECONDS,
            description="the end of the revoked key",
        )

        assert 404 == look(service, by="shop").status
        redis_servers.wait_until(
            lambda: not set(before) & set(service.list_worker_pids()),
            description="the old one's end",
        )


def look(service: RunningService, *, by: str) -> HttpResponse:
    """Ask for a challenge that does not exist: 404 with a key that is valid, 401 with another."""
    return service.send_request("GET", f"/v1/challenges/c00-{'0' * 32}", by=by)
