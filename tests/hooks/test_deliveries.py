"""Requests of products through the whole service: what arrives, once, and what Redis keeps of it."""

import asyncio
import json
import logging

import pytest

from otp_service.clock import now_ms
from tests.hooks.conftest import HookService
from tests.hooks.products import OTHER_SECRET, PRODUCTS, read_request, sign_zitadel
from tests.store import redis_servers


MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


def change_code(name: str, code: str) -> bytes:
    """Return the product's request with another code."""
    product = PRODUCTS[name]
    return read_request(product.request).replace(product.sent["code"].encode(), code.encode())


@pytest.mark.parametrize("name", PRODUCTS)
async def test_a_real_request_arrives(service: HookService, name: str) -> None:
    """One message with the product's code, in our words."""
    answer = await service.call(name)

    assert answer.is_success, answer.text
    (text,) = await service.list_texts()
    assert PRODUCTS[name].sent["code"] in text
    assert "Example" in text


async def test_supabases_retry_does_not_send_twice(service: HookService) -> None:
    """After a lost reply it has a fresh id, time and signature, and the answer of the first try."""
    first = await service.call("supabase", webhook_id="msg_1")
    retry = await service.call("supabase", webhook_id="msg_2")

    assert [(200, b"{}")] * 2 == [(each.status_code, each.content) for each in (first, retry)]
    assert 1 == len(await service.list_texts())


async def test_twenty_retries_at_once_do_not_send_twice(service: HookService) -> None:
    """Each is answered as success, after the one that has sent."""
    calls = [service.call("supabase", webhook_id=f"msg_{i}") for i in range(20)]

    answers = await asyncio.gather(*calls)

    assert {(200, b"{}")} == {(each.status_code, each.content) for each in answers}
    assert 1 == len(await service.list_texts())


@pytest.mark.parametrize("name", ["authgear", "kratos", "hmac"])
async def test_a_captured_request_is_not_sent_again_for_a_day(
    service: HookService, name: str
) -> None:
    """Its signature has no time. The record lives 24 hours, longer than the delivery itself."""
    await service.call(name)
    replayed = await service.call(name)
    with redis_servers.open_client(service.server) as client:
        (record,) = client.scan_iter("*:idempotency:*")
        left_ms = client.pttl(record)
        # An hour after its code has expired a delivery is deleted; Redis's clock cannot be moved.
        (delivery,) = client.scan_iter("*:challenge:*")
        client.delete(delivery)
    late = await service.call(name)

    assert DAY_MS - MINUTE_MS < left_ms < DAY_MS + MINUTE_MS
    assert replayed.is_success
    assert 410 == late.status_code
    if name == "authgear":
        assert "delivery_rejected" == late.json()["code"]
    assert 1 == len(await service.list_texts())


async def test_another_code_is_another_message(service: HookService) -> None:
    """It is not taken for a repeat: the cooldown of the number refuses it, in the product's words."""
    await service.call("supabase")

    supabase = await service.call("supabase", change_code("supabase", "561167"))
    authgear = await service.call("authgear")
    logto = await service.call("logto")

    error = supabase.json()["error"]
    assert (200, 429) == (supabase.status_code, error["http_code"])
    assert error["message"].startswith("Too many codes were requested. Try again in ")
    assert (429, "rate_limited") == (authgear.status_code, authgear.json()["code"])
    assert (429, "/problems/rate-limited") == (logto.status_code, logto.json()["type"])
    assert 1 <= int(logto.headers["retry-after"]) <= 30
    assert 1 == len(await service.list_texts())


async def test_a_refused_request_can_be_repeated(service: HookService) -> None:
    """It was not sent, so its repeat is no repeat of a message."""
    await service.call("supabase")
    body = change_code("supabase", "561167")
    refused = await service.call("supabase", body)
    with redis_servers.open_client(service.server) as client:
        client.delete(*client.scan_iter("*:limit:Cooldown*"))

    sent = await service.call("supabase", body)

    assert "error" in refused.json()
    assert (b"{}", 2) == (sent.content, len(await service.list_texts()))


