"""What each limit counts, and which limits a call is charged to: the table of docs/limits.md."""

import ipaddress
from collections.abc import Iterator
from functools import lru_cache

from tests.simulation.auditor.index import (
    AUTOMATIC_KINDS,
    CREATING_KINDS,
    ChallengeFacts,
    read_text,
)
from tests.simulation.history import CallRecord


Subject = tuple[str, ...]

SENDING_KINDS = CREATING_KINDS | AUTOMATIC_KINDS | {"resend"}

EXACT_LIMITS = frozenset(
    {
        "CooldownPerNumber",
        "SendsPerNumberAndTenant",
        "SendsPerNumber",
        "FailuresPerNumber",
        "FailuresPerAccount",
        "AuthenticatorFailuresPerAccount",
        "RecoveryFailuresPerAccount",
        "RecoverySetsPerAccount",
    }
)
"""docs/limits.md: "Limits on one number, `FailuresPerAccount` and … are exact. The others are GCRA"."""

RESERVING_LIMITS = frozenset({"FailuresPerNumber", "FailuresPerAccount"})
"""Of these the last fifth is kept back for known addresses, and one failure at least."""

MAX_REFUNDS_OF_FAILED_SENDS = 3
"""`RefundsPerNumber`: 3 in 10 min, which is fixed."""

NUMBER_PREFIX_DIGITS = 4

COUNTRY_CODES = {"+44": "GB", "+49": "DE"}
"""The country of a number, a region of libphonenumber, for those of the runs."""

FAILURE_LIMITS = {
    "verify": "FailuresPerNumber",
    "confirm_authenticator": "AuthenticatorFailuresPerAccount",
    "verify_authenticator": "AuthenticatorFailuresPerAccount",
    "verify_recovery_code": "RecoveryFailuresPerAccount",
}
FAILURE_REASONS = frozenset({"incorrect-code", "code-already-used"})


def list_send_subjects(
    call: CallRecord, challenge: ChallengeFacts | None
) -> Iterator[tuple[str, Subject]]:
    """Yield each limit of a send with its subject; a resend has those of its challenge."""
    number = read_text(call, "phone_number") or (challenge.number if challenge else "")
    account = read_text(call, "account") or (challenge.account if challenge else None)
    address = read_text(call, "client_ip") or (challenge.client_ip if challenge else None)
    tenant = call.tenant or (challenge.tenant if challenge else "")
    yield "SendsPerTenant", (tenant,)
    yield "SendsOverall", ()
    if number:
        yield "CooldownPerNumber", (number,)
        yield "SendsPerNumber", (number,)
        yield "SendsPerNumberAndTenant", (tenant, number)
        yield "SendsPerPrefix", (number[:-NUMBER_PREFIX_DIGITS],)
        yield "SendsPerPrefixAndTenant", (tenant, number[:-NUMBER_PREFIX_DIGITS])
    if country := COUNTRY_CODES.get(number[:3]):
        yield "SendsPerCountry", (country,)
        yield "SendsPerCountryAndTenant", (tenant, country)
    if account:
        yield "SendsPerAccount", (tenant, account)
    if network := find_network(address or ""):
        yield "SendsPerClientAddress", (tenant, network)


def list_failure_subjects(
    call: CallRecord, challenge: ChallengeFacts | None
) -> Iterator[tuple[str, Subject]]:
    """Yield each limit of a failure with its subject.

    Of a verify that names another account than its challenge, or no account, it is not known which
    account is charged, so both are possible.
    """
    factor_limit, account = FAILURE_LIMITS[call.kind], read_text(call, "account")
    yield "FailuresPerTenant", (call.tenant, factor_limit)
    if network := find_network(read_text(call, "client_ip")):
        yield "FailuresPerClientAddress", (call.tenant, factor_limit, network)
    if call.kind != "verify":
        yield factor_limit, (call.tenant, account)
    elif challenge is not None:
        if challenge.number:
            yield "FailuresPerNumber", (call.tenant, challenge.number)
        for name in {account, challenge.account or ""} - {""}:
            yield "FailuresPerAccount", (call.tenant, name)


@lru_cache(maxsize=4096)
def find_network(address: str) -> str:
    """Return what limits on addresses count: IPv4, also within IPv6, and the /64 of other IPv6.

    It is empty for what is no address, or translated in another form.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if any(parsed in network for network in _NETWORKS_THAT_END_IN_IPV4):
        return str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
    if any(parsed in network for network in _OTHER_TRANSLATED_NETWORKS):
        return ""
    return str(ipaddress.ip_network((parsed, 64), strict=False))


_NETWORKS_THAT_END_IN_IPV4 = tuple(
    ipaddress.ip_network(text)
    for text in ("64:ff9b::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "::/96")
)
_OTHER_TRANSLATED_NETWORKS = tuple(
    ipaddress.ip_network(text) for text in ("64:ff9b:1::/48", "2002::/16", "2001::/32")
)
