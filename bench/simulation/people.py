"""Who logs in, when, and for how long they have patience: drawn before anybody sends."""

from collections.abc import Iterator
from enum import StrEnum
from random import Random

import msgspec

from bench.simulation import parameters as p


class Phone(StrEnum):
    """Whether a number can be reached, which no provider changes."""

    ALIVE = "alive"
    OFF = "off"
    """Not during this login."""
    DEAD = "dead"
    """Never again."""


class Login(msgspec.Struct, frozen=True):
    """Somebody who needs one code. Times are seconds of the day, or from `at` on."""

    number_of_day: int
    at: float
    country: str
    number: str
    phone: Phone
    resends_after: float | None
    """They ask once more if nothing came by then; None for those who only wait."""
    patience: float
    typing: float


def draw(chance: Random, logins: int) -> tuple[Login, ...]:
    """Return the day's logins, in the order in which they begin."""
    begins = sorted(_begins(chance, logins))
    return tuple(_login(index, at, chance) for index, at in enumerate(begins))


def _begins(chance: Random, logins: int) -> Iterator[float]:
    """Yield times of a Poisson process of which the total is given: each falls for itself."""
    rushes = [chance.uniform(0.0, p.DAY - p.RUSH) for _ in range(p.RUSHES)]
    for _ in range(logins):
        if chance.random() < p.RUSHED:
            yield chance.choice(rushes) + chance.uniform(0.0, p.RUSH)
        else:
            yield chance.uniform(0.0, p.DAY)


def _login(index: int, at: float, chance: Random) -> Login:
    shares = [country.share for country in p.COUNTRIES.values()]
    (country,) = chance.choices(tuple(p.COUNTRIES), shares)
    wants_more = chance.random() < p.RESENDS
    resends_after = chance.uniform(*p.RESEND_AFTER)
    return Login(
        number_of_day=index,
        at=at,
        country=country,
        number=f"{p.COUNTRIES[country].code}{chance.randrange(10**8, 10**9)}",
        phone=_phone(chance.random()),
        resends_after=resends_after if wants_more else None,
        patience=chance.uniform(*p.PATIENCE),
        typing=chance.uniform(*p.TYPING),
    )


def _phone(chance: float) -> Phone:
    if chance < p.DEAD:
        return Phone.DEAD
    return Phone.OFF if chance < p.DEAD + p.OFF else Phone.ALIVE
