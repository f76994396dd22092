"""R65: no API key that reads events delays the calls of others."""

import asyncio

import pytest

from otp_service.api.audit_admission import (
    MAX_CALLS_AT_ONCE,
    MAX_CALLS_AT_ONCE_PER_KEY,
    AuditAdmission,
)
from otp_service.core.errors import Overloaded, RateLimited
from otp_service.core.tenant import ApiKey, Scope
from tests.api.audit_ui.page_client import Browser, search_for
from tests.api.fakes import CHALLENGE_ID, NOW_MS, ApiHarness


EVENTS, SEARCH = "/v1/audit/events", "/v1/audit/search"


def build_key(name: str, scope: Scope = Scope.AUDIT) -> ApiKey:
    """Return an API key."""
    return ApiKey(name, "shop", name.encode(), frozenset({scope}))


async def test_calls_beyond_the_limit_of_a_key_are_429(api: ApiHarness) -> None:
    """The contract: RFC 9110 and the RateLimit fields, with a wait that is true."""
    for _ in range(60):
        assert 200 == (await api.call_public("GET", EVENTS, key="shop-audit")).status_code
    reads = len(api.reader.queries)

    answers = [
        await api.call_public("GET", EVENTS, key="shop-audit"),
        await api.call_public("POST", SEARCH, key="shop-audit", json={}),
    ]

    assert [429, 429] == [answer.status_code for answer in answers]
    body, headers = answers[0].json(), answers[0].headers
    assert ("/problems/rate-limited", "AuditCallsPerKey") == (body["type"], body["limit"])
    assert "1" == headers["retry-after"] == str(body["retry_after"])
    assert '"AuditCallsPerKey";r=0;t=1' == headers["ratelimit"]
    assert '"AuditCallsPerKey";q=60;w=60' == headers["ratelimit-policy"]
    assert reads == len(api.reader.queries)
    assert 200 == (await api.call_public("GET", EVENTS, key="security")).status_code


async def test_an_invalid_call_is_400_and_costs_nothing(api: ApiHarness) -> None:
    """The contract's order of errors."""
    for _ in range(100):
        assert 400 == (await api.call_public("GET", f"{EVENTS}?x=1", key="security")).status_code

    assert 200 == (await api.call_public("GET", EVENTS, key="security")).status_code


async def test_the_page_has_the_same_limit(api: ApiHarness) -> None:
    """Its timeline and its search read the archive, too."""
    browser = Browser(api)
    await browser.log_in()
    for _ in range(60):
        assert 200 == (await browser.get("/audit")).status_code

    answers = [
        await browser.get("/audit"),
        await browser.get(f"/audit/challenges/{CHALLENGE_ID}"),
        await browser.send("/audit/search", **search_for()),
    ]

    assert [429] * 3 == [answer.status_code for answer in answers]
    assert ["1"] * 3 == [answer.headers["retry-after"] for answer in answers]
    assert all("text/html" in answer.headers["content-type"] for answer in answers)


async def test_a_call_whose_client_has_gone_still_counts(
    api: ApiHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on reading, so a client gains nothing by disconnecting."""
    running, both_run, release = 0, asyncio.Event(), asyncio.Event()

    async def read_slowly(**_query):
        nonlocal running
        running += 1
        if running == MAX_CALLS_AT_ONCE_PER_KEY:
            both_run.set()
        await release.wait()
        return [], None

    monkeypatch.setattr(api.reader, "read_page", read_slowly)
    calls = [
        asyncio.create_task(api.call_public("GET", EVENTS, key="shop-audit")) for _ in range(2)
    ]
    await asyncio.wait_for(both_run.wait(), 5)
    for call in calls:
        call.cancel()
    third = asyncio.create_task(api.call_public("GET", EVENTS, key="shop-audit"))
    await asyncio.wait([third], timeout=1)
    release.set()
    answer = await third

    assert (429, "ConcurrentAuditCallsPerKey") == (answer.status_code, answer.json()["limit"])
    assert "1" == answer.headers["retry-after"]


def test_the_wait_is_true() -> None:
    """A caller who waits for Retry-After is admitted."""
    now = NOW_MS
    admission = AuditAdmission(lambda: now, calls_per_minute=7)
    for _ in range(7):
        with admission.admit(build_key("a")):
            pass
    for _ in range(5):
        with pytest.raises(RateLimited) as refusal, admission.admit(build_key("a")):
            pass
        assert refusal.value.retry_after in {8, 9}
        now += refusal.value.retry_after * 1000
        with admission.admit(build_key("a")):
            pass


def test_other_keys_are_admitted_beside_a_busy_one() -> None:
    """A tenant has as many slots as it has keys, but never those of the security team."""
    admission = AuditAdmission(lambda: NOW_MS, calls_per_minute=1000)
    busy = [admission.admit(build_key(f"{i % 2}")) for i in range(MAX_CALLS_AT_ONCE)]
    for call in busy:
        call.__enter__()

    with pytest.raises(Overloaded), admission.admit(build_key("c")):
        pass
    with admission.admit(build_key("security", Scope.AUDIT_ALL)):
        pass
    busy[0].__exit__(None, None, None)
    with admission.admit(build_key("c")):
        pass
