"""The attacks A to J of the fact sheet: how many attempts a minute, and which numbers they use."""

import random

import msgspec

from bench.pumping.people import Period, draw_poisson
from otp_service.core.timestamps import DAY_MS, HOUR_MS, MINUTE_MS


ATTACK_START = DAY_MS + 9 * HOUR_MS
"""Tuesday in the morning, after a quiet Monday. Burst A begins at midnight."""
NUMBER_DAILY_SENDS = 10
"""What SendsPerNumberAndTenant of `core/limits.py` leaves of attempts for one number."""


class Attempt(msgspec.Struct):
    """One request of an attacker."""

    at: int
    country: str
    range: int
    address: str | None
    number: str
    verifies: bool = False


class Attack(msgspec.Struct, frozen=True):
    """One attack: a rate, a time, ranges, addresses, and the share of own SIMs that verify."""

    name: str
    text: str
    per_minute: float
    period: Period
    ranges: int
    """Neighbours from a random one on; all ranges of the country if it is as large."""
    countries: tuple[str, ...] = ("DE",)
    addresses: int = 0
    """0: each request has an address of its own."""
    has_address: bool = True
    own_sims: int = 0
    own_share: float = 0.0
    """Of the requests, how many are for own SIMs: the first of a day verifies."""
    number: str = ""
    """Not empty: all requests are for this number."""
    has_people: bool = False
    """Whether its countries have honest people too, so that something is learned of them."""


def _last(hours: float, start: int = ATTACK_START) -> Period:
    return Period(start, start + round(hours * HOUR_MS))


COUNTRY_RANGES = 2000
ROTATION = tuple(f"X{index:02}" for index in range(40))

ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for attack in (
        Attack("A1", "burst, 1,000 a minute for 4 h, 1 range", 1000, _last(4, DAY_MS), 1),
        Attack("A20", "burst, 1,000 a minute for 4 h, 20 ranges", 1000, _last(4, DAY_MS), 20),
        Attack("A100", "burst, 1,000 a minute for 4 h, 100 ranges", 1000, _last(4, DAY_MS), 100),
        Attack("A400", "burst, 1,000 a minute for 4 h, 400 ranges", 1000, _last(4, DAY_MS), 400),
        Attack(
            "B",
            "plateau, 2,300 a day for 5 days, 300 addresses, 400 ranges",
            2300 / 1440,
            _last(120),
            400,
            addresses=300,
        ),
        Attack("C20", "slow, 20 an hour for 48 h, 400 ranges", 1 / 3, _last(48), 400),
        Attack("C60", "slow, 60 an hour for 48 h, 400 ranges", 1, _last(48), 400),
        Attack("C60n", "slow, 60 an hour for 48 h, 20 ranges", 1, _last(48), 20),
        Attack("D", "sequential numbers in 1 range, 100 a minute for 4 h", 100, _last(4), 1),
        Attack(
            "E", "random over the country, 24,000 in 24 h", 1000 / 60, _last(24), COUNTRY_RANGES
        ),
        Attack(
            "F",
            "40 expensive countries in turn, 24,000 in 24 h",
            1000 / 60,
            _last(24),
            COUNTRY_RANGES,
            ROTATION,
        ),
        Attack(
            "F5",
            "40 expensive countries in turn, 24,000 in 24 h, 5 addresses",
            1000 / 60,
            _last(24),
            COUNTRY_RANGES,
            ROTATION,
            addresses=5,
        ),
        Attack(
            "F300",
            "8 countries with people in turn, 2,300 a day for 48 h, 300 addresses",
            2300 / 1440,
            _last(48),
            COUNTRY_RANGES,
            ROTATION[:8],
            addresses=300,
            has_people=True,
        ),
        Attack(
            "G5",
            "60 an hour for 48 h, 400 ranges, 5 % to 30 own SIMs",
            1,
            _last(48),
            400,
            own_sims=30,
            own_share=0.05,
        ),
        Attack(
            "G20",
            "60 an hour for 48 h, 400 ranges, 20 % to 100 own SIMs",
            1,
            _last(48),
            400,
            own_sims=100,
            own_share=0.2,
        ),
        Attack(
            "H",
            "a stolen API key without addresses, 24,000 in 24 h, 400 ranges",
            1000 / 60,
            _last(24),
            400,
            has_address=False,
        ),
        Attack("I", "one tenant of ten, 24,000 in 24 h, 400 ranges", 1000 / 60, _last(24), 400),
        Attack("J", "one number, 60 an hour for 24 h", 1, _last(24), 1, number="victim"),
    )
}


def draw_instants(rng: random.Random, attack: Attack, minute: int) -> list[int]:
    """Return the instants of the attempts of one minute, in order."""
    if not attack.period.contains(minute):
        return []
    count = draw_poisson(rng, attack.per_minute)
    return sorted(minute + int(rng.random() * MINUTE_MS) for _ in range(count))


def draw_attempt(rng: random.Random, attack: Attack, first_range: int, at: int) -> Attempt:
    """Return an attempt: its number, and how it reaches the service."""
    country = rng.choice(attack.countries)
    index = (first_range + rng.randrange(attack.ranges)) % COUNTRY_RANGES
    number, verifies = attack.number, False
    if rng.random() < attack.own_share:
        sim = rng.randrange(attack.own_sims)
        number, index = f"sim-{sim}", (first_range + sim % attack.ranges) % COUNTRY_RANGES
        verifies = True
    address = _draw_address(rng, attack) if attack.has_address else None
    return Attempt(at, country, index, address, number, verifies)


def _draw_address(rng: random.Random, attack: Attack) -> str | None:
    """Return an address; None for one that nothing else uses, which its budget cannot refuse."""
    return f"attack-{rng.randrange(attack.addresses)}" if attack.addresses else None
