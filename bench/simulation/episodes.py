"""Bad times of providers: drawn before anybody sends, the same for every policy."""

from collections.abc import Iterator
from enum import StrEnum
from random import Random
from typing import Literal

import msgspec

from bench.simulation import parameters as p


class Kind(StrEnum):
    """What is wrong with a provider for a while."""

    DOWN = "down"
    """It cannot be reached: connect timeouts, nothing is sent."""
    SILENT = "silent"
    """It takes the request and never answers; some of the messages go out."""
    FAILING = "failing"
    """It answers 500; a few of the messages go out."""
    ACCOUNT = "account"
    """It refuses everything: the credit is used up."""
    REFUSING = "refusing"
    """It refuses a country's messages."""
    HIDDEN = "hidden"
    """It accepts as ever, and most of it never arrives."""
    BROWN_OUT = "brown-out"
    """More failures than usual, and some false acceptances."""
    THROTTLING = "throttling"
    """It takes a twentieth of what it took, and asks for time."""
    SLOW = "slow"
    """Its receipts are late; its messages are not."""


LOUD = (Kind.DOWN, Kind.SILENT, Kind.FAILING, Kind.ACCOUNT, Kind.REFUSING)
OUTAGES = (*LOUD, Kind.HIDDEN)


class Episode(msgspec.Struct, frozen=True):
    """One bad time of a provider, in one country or (None) in all of them."""

    kind: Kind
    provider: str
    country: str | None
    start: float
    end: float
    severity: float
    """Share of submissions that it hits."""

    def concerns(self, country: str) -> bool:
        """Say whether it is felt in this country."""
        return self.country in (None, country)

    def lasts_at(self, at: float) -> bool:
        """Say whether it goes on at this time."""
        return self.start <= at < self.end


class Plan(msgspec.Struct, frozen=True):
    """How often one kind of bad time comes to each provider on the simulated day."""

    kinds: tuple[Kind, ...]
    """One of these, each as likely."""
    times: float
    """So many for certain, and one more with the chance of the fraction."""
    where: Literal["everywhere", "one country"]
    severity: tuple[float, float] = (1.0, 1.0)


PLANS = (
    Plan((Kind.DOWN, Kind.SILENT, Kind.FAILING, Kind.ACCOUNT), 1, "everywhere", p.SEVERITY_LOUD),
    Plan((Kind.SILENT, Kind.FAILING, Kind.REFUSING), 2, "one country", p.SEVERITY_LOUD),
    Plan((Kind.HIDDEN,), 0.5, "everywhere", p.SEVERITY_HIDDEN),
    Plan((Kind.HIDDEN,), 2, "one country", p.SEVERITY_HIDDEN),
    Plan((Kind.BROWN_OUT,), 0.5, "everywhere", p.SEVERITY_BROWN),
    Plan((Kind.BROWN_OUT,), 1, "one country", p.SEVERITY_BROWN),
    Plan((Kind.THROTTLING,), 1, "everywhere"),
    Plan((Kind.SLOW,), 1, "everywhere"),
)


def draw(chance: Random) -> tuple[Episode, ...]:
    """Return the day's bad times, in the order in which they begin."""
    return tuple(sorted(_episodes(chance), key=lambda episode: episode.start))


def _episodes(chance: Random) -> Iterator[Episode]:
    for provider in p.PROVIDERS:
        for plan in PLANS:
            for _ in range(_count(plan.times, chance)):
                yield _episode(plan, provider, chance)


def _count(times: float, chance: Random) -> int:
    whole = int(times)
    return whole + (chance.random() < times - whole)


def _episode(plan: Plan, provider: str, chance: Random) -> Episode:
    start = chance.uniform(*p.BEGINS)
    return Episode(
        kind=chance.choice(plan.kinds),
        provider=provider,
        country=chance.choice(tuple(p.COUNTRIES)) if plan.where == "one country" else None,
        start=start,
        end=start + chance.uniform(*p.LASTS),
        severity=chance.uniform(*plan.severity),
    )
