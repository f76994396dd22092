"""The charges of each request. No other module decides what a request costs.

They are charged in this order, so that a caller whose own bucket refuses never reserves what other
callers share, not even until a refund:

1. the caller's buckets: its tenant, the tenant's share of a country, the client's address and the
   account. They are in the partition of the tenant, and are charged in one commit, all or none
2. the buckets of the number and of its prefix, in the partition of the number, in one commit with the
   change that they limit, and with the tenant's share of the prefix
3. shared buckets: the country and the whole service, in one partition and one commit

An attempt with an authenticator or a recovery code is charged to the buckets of its tenant and its
address in 1, and then to those of its account, in the partition of the account. Every bucket of a
failure belongs to one factor, so that failures at one factor never refuse another one.
"""

from msgspec.structs import replace

from otp_service.core.factor import Factor
from otp_service.core.known_addresses import AddressStanding, reduce_window
from otp_service.core.limits import CONSECUTIVE_LIMITS, Bucket, Charge, Limit
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.tenant import Tenant
from otp_service.core.tenant_share import SHARE_LIMITS


FACTOR_LOCK_LIMITS = {
    Factor.SMS: (Limit.CONSECUTIVE_FAILURES_ACCOUNT, Limit.FAILURES_ACCOUNT),
    Factor.AUTHENTICATOR: (Limit.CONSECUTIVE_AUTHENTICATOR_FAILURES, Limit.AUTHENTICATOR_FAILURES),
    Factor.RECOVERY_CODE: (Limit.CONSECUTIVE_RECOVERY_FAILURES, Limit.RECOVERY_FAILURES),
}
"""The limits on the failures of an account at each factor: those in a row, then all."""


def build_caller_send_charges(
    tenant: Tenant, phone: PhoneNumber, account: str | None, client_ip_key: str | None
) -> tuple[Charge, ...]:
    """Return the charges of a send to the caller's own buckets; a locked account refuses it."""
    charges = [
        _build_charge(tenant, Limit.SENDS_TENANT, ""),
        *_build_share_charges(tenant, Limit.SENDS_COUNTRY_TENANT, phone.country),
    ]
    if client_ip_key is not None:
        charges.append(_build_charge(tenant, Limit.SENDS_ADDRESS, client_ip_key))
    if account is not None:
        charges.append(build_account_lock_check(tenant, account))
        charges.append(_build_charge(tenant, Limit.SENDS_ACCOUNT, account))
    return tuple(charges)


def build_number_send_charges(tenant: Tenant, phone: PhoneNumber) -> tuple[Charge, ...]:
    """Return the charges of a send to its number and prefix; the lock is checked first."""
    number = phone.canonical
    return (
        build_lock_check(tenant, phone),
        _build_charge(tenant, Limit.COOLDOWN, number, all_tenants=True),
        _build_charge(tenant, Limit.SENDS_NUMBER_TENANT, number),
        _build_charge(tenant, Limit.SENDS_NUMBER, number, all_tenants=True),
        *_build_share_charges(tenant, Limit.SENDS_PREFIX_TENANT, phone.prefix),
        _build_charge(tenant, Limit.SENDS_PREFIX, phone.prefix, all_tenants=True),
    )


def build_shared_send_charges(tenant: Tenant, phone: PhoneNumber) -> tuple[Charge, ...]:
    """Return the charges of a send to the buckets of the country and of the whole service."""
    return (
        _build_charge(tenant, Limit.SENDS_COUNTRY, phone.country, all_tenants=True),
        _build_charge(tenant, Limit.SENDS_OVERALL, "", all_tenants=True),
    )


def build_auto_resend_charge(tenant: Tenant, phone: PhoneNumber) -> Charge:
    """Return the additional charge, to the prefix, of a send that a receipt has started."""
    return _build_charge(tenant, Limit.AUTO_RESENDS, phone.prefix, all_tenants=True)


def build_number_failure_charges(
    tenant: Tenant,
    phone: PhoneNumber,
    standing: AddressStanding = AddressStanding.NOT_APPLICABLE,
) -> tuple[Charge, ...]:
    """Return the charges of an attempt to its number; a correct code reverses them."""
    failures = _build_charge(tenant, Limit.FAILURES_NUMBER, phone.canonical)
    consecutive = build_consecutive_failure_charge(tenant, phone)
    return tuple(_apply_standing(charge, standing) for charge in (consecutive, failures))


def build_caller_failure_charges(
    tenant: Tenant,
    account: str | None,
    client_ip_key: str | None,
    standing: AddressStanding = AddressStanding.NOT_APPLICABLE,
) -> tuple[Charge, ...]:
    """Return the charges of an attempt to the caller's own buckets; a correct code refunds them.

    The bucket of the tenant detects spraying: a guess at each of many numbers, from many addresses,
    which no other limit counts (R21).
    """
    charges = [_build_charge(tenant, Limit.FAILURES_TENANT, "")]
    if account is not None:
        failures = build_factor_failure_charges(tenant, Factor.SMS, account)
        charges += [_apply_standing(charge, standing) for charge in failures]
    if client_ip_key is not None:
        charges.append(_build_charge(tenant, Limit.FAILURES_ADDRESS, client_ip_key))
    return tuple(charges)


def build_success_refund(charge: Charge) -> Charge:
    """Return what a correct code takes back of a charge of its attempt.

    It takes one more failure from the bucket of the tenant. So only failures beyond the successes
    count, and a tenant with many logins is not refused for the usual mistakes of their users.
    """
    if charge.bucket.limit is Limit.FAILURES_TENANT:
        return replace(charge, cost=charge.cost + 1)
    return charge


def build_consecutive_failure_charge(tenant: Tenant, phone: PhoneNumber) -> Charge:
    return _build_charge(tenant, Limit.CONSECUTIVE_FAILURES, phone.canonical)


