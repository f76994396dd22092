"""What an operator sees of the memory."""

from otp_service.core.timestamps import SECOND_MS
from otp_service.sms.provider_health import (
    FIRST_OPEN_MS,
    HealthEvent,
    ProviderHealth,
)
from otp_service.sms.provider_status import CountryStatus, ProviderStatus, list_provider_statuses


NOW = 1_795_348_800_000


def seen(*observations):
    """A memory that has learnt this."""
    memory, _ = ProviderHealth().apply_events(observations)
    return memory


def failed(reason, provider="acme", country="GB", at=NOW):
    """One failure that counts."""
    return HealthEvent(provider, country, at, "failed", reason=reason)


def test_a_provider_is_shown_by_country_with_its_last_reasons():
    """Newest first; what was taken has none."""
    memory = seen(
        failed("http-500"),
        HealthEvent("acme", "GB", NOW, "accepted"),
        failed("read-timeout"),
        failed("20003", country="US"),
    )

    (one,) = list_provider_statuses(memory, ["acme"], NOW)

    assert (
        ProviderStatus(
            provider="acme",
            share=1.0,
            backoff_until=None,
            countries=(
                CountryStatus("GB", "closed", None, 3, 2, ("read-timeout", "http-500")),
                CountryStatus("US", "closed", None, 1, 1, ("20003",)),
            ),
        )
        == one
    )


def test_an_open_breaker_says_until_when_and_a_half_open_one_why_it_was():
    """The failure that opened it is among the reasons, and so is the one that kept it open."""
    memory = seen(*[failed("read-timeout")] * 5)
    later = NOW + FIRST_OPEN_MS
    again, _ = memory.apply_events([failed("http-503", at=later)])

    (at_first,) = list_provider_statuses(memory, ["acme"], NOW)[0].countries
    (half,) = list_provider_statuses(memory, ["acme"], later)[0].countries
    (kept,) = list_provider_statuses(again, ["acme"], later)[0].countries

    assert ("open", later, 5) == (at_first.state, at_first.open_until, len(at_first.reasons))
    assert ("half-open", None) == (half.state, half.open_until)
    assert ("open", "http-503") == (kept.state, kept.reasons[0])


def test_a_rest_and_a_lost_share_are_the_providers_own():
    """In no country in particular; both pass."""
    memory = seen(
        HealthEvent("acme", "GB", NOW, "throttled", backoff_ms=30 * SECOND_MS),
        *[HealthEvent("acme", "GB", NOW, "receipt", f"n{i}", score=0.0) for i in range(10)],
    )

    (one,) = list_provider_statuses(memory, ["acme"], NOW)
    (later,) = list_provider_statuses(memory, ["acme"], NOW + 31 * SECOND_MS)

    assert (NOW + 30 * SECOND_MS, 0.599) == (one.backoff_until, one.share)
    assert later.backoff_until is None
    assert one.share < later.share < 1


def test_each_configured_provider_is_there_and_no_other():
    """In their order; one that was taken out of the settings is of no interest."""
    memory = seen(failed("x", provider="gone"), failed("y", provider="acme-2"))

    found = list_provider_statuses(memory, ["bulk", "acme"], NOW)

    assert [("bulk", ()), ("acme", ())] == [(one.provider, one.countries) for one in found]
