"""/v1/hooks: what is passed to the service, and the answers, each in the product's own format."""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from otp_service.clock import now_ms
from otp_service.core import errors
from otp_service.core.errors import OtpError
from otp_service.hooks import Hook
from tests.api.fakes import ApiHarness
from tests.hooks.products import (
    OTHER_SECRET,
    PRODUCTS,
    create_generic,
    create_supabase,
    read_request,
    send_key,
    sign_standard,
)
from tests.store.redis_servers import WAIT_TIMEOUT_SECONDS


TIMED = ("supabase", "zitadel", "standard-webhooks")
NUMBER_REFUSED = "No code can be sent to this number."
NOT_SENT = "The code could not be sent. Try again in a minute."
RATE_LIMITED = errors.RateLimited("SendsPerNumber", retry_after=28, quota=5, period_seconds=600)

each_product = pytest.mark.parametrize("name", PRODUCTS)


@pytest.fixture
def api() -> ApiHarness:
    """Return the API with a hook for each product, named after it."""
    return create_api()


def create_api(**changes: Hook) -> ApiHarness:
    """Return the API with a hook for each product, and with these in addition."""
    hooks: dict[str, Any] = {name: product.hook for name, product in PRODUCTS.items()}
    return ApiHarness(hooks=hooks | changes)


def sign(name: str, body: bytes, *secrets: str, seconds: int = 0) -> dict[str, str]:
    """Return the headers of a product for this body, signed now or some seconds later."""
    product = PRODUCTS[name]
    at = {"at": now_ms() / 1000 + seconds} if name in TIMED else {}
    return product.sign(body, *secrets, **at)


async def call_hook(
    api: ApiHarness,
    name: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    hook: str = "",
) -> httpx.Response:
    """Send a request of a product, by default its real one, signed now."""
    content = read_request(PRODUCTS[name].request) if body is None else body
    signed = sign(name, content) if headers is None else headers
    response: httpx.Response = await api.call_public(
        "POST", f"/v1/hooks/{hook or name}", key="", content=content, headers=signed
    )
    return response


@each_product
async def test_a_real_request_is_delivered(api: ApiHarness, name: str) -> None:
    """For the hook's tenant, with its purpose and minutes; events have the hook as the key."""
    answer = await call_hook(api, name)

    ((_, caller, request, key),) = api.service.calls
    product = PRODUCTS[name]
    sent = {each: getattr(request, each) for each in product.sent}
    assert (200, dict(product.sent)) == (answer.status_code // 200 * 200, sent)
    assert ("shop", f"hook-{name}") == (caller.tenant.name, caller.key_id)
    assert ("login", product.hook.valid_minutes) == (request.purpose, request.valid_minutes)
    assert key.startswith(f"hook:{name}:")
    assert [(name, "accepted")] == api.hook_results
    assert ["shop"] == [summary.tenant for summary in api.request_summaries]


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        ("supabase", 200, b"{}"),
        ("zitadel", 200, b"{}"),
        ("authgear", 200, b'{"code":"ok"}'),
        ("logto", 204, b""),
        ("okta", 200, PRODUCTS["okta"].hook.build_success().body),
    ],
)
async def test_success_is_what_the_product_wants(
    api: ApiHarness, name: str, status: int, body: bytes
) -> None:
    """Supabase takes a 200 only with this type; every response forbids caches."""
    answer = await call_hook(api, name)

    assert (status, body) == (answer.status_code, answer.content)
    if status == 200:
        assert "application/json" == answer.headers["content-type"]
    assert "no-store" == answer.headers["cache-control"]


async def test_an_unknown_hook_is_404(api: ApiHarness) -> None:
    """Whatever it is signed with."""
    answer = await call_hook(api, "supabase", hook="unknown")

    assert (404, "/problems/not-found") == (answer.status_code, answer.json()["type"])
    assert ([], [], []) == (api.service.calls, api.denied, api.hook_results)
    got = await api.call_public("GET", "/v1/hooks/supabase")
    assert (405, "POST") == (got.status_code, got.headers["allow"])


