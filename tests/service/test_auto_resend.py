"""Auto-resends: when a lost message is sent once more, how often, and when not."""

from typing import Any

import msgspec
import pytest

from otp_service.core.commit import ChallengeSnapshot
from otp_service.core.delivery import Receipt
from otp_service.core.errors import IncorrectCode, RateLimited
from otp_service.core.limits import Limit, Window
from tests.installation import (
    ACCEPTED_REPLY,
    MINUTE_MS,
    RECIPIENT_REFUSAL,
    SECOND_MS,
    UNKNOWN_OUTCOME,
    Installation,
    make_wrong_code,
)


NUMBER = "+447400123456"


async def report_failure(
    installation: Installation,
    stored: ChallengeSnapshot,
    *,
    status: Any = "technical-failure",
    **options: Any,
) -> bool:
    """Deliver a failure receipt, and run the auto-resend that it starts; return whether it sent."""
    pauses: list[float] = options.pop("waited", [])

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        installation.advance_clock(int(seconds * SECOND_MS))

    send, ordinal = options.pop("send", 1), options.pop("ordinal", 1)
    provider = f"p{ordinal}"
    receipt = Receipt(status, f"shop.{installation.get_challenge_id(stored)}.{send}.{ordinal}")
    caller = installation.build_caller()
    received = await installation.service.handle_receipt(
        caller, provider, receipt, trusted=options.pop("trusted", True)
    )
    if received.auto_resend_reference is None:
        return False
    return await installation.service.auto_resend(
        caller, provider, received.auto_resend_reference, pause
    )


async def test_a_lost_message_is_sent_once_more_with_a_new_code(installation: Installation) -> None:
    """Both codes verify, because the first may still arrive. The resend counts as a send."""
    issued = await installation.issue(account="u-1")
    first = installation.router.extract_code()
    installation.advance_clock(30 * SECOND_MS)

    assert await report_failure(installation, issued)

    assert [NUMBER, NUMBER] == [message.to.e164 for message in installation.router.messages]
    assert ("p1",) == installation.router.messages[-1].failed_providers
    challenge = (
        await installation.store.fetch_challenge("shop", installation.get_challenge_id(issued))
    ).challenge
    assert challenge
    assert (1, 2) == (challenge.sends_left, challenge.sends)
    assert issued.challenge
    assert issued.challenge.deadline == challenge.deadline
    (resent,) = [
        event for event in await installation.read_events() if event["type"] == "otp.resent"
    ]
    assert ("delivery_failed", "shop") == (resent["reason"], resent["tenant"])
    assert first != installation.router.extract_code()
    await installation.verify(issued, first)


async def test_an_auto_resend_waits_for_the_cooldown_once(installation: Installation) -> None:
    """A receipt often arrives during the cooldown, and the auto-resend does not bypass it."""
    issued = await installation.issue()
    installation.advance_clock(10 * SECOND_MS)
    waited: list[float] = []

    assert await report_failure(installation, issued, waited=waited)

    assert [20] == waited
    assert 2 == len(installation.router.messages)


@pytest.mark.parametrize(
    "status", ["permanent-failure", "temporary-failure", "pending", "delivered"]
)
async def test_other_receipts_start_no_resend(installation: Installation, status: str) -> None:
    """Never for the number's own failure or a fraud block, and not while the message may arrive."""
    issued = await installation.issue()
    installation.advance_clock(30 * SECOND_MS)

    assert not await report_failure(installation, issued, status=status)

    assert 1 == len(installation.router.messages)


async def test_an_untrusted_receipt_starts_no_resend(
    installation: Installation,
) -> None:
    """R64: a receipt that is neither signed nor sent to a URL with a token is advisory."""
    issued = await installation.issue()
    installation.advance_clock(30 * SECOND_MS)

    assert not await report_failure(installation, issued, trusted=False)

    # already recorded, so it is not a change any more
    assert not await report_failure(installation, issued)
    assert 1 == len(installation.router.messages)


async def test_no_resend_follows_an_attempt(installation: Installation) -> None:
    """A message has arrived, whatever the receipt reports."""
    issued = await installation.issue()
    with pytest.raises(IncorrectCode):
        await installation.verify(issued, make_wrong_code(installation.router.extract_code()))
    installation.advance_clock(30 * SECOND_MS)

    assert not await report_failure(installation, issued)


async def test_no_resend_follows_after_the_challenge_has_ended(installation: Installation) -> None:
    """By verification or by cancellation."""
    verified, canceled = await installation.issue(), await installation.issue("+447400123457")
    await installation.verify(verified, installation.router.extract_code(0))
    await installation.service.cancel(
        installation.build_caller(), installation.get_challenge_id(canceled)
    )
    installation.advance_clock(30 * SECOND_MS)

    for ended in (verified, canceled):
        assert not await report_failure(installation, ended)


