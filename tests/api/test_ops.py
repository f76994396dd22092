"""Health for load balancers; metrics and documentation for operators only."""

import asyncio
import html
import re

import pytest
from litestar import get
from litestar.response.base import ASGIResponse

from otp_service.api import ops
from otp_service.api.problems import PROBLEM_TYPES
from otp_service.api.request_head import LOOPBACK_ONLY
from otp_service.core.errors import StoreUnavailable
from tests.api.fakes import CHALLENGE_ID, ApiHarness, create_http_client
from tests.api.test_openapi import COMPONENTS, OPERATIONS


SCHEMAS = COMPONENTS["schemas"]
HEAD_PROBLEM_TYPES = {"/problems/request-timeout", "/problems/not-implemented"}
"""Answers to requests that no client library sends."""


async def test_a_live_process_does_not_ask_redis(api: ApiHarness) -> None:
    """A restart does not repair Redis."""
    api.check_ready = None

    response = await api.call_public("GET", "/health/live", key="")

    assert (200, {"status": "ok"}) == (response.status_code, response.json())


async def test_a_service_with_its_store_is_ready(api: ApiHarness) -> None:
    """The check needs no key."""
    response = await api.call_public("GET", "/health/ready", key="")

    assert 200 == response.status_code
    assert {"mode": "live", "status": "ok"} == response.json()


@pytest.mark.parametrize("mode", ["test", "development"])
async def test_a_service_for_tests_says_so_in_every_response(mode: str) -> None:
    """R38: a back end that reaches it by mistake, and a probe, can tell it from production."""
    api = ApiHarness(mode=mode)

    ready = await api.call_public("GET", "/health/ready", key="")
    others = [
        await api.call_public("GET", f"/v1/challenges/{CHALLENGE_ID}"),
        await api.call_public("GET", "/nothing", key=""),
        await api.get_admin("/metrics"),
    ]

    assert mode == ready.json()["mode"]
    assert {mode} == {response.headers["otp-mode"] for response in (ready, *others)}


async def test_a_live_service_has_no_header_of_its_mode(api: ApiHarness) -> None:
    """What is missing cannot be forged by leaving something out: only tests are marked."""
    response = await api.call_public("GET", "/health/ready", key="")

    assert "otp-mode" not in response.headers


async def no():
    """Report that the store cannot be used."""
    return False


async def away():
    """Fail as an unavailable store does."""
    raise StoreUnavailable


async def silence():
    """Never answer."""
    await asyncio.Event().wait()


@pytest.mark.parametrize("answer", [no, away, silence])
async def test_without_its_store_it_is_not(api: ApiHarness, monkeypatch, answer) -> None:
    """R77: whether Redis refuses, fails or does not answer."""
    monkeypatch.setattr(ops, "READY_TIMEOUT_SECONDS", 0.01)
    api.check_ready = answer

    response = await api.call_public("GET", "/health/ready", key="")

    assert 503 == response.status_code
    assert "/problems/store-unavailable" == response.json()["type"]
    assert "1" == response.headers["retry-after"]


async def test_the_metrics_are_what_prometheus_gave(api: ApiHarness) -> None:
    """The content type is the library's too, with one charset."""
    response = await api.get_admin("/metrics")

    assert (200, b"up 1\n") == (response.status_code, response.content)
    assert "text/plain; version=1.0.0; charset=utf-8" == response.headers["content-type"]


async def test_the_documentation_needs_nothing_from_elsewhere(api: ApiHarness) -> None:
    """R60: no script, no style and no picture from another host; the policy forbids them."""
    response = await api.get_admin("/docs")

    assert "text/html; charset=utf-8" == response.headers["content-type"]
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\(| src=| on\w+=", response.text)
    assert not re.search("https?://(?!datatracker)", response.text)
    for word in ("/v1/challenges/{challenge_id}/verify", "rate-limited", "Idempotency-Key"):
        assert word in response.text


async def test_the_documentation_shows_every_call_with_its_problems_and_examples(
    api: ApiHarness,
) -> None:
    """Every parameter, member, example and problem type of the document is in the page."""
    page = html.unescape((await api.get_admin("/docs")).text)
    members = {name for schema in SCHEMAS.values() for name in schema.get("properties", {})}
    types = {f"/problems/{slug}" for slug in PROBLEM_TYPES} - HEAD_PROBLEM_TYPES

    assert not [name for name in OPERATIONS if f'id="{name}"' not in page]
    assert not [name for name in SCHEMAS if f'id="{name}"' not in page]
    assert not [name for name in members if f"<code>{name}</code>" not in page]
    assert not [name for name in types if f'"{name}"' not in page]
    assert '"phone_number": "+447400123456"' in page


async def test_every_link_of_the_documentation_leads_somewhere(api: ApiHarness) -> None:
    """Each problem type and each schema has an anchor in the page."""
    page = (await api.get_admin("/docs")).text

    assert set(re.findall('href="#([^"]+)"', page)) <= set(re.findall('id="([^"]+)"', page))


async def test_the_admin_listener_has_none_of_the_calls(api: ApiHarness) -> None:
    """R60: each listener has its own routes."""
    for path in ("/v1/audit/events", "/health/live", "/v1/challenges"):
        assert 404 == (await api.get_admin(path)).status_code


async def test_the_admin_listener_serves_what_it_is_given() -> None:
    """The inbox of `otp-service dev` is such a page."""

    @get("/inbox.json")
    async def inbox() -> ASGIResponse:
        return ASGIResponse(body=b"[]", media_type="application/json")

    api = ApiHarness(admin_handlers=[inbox])

    assert [] == (await api.get_admin("/inbox.json")).json()
    assert 404 == (await api.call_public("GET", "/inbox.json")).status_code


HOSTS = [
    *(("localhost", True), ("LOCALHOST:8000", True), ("127.0.0.1:8001", True), ("[::1]:80", True)),
    *(("example.com", False), ("localhost.example.com", False), ("127.0.0.1.nip.io", False)),
    *(("localhost:", False), ("[::2]", False), ("", False), ("a@localhost", False)),
    ("localhost:80:80", False),
]


@pytest.mark.parametrize(("host", "is_ours"), HOSTS)
@pytest.mark.parametrize("path", ["/health/live", "/docs", "/nothing"])
async def test_on_loopback_only_its_own_names_are_answered(path, host, is_ours) -> None:
    """A page whose host name now resolves to 127.0.0.1 must not read the inbox (DNS rebinding)."""
    api = ApiHarness(host_allowlist=LOOPBACK_ONLY)
    app = api.admin if path == "/docs" else api.public

    async with create_http_client(app) as anyone:
        response = await anyone.get(path, headers={"Host": host})

    if is_ours:
        assert response.status_code == (404 if path == "/nothing" else 200)
    else:
        assert 400 == response.status_code
        assert [{"path": "Host", "message": "must be localhost, 127.0.0.1 or [::1]"}] == (
            response.json()["errors"]
        )


async def test_elsewhere_any_host_name_will_do(api: ApiHarness) -> None:
    """In production the proxy in front checks host names."""
    response = await api.call_public("GET", "/health/live", headers={"Host": "otp.example.com"})

    assert 200 == response.status_code