async def test_a_forged_request_writes_nothing(service: HookService) -> None:
    """R64: no bucket is charged, no key is claimed, and nothing is sent."""
    before = service.list_keys()

    for name in PRODUCTS:
        body = read_request(PRODUCTS[name].request)
        forged = PRODUCTS[name].sign(body, OTHER_SECRET)
        assert 401 == (await service.call(name, body, forged)).status_code
        assert 401 == (await service.call(name, body, {})).status_code

    assert before == service.list_keys()
    assert [] == await service.list_texts()


async def test_forged_requests_become_one_event_a_reason(service: HookService) -> None:
    """R66: an event for each would let anyone fill the log. The metric names the hook."""
    for _ in range(3):
        await service.call("supabase", headers={})
        await service.call("zitadel", headers=sign_zitadel(b"another body", at=now_ms() / 1000))
    await service.app.system_events.record_denied_access()

    denied = [
        (event["reason"], event["count"])
        for event in await service.list_events()
        if event["type"] == "access.denied"
    ]
    page = service.app.metrics.render_metrics()[0].decode()
    assert [("missing", 3), ("signature", 3)] == sorted(denied)
    assert 'otp_hook_requests_total{hook="zitadel",result="unauthenticated"} 3.0' in page


async def test_a_number_change_goes_to_the_new_number_or_nowhere(service: HookService) -> None:
    """A server without `sms.phone` would send the code of the new number to the old one."""
    old = await service.call("supabase", read_request("supabase_number_change_2024"))
    new = await service.call("supabase", read_request("supabase_number_change"))

    assert 400 == old.json()["error"]["http_code"]
    assert "2.180" in old.json()["error"]["message"]
    assert b"{}" == new.content
    assert service.app.inbox is not None
    assert ["+447700900456"] == [each.to for each in await service.app.inbox.list_messages()]


async def test_letters_are_refused_unless_the_tenant_allows_them(service: HookService) -> None:
    """Zitadel's codes for a new number have some by default."""
    answer = await service.call("zitadel", read_request("zitadel_number"))

    assert (400, ["code"]) == (answer.status_code, [e["path"] for e in answer.json()["errors"]])
    assert [] == await service.list_texts()


async def test_nothing_of_a_request_is_kept(
    service: HookService, caplog: pytest.LogCaptureFixture
) -> None:
    """R68: neither Redis, nor events, nor the log have its code, its number or the user."""
    caplog.set_level(logging.DEBUG)
    await service.call("supabase")
    await service.call("supabase", webhook_id="msg_2")
    await service.call("supabase", change_code("supabase", "561167"))
    await service.call("authgear", headers={})

    with redis_servers.open_client(service.server) as client:
        stored = b"".join(key + client.dump(key) for key in client.scan_iter("*"))
    outputs = {
        "redis": stored,
        "events": json.dumps(await service.list_events()).encode(),
        "log": "\n".join(record.getMessage() for record in caplog.records).encode(),
        "metrics": service.app.metrics.render_metrics()[0],
    }
    assert all(outputs.values())
    secrets = (
        "561166",
        "561167",
        "447700900123",
        "7700900123",
        PRODUCTS["supabase"].sent["account"],
    )
    assert [] == [
        (name, text)
        for name, output in outputs.items()
        for text in secrets
        if text.encode() in output
    ]


async def test_an_outage_is_answered_so_that_it_is_tried_again(service: HookService) -> None:
    """503 with Retry-After; when Redis is back, the same request is sent, and once."""
    with redis_servers.open_client(service.server) as client:
        client.execute_command("CLIENT", "PAUSE", "5000", "ALL")
    down = await service.call("supabase")
    for _ in range(300):  # until Redis runs again: its clock is not ours
        back = await service.call("supabase", webhook_id="msg_2")
        if back.status_code == 200:
            break
        await asyncio.sleep(0.1)

    assert (503, "1") == (down.status_code, down.headers["retry-after"])
    assert (200, b"{}") == (back.status_code, back.content)
    assert 1 == len(await service.list_texts())
