"""What the simulated day is made of: assumptions, with a reason for each in README.md.

They were committed, with their seeds, before the router that they judge existed.
"""

import math
import statistics
from collections.abc import Mapping

import msgspec

from bench.simulation.policies import Choice
from otp_service.core.delivery import Receipt


SEEDS = range(1, 21)
LOGINS = 10_000
DAY = 8 * 3600.0
"""Seconds in which the logins begin."""

NORMAL = statistics.NormalDist()


class Curve(msgspec.Struct, frozen=True):
    """A log-normal delay in seconds, by its median and its 95th percentile."""

    p50: float
    p95: float

    def at(self, chance: float) -> float:
        """Return the delay below which this share of all delays lies."""
        steepness = math.log(self.p95 / self.p50) / NORMAL.inv_cdf(0.95)
        return self.p50 * math.exp(steepness * NORMAL.inv_cdf(max(chance, 1e-12)))


class Carriage(msgspec.Struct, frozen=True):
    """What a provider does in one country on a good day."""

    quality: float
    """Share of accepted messages to living phones that arrive."""
    price: float
    """Cents for a message that was taken."""


class Provider(msgspec.Struct, frozen=True):
    """A provider: how much it takes, and how well it carries."""

    cap: float
    """Messages a second that the account may send; twice as many may come at once."""
    carriage: Mapping[str, Carriage]


class Country(msgspec.Struct, frozen=True):
    """Where people log in from, and whom the operator sends through."""

    share: float
    code: str
    route: tuple[Choice, ...]


def _route(*providers: str) -> tuple[Choice, ...]:
    return tuple(map(Choice, providers, (8, 1, 1)))


PROVIDERS: Mapping[str, Provider] = {
    "atlas": Provider(
        cap=2.0,
        carriage={
            "GB": Carriage(0.985, 4.0),
            "DE": Carriage(0.980, 8.0),
            "US": Carriage(0.985, 0.8),
            "BR": Carriage(0.960, 3.0),
        },
    ),
    "bravo": Provider(
        cap=1.0,
        carriage={
            "GB": Carriage(0.980, 4.4),
            "DE": Carriage(0.985, 7.5),
            "US": Carriage(0.965, 0.7),
            "BR": Carriage(0.940, 2.4),
        },
    ),
    "cargo": Provider(
        cap=1.0,
        carriage={
            "GB": Carriage(0.970, 3.4),
            "DE": Carriage(0.970, 7.0),
            "US": Carriage(0.975, 0.9),
            "BR": Carriage(0.970, 2.6),
        },
    ),
}

COUNTRIES: Mapping[str, Country] = {
    "GB": Country(0.4, "+44", _route("atlas", "bravo", "cargo")),
    "DE": Country(0.3, "+49", _route("bravo", "atlas", "cargo")),
    "US": Country(0.2, "+1", _route("atlas", "cargo", "bravo")),
    "BR": Country(0.1, "+55", _route("cargo", "atlas", "bravo")),
}

ROUTES = {name: country.route for name, country in COUNTRIES.items()}

# People.
DEAD = 0.02
OFF = 0.01
RUSHES = 2
RUSH = 600.0
RUSHED = 0.1
"""Share of the day's logins in all rushes together."""
RESENDS = 0.7
RESEND_AFTER = (45.0, 90.0)
PATIENCE = (120.0, 300.0)
TYPING = (5.0, 20.0)
CODE_LIFE = 300.0
LAST_MINUTE = 60.0
"""No send after a receipt when less than this is left of the code's life."""

# A good day's submission.
LATENCY = Curve(0.25, 1.0)
REFUSES = 0.003
TIMES_OUT = 0.002
READ_TIMEOUT = 5.0
CONNECT_TIMEOUT = 2.0
SENT_IN_SILENCE = 0.5
SENT_IN_FAILURE = 0.05
DEAD_REFUSED = 0.4
"""A number that is dead for good is refused as such,"""
DEAD_MISREAD = 0.1
"""or with a code that is not known to be about numbers; else it is accepted."""

# What becomes of an accepted message.
TRANSIT = Curve(3.5, 18.0)
LAG = Curve(0.8, 50.0)
"""From the phone to the receipt; with the transit about 6 s at p50 and 60 s at p95."""
NEVER = 0.1
FAILED = Curve(20.0, 120.0)
VERDICTS_LOST = (
    (Receipt("technical-failure", is_signed=True), 0.5),
    (Receipt("temporary-failure", is_signed=True), 0.1),
    (Receipt("delivered", is_signed=True), 0.05),
)
"""The receipts of messages that never arrive; the rest gets none."""
VERDICTS_DEAD = (
    (Receipt("permanent-failure", is_signed=True), 0.7),
    (Receipt("technical-failure", is_signed=True), 0.1),
)
VERDICTS_OFF = ((Receipt("temporary-failure", is_signed=True), 0.6),)

# Bad times.
LASTS = (600.0, 3600.0)
BEGINS = (1800.0, DAY - 3600.0)
SEVERITY_LOUD = (0.8, 1.0)
SEVERITY_HIDDEN = (0.6, 1.0)
SEVERITY_BROWN = (0.1, 0.3)
"""Of a brown-out: the share that is refused; a third of it times out."""
FALSELY_ACCEPTED = 1 / 6
"""In a brown-out: a sixth of its severity, so 2 to 5 % of what is still accepted."""
THROTTLED_TO = 0.05
RETRY_AFTER = (5, 30)
SAYS_RETRY_AFTER = 0.7
SLOWER = 10.0
