"""Receipts: they record the delivery of a message, and change nothing else (R65)."""

from typing import Any

import pytest
from msgspec.structs import replace

from otp_service.core.challenge import Challenge
from otp_service.core.commit import ChallengeSnapshot
from otp_service.core.delivery import OPTED_OUT_REASON, Receipt, compute_delivery_status
from otp_service.core.errors import OtpError, StoreTampered
from tests.installation import (
    ACCEPTED_REPLY,
    PROVIDER_REFUSAL,
    SECOND_MS,
    Installation,
    make_wrong_code,
)


async def deliver_receipt(
    installation: Installation, stored: ChallengeSnapshot, status: Any, ordinal: int = 1, **options
) -> bool:
    """Deliver a receipt for a submission; return whether it is known."""
    send = options.pop("send", 1)
    reference = options.pop(
        "reference", f"shop.{installation.get_challenge_id(stored)}.{send}.{ordinal}"
    )
    receipt = Receipt(status, reference, reason=options.pop("reason", None))
    provider = options.pop("provider", f"p{ordinal}")
    received = await installation.service.handle_receipt(
        installation.build_caller(), provider, receipt, trusted=options.pop("trusted", True)
    )
    return received.is_known


async def read_delivery_status(installation: Installation, stored: ChallengeSnapshot) -> str:
    """Return the delivery status that a login flow sees."""
    snapshot = await installation.store.fetch_challenge(
        "shop", installation.get_challenge_id(stored)
    )
    assert snapshot.challenge
    return compute_delivery_status(snapshot.challenge.submissions)


async def list_delivery_events(installation: Installation) -> list[tuple[str, str, bool]]:
    """Return status, outcome and trust of each receipt event."""
    events = [
        event for event in await installation.read_events() if event["type"] == "otp.delivery"
    ]
    return [(event["status"], event["outcome"], event["trusted"]) for event in events]


async def test_a_receipt_is_stored_and_is_an_event(installation: Installation) -> None:
    """R66: with the challenge's own pseudonym, because the number may be deleted."""
    issued = await installation.issue()

    assert await deliver_receipt(installation, issued, "delivered")

    assert "delivered" == await read_delivery_status(installation, issued)
    (event,) = [
        receipt_event
        for receipt_event in await installation.read_events()
        if receipt_event["type"] == "otp.delivery"
    ]
    assert issued.challenge
    assert ("p1", 1, "delivered", True) == tuple(
        event[name] for name in ("provider", "send", "status", "trusted")
    )
    assert (issued.challenge.id, issued.challenge.number_pseudonym, "shop") == (
        event["challenge"],
        event["number"],
        event["tenant"],
    )


async def test_a_reported_opt_out_is_on_the_submission_and_in_its_event(
    installation: Installation,
) -> None:
    """The vendor's own block of its sender: our do-not-send list and the next code are as before."""
    issued = await installation.issue()

    await deliver_receipt(installation, issued, "permanent-failure", reason=OPTED_OUT_REASON)

    stored = await installation.store.fetch_challenge("shop", installation.get_challenge_id(issued))
    assert stored.challenge
    (submission,) = stored.challenge.submissions
    assert ("permanent-failure", OPTED_OUT_REASON) == (submission.status, submission.reason)
    (event,) = [one for one in await installation.read_events() if one["type"] == "otp.delivery"]
    assert ("failure", OPTED_OUT_REASON) == (event["outcome"], event["reason"])
    installation.advance_clock(31 * SECOND_MS)
    assert (await installation.issue()).challenge

    await deliver_receipt(installation, issued, "delivered")

    late = await installation.store.fetch_challenge("shop", installation.get_challenge_id(issued))
    assert late.challenge
    assert ("delivered", None) == (
        late.challenge.submissions[0].status,
        late.challenge.submissions[0].reason,
    )


async def test_the_same_status_twice_is_recorded_once(installation: Installation) -> None:
    """R64: repeated receipts return 204, and record no event."""
    issued = await installation.issue()
    for _ in range(3):
        assert await deliver_receipt(installation, issued, "delivered")

    assert [("delivered", "success", True)] == await list_delivery_events(installation)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (["delivered", "pending"], "delivered"),
        (["delivered", "technical-failure"], "delivered"),
        (["technical-failure", "pending"], "technical-failure"),
        (["technical-failure", "permanent-failure"], "technical-failure"),
        (["pending", "temporary-failure"], "temporary-failure"),
        (["temporary-failure", "pending"], "temporary-failure"),
        (["technical-failure", "delivered"], "delivered"),
    ],
)
async def test_receipts_out_of_order_never_move_a_delivery_back(
    installation: Installation, said: list[str], shown: str
) -> None:
    """R65: the state machine is monotonic; a late "delivered" still counts."""
    issued = await installation.issue()

    for status in said:
        await deliver_receipt(installation, issued, status)

    assert shown == await read_delivery_status(installation, issued)


