"""/v1/inbound: whose messages from phones count, the answers, and what is passed on (R64, R65)."""

import asyncio
import base64
import hmac

import pytest

from otp_service.api import inbound_admission
from otp_service.api.inbound_admission import InboundAdmission
from otp_service.core.delivery import Receipt
from otp_service.core.errors import Overloaded, StoreUnavailable
from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.sms import inbound_token
from otp_service.sms.provider_callbacks import SkippedEvent
from tests.api.fakes import ApiHarness, FakeReceiptDialect, build_scope, run_asgi_call


TOKEN, PREVIOUS = "worthless-token-of-inbound", "worthless-token-of-before"
STOP = b"from 447400123456 STOP"
MESSAGE = InboundMessage("447400123456", "STOP")
REFERENCE = "shop.c07-5d41402abc4b2a76b9719d911017c592.1.1"
SIGNED = {"signature": "good"}


@pytest.fixture
def dialect() -> FakeReceiptDialect:
    """Return a dialect with two tokens."""
    dialect = FakeReceiptDialect()
    dialect.inbound_tokens = (Secret(TOKEN), Secret(PREVIOUS))
    return dialect


@pytest.fixture
def api(dialect: FakeReceiptDialect) -> ApiHarness:
    """Return the API with this dialect, and one that has no token."""
    return ApiHarness(callback_dialects={"acme": dialect, "other": FakeReceiptDialect()})


async def bring(api: ApiHarness, query: str = "", body: bytes = STOP, **more):
    """Send a message."""
    path = more.pop("path", "/v1/inbound/acme")
    return await api.call_public("POST", f"{path}{query}", key="", content=body, **more)


def build_basic(password: str, user: str = "any") -> dict[str, str]:
    """Return the header of Basic authentication."""
    both = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"authorization": f"Basic {both}"}


# ------------------------------------------------------------------------------------- who is trusted


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        (f"?token={TOKEN}", {}),
        (f"?token={PREVIOUS}", {}),
        (f"?a=1&token={TOKEN}&b=2", {}),
        ("", build_basic(TOKEN)),
        ("", build_basic(PREVIOUS, user="")),
        ("?token=wrong", build_basic(TOKEN)),
        (f"?token={TOKEN}", build_basic("wrong")),
        (f"?token={TOKEN}", {"authorization": "Bearer of another"}),
    ],
)
async def test_a_message_with_a_token_counts(api: ApiHarness, query, headers) -> None:
    """The token is in the address, or the password of Basic authentication; two of them count."""
    answer = await bring(api, query, headers=headers)

    assert (200, b"INBOUND") == (answer.status_code, answer.content)
    ((caller, provider, message),) = api.inbound_messages
    assert ("callback-acme", "acme", MESSAGE) == (caller.key_id, provider, message)
    assert [] == api.rejected


async def test_a_signed_message_counts(api: ApiHarness) -> None:
    """Also where the address still has an earlier token: a vendor that signs needs none."""
    for query in ("", "?token=an-earlier-one"):
        assert 200 == (await bring(api, query, headers=SIGNED)).status_code

    assert [True, True] == [message.is_signed for _, _, message in api.inbound_messages]


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {}),
        ("?token=", {}),
        ("?token=wrong", {}),
        (f"?token={TOKEN[:-1]}", {}),
        (f"?token={TOKEN}x", {}),
        (f"?token={TOKEN.upper()}", {}),
        (f"?Token={TOKEN}", {}),
        (f"?token={TOKEN}&token=wrong", {}),
        ("?token=%C3%A4%00%FF", {}),
        (f"?key={TOKEN}", {}),
        ("", build_basic("wrong")),
        ("", {"authorization": f"Basic {TOKEN}"}),
        ("", {"authorization": f"Bearer {TOKEN}"}),
        ("", build_basic(TOKEN, user="colon:in the user")),
        ("", {"authorization": "Basic !!!"}),
        ("", {"authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()}),
    ],
)
async def test_a_message_with_neither_is_401_and_counted(api, dialect, query, headers) -> None:
    """R64: nothing is read or passed on, and a client learns that a password will do."""
    answer = await bring(api, query, headers=headers)

    assert (401, "/problems/unauthenticated") == (answer.status_code, answer.json()["type"])
    assert 'Basic realm="otp-service"' == answer.headers["www-authenticate"]
    assert ([], [("acme", "token")]) == (api.inbound_messages, api.rejected)
    assert dialect.last_callback is None


async def test_two_passwords_are_none(api: ApiHarness) -> None:
    """A proxy may have compared the other one."""
    header = (b"authorization", build_basic(TOKEN)["authorization"].encode())
    body = {"type": "http.request", "body": STOP, "more_body": False}

    statuses = [
        (await run_asgi_call(api.public, build_scope("POST", "/v1/inbound/acme", *headers), body))[
            0
        ]
        for headers in ([header], [header, header])
    ]

    assert ([200, 401], 1) == (statuses, len(api.inbound_messages))


