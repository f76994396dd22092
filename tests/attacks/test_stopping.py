"""A13: stopping and replacing workers loses no message and sends none twice."""

import asyncio
import http.client
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.processes import PATIENCE, Answer, Gateway, Service, call, request, serve
from tests.store import servers


pytestmark = pytest.mark.slow

NUMBER = "+447400123456"


class Begun(NamedTuple):
    """An issue whose provider takes its time."""

    thread: threading.Thread
    answers: list[Answer]


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A provider that can be slow."""
    with Gateway() as gateway:
        yield gateway


@pytest.fixture
def service(tmp_path, gateway: Gateway) -> Iterator[Service]:
    """A service that is going to be stopped."""
    with (
        servers.start_server(tmp_path / "redis") as redis,
        serve(tmp_path, redis, [gateway.url], workers=2) as service,
    ):
        yield service


def begin(service: Service, gateway: Gateway) -> Begun:
    """Issue in a thread, and come back once the message is printed and its provider is silent."""
    answers: list[Answer] = []
    gateway.hangs()
    thread = threading.Thread(target=lambda: answers.append(service.issue(NUMBER)))
    thread.start()
    servers.until(lambda: gateway.messages, what="the message")
    return Begun(thread, answers)


def is_refused(service: Service) -> bool:
    """Whether a new connection is refused, and not only left alone."""
    try:
        call(service.port, "GET", "/health/live", timeout=0.5)
    except ConnectionRefusedError:
        return True
    except (OSError, http.client.HTTPException):
        return False
    return False


def test_what_is_in_flight_finishes_and_nothing_new_is_let_in(
    service: Service, gateway: Gateway
) -> None:
    """SIGTERM in the middle of a send: its caller still gets his 201."""
    begun = begin(service, gateway)

    service.process.terminate()
    servers.until(lambda: is_refused(service), what="the end of listening")
    time.sleep(0.5)  # whoever does not wait for what is in flight would have hung up by now
    was_in_flight = begun.thread.is_alive()
    gateway.recovers()
    begun.thread.join(PATIENCE)

    assert was_in_flight
    assert [201] == [answer.status for answer in begun.answers]
    assert 0 == service.process.wait(PATIENCE)
    assert 1 == len(gateway.messages)


async def test_workers_that_are_replaced_finish_what_they_have_begun(
    service: Service, gateway: Gateway
) -> None:
    """SIGHUP, by which keys are rotated: others serve meanwhile, and nobody notices."""
    before = service.workers()
    gateway.hangs()
    numbers = [NUMBER, "+447400987654"]

    async with service.lines(2) as lines:
        for line, number in zip(lines, numbers, strict=True):
            await line.begin(issuing(service, number), held=0)
        servers.until(lambda: len(gateway.messages) == 2, what="a message of each worker")
        os.kill(service.process.pid, signal.SIGHUP)
        servers.until(lambda: "Shutting down" in service.log.read_text(), what="a replacement")
        was_served = call(service.port, "GET", "/health/live").status == 200
        await asyncio.sleep(0.5)  # as above
        gateway.recovers()
        answers = [await line.answer() for line in lines]
    servers.until(lambda: not set(before) & set(service.workers()), what="the second one")

    assert was_served
    assert [201, 201] == [answer.status for answer in answers]
    assert 200 == service.verify(answers[0], gateway.code_for(NUMBER)).status
    assert 2 == len(gateway.messages)


def issuing(service: Service, number: str) -> bytes:
    """Return an issue as it goes over the wire."""
    body, key = {"phone_number": number}, service.keys["shop"]
    return request("POST", "/v1/challenges", body=body, key=key)
