"""What an operator sees of the memory: each provider, and how it does in each country."""

from collections.abc import Iterable, Iterator

import msgspec

from otp_service.sms.provider_health import BreakerState, ProviderHealth


class CountryStatus(msgspec.Struct, frozen=True):
    """One provider in one country."""

    country: str
    state: BreakerState
    until: int | None
    """While it is open: until when. Milliseconds since 1970."""
    seen: int
    """How many of its last outcomes are remembered, ten at most; none while all is well."""
    failed: int
    reasons: tuple[str, ...]
    """Of those that failed, the newest first: the provider's codes or our words."""


class ProviderStatus(msgspec.Struct, frozen=True):
    """One provider."""

    provider: str
    share: float
    """What its receipts have left it of each share that is configured, from a tenth to 1."""
    rests_until: int | None
    """It has asked to be left alone until then."""
    countries: tuple[CountryStatus, ...]


def list_provider_statuses(
    health: ProviderHealth, providers: Iterable[str], now: int
) -> tuple[ProviderStatus, ...]:
    """Return what is known of these providers at this instant."""
    return tuple(
        ProviderStatus(
            provider=provider,
            share=round(health.compute_weight(provider, 1.0, now), 3),
            rests_until=_drop_past(health.rests.get(provider, 0), now),
            countries=tuple(_list_country_statuses(health, provider, now)),
        )
        for provider in providers
    )


def _list_country_statuses(
    memory: ProviderHealth, provider: str, now: int
) -> Iterator[CountryStatus]:
    for name, breaker in sorted(memory.breakers.items()):
        whose, _, country = name.rpartition(" ")
        if whose == provider:
            failed = [one for one in reversed(breaker.last) if not one.ok]
            yield CountryStatus(
                country=country,
                state=breaker.get_state(now),
                until=_drop_past(breaker.until, now),
                seen=len(breaker.last),
                failed=len(failed),
                reasons=tuple(one.reason for one in failed if one.reason),
            )


def _drop_past(at: int, now: int) -> int | None:
    return at if at > now else None
