"""Honest people: when they log in, whether they enter the code, and how often they ask again.

All figures of the model are assumptions; README.md lists them. Instants are milliseconds since the
start of the simulated time, which is midnight of a Monday.
"""

import math
import random
from collections.abc import Iterator

import msgspec

from otp_service.core.timestamps import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS


HOUR_WEIGHTS = (2, 1, 1, 1, 1, 2, 4, 7, 10, 10, 9, 9, 9, 9, 9, 9, 9, 10, 11, 11, 10, 8, 5, 3)
"""Of logins by the hour of the day: the nights have a tenth of the evenings."""
WEEKEND_FACTOR = 0.7
FRIDAY = 4
MAX_SENDS = 3
MAX_EXACT_MEAN = 50
"""The mean up to which Poisson numbers are drawn exactly; a normal distribution is used beyond."""


class Period(msgspec.Struct, frozen=True):
    """A span of time."""

    start: int
    end: int

    def contains(self, instant: int) -> bool:
        return self.start <= instant < self.end


NEVER = Period(0, 0)


class Surge(msgspec.Struct, frozen=True):
    """A time with more logins than usual: a launch, a campaign."""

    period: Period
    factor: float


class People(msgspec.Struct, frozen=True):
    """The honest people of one tenant in one country."""

    daily_logins: float
    conversion: float
    known_share: float = 0.0
    ranges: int = 2000
    resend_share: float = 0.15
    """Of those who finish, how many asked for the code again before."""
    repeat_share: float = 0.35
    """Of those who do not finish, how many ask again, each time."""
    day_deviation: float = 0.02
    """The standard deviation of the conversion from day to day."""
    weekly_growth: float = 1.0
    surges: tuple[Surge, ...] = ()
    outage: Period = NEVER
    """No message arrives."""
    delay: Period = NEVER
    """Messages take 20 minutes."""
    shared_addresses: float = 0.3
    """How many are behind an address that others use, too."""


class Login(msgspec.Struct):
    """One login: the instants of its sends, and that of the right code, or -1."""

    sends: list[int]
    verifies_at: int
    range: int
    address: str | None
    is_known: bool
    number: str


def draw_poisson(rng: random.Random, mean: float) -> int:
    """Return a number with the Poisson distribution."""
    if mean > MAX_EXACT_MEAN:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), rng.random(), 0
    while product > limit:
        product *= rng.random()
        count += 1
    return count


def compute_rate(people: People, instant: int) -> float:
    """Return the mean logins of one minute at an instant."""
    day, hour = instant // DAY_MS, instant // HOUR_MS % 24
    rate = people.daily_logins * HOUR_WEIGHTS[hour] / sum(HOUR_WEIGHTS) / 60
    if day % 7 > FRIDAY:
        rate *= WEEKEND_FACTOR
    rate *= people.weekly_growth ** (instant / (7 * DAY_MS))
    for surge in people.surges:
        if surge.period.contains(instant):
            rate *= surge.factor
    return float(rate)


def draw_conversion(rng: random.Random, people: People) -> float:
    """Return the conversion of one day: Beta around its mean."""
    mean = people.conversion
    if not people.day_deviation:
        return mean
    size = mean * (1 - mean) / people.day_deviation**2 - 1
    return rng.betavariate(mean * size, (1 - mean) * size)


def draw_logins(
    rng: random.Random, people: People, conversion: float, minute: int
) -> Iterator[Login]:
    """Yield the logins that begin within a minute, in any order."""
    for _ in range(draw_poisson(rng, compute_rate(people, minute))):
        yield _draw_login(rng, people, conversion, minute + rng.randrange(MINUTE_MS))


def count_unverified_sends(people: People) -> float:
    """Return the mean number of sends of a person who does not finish."""
    return sum(people.repeat_share**index for index in range(MAX_SENDS))


def _draw_login(rng: random.Random, people: People, conversion: float, start: int) -> Login:
    is_known = rng.random() < people.known_share
    # Known people return: each logs in every ten days.
    number = f"known-{rng.randrange(10 + 10 * round(people.daily_logins))}" if is_known else ""
    sends, verifies_at = [start], -1
    wait = round(rng.lognormvariate(math.log(15), 0.7) * SECOND_MS)
    is_lost = people.outage.contains(start)
    is_late = people.delay.contains(start)
    repeat_share = 0.7 if is_lost or is_late else people.repeat_share
    if rng.random() < conversion and not is_lost:
        if is_late:
            wait += 20 * MINUTE_MS
            _repeat_sends(rng, sends, repeat_share)
        elif rng.random() < people.resend_share:
            sends.append(start + 45 * SECOND_MS)
            wait += 45 * SECOND_MS
        verifies_at = start + wait
    else:
        _repeat_sends(rng, sends, repeat_share)
    shared = rng.random() < people.shared_addresses
    address = f"shared-{rng.randrange(1 + round(people.daily_logins / 50))}" if shared else None
    return Login(sends, verifies_at, _draw_range(rng, people.ranges), address, is_known, number)


def _repeat_sends(rng: random.Random, sends: list[int], share: float) -> None:
    while len(sends) < MAX_SENDS and rng.random() < share:
        sends.append(sends[-1] + rng.randrange(45, 90) * SECOND_MS)


def _draw_range(rng: random.Random, ranges: int) -> int:
    """Return the index of a range; the first have more people than the last."""
    return int(ranges * rng.random() ** 1.5)
