"""What differs from Twilio: each row of docs/twilio-verify.md, and what must not be possible."""

import asyncio
import json
from typing import Any

import pytest

from otp_service.core.errors import OtpError
from otp_service.core.verification_sid import parse_verification_sid
from otp_service.schemas import VerifyRequest
from tests.api.twilio.sdk import (
    ACCOUNTS,
    BANK_SERVICE,
    NUMBER,
    OTHER_SERVICE,
    SHOP_SERVICE,
    VerifyHarness,
    catch,
)
from tests.installation import make_wrong_code


START_PATH = f"/Services/{SHOP_SERVICE}/Verifications"


async def test_a_verification_lives_ten_minutes(verify: VerifyHarness) -> None:
    """As its message says, although codes of our own API live for five."""
    await verify.start()
    code = verify.installation.router.extract_code()
    message = verify.installation.router.messages[-1]
    verify.installation.advance_clock(599_000)

    approved = await verify.check(code)

    assert "10" in message.text
    assert 599 <= message.validity_seconds <= 600
    assert "approved" == approved.status


async def test_an_expired_verification_is_unknown(verify: VerifyHarness) -> None:
    """To a check by its number, to one by its sid, and to a fetch."""
    started = await verify.start()
    code = verify.installation.router.extract_code()
    verify.installation.advance_clock(601_000)

    by_number = await catch(verify.check(code))
    by_sid = await catch(verify.check(code, verification_sid=started.sid))
    fetched = await catch(verify.get_service().verifications(started.sid).fetch_async())

    assert [20404] * 3 == [by_number.code, by_sid.code, fetched.code]


async def test_with_less_than_a_minute_left_a_start_is_a_new_verification(
    verify: VerifyHarness,
) -> None:
    """A message would arrive too late for the pending one, which its sid still names."""
    first = await verify.start()
    first_code = verify.installation.router.extract_code()
    verify.installation.advance_clock(541_000)

    second = await verify.start()
    by_number = await verify.check(verify.installation.router.extract_code())
    by_first_sid = await verify.check(first_code, verification_sid=first.sid)

    assert first.sid != second.sid == by_number.sid
    assert ["approved", "approved"] == [by_number.status, by_first_sid.status]


async def test_the_channel_auto_is_sms(verify: VerifyHarness) -> None:
    """The body says which channel it was."""
    started = await verify.get_service().verifications.create_async(to=NUMBER, channel="auto")

    assert "sms" == started.channel
    assert "SMS" == started.send_code_attempts[0]["channel"]
    assert started.send_code_attempts[0]["attempt_sid"].startswith("VL")


async def test_fields_that_change_nothing_are_ignored(verify: VerifyHarness) -> None:
    """SDKs grow fields, and the SDK for Python sends the keys of `tags` as fields of one name."""
    started = await verify.start(
        tags={"a": "b", "c": "d"}, send_digits="1", channel_configuration={"a": "b"}, app_hash="x"
    )
    grown = await verify.send_form(
        START_PATH, "To=%2B447400100999&Channel=sms&NewField=1&NewField=2&Empty="
    )

    assert "pending" == started.status
    assert 201 == grown.status_code


async def test_locale_and_address_are_those_of_our_own_api(verify: VerifyHarness) -> None:
    """DeviceIp or a rate limit of the settings is the client's address, which limits count."""
    await verify.start(locale="de", device_ip="203.0.113.9")
    german = verify.installation.router.messages[-1].text
    await verify.start("+447400100999", rate_limits={"end_user_ip": "203.0.113.9"})

    (issued, other) = [
        event for event in await verify.installation.read_events() if event["type"] == "otp.issued"
    ]

    assert "ist" in german
    assert "203.0.113.9" == issued["client_ip"] == other["client_ip"]
    assert "login" == issued["purpose"]
    assert "shop-twilio-verify" == issued["key_id"]


async def test_a_code_that_cannot_be_ours_is_a_wrong_one(verify: VerifyHarness) -> None:
    """Twilio's codes have 4 to 10 characters. It is not compared, and costs no attempt."""
    started = await verify.start()

    answers = [await verify.check(code) for code in ("1234", "abcdef", "12345678", "1234567890")]
    pending = await verify.check(
        verify.installation.router.extract_code(), verification_sid=started.sid
    )

    assert {("pending", False)} == {(answer.status, answer.valid) for answer in answers}
    assert "approved" == pending.status
    assert 1 == (await verify.installation.list_event_types()).count("otp.attempted")


async def test_the_number_of_a_check_by_sid_must_match(verify: VerifyHarness) -> None:
    """With both, the code of another number is a wrong code."""
    started = await verify.start()
    code = verify.installation.router.extract_code()

    wrong = await verify.check(code, verification_sid=started.sid, to="+447400100999")
    right = await verify.check(code, verification_sid=started.sid, to=NUMBER)

    assert ("pending", "approved") == (wrong.status, right.status)


async def test_of_twenty_right_checks_one_is_approved(verify: VerifyHarness) -> None:
    """The others are refused; none of them is 2xx with another body."""
    await verify.start()
    code = verify.installation.router.extract_code()

    results = await asyncio.gather(*(verify.check(code) for _ in range(20)), return_exceptions=True)

    approved = [result for result in results if not isinstance(result, BaseException)]
    assert [("approved", True)] == [(result.status, result.valid) for result in approved]
    refused = {getattr(result, "code", result) for result in results if result not in approved}
    assert refused <= {20404, 60202}
    assert 1 == (await verify.installation.list_event_types()).count("otp.verified")


