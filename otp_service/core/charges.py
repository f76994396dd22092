"""What one request costs, and in which buckets: the only place that says so.

A number's own buckets live in its partition and are charged first, in one step with the change
that they limit. The others belong to an address, an account, a prefix, a country, a tenant or
everybody, and each lives in a partition of its own.
"""

from msgspec.structs import replace

from otp_service.core.limits import Bucket, Charge, Limit
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.tenant import Tenant


def build_number_send_charges(tenant: Tenant, phone: PhoneNumber) -> tuple[Charge, ...]:
    """Return what a send costs the number itself; a locked number is refused first."""
    number = phone.canonical
    return (
        build_lock_check(tenant, phone),
        _build_charge(tenant, Limit.COOLDOWN, number, all_tenants=True),
        _build_charge(tenant, Limit.SENDS_NUMBER_TENANT, number),
        _build_charge(tenant, Limit.SENDS_NUMBER, number, all_tenants=True),
    )


def build_shared_send_charges(
    tenant: Tenant, phone: PhoneNumber, account: str | None, client_ip_key: str | None
) -> tuple[Charge, ...]:
    """Return what a send costs everybody else whom it concerns."""
    charges = [
        _build_charge(tenant, Limit.SENDS_PREFIX, phone.prefix, all_tenants=True),
        _build_charge(tenant, Limit.SENDS_COUNTRY, phone.country, all_tenants=True),
        _build_charge(tenant, Limit.SENDS_TENANT, ""),
        _build_charge(tenant, Limit.SENDS_OVERALL, "", all_tenants=True),
    ]
    if client_ip_key is not None:
        charges.append(_build_charge(tenant, Limit.SENDS_ADDRESS, client_ip_key))
    if account is not None:
        charges.append(_build_charge(tenant, Limit.SENDS_ACCOUNT, account))
    return tuple(charges)


def build_auto_resend_charge(tenant: Tenant, phone: PhoneNumber) -> Charge:
    """Return what one send costs beside, if a receipt has started it and no person."""
    return _build_charge(tenant, Limit.AUTO_RESENDS, phone.prefix, all_tenants=True)


def build_number_failure_charges(tenant: Tenant, phone: PhoneNumber) -> tuple[Charge, ...]:
    """Return what an attempt costs the number, unless it turns out right."""
    return build_consecutive_failure_charge(tenant, phone), _build_charge(
        tenant, Limit.FAILURES_NUMBER, phone.canonical
    )


def build_shared_failure_charges(
    tenant: Tenant, account: str | None, client_ip_key: str | None
) -> tuple[Charge, ...]:
    """Return what an attempt costs the account and the client's address."""
    charges = []
    if account is not None:
        charges.append(_build_charge(tenant, Limit.FAILURES_ACCOUNT, account))
    if client_ip_key is not None:
        charges.append(_build_charge(tenant, Limit.FAILURES_ADDRESS, client_ip_key))
    return tuple(charges)


def build_consecutive_failure_charge(tenant: Tenant, phone: PhoneNumber) -> Charge:
    """Return the charge of one more failure in a row."""
    return _build_charge(tenant, Limit.CONSECUTIVE_FAILURES, phone.canonical)


def build_lock_check(tenant: Tenant, phone: PhoneNumber) -> Charge:
    """Return what only looks whether the number is locked."""
    return replace(build_consecutive_failure_charge(tenant, phone), cost=0)


def build_refund_charge(tenant: Tenant, phone: PhoneNumber) -> Charge:
    """Return what one give-back costs: they are limited too, or sending would be free."""
    return _build_charge(tenant, Limit.REFUNDS, phone.canonical, all_tenants=True)


def list_lock_buckets(tenant: str, number: str) -> tuple[Bucket, ...]:
    """Return the buckets that an operator empties to unlock a number at one tenant."""
    return Bucket(Limit.CONSECUTIVE_FAILURES, tenant, number), Bucket(
        Limit.FAILURES_NUMBER, tenant, number
    )


def build_extra_message_charges(charges: tuple[Charge, ...], count: int) -> tuple[Charge, ...]:
    """Return the charges of `count` messages that have been sent already, limits or not."""
    sends = (
        c for c in charges if c.bucket.limit not in {Limit.CONSECUTIVE_FAILURES, Limit.COOLDOWN}
    )
    return tuple(replace(charge, cost=count, force=True) for charge in sends)


def select_refundable_charges(charges: tuple[Charge, ...]) -> tuple[Charge, ...]:
    """Return what is given back of a send that no provider took: all but the cooldown."""
    return tuple(c for c in charges if c.cost and c.bucket.limit is not Limit.COOLDOWN)


def _build_charge(
    tenant: Tenant, limit: Limit, subject: str, *, all_tenants: bool = False
) -> Charge:
    return Charge(Bucket(limit, "" if all_tenants else tenant.name, subject), tenant.limits[limit])
