"""Every error has the status and code of Twilio's list, and the class that applications catch."""

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from otp_service.api.problems import PROBLEM_TYPES
from otp_service.api.twilio.error_bodies import TWILIO_CODES
from otp_service.api.twilio.form_fields import REFUSED_START_FIELDS
from otp_service.core.errors import Overloaded, StoreTampered, StoreUnavailable
from otp_service.core.inbound import InboundMessage
from otp_service.core.limits import DEFAULT_LIMITS, Limit, Window
from otp_service.core.verification_sid import build_verification_challenge_id, to_verification_sid
from otp_service.service import Caller, send_admission
from tests.api.twilio.sdk import (
    ACCOUNTS,
    BANK_SERVICE,
    NUMBER,
    OTHER_SERVICE,
    SHOP_SERVICE,
    VerifyHarness,
    catch,
)
from tests.installation import PROVIDER_REFUSAL, RECIPIENT_REFUSAL, make_wrong_code


SERVICE_PATH = f"/Services/{SHOP_SERVICE}"
START_PATH, CHECK_PATH = f"{SERVICE_PATH}/Verifications", f"{SERVICE_PATH}/VerificationCheck"
START_FORM = "To=%2B447400100200&Channel=sms"
DEVICE_FORM = f"{START_FORM}&DeviceIp=203.0.113.9"

NEVER_HERE = {
    *("idempotency-key-in-use", "idempotency-key-reused", "incorrect-code", "code-already-used"),
    *("authenticator-not-confirmed", "authenticator-already-confirmed"),
    *("invalid-authenticator", "invalid-recovery-set"),
    *("challenge-expired", "challenge-canceled", "challenge-already-verified"),
}
"""Problems of calls that these paths do not have, or that are 20404 here."""


def read_row(answer: httpx.Response) -> tuple[int, int]:
    """Return status and code of an error. Fail unless its body is exactly of Twilio's form."""
    body = answer.json()
    assert {"code", "message", "more_info", "status"} == body.keys()
    assert [int, str, str, int] == [type(value) for value in body.values()]
    assert answer.status_code == body["status"]
    assert "application/json" == answer.headers["content-type"]
    return body["status"], body["code"]


def test_each_problem_that_can_occur_has_a_row() -> None:
    """A new problem type needs a decision here."""
    assert {*PROBLEM_TYPES} - NEVER_HERE == {*TWILIO_CODES}


def test_the_page_has_each_row_and_each_refused_parameter() -> None:
    """An application is changed by docs/twilio-verify.md, and by nothing else."""
    page = (Path(__file__).parents[3] / "docs" / "twilio-verify.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d{3}) \| (\d{5}) \|", page, re.MULTILINE)
    listed = {(row.status, row.code) for row in TWILIO_CODES.values() if row.is_listed}

    documented = {(int(status), int(code)) for status, code in rows}

    by_limit = {(429, 60212), (403, 60605)}
    assert listed - {(405, 20004)} | by_limit == documented
    assert all(f"`{name}`" in page for name in (*REFUSED_START_FIELDS, "RiskCheck=disable"))


@pytest.mark.parametrize(
    ("form", "parameter"),
    [
        ("Channel=sms", "To"),
        ("To=&Channel=sms", "To"),
        ("To=447400100200&Channel=sms", "To"),
        ("To=%2B44740012345&Channel=sms", "To"),
        ("To=+447400100200&Channel=sms", "To"),
        ("To=%2B447400100200&To=%2B447400100200&Channel=sms", "To"),
        ("To=%2B447400100200", "Channel"),
        *(
            (f"To=%2B447400100200&Channel={channel}", "Channel")
            for channel in ("call", "email", "whatsapp", "sna", "SMS")
        ),
        *(
            (f"{START_FORM}&{field}=1", field)
            for field in (
                *("Amount", "Payee", "CustomCode", "CustomFriendlyName", "CustomMessage"),
                *("TemplateSid", "TemplateCustomSubstitutions"),
            )
        ),
        (f"{START_FORM}&RiskCheck=disable", "RiskCheck"),
        (f"{START_FORM}&Locale=en_GB_", "Locale"),
        (f"{START_FORM}&DeviceIp=nowhere", "DeviceIp"),
        (f"{START_FORM}&RateLimits=a", "RateLimits"),
        (f"{START_FORM}&RateLimits=%5B%5D", "RateLimits"),
        (f"{START_FORM}&RateLimits=%7B%22other%22%3A%22a%22%7D", "RateLimits"),
        (f"{START_FORM}&RateLimits=%7B%22end_user_ip%22%3A1%7D", "RateLimits"),
        (f"{START_FORM}&RateLimits=%7B%22user%22%3A%22%5Cud800%22%7D", "RateLimits"),
        (
            f"{START_FORM}&RateLimits=%7B%22user%22%3A%22a%22%2C%22user%22%3A%22b%22%7D",
            "RateLimits",
        ),
        (f"{DEVICE_FORM}&RateLimits=%7B%22end_user_ip%22%3A%22203.0.113.8%22%7D", "RateLimits"),
        ("%ff=1", "body"),
        ("&".join(f"a{i}=1" for i in range(101)), "body"),
    ],
)
async def test_an_invalid_parameter_is_60200_with_its_name(
    verify: VerifyHarness, form: str, parameter: str
) -> None:
    """A raw + is a space in a form, and is not repaired. Nothing is charged or sent."""
    answer = await verify.send_form(START_PATH, form)

    assert (400, 60200) == read_row(answer)
    assert answer.json()["message"].startswith(f"Invalid parameter: {parameter}: ")
    assert "7400100200" not in answer.text
    assert [] == verify.installation.router.messages
    assert [] == await verify.installation.list_keys("*:limit:*")


