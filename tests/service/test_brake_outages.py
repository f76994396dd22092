"""Debts of calls whose replies are lost: each is charged, taken back and repaid at most once."""

from functools import partial
from typing import Any

import pytest

from otp_service.core.errors import StoreUnavailable
from otp_service.service.pending_refunds import MAX_REFUND_WAIT_SECONDS
from otp_service.store.client import MAX_LOST_REPLIES
from tests.installation import SECOND_MS, Installation
from tests.service.brake_books import (
    CLIENT,
    NUMBER,
    REPAID_LIMITS,
    drain,
    read_books,
    start_brake,
    sum_debts,
)
from tests.service.test_braked_sends import (
    NEIGHBOR,
    InterruptingRiskService,
    assert_same_debts,
    issue_and_verify,
)
from tests.service.test_risk_check import UNKNOWN
from tests.store.faulty_proxy import ConnectionFailure, FaultyProxy


FATES = [ConnectionFailure.LOST_REPLY, ConnectionFailure.LOST_REQUEST]


async def fail(call: Any, shop: Installation) -> None:
    """Run a call that fails, and the refunds that it causes."""
    with pytest.raises(StoreUnavailable):
        await call
    await drain(shop)


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("step", [b"UnverifiedPerRange", b"otp.issued"], ids=bytes.decode)
async def test_an_issue_of_unknown_outcome_leaves_no_debt(
    remote: Installation, proxy: FaultyProxy, fate: ConnectionFailure, step: bytes
) -> None:
    """R83: the charge is in doubt, or the challenge; what a neighbor owes stays."""
    shop = start_brake(remote)
    await shop.issue(NEIGHBOR, **CLIENT)
    before = await read_books(shop)
    proxy.fail_next(fate, step, times=MAX_LOST_REPLIES)

    await fail(shop.issue(NUMBER, **CLIENT), shop)

    assert_same_debts(before, await read_books(shop))


@pytest.mark.parametrize("fate", FATES)
async def test_a_resend_of_unknown_outcome_leaves_no_debt(
    remote: Installation, proxy: FaultyProxy, fate: ConnectionFailure
) -> None:
    """R83: and the verification of the first code repays the first message alone."""
    shop = start_brake(remote)
    await shop.issue(NEIGHBOR, **CLIENT)
    issued = await shop.issue(NUMBER, **CLIENT)
    shop.advance_clock(31 * SECOND_MS)
    before = await read_books(shop)
    proxy.fail_next(fate, b"otp.resent", times=MAX_LOST_REPLIES)

    await fail(shop.resend(issued), shop)

    assert_same_debts(before, await read_books(shop))
    await shop.verify(issued, shop.router.extract_code())
    await drain(shop)
    assert dict.fromkeys(REPAID_LIMITS, (1, 1)) | {"SpendOverall": (2, 0)} == await sum_debts(shop)


@pytest.mark.parametrize("fate", FATES)
async def test_an_end_of_an_exemption_of_unknown_outcome_leaves_no_debt(
    remote: Installation, proxy: FaultyProxy, fate: ConnectionFailure
) -> None:
    """R83: the send was charged as exempt before, and that is refunded as well."""
    risk = InterruptingRiskService()
    shop = start_brake(remote, risk_service=risk)
    await issue_and_verify(shop)
    await shop.issue(NEIGHBOR, **CLIENT)
    shop.advance_clock(31 * SECOND_MS)
    before = await read_books(shop)
    risk.queued.append(UNKNOWN)

    async def lose_next() -> None:
        proxy.fail_next(fate, b"UnverifiedPerRange", times=MAX_LOST_REPLIES)

    risk.interruption = lose_next
    await fail(shop.issue(NUMBER, **CLIENT), shop)

    assert_same_debts(before, await read_books(shop))


@pytest.mark.parametrize("step", [b"otp.verified", b":settle-"], ids=bytes.decode)
async def test_a_settlement_whose_reply_is_lost_is_applied_once(
    remote: Installation, proxy: FaultyProxy, step: bytes
) -> None:
    """R83: the call is repeated under its operation id."""
    shop = start_brake(remote)
    await shop.issue(NEIGHBOR, **CLIENT)
    issued = await shop.issue(NUMBER, **CLIENT)
    times = 1 if step == b"otp.verified" else MAX_LOST_REPLIES
    proxy.fail_next(ConnectionFailure.LOST_REPLY, step, times=times)

    await shop.verify(issued, shop.router.extract_code())
    await drain(shop)

    assert times == proxy.failed_count
    assert dict.fromkeys(REPAID_LIMITS, (1, 1)) | {"SpendOverall": (2, 0)} == await sum_debts(shop)


async def test_a_settlement_is_remembered_for_as_long_as_it_is_tried_again(
    remote: Installation,
) -> None:
    """R83: one whose reply was lost, and that is tried after an outage of minutes, applies once."""
    shop = start_brake(remote)
    issued = await shop.issue(NUMBER, **CLIENT)
    await shop.verify(issued, shop.router.extract_code())
    await drain(shop)

    (key,) = await shop.list_keys("*:operation:settle-*")
    (left_ms,) = await shop.script_client.run_pipeline(key.decode(), [("PTTL", key)])

    assert left_ms > MAX_REFUND_WAIT_SECONDS * SECOND_MS


async def test_a_verify_that_fails_after_its_commit_leaves_debts_that_all_share(
    remote: Installation, proxy: FaultyProxy
) -> None:
    """Strict, and for a day: the repeat of the call settles nothing, because it cannot know more."""
    shop = start_brake(remote)
    issued = await shop.issue(NUMBER, **CLIENT)
    verify = partial(shop.verify, issued, shop.router.extract_code(), key="k")
    proxy.fail_next(ConnectionFailure.LOST_REPLY, b"otp.verified", times=MAX_LOST_REPLIES)
    await fail(verify(), shop)

    await verify()
    await drain(shop)

    sums = await sum_debts(shop)
    assert (0, 1) == sums["UnverifiedPerRange"]
    assert (1, 0) == sums["UnverifiedPerCountryAndTenant"]
