"""The scenarios of the acceptance: quiet days, honest days that look odd, and attacks."""

from collections.abc import Iterator

from bench.pumping.attacks import ATTACKS, ROTATION
from bench.pumping.people import People, Period, Surge
from bench.pumping.simulation import ATTACKED_TENANT, Scenario
from otp_service.core.timestamps import DAY_MS, HOUR_MS


COUNTRY = "DE"
SCOPE = (ATTACKED_TENANT, COUNTRY)
CONVERSION = 0.72
TENANTS = 10
LOWEST_CONVERSION, HIGHEST_CONVERSION = 0.55, 0.95

MIXED_COUNTRIES = ("US", "IN", "ZA", "GB", "FR", *ROTATION[:15])
"""Of people who share an address, an airport or a company with one proxy: for 0.008 to 0.25 USD."""

QUIET_DAYS = {20: 90, 1_000: 90, 10_000: 9, 50_000: 1}
"""Simulated days by the logins of a day: a seed simulates about as many logins of each volume."""


def build_quiet(volume: int, seed: int, seeds: int, days: int = 0) -> Scenario:
    """Return quiet days without known numbers; the conversions of all seeds are 55 to 95 %.

    Without `days` they are those of QUIET_DAYS.
    """
    part = (seed + 0.5) / seeds
    conversion = LOWEST_CONVERSION + part * (HIGHEST_CONVERSION - LOWEST_CONVERSION)
    return Scenario(days or QUIET_DAYS[volume], {SCOPE: People(volume, conversion)})


def build_attack(name: str, volume: int, known_share: float) -> Scenario:
    """Return an attack on a service, until a day after its end."""
    attack = ATTACKS[name]
    people = People(volume, CONVERSION, known_share)
    tenants = TENANTS if name == "I" else 1
    days = -(-(attack.period.end + DAY_MS) // DAY_MS)
    countries = attack.countries if attack.has_people else (COUNTRY,)
    scopes = {
        (f"shop-{index}", country): people for index in range(tenants) for country in countries
    }
    return Scenario(days, scopes, attack)


def list_odd_days(volume: int) -> Iterator[tuple[str, Scenario]]:
    """Yield honest days that must not be refused, each with its name."""
    noon, day = DAY_MS + 12 * HOUR_MS, Period(DAY_MS, 2 * DAY_MS)
    hour = Period(noon, noon + HOUR_MS)
    campaign = Surge(Period(noon, noon + 2 * HOUR_MS), 5)
    for name, days, people in (
        ("growth, twice as many each week", 14, People(volume, CONVERSION, weekly_growth=2)),
        ("launch day, 10 times", 3, People(volume, CONVERSION, surges=(Surge(day, 10),))),
        ("campaign, 5 times for 2 h", 3, People(volume, CONVERSION, surges=(campaign,))),
        ("outage of a provider, 1 h", 3, People(volume, CONVERSION, outage=hour)),
        ("messages late by 20 min, for 1 h", 3, People(volume, CONVERSION, delay=hour)),
    ):
        yield name, Scenario(days, {SCOPE: people})
    mixed = People(volume / len(MIXED_COUNTRIES), CONVERSION, shared_addresses=1)
    scopes = {(ATTACKED_TENANT, country): mixed for country in MIXED_COUNTRIES}
    yield f"{len(MIXED_COUNTRIES)} countries, all behind one address", Scenario(3, scopes)
