"""Twilio's client for Python does what an application does: start, check, resend, cancel, fetch."""

from datetime import UTC, datetime
from typing import Any

from tests.api.twilio.sdk import (
    NUMBER,
    SHOP_SERVICE,
    VerifyHarness,
    catch,
)
from tests.installation import make_wrong_code


async def test_a_code_is_approved_once(verify: VerifyHarness) -> None:
    """The login of an application that was written for Twilio; then the verification is unknown."""
    started = await verify.start()
    code = verify.installation.router.extract_code()

    approved = await verify.check(code)
    repeated = await catch(verify.check(code))
    fetched = await catch(verify.get_service().verifications(started.sid).fetch_async())

    assert ("pending", False, NUMBER) == (started.status, started.valid, started.to)
    assert ("approved", True, NUMBER) == (approved.status, approved.valid, approved.to)
    assert started.sid == approved.sid
    assert (404, 20404) == (repeated.status, repeated.code) == (fetched.status, fetched.code)


async def test_a_code_is_approved_by_its_sid(verify: VerifyHarness) -> None:
    """What the documentation recommends: the id is in the session of one person."""
    started = await verify.start()

    approved = await verify.check(
        verify.installation.router.extract_code(), verification_sid=started.sid
    )

    assert ("approved", True) == (approved.status, approved.valid)


async def test_a_wrong_code_is_200_and_pending_five_times(verify: VerifyHarness) -> None:
    """The sixth check is refused; the right code is too, and Retry-After says until when."""
    await verify.start()
    code = verify.installation.router.extract_code()

    answers = [await verify.check(make_wrong_code(code, i)) for i in range(1, 6)]
    sixth = await catch(verify.check(code))

    assert {("pending", False)} == {(answer.status, answer.valid) for answer in answers}
    assert (429, 60202) == (sixth.status, sixth.code)


async def test_a_start_while_one_is_pending_is_a_resend(verify: VerifyHarness) -> None:
    """The same sid, one attempt more, and the codes of both messages are valid."""
    first = await verify.start()
    first_code = verify.installation.router.extract_code()
    verify.pass_cooldown()

    second = await verify.start()
    approved = await verify.check(first_code)

    assert first.sid == second.sid
    assert 1 == len(first.send_code_attempts)
    assert 2 == len(second.send_code_attempts)
    assert "approved" == approved.status
    assert 2 == len(verify.installation.router.messages)


async def test_a_canceled_verification_is_unknown(verify: VerifyHarness) -> None:
    """Its code is worth nothing, and a new start has another sid."""
    started = await verify.start()
    code = verify.installation.router.extract_code()
    verification = verify.get_service().verifications(started.sid)

    canceled = await verification.update_async(status="canceled")
    checked = await catch(verify.check(code))
    repeated = await catch(verification.update_async(status="canceled"))
    verify.pass_cooldown()
    again = await verify.start()

    assert "canceled" == canceled.status
    assert [20404, 20404] == [checked.code, repeated.code]
    assert started.sid != again.sid


async def test_a_pending_verification_is_fetched_whole(verify: VerifyHarness) -> None:
    """Every member that Twilio's has; instants are instants and not text."""
    started = await verify.start()

    fetched = await verify.get_service().verifications(started.sid).fetch_async()

    assert _read_members(started) == _read_members(fetched)
    assert datetime.now(UTC).year - 1 <= fetched.date_created.year
    assert fetched.date_updated >= fetched.date_created
    assert ({}, None, None, None) == (fetched.lookup, fetched.amount, fetched.payee, fetched.sna)
    assert (SHOP_SERVICE, "sms") == (fetched.service_sid, fetched.channel)
    assert fetched.url.endswith(f"/twilio/v2/Services/{SHOP_SERVICE}/Verifications/{started.sid}")


def _read_members(resource: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(resource).items() if not name.startswith("_")}