@pytest.mark.parametrize("query", ["", "?token=", "?token=None", f"?token={TOKEN}"])
async def test_without_a_token_in_the_settings_only_a_signature_counts(api, query) -> None:
    """R64: an empty token is not the one of a provider without any, and another one's is not its own."""
    assert 401 == (await bring(api, query, path="/v1/inbound/other")).status_code
    assert [] == api.inbound_messages

    assert 200 == (await bring(api, query, path="/v1/inbound/other", headers=SIGNED)).status_code


async def test_a_wrong_signature_is_401_whatever_the_token_is(api: ApiHarness) -> None:
    """The owner of a log with the address cannot forge a message of a vendor that signs."""
    answer = await bring(api, f"?token={TOKEN}", headers={"signature": "bad"})

    assert (401, []) == (answer.status_code, api.inbound_messages)
    assert [("acme", "signature")] == api.rejected


async def test_the_token_of_a_submission_is_not_that_of_messages(api: ApiHarness) -> None:
    """Each provider has thousands of these, one in each message that it was given."""
    query = api.callback_urls.build_url("acme", REFERENCE).partition("?")[2]

    answer = await bring(api, f"?{query}")

    assert (401, []) == (answer.status_code, api.inbound_messages)


async def test_every_token_is_compared_in_constant_time(api: ApiHarness, monkeypatch) -> None:
    """Both are, with the address and the password, whichever was right."""
    compared = []

    class CountingHmac:
        @staticmethod
        def compare_digest(left: bytes, right: bytes) -> bool:
            compared.append((left, right))
            return hmac.compare_digest(left, right)

    monkeypatch.setattr(inbound_token, "hmac", CountingHmac)
    for query in ("", f"?token={TOKEN}", f"?token={PREVIOUS}", "?token=wrong"):
        compared.clear()
        await bring(api, query, headers=build_basic("p"))

        given = query.partition("=")[2].encode()
        secrets = (TOKEN.encode(), PREVIOUS.encode())
        assert [(each, value) for each in secrets for value in (given, b"p")] == compared


# ------------------------------------------------------------------------------------ what is passed on


async def test_receipts_count_at_this_address_too(api: ApiHarness) -> None:
    """Some vendors have one address for both; the reference is the receipt's own."""
    body = STOP + f"\ndelivered {REFERENCE}".encode()

    answer = await bring(api, f"?token={TOKEN}", body)

    assert 200 == answer.status_code
    assert (Receipt("delivered", REFERENCE), True) == api.service.calls[0][3:]
    assert [MESSAGE] == [message for _, _, message in api.inbound_messages]


async def test_an_unsigned_receipt_without_the_token_is_401(api: ApiHarness) -> None:
    """R64: it would be trusted here, and is advisory at the other address alone."""
    answer = await bring(api, "", f"delivered {REFERENCE}".encode())

    assert (401, []) == (answer.status_code, api.service.calls)


async def test_unsigned_parts_of_a_vendor_that_signs_are_401() -> None:
    """R64: one of them refuses the request, such as a message whose fields a signature leaves out."""

    class AddressSigningDialect(FakeReceiptDialect):
        def requires_signature(self, _):
            return True

    api = ApiHarness(callback_dialects={"acme": AddressSigningDialect()})

    answer = await bring(api)

    assert (401, [("acme", "token")]) == (answer.status_code, api.rejected)
    assert [] == api.inbound_messages


@pytest.mark.parametrize(("query", "headers"), [(f"?token={TOKEN}", {}), ("", SIGNED)])
async def test_another_event_is_acknowledged_and_counted(api, dialect, query, headers) -> None:
    """Vendors add events, and pause an address that refuses them."""
    dialect.skipped = (SkippedEvent.OTHER,)

    answer = await bring(api, query, b"", headers=headers)

    assert (200, [("acme", "other")]) == (answer.status_code, api.rejected)


async def test_another_event_of_an_unauthenticated_caller_is_401(api, dialect) -> None:
    """R64: nothing is counted as an event of the vendor."""
    dialect.skipped = (SkippedEvent.OTHER,)

    answer = await bring(api, "?token=wrong", b"")

    assert (401, [("acme", "token")]) == (answer.status_code, api.rejected)


async def test_a_signed_message_counts_at_the_address_for_receipts(api: ApiHarness) -> None:
    """Some vendors have one webhook for an account; the answer is that for messages."""
    answer = await bring(api, path="/v1/callbacks/acme", headers=SIGNED)

    assert (200, b"INBOUND") == (answer.status_code, answer.content)
    assert 1 == len(api.inbound_messages)


@pytest.mark.parametrize("query", ["", f"?token={TOKEN}"])
async def test_an_unsigned_one_there_is_acknowledged_and_has_no_effect(api, query) -> None:
    """R64: it is counted. A vendor would pause the address, which also carries receipts, after a 401."""
    body = STOP + b"\n" + STOP

    answer = await bring(api, query, body, path="/v1/callbacks/acme")

    assert (200, b"INBOUND") == (answer.status_code, answer.content)
    assert ([], [("acme", "unsigned")] * 2) == (api.inbound_messages, api.rejected)