@pytest.mark.parametrize(
    ("form", "parameter"),
    [
        ("To=%2B447400100200", "Code"),
        ("Code=123456", "To"),
        ("Code=123456&To=nobody", "To"),
        ("Code=123&To=%2B447400100200", "Code"),
        ("Code=12345678901&To=%2B447400100200", "Code"),
        ("Code=123456&To=%2B447400100200&Amount=1", "Amount"),
        ("Code=123456&To=%2B447400100200&Payee=me", "Payee"),
        ("Code=1&Code=2&To=%2B447400100200", "Code"),
    ],
)
async def test_an_invalid_check_is_60200_and_costs_no_attempt(
    verify: VerifyHarness, form: str, parameter: str
) -> None:
    """Amount and Payee too: a check that does not compare them must not approve them."""
    await verify.start()

    answer = await verify.send_form(CHECK_PATH, form)

    assert (400, 60200) == read_row(answer)
    assert answer.json()["message"].startswith(f"Invalid parameter: {parameter}: ")
    assert "otp.attempted" not in await verify.installation.list_event_types()


@pytest.mark.parametrize("number", ["+447400100200", "7400100200", "%2B4474001"])
async def test_an_invalid_number_with_a_sid_is_60200_and_costs_no_attempt(
    verify: VerifyHarness, number: str
) -> None:
    """As a wrong code it would be 200, also with the right code, until the attempts are used up."""
    started = await verify.start()
    code = verify.installation.router.extract_code()
    form = f"Code={code}&VerificationSid={started.sid}&To={number}"

    answers = [await verify.send_form(CHECK_PATH, form) for _ in range(5)]
    approved = await verify.check(code, verification_sid=started.sid, to=NUMBER)

    assert {(400, 60200)} == {read_row(answer) for answer in answers}
    assert {True} == {"Invalid parameter: To: " in answer.text for answer in answers}
    assert "approved" == approved.status


async def test_an_error_says_what_to_do_at_these_paths(verify: VerifyHarness) -> None:
    """The texts of our own API would mislead: they ask for JSON, and for another scope."""
    unknown = await verify.send_form(f"/Services/VA{'9' * 32}/Verifications", START_FORM)
    json_type = {"Content-Type": "application/json"}
    sent_json = await verify.send_form(START_PATH, "{}", headers=json_type)
    unnamed = await verify.send_form(CHECK_PATH, "Code=123456")
    auth = (ACCOUNTS["shop"].sid, verify.keys["shop-challenges"])
    other_scope = await verify.send_form("/Services", None, auth=auth)

    assert unknown.json()["message"].endswith(
        "This account has no Verify Service with this id: GET /twilio/v2/Services lists them."
    )
    assert "JSON" not in sent_json.json()["message"]
    assert "VerificationSid" in unnamed.json()["message"]
    assert "'twilio-verify'" in other_scope.json()["message"]