async def test_a_start_is_pending_whatever_happens_while_it_is_sent(verify: VerifyHarness) -> None:
    """Only a check is approved: two bodies with `valid: true` would be two logins with one code."""
    await verify.start()
    code = verify.installation.router.extract_code()
    checks: list[Any] = []

    async def check_code() -> None:
        checks.append(await verify.check(code))

    verify.pass_cooldown()
    verify.installation.router.on_send = check_code
    resent = await verify.start()

    assert ("approved", True) == (checks[0].status, checks[0].valid)
    assert ("pending", False) == (resent.status, resent.valid)


async def test_wrong_codes_while_a_message_is_sent_are_no_failure(verify: VerifyHarness) -> None:
    """Five of them lock the verification; a provider may take seconds."""

    async def check_wrong_codes() -> None:
        for number in range(5):
            await verify.check(f"00000{number}")

    verify.installation.router.on_send = check_wrong_codes
    started = await verify.start()

    assert "pending" == started.status
    assert 60202 == (await catch(verify.check("000000"))).code


async def test_another_tenant_reaches_no_verification(verify: VerifyHarness) -> None:
    """Neither by the sid, nor by the number, nor through the Verify Service; and it stays valid."""
    started = await verify.start()
    code = verify.installation.router.extract_code()
    bank = verify.get_service(BANK_SERVICE, "bank")
    foreign = verify.get_service(SHOP_SERVICE, "bank")

    calls = [
        service.verification_checks.create_async(code=code, **by)
        for service in (bank, foreign)
        for by in ({"to": NUMBER}, {"verification_sid": started.sid})
    ]
    calls += [service.verifications(started.sid).fetch_async() for service in (bank, foreign)]
    calls += [
        service.verifications(started.sid).update_async(status="canceled")
        for service in (bank, foreign)
    ]
    calls.append(foreign.verifications.create_async(to=NUMBER, channel="sms"))
    refused = [await catch(call) for call in calls]
    approved = await verify.check(code)

    assert {(404, 20404)} == {(error.status, error.code) for error in refused}
    assert "approved" == approved.status


async def test_two_tenants_and_two_services_have_verifications_of_one_number(
    verify: VerifyHarness,
) -> None:
    """Each finds its own by the number."""
    codes = {}
    for tenant, service in (
        ("shop", SHOP_SERVICE),
        ("shop", OTHER_SERVICE),
        ("bank", BANK_SERVICE),
    ):
        context = verify.get_service(service, tenant)
        await context.verifications.create_async(to=NUMBER, channel="sms")
        codes[tenant, service] = verify.installation.router.extract_code()
        verify.pass_cooldown()

    approved = [
        await verify.get_service(service, tenant).verification_checks.create_async(
            code=code, to=NUMBER
        )
        for (tenant, service), code in codes.items()
    ]

    assert ["approved"] * 3 == [one.status for one in approved]
    assert [ACCOUNTS["shop"].sid] * 2 + [ACCOUNTS["bank"].sid] == [
        one.account_sid for one in approved
    ]


async def test_a_wrong_code_is_refused_by_our_own_api(verify: VerifyHarness) -> None:
    """`valid: false` with 200 is of these paths alone: a verify of the same challenge is an error."""
    started = await verify.start()
    wrong = make_wrong_code(verify.installation.router.extract_code())
    challenge_id = parse_verification_sid(started.sid)
    assert challenge_id

    answer = await verify.check(wrong, verification_sid=started.sid)
    with pytest.raises(OtpError):
        await verify.installation.service.verify(
            verify.installation.build_caller(), challenge_id, VerifyRequest(wrong), None
        )

    assert ("pending", False) == (answer.status, answer.valid)


async def test_refusals_of_retries_are_folded(verify: VerifyHarness) -> None:
    """`autoRetry` of the SDK for JavaScript asks three more times within a second."""
    await verify.start()

    refused = [await catch(verify.start()) for _ in range(16)]
    verify.installation.advance_clock(120_000)
    for partition in range(64):
        await verify.installation.store.flush_folds(partition, f"flush-{partition}")

    events = [
        event
        for event in await verify.installation.read_events()
        if event["type"] == "otp.issue_denied"
    ]
    assert {60212} == {error.code for error in refused}
    assert 11 == len(events)
    assert 16 == sum(event.get("folded", 1) for event in events)


async def test_no_number_and_no_code_is_in_an_error_or_a_key(verify: VerifyHarness) -> None:
    """Redis has only keyed names, and the bodies of errors name the parameter."""
    await verify.start()
    code = verify.installation.router.extract_code()

    error = await verify.send_form(START_PATH, f"To={NUMBER[1:]}&Channel={code}")
    keys = await verify.installation.list_keys()

    assert NUMBER[1:] not in error.text
    assert code not in error.text
    assert not [key for key in keys if NUMBER[1:].encode() in key]
    assert 1 == len([key for key in keys if b":pointer:shop:" in key])
    assert NUMBER not in json.dumps(
        [str(event) for event in await verify.installation.read_events()]
    )