async def test_an_address_of_a_submission_proves_no_message(api: ApiHarness) -> None:
    """R64: its token is in a log of each company that carried the message."""
    path = api.callback_urls.build_url("acme", REFERENCE).removeprefix("https://otp.example")

    answer = await bring(api, path=path)

    assert (200, []) == (answer.status_code, api.inbound_messages)
    assert [("acme", "unsigned")] == api.rejected


async def test_get_will_do(api: ApiHarness, dialect) -> None:
    """Some gateways support nothing else."""
    dialect.parse_callback = lambda _: [MESSAGE]

    answer = await api.call_public("GET", f"/v1/inbound/acme?token={TOKEN}", key="")

    assert (200, 1) == (answer.status_code, len(api.inbound_messages))


async def test_the_answer_is_plain_text(api: ApiHarness) -> None:
    """A gateway sends HTML or JSON to the phone as it is."""
    answer = await bring(api, f"?token={TOKEN}")

    assert "text/plain" == answer.headers["content-type"].partition(";")[0]


async def test_a_provider_without_an_address_is_404(api: ApiHarness) -> None:
    """Unknown ones, and those with a connection of their own, answer alike."""
    answer = await bring(api, path="/v1/inbound/nobody")

    assert (404, "/problems/not-found") == (answer.status_code, answer.json()["type"])


async def test_a_store_in_doubt_is_503_so_that_the_vendor_asks_again(api: ApiHarness) -> None:
    """R77: fails closed."""
    api.service.error = StoreUnavailable()

    assert 503 == (await bring(api, f"?token={TOKEN}")).status_code


async def test_a_bug_in_a_dialect_is_500_and_counted(api, dialect) -> None:
    """An operator sees it, and nothing is passed on."""
    dialect.parse_callback = lambda _: 1 / 0

    assert 500 == (await bring(api, f"?token={TOKEN}")).status_code
    assert [("acme", "internal")] == api.rejected


# -------------------------------------------------------------------------------------------- bounds


async def test_a_batch_may_have_more_messages_than_receipts(api: ApiHarness) -> None:
    """Infobip sends what has piled up. Most messages have no keyword, and cost nothing."""
    answer = await bring(api, f"?token={TOKEN}", b"\n".join([STOP] * 1_000))

    assert (200, 1_000) == (answer.status_code, len(api.inbound_messages))


@pytest.mark.parametrize(
    "lines", [[STOP] * 1_001, [b"delivered x"] * 101, [STOP] * 900 + [b"delivered x"] * 101]
)
async def test_more_parts_cost_nothing(api: ApiHarness, lines) -> None:
    """Also of a caller with the token; none of them is handled."""
    answer = await bring(api, f"?token={TOKEN}", b"\n".join(lines))

    assert (400, [("acme", "unreadable")]) == (answer.status_code, api.rejected)
    assert ([], []) == (api.inbound_messages, api.service.calls)


async def test_a_body_has_the_limit_of_receipts(api: ApiHarness) -> None:
    """It is 256 KiB, then 413, whoever calls."""
    body = b"x" * (256 * 1024 + 1)

    assert 413 == (await bring(api, f"?token={TOKEN}", body)).status_code


async def test_a_provider_has_a_bounded_number_of_requests_at_once(monkeypatch) -> None:
    """Those after them wait, then 503. Other providers are not affected."""
    monkeypatch.setattr(inbound_admission, "MAX_WAITING_REQUESTS", 3)
    running, most_running, release = 0, 0, asyncio.Event()

    async def handle_inbound(_caller, provider, _message):
        nonlocal running, most_running
        if provider == "other":
            return
        running += 1
        most_running = max(most_running, running)
        await release.wait()
        running -= 1

    api = ApiHarness(
        callback_dialects={"acme": FakeReceiptDialect(), "other": FakeReceiptDialect()},
        handle_inbound=handle_inbound,
    )
    calls = [asyncio.create_task(bring(api, headers=SIGNED)) for _ in range(9)]
    refused, _ = await asyncio.wait(calls, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    while len(refused) < 2:
        refused, _ = await asyncio.wait(calls, timeout=0.01)
    other = await bring(api, path="/v1/inbound/other", headers=SIGNED)
    release.set()
    answers = await asyncio.gather(*calls)

    assert inbound_admission.MAX_RUNNING_REQUESTS == most_running
    assert 200 == other.status_code
    assert [200] * 7 + [503] * 2 == sorted(answer.status_code for answer in answers)
    assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)


async def test_a_request_that_fails_or_is_canceled_frees_its_place(monkeypatch) -> None:
    """Otherwise a vendor whose calls time out would be refused for good."""
    monkeypatch.setattr(inbound_admission, "MAX_RUNNING_REQUESTS", 1)
    monkeypatch.setattr(inbound_admission, "MAX_WAITING_REQUESTS", 0)
    admission = InboundAdmission()

    async def fail() -> None:
        async with admission.admit("acme"):
            raise StoreUnavailable

    async def wait() -> None:
        async with admission.admit("acme"):
            await asyncio.sleep(60)

    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await fail()
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await fail()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