@pytest.mark.parametrize(
    "other",
    [
        {"reference": "shop.c07-5d41402abc4b2a76b9719d911017c592.1.1"},
        {"reference": "nonsense"},
        {"reference": ""},
        {"provider": "p9"},
        {"send": 2},
        {"ordinal": 2},
        {"ordinal": 2, "provider": "p1"},
    ],
)
async def test_a_receipt_of_an_unknown_submission_changes_nothing(
    installation: Installation, other
) -> None:
    """Unknown ids, another provider's submission, and a send that does not exist."""
    issued = await installation.issue()

    assert not await deliver_receipt(installation, issued, "delivered", **other)

    assert "submitted" == await read_delivery_status(installation, issued)
    assert [] == await list_delivery_events(installation)


async def test_a_reference_with_another_tenant_finds_nothing(installation: Installation) -> None:
    """The reference names the tenant of the challenge, and the Redis key contains both."""
    issued = await installation.issue()

    assert not await deliver_receipt(
        installation,
        issued,
        "delivered",
        reference=f"bank.{installation.get_challenge_id(issued)}.1.1",
    )


@pytest.mark.parametrize("guesses", [0, 1, 5], ids=["untouched", "tried", "locked"])
@pytest.mark.parametrize("said", ["delivered", "permanent-failure"])
async def test_a_receipt_verifies_extends_and_unlocks_nothing(
    installation: Installation, said: str, guesses: int
) -> None:
    """R65: except for the status of its submission, the challenge and every budget stay equal."""
    issued = await installation.issue()
    for by in range(1, guesses + 1):
        with pytest.raises(OtpError):
            await installation.verify(
                issued, make_wrong_code(installation.router.extract_code(), by)
            )
    before, budgets = (
        await fetch_challenge(installation, issued),
        await dump_keys(installation, "*:limit:*"),
    )

    assert await deliver_receipt(installation, issued, said)

    after = await fetch_challenge(installation, issued)
    (submission,) = after.submissions
    assert said == submission.receipt_status
    assert before == replace(after, version=before.version, submissions=before.submissions)
    assert budgets == await dump_keys(installation, "*:limit:*")
    if guesses < 5:
        await installation.verify(issued, installation.router.extract_code())


async def fetch_challenge(installation: Installation, stored: ChallengeSnapshot) -> Challenge:
    """Return the current challenge."""
    challenge = (
        await installation.store.fetch_challenge("shop", installation.get_challenge_id(stored))
    ).challenge
    assert challenge
    return challenge


async def dump_keys(installation: Installation, pattern: str) -> dict[bytes, Any]:
    """Return the dumped value of each key with this pattern."""
    names = await installation.list_keys(pattern)
    assert names
    return {
        name: await installation.script_client.read_from(
            await installation.script_client.find_master(name.decode()), "DUMP", name
        )
        for name in names
    }


async def test_a_receipt_after_the_end_is_recorded_and_restores_nothing(
    installation: Installation,
) -> None:
    """Most receipts arrive after the user has typed the code."""
    issued = await installation.issue()
    code = installation.router.extract_code()
    await installation.verify(issued, code)
    before = await fetch_challenge(installation, issued)

    assert await deliver_receipt(installation, issued, "delivered")

    after = await fetch_challenge(installation, issued)
    assert before == replace(after, version=before.version, submissions=before.submissions)
    assert "delivered" == await read_delivery_status(installation, issued)
    assert [] == await installation.list_keys("*:secret:*")
    installation.advance_clock(3600 * SECOND_MS + 1)
    assert not await deliver_receipt(installation, issued, "pending")


async def test_each_submission_of_each_send_has_its_own_receipts(
    installation: Installation,
) -> None:
    """Another provider took over, and then there was a resend."""
    installation.router.queue_replies(PROVIDER_REFUSAL, ACCEPTED_REPLY)
    issued = await installation.issue()
    installation.advance_clock(30 * SECOND_MS)
    await installation.resend(issued)

    await deliver_receipt(installation, issued, "technical-failure", ordinal=2)
    assert "submitted" == await read_delivery_status(installation, issued)
    await deliver_receipt(installation, issued, "delivered", send=2)

    assert "delivered" == await read_delivery_status(installation, issued)


async def test_a_forged_record_is_reported_as_tampering(installation: Installation) -> None:
    """An attacker who can write to Redis is detected here too."""
    issued = await installation.issue()
    (name,) = await installation.list_keys("*:challenge:*")
    await installation.script_client.read_from(
        await installation.script_client.find_master(name.decode()), "SET", name, b"00000001forged"
    )

    with pytest.raises(StoreTampered):
        await deliver_receipt(installation, issued, "delivered")

    assert "store.tampered" in await installation.list_event_types()
