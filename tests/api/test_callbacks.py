"""/v1/callbacks: which receipts are accepted, the answers, and what is passed on (R64, R65)."""

import time

import pytest

from otp_service.core.delivery import Receipt
from otp_service.core.errors import StoreUnavailable
from otp_service.sms.provider_callbacks import SkippedEvent, strip_reference
from tests.api.fakes import ApiHarness, FakeReceiptDialect
from tests.sms.providers.contracts.aws import create_aws
from tests.sms.providers.contracts.plivo import create_plivo
from tests.sms.providers.contracts.sns import create_sns
from tests.sms.providers.unsigned_dialects import ADDRESS, FORM_DIALECTS, JSON_DIALECTS


REFERENCE = "shop.c07-5d41402abc4b2a76b9719d911017c592.1.1"
NEWS = f"delivered {REFERENCE}".encode()


DIALECTS = JSON_DIALECTS | FORM_DIALECTS
DIALECTS |= {"aws": create_aws(ADDRESS), "plivo": create_plivo(ADDRESS), "sns": create_sns(ADDRESS)}


async def bring(api: ApiHarness, path: str = "/v1/callbacks/acme", body: bytes = NEWS, **more):
    """Send a receipt; `path` may be a whole URL."""
    return await api.call_public(
        "POST", path.removeprefix("https://otp.example"), content=body, **more
    )


async def test_a_receipt_in_its_own_address_is_trusted(api: ApiHarness) -> None:
    """The token authenticates the sender; the reference in the URL comes before the body's."""
    address = api.callback_urls.build_url("acme", REFERENCE)

    answer = await bring(api, address, b"delivered other")

    assert (200, b"ACK") == (answer.status_code, answer.content)
    (_, caller, provider, news, trusted) = api.service.calls[0]
    assert ("acme", Receipt("delivered", REFERENCE), True) == (provider, news, trusted)
    assert "callback-acme" == caller.key_id
    assert [("acme", "delivered")] == api.receipts


async def test_a_signed_receipt_is_trusted(api: ApiHarness) -> None:
    """Its reference is the one that the vendor returns."""
    await bring(api, headers={"signature": "good"})

    assert (Receipt("delivered", REFERENCE, is_signed=True), True) == api.service.calls[0][3:]


async def test_a_receipt_with_neither_is_advisory(api: ApiHarness) -> None:
    """It is recorded all the same."""
    await bring(api)

    assert (Receipt("delivered", REFERENCE), False) == api.service.calls[0][3:]


async def test_a_bad_signature_is_401_and_counted(api: ApiHarness) -> None:
    """R64: nothing is passed on."""
    answer = await bring(api, headers={"signature": "bad"})

    assert (401, "/problems/unauthenticated") == (answer.status_code, answer.json()["type"])
    assert ([], [("acme", "signature")]) == (api.service.calls, api.rejected)


@pytest.mark.parametrize(
    "forge",
    [
        lambda address: address.replace(".1.1&", ".1.2&"),
        lambda address: address.replace("shop.", "bank."),
        lambda address: address[:-1] + ("0" if address[-1] != "0" else "1"),
        lambda address: address.replace("1%3A", "2%3A"),
        lambda address: address.partition("&")[0],
        lambda address: address.replace("acme?", "other?"),
    ],
    ids=["another submission", "another tenant", "a digit", "another key", "none", "provider"],
)
async def test_the_token_of_one_submission_is_no_token_of_another(forge) -> None:
    """R64, A19: the token is an HMAC over provider and reference."""
    api = ApiHarness(
        callback_dialects={"acme": FakeReceiptDialect(), "other": FakeReceiptDialect()}
    )

    answer = await bring(api, forge(api.callback_urls.build_url("acme", REFERENCE)))

    assert 401 == answer.status_code
    assert [] == api.service.calls


async def test_an_address_may_leave_the_reference_to_the_receipt(api: ApiHarness) -> None:
    """Some vendors accept only short URLs and return our reference; the token is made from that."""
    address = strip_reference(api.callback_urls.build_url("acme", REFERENCE))
    assert "ref=" not in address

    await bring(api, address, NEWS)

    assert (Receipt("delivered", REFERENCE), True) == api.service.calls[0][3:]


@pytest.mark.parametrize(
    "said", [REFERENCE.replace(".1.1", ".1.2"), REFERENCE.replace("shop", "bank"), "other"]
)
async def test_a_token_alone_is_no_token_of_another_submission(api: ApiHarness, said: str) -> None:
    """R64: this holds although one of several receipts matches the token; nothing is passed on."""
    address = strip_reference(api.callback_urls.build_url("acme", REFERENCE))

    answer = await bring(api, address, NEWS + f"\ndelivered {said}".encode())

    assert (401, []) == (answer.status_code, api.service.calls)
    assert [("acme", "signature")] == api.rejected


async def test_several_receipts_come_in_one_call(api: ApiHarness) -> None:
    """A receipt for an unknown message is counted, and answered like the others (R65)."""
    answer = await bring(api, body=NEWS + b"\npending unknown")

    assert 200 == answer.status_code
    assert [("acme", "delivered"), ("acme", "unknown")] == api.receipts


async def test_a_dialect_is_given_the_public_address() -> None:
    """A vendor signs the URL that it was given, however proxies have changed it."""
    receiver = FakeReceiptDialect()
    api = ApiHarness(callback_dialects={"acme": receiver})

    await bring(api, "/v1/callbacks/acme?b=%2F&a=1", headers={"host": "10.0.0.7:8000"})

    assert "https://otp.example/v1/callbacks/acme?b=%2F&a=1" == receiver.last_callback.url


