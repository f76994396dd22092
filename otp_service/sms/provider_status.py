"""The health of providers as an operator sees it: each provider, and each of its countries."""

from collections.abc import Iterable, Iterator

import msgspec

from otp_service.sms.provider_health import BreakerState, ProviderHealth


class CountryStatus(msgspec.Struct, frozen=True):
    """One provider in one country."""

    country: str
    state: BreakerState
    open_until: int | None
    """While it is open; milliseconds since 1970."""
    outcomes: int
    """How many of its last outcomes are stored, at most ten; none while all is well."""
    failures: int
    reasons: tuple[str, ...]
    """Of the failures, newest first: the provider's codes or our words."""


class ProviderStatus(msgspec.Struct, frozen=True):
    """One provider."""

    provider: str
    share: float
    """The part of each configured share that its quality leaves, from a tenth to 1."""
    backoff_until: int | None
    """Milliseconds since 1970."""
    countries: tuple[CountryStatus, ...]


def list_provider_statuses(
    health: ProviderHealth, providers: Iterable[str], now: int
) -> tuple[ProviderStatus, ...]:
    return tuple(
        ProviderStatus(
            provider=provider,
            share=round(health.compute_weight(provider, 1.0, now), 3),
            backoff_until=_drop_past(health.backoffs.get(provider, 0), now),
            countries=tuple(_list_countries(health, provider, now)),
        )
        for provider in providers
    )


def _list_countries(health: ProviderHealth, provider: str, now: int) -> Iterator[CountryStatus]:
    for name, breaker in sorted(health.breakers.items()):
        breaker_provider, _, country = name.rpartition(" ")
        if breaker_provider == provider:
            failures = [each for each in reversed(breaker.outcomes) if not each.ok]
            yield CountryStatus(
                country=country,
                state=breaker.get_state(now),
                open_until=_drop_past(breaker.open_until, now),
                outcomes=len(breaker.outcomes),
                failures=len(failures),
                reasons=tuple(each.reason for each in failures if each.reason),
            )


def _drop_past(at: int, now: int) -> int | None:
    return at if at > now else None
