"""What an attempt costs at each factor: no bucket is shared by two factors."""

from hypothesis import example, given
from hypothesis import strategies as st

from otp_service.core import charges
from otp_service.core.factor import Factor
from otp_service.core.limits import (
    ACCOUNT_RECORD_LIMITS,
    CONSECUTIVE_LIMITS,
    WIDE_LIMITS,
    Bucket,
    Limit,
)
from otp_service.core.tenant import Tenant


TENANT, OTHER_TENANT = (Tenant(name, "Example", frozenset({"GB"})) for name in ("shop", "bank"))
ADDRESS = "203.0.113.9"

accounts = st.text(min_size=1, max_size=128)
addresses = st.none() | st.ip_addresses().map(str)
token_factors = st.sampled_from([Factor.AUTHENTICATOR, Factor.RECOVERY_CODE])


def list_failure_buckets(
    tenant: Tenant, factor: Factor, account: str, address: str | None
) -> list[Bucket]:
    """Return every bucket that an attempt at a factor is charged to, except those of a number."""
    if factor is Factor.SMS:
        built = charges.build_caller_failure_charges(tenant, account, address)
    else:
        built = (
            *charges.build_factor_caller_charges(tenant, factor, address),
            *charges.build_factor_failure_charges(tenant, factor, account),
        )
    return [charge.bucket for charge in built]


@given(accounts, addresses)
def test_an_attempt_at_one_factor_is_charged_to_no_bucket_of_another(
    account: str, address: str | None
) -> None:
    """Failing at one factor never blocks the other factors of an account, an address or a tenant."""
    buckets = [list_failure_buckets(TENANT, factor, account, address) for factor in Factor]

    flat = [bucket for group in buckets for bucket in group]
    assert len(flat) == len(set(flat))
    assert {len(group) for group in buckets} == {3 + (address is not None)}


@given(accounts, addresses, token_factors)
def test_every_bucket_of_an_attempt_belongs_to_its_tenant(
    account: str, address: str | None, factor: Factor
) -> None:
    """A guess at one tenant is no chance at another, and costs it nothing."""
    ours = list_failure_buckets(TENANT, factor, account, address)
    theirs = list_failure_buckets(OTHER_TENANT, factor, account, address)

    assert {"shop"} == {bucket.tenant for bucket in ours}
    assert set(ours).isdisjoint(theirs)


@given(accounts, token_factors)
def test_the_account_is_charged_in_its_own_partition(account: str, factor: Factor) -> None:
    """The consecutive failures come first, so that a lock is reported before a wait."""
    consecutive, failures = charges.build_factor_failure_charges(TENANT, factor, account)

    assert {consecutive.bucket.limit, failures.bucket.limit} <= ACCOUNT_RECORD_LIMITS
    assert consecutive.bucket.limit in CONSECUTIVE_LIMITS
    assert {account} == {consecutive.bucket.subject, failures.bucket.subject}
    assert (1, 1) == (consecutive.cost, failures.cost)
    caller = charges.build_factor_caller_charges(TENANT, factor, ADDRESS)
    assert ACCOUNT_RECORD_LIMITS.isdisjoint(charge.bucket.limit for charge in caller)


@given(accounts, st.sampled_from(Factor))
@example("recovery", Factor.RECOVERY_CODE)
def test_an_unlock_resets_what_failures_are_charged_to(account: str, factor: Factor) -> None:
    """The new recovery sets of a day stay counted."""
    buckets = charges.list_account_lock_buckets("shop", account, factor)

    # Told apart by the limit: an account may be called "recovery", which a tenant's bucket is, too.
    charged = list_failure_buckets(TENANT, factor, account, None)
    assert set(buckets) == {bucket for bucket in charged if bucket.limit not in WIDE_LIMITS}
    check = charges.build_factor_lock_check(TENANT, factor, account)
    assert (buckets[0], 0) == (check.bucket, check.cost)
    assert Limit.RECOVERY_SETS not in {bucket.limit for bucket in buckets}


def test_a_correct_code_takes_back_one_failure_more_of_its_tenant() -> None:
    """R21: at each factor, only failures beyond the successes count."""
    for factor in (Factor.AUTHENTICATOR, Factor.RECOVERY_CODE):
        tenant, address = charges.build_factor_caller_charges(TENANT, factor, ADDRESS)

        assert 2 == charges.build_success_refund(tenant).cost
        assert address == charges.build_success_refund(address)


def test_the_reset_of_a_limit_empties_its_bucket_of_every_factor() -> None:
    """An operator resets the failures of a tenant, not those of one factor."""
    for limit in WIDE_LIMITS:
        bucket = Bucket(limit, "shop", "")

        reset = charges.list_reset_buckets(bucket)

        assert bucket == reset[0]
        charged = {
            b
            for factor in Factor
            for b in list_failure_buckets(TENANT, factor, "u-81", None)
            if b.limit is limit
        }
        assert charged <= set(reset)
        assert (len(charged) or 1) == len(reset)


def test_a_recovery_set_is_charged_once() -> None:
    """Creating one costs ten runs of argon2, and is no failure."""
    charge = charges.build_recovery_set_charge(TENANT, "u-81")

    assert Bucket(Limit.RECOVERY_SETS, "shop", "u-81") == charge.bucket
    assert 1 == charge.cost