def list_forgeries() -> list[tuple[str, str, str]]:
    """Return each product with each fault that its requests can have, and the reason it is refused for."""
    wrong = {
        name: "unknown" if product.sign is send_key else "signature"
        for name, product in PRODUCTS.items()
    }
    return [
        *((name, "missing", "missing") for name in PRODUCTS),
        *((name, "foreign", wrong[name]) for name in PRODUCTS),
        *((name, "changed", wrong[name]) for name in PRODUCTS if wrong[name] == "signature"),
        *((name, fault, "expired") for name in TIMED for fault in ("old", "early")),
    ]


@pytest.mark.parametrize(("name", "fault", "reason"), list_forgeries())
async def test_a_request_of_others_is_401_and_counted(
    api: ApiHarness, name: str, fault: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """R64: nothing is charged or sent, and the log has the reason and nothing of the request."""
    body = read_request(PRODUCTS[name].request)
    forgeries: dict[str, Any] = {
        "missing": dict,
        "foreign": lambda: sign(name, body, OTHER_SECRET),
        "changed": lambda: sign(name, body + b" "),
        "old": lambda: sign(name, body, seconds=-301),
        "early": lambda: sign(name, body, seconds=302),
    }

    answer = await call_hook(api, name, body, forgeries[fault]())

    assert [reason] == api.denied
    assert (401, [], [(name, "unauthenticated")]) == (
        answer.status_code,
        api.service.calls,
        api.hook_results,
    )
    assert [f"hook {name}: a request was refused: {reason}"] == caplog.messages
    if name == "authgear":
        assert "authentication_failed" == answer.json()["code"]
    else:
        assert "/problems/unauthenticated" == answer.json()["type"]
        assert "secret" in answer.json()["detail"] or "clocks" in answer.json()["detail"]


async def test_a_secret_opens_its_own_hook_alone() -> None:
    """Two tenants use the same product: a request to one is no request to the other."""
    api = create_api(other=create_supabase(OTHER_SECRET))
    body = read_request("supabase_login")

    answer = await call_hook(api, "supabase", body, sign("supabase", body), hook="other")

    assert (401, []) == (answer.status_code, api.service.calls)


REFUSALS: tuple[tuple[OtpError, int, str, int, str], ...] = (
    (errors.InvalidPhoneNumber(), 422, NUMBER_REFUSED, 422, "invalid_phone_number"),
    (errors.NumberNotAllowed("country"), 422, NUMBER_REFUSED, 422, "delivery_rejected"),
    (errors.Undeliverable("unreachable"), 422, NUMBER_REFUSED, 422, "delivery_rejected"),
    (errors.NumberLocked(), 403, NUMBER_REFUSED, 403, "delivery_rejected"),
    (errors.AccountLocked(), 403, NUMBER_REFUSED, 403, "delivery_rejected"),
    (
        RATE_LIMITED,
        429,
        "Too many codes were requested. Try again in 28 seconds.",
        429,
        "rate_limited",
    ),
    (errors.DeliveryFailed("d07-0"), 502, NOT_SENT, 502, "timeout"),
    (errors.ChallengeExpired("It has ended."), 410, "It has ended.", 410, "delivery_rejected"),
    (errors.IdempotencyKeyReused("Other."), 422, "Other.", 422, "delivery_rejected"),
    (errors.Forbidden("No."), 403, "No.", 403, "delivery_rejected"),
    (errors.InvalidRequest(("code", "is long")), 400, "code: is long", 400, "unsupported_request"),
)


@pytest.mark.parametrize(
    ("error", "http_code", "text"),
    [each[:3] for each in REFUSALS],
    ids=[type(each[0]).__name__ for each in REFUSALS],
)
async def test_supabase_shows_a_refusal_to_the_person(
    api: ApiHarness, error: OtpError, http_code: int, text: str
) -> None:
    """200 with an error: any other status would become a 500 without a reason, and 429 three tries."""
    api.service.error = error

    answer = await call_hook(api, "supabase")

    assert 200 == answer.status_code
    assert "application/json" == answer.headers["content-type"]
    assert {"error": {"http_code": http_code, "message": text}} == answer.json()
    assert [error.problem_type] == [summary.problem for summary in api.request_summaries]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(each[0], *each[3:]) for each in REFUSALS],
    ids=[type(each[0]).__name__ for each in REFUSALS],
)
async def test_authgear_gets_its_own_codes(
    api: ApiHarness, error: OtpError, status: int, code: str
) -> None:
    """Its code decides there, and the person may see the description."""
    api.service.error = error

    answer = await call_hook(api, "authgear")

    assert (status, code) == (answer.status_code, answer.json()["code"])
    assert answer.json()["description"]


