"""What one request costs, and in which buckets: the only place that says so.

A number's own buckets live in its partition and are charged first, in one step with the change
that they limit. The others belong to an address, an account, a prefix, a country, a tenant or
everybody, and each lives in a partition of its own.
"""

from msgspec.structs import replace

from otp_service.core.limits import Bucket, Charge, Limit
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.tenant import Tenant


def sends_own(tenant: Tenant, phone: PhoneNumber) -> tuple[Charge, ...]:
    """Return what a send costs the number itself; a locked number is refused first."""
    number = phone.collapsed
    return (
        looked(tenant, phone),
        _charge(tenant, Limit.COOLDOWN, number, shared=True),
        _charge(tenant, Limit.SENDS_NUMBER_TENANT, number),
        _charge(tenant, Limit.SENDS_NUMBER, number, shared=True),
    )


def sends_others(
    tenant: Tenant, phone: PhoneNumber, account: str | None, address: str | None
) -> tuple[Charge, ...]:
    """Return what a send costs everybody else whom it concerns."""
    charges = [
        _charge(tenant, Limit.SENDS_PREFIX, phone.prefix, shared=True),
        _charge(tenant, Limit.SENDS_COUNTRY, phone.country, shared=True),
        _charge(tenant, Limit.SENDS_TENANT, ""),
        _charge(tenant, Limit.SENDS_OVERALL, "", shared=True),
    ]
    if address is not None:
        charges.append(_charge(tenant, Limit.SENDS_ADDRESS, address))
    if account is not None:
        charges.append(_charge(tenant, Limit.SENDS_ACCOUNT, account))
    return tuple(charges)


def rescue(tenant: Tenant, phone: PhoneNumber) -> Charge:
    """Return what one send costs beside, if a receipt has started it and no person."""
    return _charge(tenant, Limit.RESCUES, phone.prefix, shared=True)


def failures_own(tenant: Tenant, phone: PhoneNumber) -> tuple[Charge, ...]:
    """Return what an attempt costs the number, unless it turns out right."""
    return row_of(tenant, phone), _charge(tenant, Limit.FAILURES_NUMBER, phone.collapsed)


def failures_others(tenant: Tenant, account: str | None, address: str | None) -> tuple[Charge, ...]:
    """Return what an attempt costs the account and the client's address."""
    charges = []
    if account is not None:
        charges.append(_charge(tenant, Limit.FAILURES_ACCOUNT, account))
    if address is not None:
        charges.append(_charge(tenant, Limit.FAILURES_ADDRESS, address))
    return tuple(charges)


def row_of(tenant: Tenant, phone: PhoneNumber) -> Charge:
    """Return the charge of one more failure in a row."""
    return _charge(tenant, Limit.ROW, phone.collapsed)


def looked(tenant: Tenant, phone: PhoneNumber) -> Charge:
    """Return what only looks whether the number is locked."""
    return replace(row_of(tenant, phone), cost=0)


def give_back(tenant: Tenant, phone: PhoneNumber) -> Charge:
    """Return what one give-back costs: they are limited too, or sending would be free."""
    return _charge(tenant, Limit.GIVE_BACKS, phone.collapsed, shared=True)


def unlocked(tenant: str, number: str) -> tuple[Bucket, ...]:
    """Return the buckets that an operator empties to unlock a number at one tenant."""
    return Bucket(Limit.ROW, tenant, number), Bucket(Limit.FAILURES_NUMBER, tenant, number)


def further(charges: tuple[Charge, ...], count: int) -> tuple[Charge, ...]:
    """Return the charges of `count` messages that have been sent already, limits or not."""
    sends = (c for c in charges if c.bucket.limit not in {Limit.ROW, Limit.COOLDOWN})
    return tuple(replace(charge, cost=count, force=True) for charge in sends)


def refundable(charges: tuple[Charge, ...]) -> tuple[Charge, ...]:
    """Return what is given back of a send that no provider took: all but the cooldown."""
    return tuple(c for c in charges if c.cost and c.bucket.limit is not Limit.COOLDOWN)


def _charge(tenant: Tenant, limit: Limit, subject: str, *, shared: bool = False) -> Charge:
    return Charge(Bucket(limit, "" if shared else tenant.name, subject), tenant.rates[limit])
