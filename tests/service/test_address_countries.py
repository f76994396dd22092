"""An address of which messages went to many countries, in the use cases: UnverifiedCountriesPerClientAddress."""

from typing import Any

import pytest

from otp_service.core.errors import DebtLimited, DeliveryFailed
from otp_service.core.pumping.bot_check import BotCheck
from otp_service.core.pumping.scopes import BrakeMode, DebtLimit
from tests.installation import HOUR_MS, MINUTE_MS, PROVIDER_REFUSAL, SECOND_MS, Installation
from tests.service.brake_books import (
    drain,
    read_books,
    read_debts,
    read_measures,
    start_brake,
)


LIMIT = DebtLimit.UNVERIFIED_COUNTRIES
NUMBERS = {
    "GB": "+447400123456",
    "FR": "+33612345678",
    "DE": "+4915123456789",
    "IT": "+393123456789",
    "ES": "+34612345678",
}
FLOORS: dict[str, Any] = {"floors": {"address_countries": 3}}


async def issue_to(shop: Installation, *countries: str, **more: Any) -> list[Any]:
    """Issue a code to a number of each country, from one address."""
    return [
        await shop.issue(NUMBERS[country], client_ip="203.0.113.9", **more) for country in countries
    ]


async def read_countries(shop: Installation) -> dict[str, list[int]]:
    """Return unverified and verified messages of each country of the one address."""
    books = [
        book for name, book in (await read_debts(shop)).items() if name.startswith(f"{LIMIT}:")
    ]
    return books[0] if books else {}


async def test_the_fourth_country_is_refused_and_nothing_of_the_send_stays_charged(
    installation: Installation,
) -> None:
    """On each kind of Redis, with the figures in the problem and in the event."""
    shop = start_brake(installation, **FLOORS)
    await issue_to(shop, "GB", "FR", "DE")
    before = await read_books(shop)

    with pytest.raises(DebtLimited, match="too many countries were not verified") as refusal:
        await issue_to(shop, "IT")

    assert (LIMIT, 3, 86_400) == (
        refusal.value.limit,
        refusal.value.quota,
        refusal.value.period_seconds,
    )
    assert before == await read_books(shop)
    (denied,) = [e for e in await shop.read_events() if e["type"] == "otp.issue_denied"]
    assert (LIMIT, 3, 86_400, 3, 3) == tuple(
        denied[name] for name in ("limit", "quota", "period", "unverified", "allowance")
    )
    assert denied["price"] > 1000  # of the message, and not of the country
    await shop.issue(NUMBERS["IT"], client_ip="203.0.113.10")
    await shop.issue(NUMBERS["ES"])


async def test_after_retry_after_the_oldest_country_has_left(installation: Installation) -> None:
    """R52: a second earlier it is refused as before."""
    shop = start_brake(installation, **FLOORS)
    await issue_to(shop, "GB")
    shop.advance_clock(5 * HOUR_MS)
    await issue_to(shop, "FR", "DE")
    with pytest.raises(DebtLimited) as refusal:
        await issue_to(shop, "IT")

    shop.advance_clock((refusal.value.retry_after - 1) * SECOND_MS)
    with pytest.raises(DebtLimited) as again:
        await issue_to(shop, "IT")
    assert 1 == again.value.retry_after
    shop.advance_clock(SECOND_MS)
    await issue_to(shop, "IT")
    with pytest.raises(DebtLimited):
        await issue_to(shop, "ES")


async def test_the_verification_of_a_challenge_takes_its_country_out(
    installation: Installation,
) -> None:
    """With all of its messages, also that of a resend; and the country may be used again."""
    shop = start_brake(installation, **FLOORS)
    issued, *_ = await issue_to(shop, "GB", "FR", "DE")
    shop.advance_clock(31 * SECOND_MS)
    await shop.resend(issued)
    assert {"GB": [2, 0], "FR": [1, 0], "DE": [1, 0]} == await read_countries(shop)

    await shop.verify(issued, shop.router.extract_code())
    await drain(shop)

    assert {"GB": [0, 2], "FR": [1, 0], "DE": [1, 0]} == await read_countries(shop)
    await issue_to(shop, "IT")
    await shop.issue("+447400123457", client_ip="203.0.113.9")  # the first number is known now
    with pytest.raises(DebtLimited) as refusal:
        await issue_to(shop, "ES")
    assert 3 == refusal.value.unverified


async def test_a_send_that_no_provider_takes_counts_no_country(installation: Installation) -> None:
    """Nothing was billed, so a person may try another number."""
    shop = start_brake(installation, **FLOORS)
    await issue_to(shop, "GB", "FR")
    shop.router.queue_replies(PROVIDER_REFUSAL)
    with pytest.raises(DeliveryFailed):
        await issue_to(shop, "DE")

    assert {"GB": [1, 0], "FR": [1, 0]} == await read_countries(shop)
    await issue_to(shop, "IT")


async def test_record_mode_sends_to_the_fourth_country_and_records_it(
    installation: Installation,
) -> None:
    shop = start_brake(installation, BrakeMode.RECORD, **FLOORS)

    await issue_to(shop, "GB", "FR", "DE", "IT")

    assert {("unverified", None), ("unverified", LIMIT)} == set(await read_measures(shop))
    (over,) = [event for event in await shop.read_events() if event.get("over_limit")]
    assert ("otp.issued", "IT", 3, 3) == tuple(
        over[name] for name in ("type", "country", "unverified", "allowance")
    )
    assert ["DE", "FR", "GB"] == sorted(await read_countries(shop))


async def test_a_known_number_is_sent_to_in_a_fourth_country(installation: Installation) -> None:
    """Its messages do not count either."""
    shop = start_brake(installation, **FLOORS)
    (issued,) = await issue_to(shop, "IT")
    await shop.verify(issued, shop.router.extract_code())
    await drain(shop)
    shop.advance_clock(29 * HOUR_MS)
    await issue_to(shop, "GB", "FR", "DE")

    await issue_to(shop, "IT")

    assert "exempt" == (await read_measures(shop))[-1][0]
    assert ["DE", "FR", "GB"] == sorted(await read_countries(shop))


async def test_a_passed_bot_check_does_not_halve_a_country(installation: Installation) -> None:
    """People have few countries, and answers to such checks are for sale."""
    shop = start_brake(installation, **FLOORS)

    await issue_to(shop, "GB", "FR", "DE", bot_check=BotCheck.PASSED)

    with pytest.raises(DebtLimited):
        await issue_to(shop, "IT", bot_check=BotCheck.PASSED)
    assert {"GB": [1, 0], "FR": [1, 0], "DE": [1, 0]} == await read_countries(shop)


async def test_a_resend_to_one_of_three_countries_is_sent(installation: Installation) -> None:
    shop = start_brake(installation, **FLOORS)
    issued, *_ = await issue_to(shop, "GB", "FR", "DE")
    shop.advance_clock(MINUTE_MS)

    await shop.resend(issued)

    assert [2, 0] == (await read_countries(shop))["GB"]