def build_lock_check(tenant: Tenant, phone: PhoneNumber) -> Charge:
    """Return a charge of nothing, which a locked number refuses."""
    return replace(build_consecutive_failure_charge(tenant, phone), cost=0)


def build_account_lock_check(tenant: Tenant, account: str) -> Charge:
    """Return a charge of nothing, which a locked account refuses."""
    charge = _build_charge(tenant, Limit.CONSECUTIVE_FAILURES_ACCOUNT, account)
    return replace(charge, cost=0)


def build_factor_failure_charges(
    tenant: Tenant, factor: Factor, account: str
) -> tuple[Charge, Charge]:
    """Return the charges of an attempt to its account: consecutive failures, then all failures.

    The code of a login resets the first and refunds the second. The code of an enrolment refunds both:
    it ends no failures in a row. They count all authenticators or recovery sets of the account, old
    and new, because an enrolment must not be a fresh budget.
    """
    consecutive, failures = FACTOR_LOCK_LIMITS[factor]
    return _build_charge(tenant, consecutive, account), _build_charge(tenant, failures, account)


def build_factor_caller_charges(
    tenant: Tenant, factor: Factor, client_ip_key: str | None
) -> tuple[Charge, ...]:
    """Return the charges of an attempt to its tenant and its client's address.

    They are in the partition of the tenant. A correct code refunds them. The subject names the
    factor: an SMS attempt is charged with `build_caller_failure_charges`.
    """
    charges = [_build_charge(tenant, Limit.FAILURES_TENANT, factor)]
    if client_ip_key is not None:
        charges.append(_build_charge(tenant, Limit.FAILURES_ADDRESS, f"{factor}:{client_ip_key}"))
    return tuple(charges)


def build_factor_lock_check(tenant: Tenant, factor: Factor, account: str) -> Charge:
    """Return a charge of nothing, which an account that is locked at this factor refuses."""
    consecutive, _ = FACTOR_LOCK_LIMITS[factor]
    return replace(_build_charge(tenant, consecutive, account), cost=0)


def build_recovery_set_charge(tenant: Tenant, account: str) -> Charge:
    """Return the charge of a new recovery set, to its account."""
    return _build_charge(tenant, Limit.RECOVERY_SETS, account)


def list_reset_buckets(bucket: Bucket) -> tuple[Bucket, ...]:
    """Return the buckets that the reset of a limit in WIDE_LIMITS empties: one for each factor."""
    if bucket.limit is not Limit.FAILURES_TENANT:
        return (bucket,)
    factors = (factor for factor in Factor if factor is not Factor.SMS)
    return (bucket, *(replace(bucket, subject=factor) for factor in factors))


def build_refund_charge(tenant: Tenant, phone: PhoneNumber) -> Charge:
    """Return the charge of a refund: refunds are limited, or sending could be free."""
    return _build_charge(tenant, Limit.REFUNDS, phone.canonical, all_tenants=True)


def list_lock_buckets(tenant: str, number: str) -> tuple[Bucket, ...]:
    """Return the buckets that an operator resets to unlock a number at one tenant."""
    limits = (Limit.CONSECUTIVE_FAILURES, Limit.FAILURES_NUMBER)
    return tuple(Bucket(limit, tenant, number) for limit in limits)


def list_account_lock_buckets(
    tenant: str, account: str, factor: Factor = Factor.SMS
) -> tuple[Bucket, ...]:
    """Return the buckets that an operator resets to unlock an account at one tenant and factor.

    They are in one partition, which is another one for SMS than for the other factors.
    """
    return tuple(Bucket(limit, tenant, account) for limit in FACTOR_LOCK_LIMITS[factor])


def build_extra_message_charges(charges: tuple[Charge, ...], count: int) -> tuple[Charge, ...]:
    """Return the charges of `count` messages that were already sent, beyond every limit."""
    no_sends = {*CONSECUTIVE_LIMITS, Limit.COOLDOWN}
    sends = (charge for charge in charges if charge.bucket.limit not in no_sends)
    return tuple(replace(charge, cost=count, force=True) for charge in sends)


def select_refundable_charges(charges: tuple[Charge, ...]) -> tuple[Charge, ...]:
    """Return the charges to refund for a send that no provider took: all but the cooldown."""
    return tuple(c for c in charges if c.cost and c.bucket.limit is not Limit.COOLDOWN)


def _apply_standing(charge: Charge, standing: AddressStanding) -> Charge:
    """Return a charge of an attempt with what is kept back for known addresses.

    A known address also skips the delay after consecutive failures, which an attacker keeps at an hour
    with one failure an hour. The limits of an hour and the lock hold for every address.
    """
    if charge.bucket.limit in CONSECUTIVE_LIMITS:
        is_known = standing is AddressStanding.KNOWN
        return replace(charge, skip_delay=charge.skip_delay or is_known)
    if standing is AddressStanding.UNKNOWN:
        return replace(charge, windows=tuple(map(reduce_window, charge.windows)))
    return charge


def _build_share_charges(tenant: Tenant, limit: Limit, subject: str) -> tuple[Charge, ...]:
    """Return the charge of a tenant's share, or none if the share is everything."""
    if tenant.limits[limit] == tenant.limits[SHARE_LIMITS[limit]]:
        return ()
    return (_build_charge(tenant, limit, subject),)


def _build_charge(
    tenant: Tenant, limit: Limit, subject: str, *, all_tenants: bool = False
) -> Charge:
    return Charge(
        Bucket(limit, "" if all_tenants else tenant.name, subject),
        tenant.limits[limit],
        skip_delay=limit in CONSECUTIVE_LIMITS and not tenant.has_failure_delays,
    )