@pytest.mark.parametrize("name", ["zitadel", "logto", "okta"])
@pytest.mark.parametrize(
    "error", [each[0] for each in REFUSALS], ids=[type(each[0]).__name__ for each in REFUSALS]
)
async def test_others_get_a_problem_document(api: ApiHarness, name: str, error: OtpError) -> None:
    """They read the status alone, and show the rest to whoever reads their log."""
    api.service.error = error

    answer = await call_hook(api, name)

    assert f"/problems/{error.problem_type}" == answer.json()["type"]
    assert "application/problem+json" == answer.headers["content-type"]
    if error is RATE_LIMITED:
        assert "28" == answer.headers["retry-after"]


@pytest.mark.parametrize("error", [errors.StoreUnavailable(), errors.Overloaded()])
async def test_an_outage_is_tried_again(api: ApiHarness, error: OtpError) -> None:
    """Supabase repeats a 503 only with Retry-After; Authgear asks the person to."""
    api.service.error = error

    supabase, authgear = [await call_hook(api, name) for name in ("supabase", "authgear")]

    assert (503, "1") == (supabase.status_code, supabase.headers["retry-after"])
    assert (503, "timeout") == (authgear.status_code, authgear.json()["code"])
    assert NOT_SENT == authgear.json()["description"]
    assert [("supabase", "unavailable"), ("authgear", "unavailable")] == api.hook_results


async def test_what_may_have_been_sent_counts_as_sent(api: ApiHarness) -> None:
    """Supabase would forget the code that the person is about to read."""
    api.service.error = errors.ResultNotStored()

    answer = await call_hook(api, "supabase")

    assert (200, b"{}") == (answer.status_code, answer.content)
    assert [("supabase", "late")] == api.hook_results


async def test_an_answer_comes_in_time_and_the_message_too() -> None:
    """A product gives up after some seconds. The clock of asyncio cannot be moved: it waits 0.5 s."""
    api = create_api(slow=replace(create_supabase(), answer_seconds=0.5))
    api.service.released.clear()

    answer = await call_hook(api, "supabase", hook="slow")

    assert (200, b"{}", 0) == (answer.status_code, answer.content, api.service.finished_count)
    assert [("slow", "late")] == api.hook_results
    api.service.released.set()
    assert 0 == await api.background_calls.drain(WAIT_TIMEOUT_SECONDS)
    assert 1 == api.service.finished_count


async def test_a_repeat_waits_for_the_first_call(api: ApiHarness) -> None:
    """It is answered as the first call was, and not before that is known."""
    in_use = [errors.IdempotencyKeyInUse(), errors.IdempotencyKeyInUse(), RATE_LIMITED]

    async def deliver(*_: Any) -> None:
        raise in_use.pop(0)

    api.service.deliver = deliver  # type: ignore[method-assign]  # one error after the other

    answer = await call_hook(api, "supabase")

    assert (429, []) == (answer.json()["error"]["http_code"], in_use)


async def test_a_bug_of_ours_is_500_and_counted(api: ApiHarness) -> None:
    """In every format, and without its text."""
    api.service.error = RuntimeError("+447700900123")

    for name in ("supabase", "authgear", "logto"):
        answer = await call_hook(api, name)
        assert (500, "/problems/internal-error") == (answer.status_code, answer.json()["type"])
        assert "447700900123" not in answer.text

    assert {"internal"} == {result for _, result in api.hook_results}


@each_product
async def test_a_retry_is_the_same_call(api: ApiHarness, name: str) -> None:
    """Supabase has a new id, time and signature in each try; the key does not change."""
    body = read_request(PRODUCTS[name].request)
    fresh: dict[str, Any] = {"at": now_ms() / 1000 - 7, "webhook_id": "msg_2"}
    headers = sign_standard(body, **fresh) if name == "supabase" else sign(name, body)

    await call_hook(api, name, body)
    await call_hook(api, name, body, headers)
    await call_hook(api, name, body.replace(b"900123", b"900124"))

    keys = [call[3] for call in api.service.calls]
    assert keys[0] == keys[1] != keys[2]