@pytest.mark.parametrize("status", ["approved", "expired", "Canceled", ""])
async def test_no_status_but_canceled_can_be_set(verify: VerifyHarness, status: str) -> None:
    """`approved` without a comparison would be a login without a code."""
    started = await verify.start()

    answer = await verify.send_form(f"{START_PATH}/{started.sid}", f"Status={status}")
    fetched = await verify.get_service().verifications(started.sid).fetch_async()

    assert (400, 60200) == read_row(answer)
    assert "pending" == fetched.status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/Services/{BANK_SERVICE}"),
        ("GET", "/Services/VA0"),
        ("GET", f"{START_PATH}/VE{'0' * 32}"),
        ("GET", f"{START_PATH}/+447400100200"),
        ("POST", f"{START_PATH}/+447400100200"),
        ("GET", f"{SERVICE_PATH}/Entities"),
        ("GET", "/Attempts"),
        ("GET", f"{SERVICE_PATH}/"),
        ("GET", "//Services"),
    ],
)
async def test_what_does_not_exist_is_20404(verify: VerifyHarness, method: str, path: str) -> None:
    """Other resources of Twilio are not built; a number in a path is no name of a verification."""
    form = "Status=canceled" if method == "POST" else None

    assert (404, 20404) == read_row(await verify.send_form(path, form))


async def test_an_error_of_http_has_the_same_form(verify: VerifyHarness) -> None:
    """405, 413, 415 and 414, and what is refused by its head."""
    not_allowed = await verify.send_form("/Services", "a=1", method="DELETE")
    too_large = await verify.send_form(START_PATH, "a=" + "1" * 20_000)
    json_body = {"Content-Type": "application/json"}
    unsupported = await verify.send_form(START_PATH, "{}", headers=json_body)
    too_long = await verify.send_form("/Services?" + "a" * 9000, None)
    coded = await verify.send_form(START_PATH, START_FORM, headers={"Content-Encoding": "gzip"})

    assert (405, 20004) == read_row(not_allowed)
    assert "GET, HEAD" == not_allowed.headers["allow"]
    assert (413, 20413) == read_row(too_large)
    assert (415, 20415) == read_row(unsupported) == read_row(coded)
    assert (414, 20414) == read_row(too_long)


async def test_a_content_type_without_a_body_is_no_error(verify: VerifyHarness) -> None:
    """Twilio's client for Python sends one with each list."""
    answer = await verify.send_form("/Services", None)

    assert 200 == answer.status_code


@pytest.mark.parametrize("scheme", ["none", "bearer", "user", "password", "both", "no colon"])
async def test_wrong_credentials_are_20003(verify: VerifyHarness, scheme: str) -> None:
    """Basic, with the account SID and a key of the same tenant; our own scheme is refused too."""
    sid, key = ACCOUNTS["shop"].sid, verify.keys["shop-twilio-verify"]
    credentials: dict[str, Any] = {
        "none": {"auth": None},
        "bearer": {"auth": None, "headers": {"Authorization": f"Bearer {key}"}},
        "user": {"auth": (ACCOUNTS["bank"].sid, key)},
        "password": {"auth": (sid, "worthless")},
        "both": {"auth": (ACCOUNTS["bank"].sid, verify.keys["bank-challenges"])},
        "no colon": {"auth": None, "headers": {"Authorization": "Basic Zm9v"}},
    }

    answer = await verify.send_form(START_PATH, START_FORM, **credentials[scheme])

    if scheme == "both":
        assert (403, 20403) == read_row(answer)
        return
    assert (401, 20003) == read_row(answer)
    assert answer.json()["message"].startswith("Authenticate")
    assert answer.headers["www-authenticate"].startswith("Basic ")


async def test_a_key_without_the_scope_is_20403(verify: VerifyHarness) -> None:
    """A key of our own API is not one of Twilio's, and the other way round."""
    client = verify.create_client(key="shop-challenges")
    error = await catch(
        client.verify.v2.services(SHOP_SERVICE).verifications.create_async(to=NUMBER, channel="sms")
    )
    header = {"Authorization": f"Bearer {verify.keys['shop-twilio-verify']}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(verify.api.public), base_url="http://localhost"
    ) as http:
        own = await http.post("/v1/challenges", json={"phone_number": NUMBER}, headers=header)

    assert (403, 20403) == (error.status, error.code)
    assert 403 == own.status_code


async def test_the_cooldown_is_60212(verify: VerifyHarness) -> None:
    """Twilio's word for parallel starts. Waiting Retry-After is enough."""
    await verify.start()

    refused = await verify.send_form(START_PATH, START_FORM)
    wait = int(refused.headers["retry-after"])
    verify.installation.advance_clock(wait * 1000)
    resent = await verify.start()

    assert (429, 60212) == read_row(refused)
    assert 0 < wait <= 30
    assert 2 == len(resent.send_code_attempts)


