"""The scope of an opt-out: the tenant whose sender a person has answered, or all tenants.

A tenant may send with a sender of its own. Every other sender is one of a provider, and messages of all
tenants have it, so a STOP to it is for all of them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from otp_service.core.do_not_send import ALL_TENANTS


MAX_OWN_NUMBER_CHARS: Final = 20
"""E.164 has 15 digits, a short code fewer, and a name 11 characters."""


class OptOutScopes(msgspec.Struct, frozen=True):
    """What the scope of an opt-out is chosen by; it follows from the settings."""

    tenants_by_own_number: Mapping[str, str] = {}
    """The tenant of each number or name that is the sender of this tenant and of nothing else."""
    only_tenant: str = ALL_TENANTS
    """The tenant of an installation in which no other one can send."""


def build_opt_out_scopes(
    tenant_senders: Mapping[str, str | None],
    provider_senders: Iterable[str],
    sending_tenants: Collection[str],
) -> OptOutScopes:
    """Return the scopes that follow from the senders of tenants and of providers."""
    shared = {normalize_own_number(sender) for sender in provider_senders}
    only_tenant = next(iter(sending_tenants)) if len(sending_tenants) == 1 else ALL_TENANTS
    return OptOutScopes(dict(_iterate_unique_senders(tenant_senders, shared)), only_tenant)


def _iterate_unique_senders(
    tenant_senders: Mapping[str, str | None], shared: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield each sender that only one tenant has, with this tenant."""
    senders = {name: normalize_own_number(sender or "") for name, sender in tenant_senders.items()}
    for name, sender in senders.items():
        if sender and sender not in shared and list(senders.values()).count(sender) == 1:
            yield sender, name


def choose_scope(scopes: OptOutScopes, own_number: str) -> str:
    """Return the tenant of an opt-out by an answer to this number of ours; ALL_TENANTS for all."""
    return scopes.tenants_by_own_number.get(own_number, scopes.only_tenant)


def normalize_own_number(text: str) -> str:
    """Return the letters and digits of a number or name of ours, as providers write it differently.

    Empty without one of them, or with more than MAX_OWN_NUMBER_CHARS.
    """
    kept = "".join(char for char in text if char.isascii() and char.isalnum())
    return kept if len(kept) <= MAX_OWN_NUMBER_CHARS else ""