async def test_no_resend_follows_with_less_than_a_minute_left(installation: Installation) -> None:
    """Another message would arrive too late to be typed."""
    issued = await installation.issue()
    installation.advance_clock(4 * MINUTE_MS + SECOND_MS)

    assert not await report_failure(installation, issued)


async def test_no_resend_follows_while_a_newer_code_is_in_flight(
    installation: Installation,
) -> None:
    """The user has already requested a resend."""
    issued = await installation.issue()
    installation.advance_clock(30 * SECOND_MS)
    await installation.resend(issued)
    installation.advance_clock(30 * SECOND_MS)

    assert not await report_failure(installation, issued, send=1)

    assert await report_failure(installation, issued, send=2)
    assert 3 == len(installation.router.messages)


async def test_no_resend_follows_while_another_message_of_the_send_may_arrive(
    installation: Installation,
) -> None:
    """One provider did not respond, and the next one accepted the message."""
    installation.router.queue_replies(UNKNOWN_OUTCOME, ACCEPTED_REPLY)
    issued = await installation.issue()
    installation.advance_clock(30 * SECOND_MS)

    assert not await report_failure(installation, issued, ordinal=1)
    assert await report_failure(installation, issued, ordinal=2)


async def test_a_challenge_has_at_most_one_auto_resend(installation: Installation) -> None:
    """A provider that loses every message does not use up the budget."""
    issued = await installation.issue()
    installation.advance_clock(30 * SECOND_MS)
    assert await report_failure(installation, issued)
    installation.advance_clock(30 * SECOND_MS)

    assert not await report_failure(installation, issued, send=2)

    assert 2 == len(installation.router.messages)


async def test_a_hundred_lost_messages_start_no_more_sends_than_the_caps_allow(
    installation: Installation,
) -> None:
    """Five an hour for each prefix, and every other limit still holds."""
    issued = [
        await installation.issue(f"+4474001{block}45{n:02d}") for block in (2, 3) for n in range(50)
    ]
    installation.advance_clock(30 * SECOND_MS)

    started = [await report_failure(installation, challenge) for challenge in issued]

    assert [5, 5] == [sum(started[:50]), sum(started[50:])]
    assert 110 == len(installation.router.messages)


async def test_a_refusal_by_a_limit_refunds_every_charge(installation: Installation) -> None:
    """The tenant's send limit is exhausted: nothing is sent, and the charges are refunded."""
    installation.tenants["shop"] = msgspec.structs.replace(
        installation.tenants["shop"],
        limits={**installation.tenants["shop"].limits, Limit.SENDS_TENANT: (Window(1, 86400),)},
    )
    issued = await installation.issue()
    installation.advance_clock(30 * SECOND_MS)

    assert not await report_failure(installation, issued)

    assert 1 == len(installation.router.messages)
    challenge = (
        await installation.store.fetch_challenge("shop", installation.get_challenge_id(issued))
    ).challenge
    assert challenge
    assert (2, False) == (challenge.sends_left, challenge.auto_resent)
    with pytest.raises(RateLimited) as refusal:
        await installation.issue()
    assert Limit.SENDS_TENANT == refusal.value.limit


async def test_two_receipts_at_once_start_one_send(installation: Installation) -> None:
    """Vendors deliver the same receipt twice."""
    issued = await installation.issue()
    installation.advance_clock(30 * SECOND_MS)
    caller, receipt = (
        installation.build_caller(),
        Receipt("technical-failure", f"shop.{installation.get_challenge_id(issued)}.1.1"),
    )
    received = await installation.service.handle_receipt(caller, "p1", receipt, trusted=True)
    assert received.auto_resend_reference

    first = await installation.service.auto_resend(
        caller, "p1", received.auto_resend_reference, no_pause
    )
    second = await installation.service.auto_resend(
        caller, "p1", received.auto_resend_reference, no_pause
    )

    assert (True, False) == (first, second)
    assert 2 == len(installation.router.messages)


async def test_a_number_may_be_refused_by_the_next_provider(
    installation: Installation,
) -> None:
    """The result of the resend is recorded like any other; the caller gets no error."""
    issued = await installation.issue()
    installation.advance_clock(30 * SECOND_MS)
    installation.router.queue_replies(RECIPIENT_REFUSAL)

    assert not await report_failure(installation, issued)

    assert 1 == len(installation.router.messages)


async def no_pause(_: float) -> None:
    """Return at once."""