async def test_exhausted_sends_are_60203_until_a_new_verification_can_start(
    verify: VerifyHarness,
) -> None:
    """Three messages of one verification; Retry-After says when a start sends again."""
    first = await verify.start()
    for _ in range(2):
        verify.pass_cooldown()
        await verify.start()
    verify.pass_cooldown()

    refused = await verify.send_form(START_PATH, START_FORM)
    verify.installation.advance_clock(int(refused.headers["retry-after"]) * 1000)
    again = await verify.start()

    assert (429, 60203) == read_row(refused)
    assert first.sid != again.sid


async def test_the_windows_of_a_number_are_60203(verify: VerifyHarness) -> None:
    """Canceling does not give more messages."""
    for _ in range(5):
        started = await verify.start()
        await verify.get_service().verifications(started.sid).update_async(status="canceled")
        verify.pass_cooldown()

    refused = await verify.send_form(START_PATH, START_FORM)

    assert (429, 60203) == read_row(refused)
    assert int(refused.headers["retry-after"]) > 0


async def test_exhausted_checks_are_60202_until_a_new_verification_can_start(
    verify: VerifyHarness,
) -> None:
    """A start gives no fresh attempts before; then the right code is approved."""
    first = await verify.start()
    code = verify.installation.router.extract_code()
    for i in range(1, 6):
        await verify.check(make_wrong_code(code, i))
    verify.pass_cooldown()

    by_number = await verify.send_form(CHECK_PATH, f"Code={code}&To=%2B447400100200")
    by_sid = await verify.send_form(CHECK_PATH, f"Code={code}&VerificationSid={first.sid}")
    started = await verify.send_form(START_PATH, START_FORM)
    verify.installation.advance_clock(int(started.headers["retry-after"]) * 1000)
    again = await verify.start()
    approved = await verify.check(verify.installation.router.extract_code())

    assert {(429, 60202)} == {read_row(answer) for answer in (by_number, by_sid, started)}
    assert by_number.headers["retry-after"] == by_sid.headers["retry-after"]
    assert first.sid != again.sid
    assert "approved" == approved.status


async def test_too_many_failures_of_a_number_are_60202(verify: VerifyHarness) -> None:
    """Ten in an hour, over all its verifications."""
    for _ in range(2):
        started = await verify.start()
        code = verify.installation.router.extract_code()
        for i in range(1, 6):
            await verify.check(make_wrong_code(code, i), verification_sid=started.sid)
        verify.installation.advance_clock(600_000)
    await verify.start()
    code = verify.installation.router.extract_code()

    refused = await verify.send_form(CHECK_PATH, f"Code={code}&To=%2B447400100200")

    assert (429, 60202) == read_row(refused)
    assert int(refused.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("changes", "number", "row"),
    [
        ({"countries": frozenset({"US"})}, NUMBER, (403, 60605)),
        ({}, "+442071838750", (403, 60205)),
    ],
)
async def test_a_number_that_is_not_allowed_is_403(
    verify: VerifyHarness, changes: Mapping[str, Any], number: str, row: tuple[int, int]
) -> None:
    """Its country, or a landline."""
    harness = VerifyHarness(verify.installation, **changes)

    error = await catch(harness.start(number))

    assert row == (error.status, error.code)


async def test_a_blocked_or_locked_number_is_60410(verify: VerifyHarness) -> None:
    """The do-not-send list, and a hundred failures in a row."""
    locked = {**DEFAULT_LIMITS, Limit.CONSECUTIVE_FAILURES: (Window(1, 60),)}
    harness = VerifyHarness(verify.installation, limits=locked)
    await harness.start()
    await harness.check(make_wrong_code(verify.installation.router.extract_code()))
    harness.pass_cooldown()

    checked = await catch(harness.check(verify.installation.router.extract_code()))
    started = await catch(harness.start())

    assert (403, 60410) == (checked.status, checked.code) == (started.status, started.code)


async def test_a_number_that_is_opted_out_is_60410(verify: VerifyHarness) -> None:
    """Its message says what ends that; a landline or a country has a row of its own."""
    await verify.start()
    caller, stop = Caller.without_tenant("callback-p1", "1"), InboundMessage(NUMBER, "STOP")
    await verify.installation.service.handle_inbound(caller, "p1", stop)
    verify.pass_cooldown()

    error = await catch(verify.start())

    assert (403, 60410) == (error.status, error.code)
    assert "answered STOP" in error.msg


async def test_a_limit_that_others_share_is_20429(verify: VerifyHarness) -> None:
    """As the only example of an error in Twilio's specification."""
    tight = {**DEFAULT_LIMITS, Limit.SENDS_TENANT: (Window(1, 3600),)}
    harness = VerifyHarness(verify.installation, limits=tight)
    await harness.start()

    error = await catch(harness.start("+447400100999"))

    assert (429, 20429) == (error.status, error.code)