async def test_two_hooks_do_not_share_a_repeat() -> None:
    """The name of the hook is in the key, also where one tenant has both."""
    api = create_api(other=create_generic())

    for hook in ("kratos", "other"):
        await call_hook(api, "kratos", hook=hook)

    first, second = (call[3] for call in api.service.calls)
    assert first.rpartition(":")[2] == second.rpartition(":")[2]
    assert first != second


async def test_a_large_body_is_refused_before_its_signature(api: ApiHarness) -> None:
    """413, and no hash is computed over it; a whole user with 200 KiB of metadata is read."""
    large = read_request("supabase_login").replace(b'"user_metadata":{}', b'"user_metadata":"%s"')

    answer = await call_hook(api, "supabase", large.replace(b"%s", b"x" * 256 * 1024))
    user = await call_hook(api, "supabase", large.replace(b"%s", b"x" * 200 * 1024))

    assert (413, "/problems/content-too-large") == (answer.status_code, answer.json()["type"])
    assert (200, 1) == (user.status_code, len(api.service.calls))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"code": "Your code is 904412"}, "code"),
        ({"code": "904 412"}, "code"),
        ({"code": "123"}, "code"),
        ({"code": "12345678901"}, "code"),
        ({"code": ""}, "code"),
        ({"code": 904412}, "code"),
        ({"phone_number": 447700900123}, "phone_number"),
        ({"phone_number": None}, "phone_number"),
        ({"locale": "904412!"}, "locale"),
        ({"account": "u" * 129}, "account"),
        ({"client_ip": "904412"}, "client_ip"),
    ],
)
async def test_what_cannot_be_sent_is_refused_by_its_member(
    change: dict[str, Any], path: str
) -> None:
    """No text of others, and no value in the answer."""
    hook = create_generic(locale="locale", account="account", client_ip="client_ip")
    api = create_api(strict=hook)
    body = json.dumps({"phone_number": "+447700900123", "code": "904412"} | change).encode()

    answer = await call_hook(api, "kratos", body, sign("kratos", body), hook="strict")

    assert (400, [path]) == (answer.status_code, [e["path"] for e in answer.json()["errors"]])
    assert "904412" not in answer.text
    assert ([], [("strict", "unreadable")]) == (api.service.calls, api.hook_results)


async def test_a_repeated_name_is_refused_in_each_format(api: ApiHarness) -> None:
    """The signature is right; which of the two numbers was meant is unknown."""
    replies = []
    for name in ("supabase", "authgear", "zitadel"):
        body = read_request(PRODUCTS[name].request)
        twice = body.replace(b'"+447700900123"', b'"+447700900123","to":"+447700900124"', 1)
        if name == "supabase":
            twice = body.replace(b'"otp":"561166"', b'"otp":"561166","otp":"561167"')
        if name == "zitadel":
            twice = body.replace(b'"oTP":"64883313"', b'"oTP":"64883313","oTP":"64883314"')
        assert twice != body
        replies.append(await call_hook(api, name, twice))

    supabase, authgear, zitadel = (reply.json() for reply in replies)
    assert [200, 400, 400] == [reply.status_code for reply in replies]
    assert "more than once" in supabase["error"]["message"]
    assert "unsupported_request" == authgear["code"]
    assert "more than once" in zitadel["errors"][0]["message"]
    assert [] == api.service.calls


async def test_the_log_has_no_code_and_no_number(
    api: ApiHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """R68: whatever goes wrong, at the most detailed level."""
    caplog.set_level(logging.DEBUG)
    for error in (None, RuntimeError("a bug"), RATE_LIMITED, errors.InvalidPhoneNumber()):
        api.service.error = error
        for name in PRODUCTS:
            await call_hook(api, name)
            await call_hook(api, name, headers={})

    written = "\n".join(f"{record.getMessage()} {record.exc_text}" for record in caplog.records)
    assert "a request was refused: missing" in written
    assert not [
        text
        for product in PRODUCTS.values()
        for text in (product.sent["code"], product.sent["phone_number"][1:])
        if text in written
    ]


async def test_a_hook_of_a_stopping_service_is_tried_again(api: ApiHarness) -> None:
    """503 with Retry-After, so that Supabase's next try finds another worker."""
    await asyncio.wait_for(api.background_calls.drain(1), 5)

    answer = await call_hook(api, "supabase")

    assert (503, "1") == (answer.status_code, answer.headers["retry-after"])
