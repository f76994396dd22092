"""What an operator sees of the memory: each provider, and how it does in each country."""

from collections.abc import Iterable, Iterator

import msgspec

from otp_service.sms.provider_health import Memory, State


class InCountry(msgspec.Struct, frozen=True):
    """One provider in one country."""

    country: str
    state: State
    until: int | None
    """While it is open: until when. Milliseconds since 1970."""
    seen: int
    """How many of its last outcomes are remembered, ten at most; none while all is well."""
    failed: int
    reasons: tuple[str, ...]
    """Of those that failed, the newest first: the provider's codes or our words."""


class Overview(msgspec.Struct, frozen=True):
    """One provider."""

    provider: str
    share: float
    """What its receipts have left it of each share that is configured, from a tenth to 1."""
    rests_until: int | None
    """It has asked to be left alone until then."""
    countries: tuple[InCountry, ...]


def overview(memory: Memory, providers: Iterable[str], now: int) -> tuple[Overview, ...]:
    """Return what is known of these providers at this instant."""
    return tuple(
        Overview(
            provider=provider,
            share=round(memory.weight(provider, 1.0, now), 3),
            rests_until=_future(memory.rests.get(provider, 0), now),
            countries=tuple(_countries(memory, provider, now)),
        )
        for provider in providers
    )


def _countries(memory: Memory, provider: str, now: int) -> Iterator[InCountry]:
    for name, breaker in sorted(memory.breakers.items()):
        whose, _, country = name.rpartition(" ")
        if whose == provider:
            failed = [one for one in reversed(breaker.last) if not one.ok]
            yield InCountry(
                country=country,
                state=breaker.state(now),
                until=_future(breaker.until, now),
                seen=len(breaker.last),
                failed=len(failed),
                reasons=tuple(one.reason for one in failed if one.reason),
            )


def _future(at: int, now: int) -> int | None:
    return at if at > now else None