async def test_a_number_that_no_provider_reaches_is_60205(verify: VerifyHarness) -> None:
    """As Twilio's answer for a landline."""
    verify.installation.router.queue_replies(RECIPIENT_REFUSAL)

    error = await catch(verify.start())

    assert (403, 60205) == (error.status, error.code)


async def test_a_failed_delivery_is_503_and_the_next_start_is_a_new_verification(
    verify: VerifyHarness,
) -> None:
    """Its Retry-After is the cooldown, which stays."""
    verify.installation.router.queue_replies(PROVIDER_REFUSAL)

    failed = await verify.send_form(START_PATH, START_FORM)
    verify.installation.advance_clock(int(failed.headers["retry-after"]) * 1000)
    started = await verify.start()

    assert (503, 20503) == read_row(failed)
    assert "30" == failed.headers["retry-after"]
    assert "pending" == started.status


@pytest.mark.parametrize(
    ("raised", "row"),
    [
        (StoreUnavailable(), (503, 20503)),
        (StoreTampered(), (503, 20503)),
        (Overloaded(), (503, 20503)),
        (RuntimeError(f"about {NUMBER}"), (500, 20500)),
    ],
)
async def test_a_failure_of_the_service_has_no_problem_document(
    verify: VerifyHarness, monkeypatch: pytest.MonkeyPatch, raised: Exception, row: tuple[int, int]
) -> None:
    """503 has a Retry-After, and 500 nothing internal."""

    async def fail(*_: Any) -> None:
        raise raised

    monkeypatch.setattr(verify.installation.service.verifications, "start", fail)

    answer = await verify.send_form(START_PATH, START_FORM)
    error = await catch(verify.start())

    assert row == read_row(answer) == (error.status, error.code)
    assert ("retry-after" in answer.headers) == (row[0] == 503)
    assert NUMBER not in answer.text


async def test_a_service_that_stops_is_503(verify: VerifyHarness) -> None:
    """As on our own paths, so that a load balancer asks another one."""
    await verify.api.background_calls.drain(0)

    assert (503, 20503) == read_row(await verify.send_form(START_PATH, START_FORM))


async def test_another_verify_service_is_another_verification(verify: VerifyHarness) -> None:
    """Of the same tenant: neither its number nor its sid is found there."""
    started = await verify.start()
    code = verify.installation.router.extract_code()
    other = verify.get_service(OTHER_SERVICE)

    by_number = await catch(other.verification_checks.create_async(code=code, to=NUMBER))
    by_sid = await catch(
        other.verification_checks.create_async(code=code, verification_sid=started.sid)
    )

    assert [20404, 20404] == [by_number.code, by_sid.code]


async def test_a_challenge_of_our_own_api_is_no_verification(
    verify: VerifyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key with the scope of Twilio's API reaches only what was started through it.

    One id in 64 of our own API has the form of a `VE…` by chance.
    """
    monkeypatch.setattr(send_admission, "build_challenge_id", build_verification_challenge_id)
    issued = await verify.installation.issue(NUMBER)
    sid = to_verification_sid(verify.installation.get_challenge_id(issued))
    code = verify.installation.router.extract_code()

    fetched = await verify.send_form(f"{START_PATH}/{sid}", None)
    canceled = await verify.send_form(f"{START_PATH}/{sid}", "Status=canceled")
    checked = await verify.send_form(CHECK_PATH, f"Code={code}&VerificationSid={sid}")
    verified = await verify.installation.verify(issued, code)

    assert {(404, 20404)} == {read_row(answer) for answer in (fetched, canceled, checked)}
    assert verified.challenge


async def test_parallel_starts_send_one_message(verify: VerifyHarness) -> None:
    """Twilio's 60212, for each of the others."""
    results = await asyncio.gather(*(verify.start() for _ in range(10)), return_exceptions=True)

    refused = [result for result in results if isinstance(result, Exception)]
    assert 9 == len(refused)
    assert {60212} == {getattr(error, "code", None) for error in refused}
    assert 1 == len(verify.installation.router.messages)


async def test_the_members_of_an_error_are_those_of_twilio(verify: VerifyHarness) -> None:
    """With `type` and `title` its clients would raise a class that no application catches."""
    answer = await verify.send_form(f"{START_PATH}/VE0", None)

    assert {
        "code": 20404,
        "message": "The requested resource was not found. It is unknown, was approved or canceled, "
        "or has expired. Start a verification.",
        "more_info": "https://www.twilio.com/docs/api/errors/20404",
        "status": 404,
    } == json.loads(answer.content)