async def test_what_cannot_be_read_is_400(api: ApiHarness) -> None:
    """There is no traceback."""
    answer = await bring(api, body=b"\xff\xfe no receipt at all")

    assert (400, "/problems/invalid-request") == (answer.status_code, answer.json()["type"])
    assert [("acme", "unreadable")] == api.rejected


async def test_more_than_a_hundred_receipts_cost_nothing(api: ApiHarness) -> None:
    """No vendor sends more, and each is several round trips to Redis."""
    answer = await bring(api, body=b"\n".join([NEWS] * 101))

    assert (400, "/problems/invalid-request") == (answer.status_code, answer.json()["type"])
    assert ([], [("acme", "unreadable")]) == (api.service.calls, api.rejected)


async def test_a_wrong_token_is_refused_before_anything_is_read(api: ApiHarness) -> None:
    """R64: also for many receipts, of which one is wrong."""
    address = strip_reference(api.callback_urls.build_url("acme", REFERENCE))

    answer = await bring(api, address, b"\n".join([NEWS] * 99 + [b"delivered other"]))

    assert (401, []) == (answer.status_code, api.service.calls)


async def test_another_event_is_acknowledged_and_counted() -> None:
    """Nothing is stored of it; receipts of the same call count."""
    dialect = FakeReceiptDialect()
    dialect.skipped = (SkippedEvent.OTHER, SkippedEvent.UNREADABLE)
    api = ApiHarness(callback_dialects={"acme": dialect})

    answer = await bring(api)

    assert (200, b"ACK") == (answer.status_code, answer.content)
    assert [("acme", "other"), ("acme", "unreadable")] == api.rejected
    assert [("acme", "delivered")] == api.receipts


DEEP_BODIES = [b"[" * 60_000, b'{"a":' * 40_000, b'{"data":' * 30_000, b'{"event":' + b"[" * 60_000]


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("media_type", ["application/json", "application/x-www-form-urlencoded"])
async def test_deep_json_is_refused_and_cheap(name: str, media_type: str) -> None:
    """An unauthenticated caller causes neither a 500 nor much work."""
    api = ApiHarness(callback_dialects=DIALECTS)
    started = time.process_time()

    for body in DEEP_BODIES:
        answer = await bring(
            api, f"/v1/callbacks/{name}", body, headers={"content-type": media_type}
        )
        assert answer.status_code in {400, 401}, answer.text

    assert time.process_time() - started < 2
    assert [] == api.service.calls


@pytest.mark.parametrize("error", [AttributeError, KeyError, TypeError, ValueError])
async def test_a_bug_in_a_dialect_is_500_and_logged(error, caplog) -> None:
    """The fault is in this service: an operator sees the traceback and the count."""

    class BrokenReceiptDialect(FakeReceiptDialect):
        def parse_callback(self, _):
            raise error("bodyy")

    api = ApiHarness(callback_dialects={"acme": BrokenReceiptDialect()})

    answer = await bring(api)

    assert (500, "/problems/internal-error") == (answer.status_code, answer.json()["type"])
    assert [("acme", "internal")] == api.rejected
    (logged,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert logged.exc_info
    assert logged.exc_info[0] is error


async def test_a_provider_that_there_is_not_is_404(api: ApiHarness) -> None:
    """It is answered like every other unknown path."""
    answer = await bring(api, "/v1/callbacks/nobody")

    assert (404, "/problems/not-found") == (answer.status_code, answer.json()["type"])


async def test_a_hundred_receipts_fit_and_a_flood_does_not(api: ApiHarness) -> None:
    """The limit is 256 KiB, then 413; other calls keep their limit of 16 KiB."""
    assert 200 == (await bring(api, body=b"\n".join([NEWS] * 100))).status_code
    assert 100 == len(api.service.calls)
    assert 413 == (await bring(api, body=b"x" * (256 * 1024 + 1))).status_code


async def test_a_store_in_doubt_is_503_so_that_the_vendor_asks_again(api: ApiHarness) -> None:
    """R77: fails closed."""
    api.service.error = StoreUnavailable()

    assert 503 == (await bring(api)).status_code


async def test_it_needs_no_key_and_get_will_do(api: ApiHarness) -> None:
    """Some vendors support nothing else."""
    answer = await api.call_public("GET", "/v1/callbacks/acme")

    assert 200 == answer.status_code


async def test_a_certificate_is_fetched_for_whoever_needs_one(api: ApiHarness) -> None:
    """It is cached; one that cannot be fetched is 503, so that the vendor repeats the call."""
    for _ in range(2):
        good = await bring(api, headers={"certificate": "https://sns.example/good.pem"})
        assert 200 == good.status_code
    assert ["https://sns.example/good.pem"] == api.fetched_urls

    gone = await bring(api, headers={"certificate": "https://sns.example/gone.pem"})

    assert (503, "/problems/overloaded") == (gone.status_code, gone.json()["type"])


async def test_what_was_lost_is_sent_once_more_after_the_answer(api: ApiHarness) -> None:
    """The vendor does not wait for it."""
    answer = await bring(
        api, api.callback_urls.build_url("acme", REFERENCE), b"technical-failure x"
    )

    assert 200 == answer.status_code
    await api.background_calls.drain(1)
    assert ("rescue", "callback-acme", "acme", REFERENCE) == api.service.calls[-1]
