"""Calls finish although their caller disconnects, and none begins during shutdown."""

import asyncio

import pytest

from otp_service.api.in_flight import BackgroundCalls
from otp_service.core.errors import IncorrectCode
from tests.api.fakes import CHALLENGE_ID, ApiHarness, build_auth_header, build_scope
from tests.store.redis_servers import WAIT_TIMEOUT_SECONDS


ISSUE = ("POST", "/v1/challenges")
NUMBER = {"phone_number": "+447400123456"}


@pytest.fixture
async def waiting(api: ApiHarness):
    """Return an issue call that waits for its provider and can be canceled."""
    api.service.released.clear()
    task = asyncio.create_task(api.call_public(*ISSUE, json=NUMBER))
    await api.service.called.wait()
    yield task
    api.service.released.set()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_call_finishes_without_its_caller(api: ApiHarness, waiting) -> None:
    """R4, R26: half an issue would be a message that is not accounted for."""
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert 0 == api.service.finished_count

    api.service.released.set()

    assert 0 == await api.background_calls.drain(WAIT_TIMEOUT_SECONDS)
    assert 1 == api.service.finished_count
    assert 499 == api.request_summaries[0].status


async def test_what_fails_without_its_caller_is_no_noise(api: ApiHarness, waiting, caplog) -> None:
    """R68: asyncio would log an exception that is never retrieved, with its text."""
    api.service.error = IncorrectCode(1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    api.service.released.set()

    await api.background_calls.drain(5)
    await asyncio.sleep(0)

    assert [] == caplog.records


async def test_a_bug_without_its_caller_is_told(api: ApiHarness, waiting, caplog) -> None:
    """R92: without this log entry the error would be lost."""
    api.service.error = ZeroDivisionError("483920")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    api.service.released.set()

    await api.background_calls.drain(5)
    await asyncio.sleep(0)

    assert ["a call failed after its request was canceled"] == [
        one.message for one in caplog.records
    ]


async def test_stopping_waits_for_what_runs(api: ApiHarness, waiting) -> None:
    """The caller still gets its answer."""
    stopping = asyncio.create_task(api.background_calls.drain(5))
    await asyncio.sleep(0.01)
    assert not stopping.done()

    api.service.released.set()

    assert 0 == await stopping
    assert 201 == (await waiting).status_code


async def test_stopping_does_not_wait_for_ever(api: ApiHarness, waiting) -> None:
    """Calls that are not finished at the deadline are counted."""
    assert 1 == await api.background_calls.drain(0.01)
    assert not waiting.done()


async def test_who_was_let_in_before_still_comes_to_his_call(api: ApiHarness) -> None:
    """Its body may have been in transit when the shutdown began."""
    body_comes = asyncio.Event()
    headers = ((b"authorization", build_auth_header("shop")["Authorization"].encode()),)
    scope = build_scope("GET", f"/v1/challenges/{CHALLENGE_ID}", *headers)
    sent = []

    async def receive():
        await body_comes.wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    call = asyncio.create_task(api.public(scope, receive, send))
    await asyncio.sleep(0.01)
    await api.background_calls.drain(1)
    body_comes.set()
    await call

    assert 200 == sent[0]["status"]


async def test_new_requests_are_refused_while_stopping(api: ApiHarness) -> None:
    """The answer is 503 with Retry-After, and closes the connection."""
    await api.background_calls.drain(0)

    response = await api.call_public(*ISSUE, json=NUMBER)

    assert 503 == response.status_code
    assert "/problems/overloaded" == response.json()["type"]
    assert "1" == response.headers["retry-after"]
    assert "close" == response.headers["connection"]
    assert [] == api.service.calls


async def test_a_stopping_service_is_alive_and_not_ready(api: ApiHarness) -> None:
    """A load balancer sends it nothing more, and it is not killed before it has finished."""
    await api.background_calls.drain(0)

    assert 200 == (await api.call_public("GET", "/health/live")).status_code
    ready = await api.call_public("GET", "/health/ready")
    assert (503, "/problems/overloaded") == (ready.status_code, ready.json()["type"])


async def test_operators_still_see_a_stopping_service(api: ApiHarness) -> None:
    """Its last metrics are still useful."""
    await api.background_calls.drain(0)

    assert 200 == (await api.get_admin("/metrics")).status_code


async def test_each_request_is_told_of_once(api: ApiHarness) -> None:
    """One log line has the route's template without the query, and the tenant without the key."""
    await api.call_public(*ISSUE, json=NUMBER)
    await api.call_public("GET", f"/v1/challenges/{CHALLENGE_ID}?x=+447400123456")
    await api.call_public("GET", "/v1/nothing/447400123456")
    await api.call_public("PUT", f"/v1/challenges/{CHALLENGE_ID}")
    await api.call_public("OPTIONS", "/v1/challenges", key="")

    told = [(one.method, one.route, one.status, one.tenant) for one in api.request_summaries]
    assert [
        ("POST", "/v1/challenges", 201, "shop"),
        ("GET", "/v1/challenges/{challenge_id}", 200, "shop"),
        ("GET", "", 404, None),
        ("PUT", "", 405, None),
        ("OPTIONS", "", 405, None),
    ] == told
    assert all(0 < one.seconds < 5 for one in api.request_summaries)
    assert "447400" not in repr(api.request_summaries)


async def test_a_connection_that_breaks_within_the_answer_is_logged_once(
    api: ApiHarness, caplog
) -> None:
    """R92: the server would log the exception's text."""

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        if message["type"] == "http.response.body":
            raise OSError("broken pipe")

    await api.public(build_scope("GET", "/health/live"), receive, send)

    assert 1 == len([one for one in caplog.records if one.name.startswith("otp_service")])
    assert 200 == api.request_summaries[0].status


async def test_a_drain_does_not_wait_for_a_sleep_that_it_would_cut_short() -> None:
    """An automatic resend waits for the cooldown of its number, which is longer than a stop may take."""
    calls = BackgroundCalls()
    woken = []

    async def sleep_and_send(seconds: float) -> None:
        await calls.sleep(seconds)
        woken.append(seconds)

    for seconds in (0.05, 10 * WAIT_TIMEOUT_SECONDS):
        calls.start_detached(sleep_and_send(seconds))
    await asyncio.sleep(0.01)
    began = asyncio.get_running_loop().time()

    assert 0 == await calls.drain(WAIT_TIMEOUT_SECONDS)

    assert [0.05] == woken
    assert asyncio.get_running_loop().time() - began < 4


async def test_a_sleep_lasts_its_time_while_nothing_is_drained() -> None:
    """No earlier: the cooldown would refuse the resend."""
    loop, calls = asyncio.get_running_loop(), BackgroundCalls()
    began = loop.time()

    await calls.sleep(0.05)

    assert loop.time() - began >= 0.05
