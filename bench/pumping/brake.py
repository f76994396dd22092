"""The brake with the clock of a simulation, and the two weeks before it."""

import random

import msgspec

from bench.pumping.people import (
    People,
    compute_rate,
    count_unverified_sends,
    draw_conversion,
    draw_poisson,
)
from otp_service.core.pumping.decision import SendDecision
from otp_service.core.pumping.memory_brake import (
    HISTORY_HOURS,
    BrakeFormula,
    ChargedSend,
    MemoryBrake,
)
from otp_service.core.pumping.prices import DEFAULT_PRICE_TABLE, PriceTable
from otp_service.core.pumping.send_debts import BrakeSettings, SendSubject
from otp_service.core.pumping.usual_traffic import (
    DAY_HOURS,
    DEFAULT_LEARNING,
    HourTotals,
    Learning,
)
from otp_service.core.timestamps import DAY_MS, HOUR_MS


SIMULATED_EPOCH_MS = 20_000 * DAY_MS
"""The decision code gets instants since 1970: slots of an empty bucket are those of 1970."""
RANGES_PER_BLOCK = 10


class Parameters(msgspec.Struct, frozen=True):
    """The formula that is tried."""

    settings: BrakeSettings
    learning: Learning = DEFAULT_LEARNING
    prices: PriceTable = DEFAULT_PRICE_TABLE


class SimulatedBrake:
    """Passes sends, verifications and minutes of the simulated time to a brake in memory."""

    def __init__(self, parameters: Parameters) -> None:
        self._prices = parameters.prices
        formula = BrakeFormula(parameters.settings, parameters.learning)
        self.brake = MemoryBrake(formula, parameters.prices.find_price)

    def set_history(self, rng: random.Random, people: People, tenant: str, country: str) -> None:
        """Write the totals of the two weeks before, which had no attack and no refusal."""
        price = self._prices.find_price(country)
        hours = []
        for hour in range(-HISTORY_HOURS, 0):
            if hour % DAY_HOURS == 0:
                conversion = draw_conversion(rng, people)
            logins = compute_rate(people, hour * HOUR_MS) * 60 * (1 - people.known_share)
            verified = draw_poisson(rng, logins * conversion)
            lost = draw_poisson(rng, logins * (1 - conversion) * count_unverified_sends(people))
            hours.append(HourTotals(verified * price, lost * price))
        self.brake.hours[tenant, country] = hours

    def send(
        self, subject: SendSubject, number: str, now: int
    ) -> tuple[SendDecision, ChargedSend | None]:
        """Decide one send; return the decision, and what it was charged."""
        price = self._prices.find_price(subject.country)
        return self.brake.send(subject, number, price, now + SIMULATED_EPOCH_MS)

    def verify(self, sends: list[ChargedSend], number: str, now: int) -> None:
        """Repay the messages of a challenge that has verified."""
        self.brake.verify(sends, number, now + SIMULATED_EPOCH_MS)

    def work(self, now: int) -> None:
        """Do what the worker does at the start of each minute."""
        self.brake.work(now + SIMULATED_EPOCH_MS)
