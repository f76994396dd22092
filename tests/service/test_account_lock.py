"""Consecutive failures of an account, over all of its numbers (NIST SP 800-63B-4 §3.2.2)."""

import asyncio

import msgspec
import pytest

from otp_service.core.charges import FACTOR_LOCK_LIMITS, build_factor_failure_charges
from otp_service.core.commit import Commit
from otp_service.core.errors import (
    AccountLocked,
    IncorrectCode,
    NumberNotAllowed,
    OtpError,
    RateLimited,
    SendsExhausted,
)
from otp_service.core.factor import Factor
from otp_service.core.keys import KeyRing, ServiceKeys
from otp_service.core.limits import DEFAULT_LIMITS, Limit, Window
from otp_service.core.phone_number import parse_number
from otp_service.service import Caller
from otp_service.service.optimistic_commit import commit_once
from tests.installation import DAY_MS, HOUR_MS, Installation, generate_keys, make_wrong_code


ACCOUNT = "u-81"
MAX_FAILURES = 4
OPERATOR = Caller.without_tenant("cli", "request-1")


def set_limits(installation: Installation, **more: tuple[Window, ...]) -> None:
    """Set the ceiling, and other limits by their names."""
    limits = {
        **DEFAULT_LIMITS,
        Limit.CONSECUTIVE_FAILURES_ACCOUNT: (Window(MAX_FAILURES, 90 * 86400),),
        **{Limit(name): windows for name, windows in more.items()},
    }
    installation.tenants["shop"] = msgspec.structs.replace(
        installation.tenants["shop"], limits=limits
    )


async def fail(installation: Installation, number: int, account: str = ACCOUNT) -> None:
    """Enter one wrong code for one of the account's numbers."""
    issued = await installation.issue(f"+44740012{number:04d}", account=account)
    with pytest.raises(IncorrectCode):
        await installation.verify(issued, make_wrong_code(installation.router.extract_code()))


async def lock_account(installation: Installation) -> None:
    for number in range(MAX_FAILURES):
        await fail(installation, number)


async def unlock_account(installation: Installation, tenant: str = "shop") -> None:
    await installation.service.accounts.unlock_account(OPERATOR, tenant, ACCOUNT)


async def test_failures_over_several_numbers_lock_the_account(installation: Installation) -> None:
    """An account with many numbers has no more failures than one with a single number."""
    set_limits(installation)
    pending = await installation.issue("+447400129999", account=ACCOUNT)
    code = installation.router.extract_code()
    await lock_account(installation)

    with pytest.raises(AccountLocked):
        await installation.verify(pending, code)
    with pytest.raises(AccountLocked):
        await installation.issue("+447400128888", account=ACCOUNT)
    with pytest.raises(AccountLocked):
        await installation.resend(pending)
    await installation.issue("+447400127777", account="u-82")
    await installation.issue("+447400126666", account=ACCOUNT, tenant="bank")


async def test_the_lock_does_not_end_with_time(installation: Installation) -> None:
    set_limits(installation)
    await lock_account(installation)

    installation.advance_clock(30 * DAY_MS)

    with pytest.raises(AccountLocked):
        await installation.issue("+447400128888", account=ACCOUNT)


async def test_the_lock_is_recorded_once_and_each_refusal_with_its_reason(
    installation: Installation,
) -> None:
    set_limits(installation)
    pending = await installation.issue("+447400129999", account=ACCOUNT)
    await lock_account(installation)
    with pytest.raises(AccountLocked):
        await installation.issue("+447400128888", account=ACCOUNT)
    with pytest.raises(AccountLocked):
        await installation.verify(pending, "000000")

    found = [(e["type"], e["reason"]) for e in await installation.read_events() if "reason" in e]
    assert 1 == found.count(("otp.locked", "account_locked"))
    assert 1 == found.count(("otp.issue_denied", "account_locked"))
    assert 1 == found.count(("otp.verify_denied", "account_locked"))


