"""The clock is stepped: no code is revived, and no limit refuses for longer than its period.

tests/store/test_clock_steps.py steps the clock of a real server.
"""

from typing import Any

import pytest

from otp_service.core.challenge import ChallengeStatus
from otp_service.core.errors import ChallengeAlreadyVerified, ChallengeExpired, RateLimited
from otp_service.core.limits import DEFAULT_LIMITS, Limit
from tests.installation import HOUR_MS, SECOND_MS, Installation


@pytest.mark.parametrize("call", ["verify", "get", "resend", "cancel"])
async def test_an_expired_code_is_not_revived_by_a_clock_that_is_set_back(
    installation: Installation, call: str
) -> None:
    """R81: each call that reports the end of a challenge also stores it, and deletes its secret."""
    issued = await installation.issue()
    code = installation.router.extract_code()
    challenge_id, caller = installation.get_challenge_id(issued), installation.build_caller()

    installation.advance_clock(301 * SECOND_MS)
    if call == "get":
        snapshot = await installation.service.get_challenge(caller, challenge_id)
        assert ChallengeStatus.EXPIRED == snapshot.require_challenge().compute_status(snapshot.now)
    else:
        calls = {
            "verify": lambda: installation.verify(issued, code),
            "resend": lambda: installation.resend(issued),
            "cancel": lambda: installation.service.cancel(caller, challenge_id),
        }
        with pytest.raises(ChallengeExpired):
            await calls[call]()
    installation.advance_clock(-100 * SECOND_MS)

    with pytest.raises(ChallengeExpired):
        await installation.verify(issued, code)
    assert [] == await installation.list_keys("*:secret:*")


async def test_a_code_that_was_charged_in_time_is_accepted_after_the_end_was_reported(
    installation: Installation,
) -> None:
    """R15: the attempt was charged before the deadline, and another call reports the end first."""
    issued = await installation.issue()
    code = installation.router.extract_code()
    challenge_id, caller = installation.get_challenge_id(issued), installation.build_caller()
    compute_argon2id = installation.hasher.compute_argon2id

    async def report_end(code: str, salt: bytes, **more: Any) -> bytes:
        installation.advance_clock(301 * SECOND_MS)
        await installation.service.get_challenge(caller, challenge_id)
        return await compute_argon2id(code, salt, **more)

    installation.hasher.compute_argon2id = report_end  # type: ignore[method-assign,assignment]

    verified = await installation.verify(issued, code)

    assert ChallengeStatus.VERIFIED == verified.require_challenge().compute_status(verified.now)


@pytest.mark.parametrize("hours", [1, 26])
async def test_a_challenge_of_a_clock_that_was_ahead_is_refused(
    installation: Installation, hours: int
) -> None:
    """R3, R81: its deadline is later than now + lifetime, so its code would live for a day."""
    installation.advance_clock(hours * HOUR_MS)
    issued = await installation.issue()
    code = installation.router.extract_code()

    installation.advance_clock(-hours * HOUR_MS)

    with pytest.raises(ChallengeExpired):
        await installation.verify(issued, code)
    other = await installation.issue("+447400123457")
    await installation.verify(other, installation.router.extract_code())


async def test_a_promoted_replica_whose_clock_is_a_little_behind_refuses_nothing(
    installation: Installation,
) -> None:
    """R81: clocks of two machines differ by some milliseconds, rarely by a second."""
    issued = await installation.issue()

    installation.advance_clock(-4 * SECOND_MS)

    await installation.verify(issued, installation.router.extract_code())


async def test_a_repeat_is_recognized_for_a_minute_also_after_the_clock_was_ahead(
    installation: Installation,
) -> None:
    """R54, R81: verified an hour in the future, it would be a repeat for an hour."""
    installation.advance_clock(HOUR_MS)
    issued = await installation.issue()
    code = installation.router.extract_code()
    await installation.verify(issued, code, key="k")

    installation.advance_clock(-HOUR_MS)

    with pytest.raises(ChallengeAlreadyVerified):
        await installation.verify(issued, code, key="k")


async def test_a_clock_that_was_a_day_ahead_stops_no_number_and_no_country(
    installation: Installation,
) -> None:
    """R81: one message 26 h ahead refused a country for 25 h after the correction."""
    for i in range(3):
        await installation.issue(f"+44740012345{i}", client_ip="203.0.113.9", account="u-81")
    installation.advance_clock(26 * HOUR_MS)
    await installation.issue(client_ip="203.0.113.9", account="u-81")

    installation.advance_clock(-26 * HOUR_MS)

    with pytest.raises(RateLimited) as refusal:
        await installation.issue(client_ip="203.0.113.9", account="u-81")
    assert (Limit.COOLDOWN, 30) == (refusal.value.limit, refusal.value.retry_after)
    await installation.issue("+447400123457", client_ip="203.0.113.9", account="u-81")
    installation.advance_clock(30 * SECOND_MS)
    await installation.issue(client_ip="203.0.113.9", account="u-81")


async def test_every_wait_after_a_correction_is_true(installation: Installation) -> None:
    """R52: the account's bucket was filled while the clock was ahead; it drains as it always does."""
    installation.advance_clock(26 * HOUR_MS)
    (window,) = DEFAULT_LIMITS[Limit.SENDS_ACCOUNT]
    for i in range(window.count):
        await installation.issue(f"+44740012345{i}", account="u-81")
    installation.advance_clock(-26 * HOUR_MS)

    for i in range(3):
        with pytest.raises(RateLimited) as refusal:
            await installation.issue(f"+44740012346{i}", account="u-81")
        assert Limit.SENDS_ACCOUNT == refusal.value.limit
        assert refusal.value.retry_after <= window.period_seconds / window.count
        installation.advance_clock(refusal.value.retry_after * SECOND_MS)
        await installation.issue(f"+44740012346{i}", account="u-81")


async def test_a_key_whose_lease_began_in_the_future_is_not_in_use(
    installation: Installation,
) -> None:
    """R53, R81: the first call died while the clock was ahead."""
    installation.advance_clock(26 * HOUR_MS)
    swap, record = installation.store.swap_idempotency_record, []

    async def die_after_claim(*arguments: Any) -> bool:
        record.append(await swap(*arguments))
        raise ConnectionError

    installation.store.swap_idempotency_record = die_after_claim  # type: ignore[method-assign,assignment]
    with pytest.raises(ConnectionError):
        await installation.issue(key="k")
    installation.store.swap_idempotency_record = swap  # type: ignore[method-assign]

    installation.advance_clock(-26 * HOUR_MS)

    assert [True] == record
    await installation.issue(key="k")