async def test_a_correct_code_resets_the_count(installation: Installation) -> None:
    set_limits(installation)
    for number in range(MAX_FAILURES - 1):
        await fail(installation, number)
    issued = await installation.issue("+447400129999", account=ACCOUNT)
    await installation.verify(issued, installation.router.extract_code())

    for number in range(100, 100 + MAX_FAILURES - 1):
        await fail(installation, number)
    await installation.issue("+447400128888", account=ACCOUNT)


async def test_guesses_at_once_are_no_more_than_the_ceiling(installation: Installation) -> None:
    """Each attempt is counted before its code is compared."""
    set_limits(installation)
    issued = [
        await installation.issue(f"+44740012{number:04d}", account=ACCOUNT) for number in range(9)
    ]
    hashes = installation.hasher.hash_count

    calls = (installation.verify(one, "000000") for one in issued)
    answers = await asyncio.gather(*calls, return_exceptions=True)

    refused = sum(isinstance(answer, AccountLocked) for answer in answers)
    assert len(issued) - MAX_FAILURES == refused
    assert MAX_FAILURES == installation.hasher.hash_count - hashes


async def test_a_refused_send_or_attempt_leaves_the_count(installation: Installation) -> None:
    """The number's limits refuse later than the account is charged, and its charge is refunded."""
    set_limits(installation, **{Limit.FAILURES_NUMBER: (Window(1, 3600),)})
    await fail(installation, 1)
    installation.advance_clock(31_000)
    issued = await installation.issue("+447400120001", account=ACCOUNT)
    for _ in range(MAX_FAILURES * 2):
        with pytest.raises(RateLimited):
            await installation.verify(issued, "000000")

    installation.advance_clock(HOUR_MS)
    await installation.issue("+447400129999", account=ACCOUNT)


async def test_an_operator_unlocks_the_account_at_one_tenant(installation: Installation) -> None:
    """The failures of the hour are reset too, and the event has the account's pseudonym."""
    set_limits(installation, **{Limit.FAILURES_ACCOUNT: (Window(MAX_FAILURES, 3600),)})
    await lock_account(installation)
    await unlock_account(installation, "bank")
    with pytest.raises(AccountLocked):
        await installation.issue("+447400128888", account=ACCOUNT)

    await unlock_account(installation)

    issued = await installation.issue("+447400128888", account=ACCOUNT)
    await installation.verify(issued, installation.router.extract_code())
    unlocked = [e for e in await installation.read_events() if e["type"] == "otp.unlocked"]
    pseudonym = installation.keys.pseudonym.current.derive_pseudonym("account", ACCOUNT)
    assert [(tenant, pseudonym, "by_operator") for tenant in ("bank", "shop")] == sorted(
        (e["tenant"], e["account"], e["reason"]) for e in unlocked
    )


async def count_failure(installation: Installation, factor: Factor, tenant: str = "shop") -> int:
    """Charge one failure of the account at a factor; return those in a row."""
    named = build_factor_failure_charges(installation.tenants[tenant], factor, ACCOUNT)
    store = installation.store
    partition = store.get_bucket_partition(named[0].bucket)
    operation_id = installation.dependencies.random.generate_operation_id()
    result = await commit_once(
        store, Commit(partition=partition, operation_id=operation_id, charges=named)
    )
    return result.committed.consecutive_failures


@pytest.mark.parametrize("factor", Factor)
async def test_unlocking_ends_the_lock_at_every_factor(
    installation: Installation, factor: Factor
) -> None:
    """An account is locked at one factor, and an operator does not know at which."""
    set_limits(
        installation,
        **{
            Limit.CONSECUTIVE_AUTHENTICATOR_FAILURES: (Window(MAX_FAILURES, 90 * 86400),),
            Limit.CONSECUTIVE_RECOVERY_FAILURES: (Window(MAX_FAILURES, 90 * 86400),),
        },
    )
    for _ in range(MAX_FAILURES):
        await count_failure(installation, factor)
    with pytest.raises(AccountLocked):
        await count_failure(installation, factor)

    await unlock_account(installation)

    assert 1 == await count_failure(installation, factor)


@pytest.mark.parametrize(
    "limit", [Limit.FAILURES_ACCOUNT, Limit.AUTHENTICATOR_FAILURES, Limit.RECOVERY_FAILURES]
)
async def test_unlocking_resets_the_failures_of_hours_and_days(
    installation: Installation, limit: Limit
) -> None:
    """A user who waited for the operator need not wait for the window as well."""
    factor = next(f for f in Factor if limit in FACTOR_LOCK_LIMITS[f])
    set_limits(installation, **{limit: (Window(1, 86400),)})
    await count_failure(installation, factor)
    with pytest.raises(RateLimited):
        await count_failure(installation, factor)

    await unlock_account(installation)

    await count_failure(installation, factor)


async def test_unlocking_leaves_other_accounts_and_tenants_locked(
    installation: Installation,
) -> None:
    """A name of one tenant is another user at another tenant."""
    for tenant in ("shop", "bank"):
        for factor in Factor:
            await count_failure(installation, factor, tenant)

    await installation.service.accounts.unlock_account(OPERATOR, "shop", "u-82")
    await unlock_account(installation, "bank")

    assert [2, 2, 2] == [await count_failure(installation, factor) for factor in Factor]
    assert [1, 1, 1] == [await count_failure(installation, factor, "bank") for factor in Factor]


async def test_unlocking_is_one_event(installation: Installation) -> None:
    """Two commits reset the buckets, which are in two partitions."""
    await unlock_account(installation)

    assert 1 == (await installation.list_event_types()).count("otp.unlocked")


async def test_unlocking_what_does_not_exist_changes_nothing(installation: Installation) -> None:
    await unlock_account(installation, "unknown-tenant")


async def test_a_lock_is_reported_before_the_form_of_a_code(installation: Installation) -> None:
    """The contract's order: number-not-allowed, then locked, then malformed-code."""
    set_limits(installation)
    pending = await installation.issue("+447400129999", account=ACCOUNT)
    await lock_account(installation)

    with pytest.raises(AccountLocked):
        await installation.verify(pending, "12")
    phone = parse_number("+447400128888")
    await installation.service.numbers.block_number(OPERATOR, phone)
    with pytest.raises(NumberNotAllowed):
        await installation.issue(phone.e164, account=ACCOUNT)


async def test_a_lock_is_reported_before_exhausted_sends(installation: Installation) -> None:
    """403 comes before 409; without a lock the resend is refused by its sends."""
    set_limits(installation)
    pending = await installation.issue("+447400129999", account=ACCOUNT)
    for _ in range(2):
        installation.advance_clock(31_000)
        await installation.resend(pending)
    with pytest.raises(SendsExhausted):
        await installation.resend(pending)

    await lock_account(installation)

    with pytest.raises(AccountLocked):
        await installation.resend(pending)
    denied = (await installation.read_events())[-1]
    assert ("otp.issue_denied", "account_locked") == (denied["type"], denied["reason"])


async def test_a_malformed_code_without_a_lock_costs_nothing(installation: Installation) -> None:
    set_limits(installation)
    issued = await installation.issue(account=ACCOUNT)
    for _ in range(MAX_FAILURES * 2):
        with pytest.raises(OtpError) as refusal:
            await installation.verify(issued, "12")
        assert "malformed-code" == refusal.value.problem_type

    await installation.verify(issued, installation.router.extract_code())


async def test_the_count_survives_a_rotation_of_the_limit_key(installation: Installation) -> None:
    """It is the sum under both keys, and an operator and a correct code reset both."""
    set_limits(installation)
    for number in range(MAX_FAILURES - 1):
        await fail(installation, number)
    new = generate_keys("2").limit.current
    keys = installation.keys
    rings = {name: getattr(keys, name) for name in keys.__struct_fields__}
    rotated = ServiceKeys(**{**rings, "limit": KeyRing((new, keys.limit.current))})
    installation = installation.restart(keys=rotated)
    set_limits(installation)

    await fail(installation, 100)
    with pytest.raises(AccountLocked):
        await installation.issue("+447400128888", account=ACCOUNT)
    await unlock_account(installation)
    for number in range(200, 200 + MAX_FAILURES - 1):
        await fail(installation, number)
    issued = await installation.issue("+447400127777", account=ACCOUNT)
    await installation.verify(issued, installation.router.extract_code())
