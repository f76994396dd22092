"""The brake as a service would run it: the decision code, its buckets, and the worker that learns.

Buckets and records are dictionaries instead of Redis. The worker looks once a minute, as it would.
"""

import random
from collections import defaultdict

import msgspec

from bench.pumping.people import (
    People,
    compute_rate,
    count_unverified_sends,
    draw_conversion,
    draw_poisson,
)
from otp_service.core.pumping.allowance import Figures, Terms, is_strained
from otp_service.core.pumping.debt import EMPTY_DEBT, Debt, settle_debt
from otp_service.core.pumping.decision import (
    DebtCharge,
    SendDecision,
    decide_send,
    repay_send,
)
from otp_service.core.pumping.known_number import (
    KnownNumber,
    can_count,
    is_exempt,
    note_exempt_send,
    note_verification,
)
from otp_service.core.pumping.prices import DEFAULT_PRICE_TABLE, PriceTable
from otp_service.core.pumping.scopes import DebtLimit, ScopeBucket
from otp_service.core.pumping.send_debts import (
    BrakeSettings,
    Measure,
    Outage,
    SendFigures,
    SendSubject,
    build_debt_charges,
    choose_measure,
)
from otp_service.core.pumping.usual_traffic import (
    DAY_HOURS,
    DEFAULT_LEARNING,
    HISTORY_DAYS,
    HourTotals,
    Learning,
    learn_figures,
    learn_volume_figures,
)
from otp_service.core.timestamps import DAY_MS, HOUR_MS


SIMULATED_EPOCH_MS = 20_000 * DAY_MS
"""The decision code gets instants since 1970: slots of an empty bucket are those of 1970."""
HISTORY_HOURS = HISTORY_DAYS * DAY_HOURS
RANGES_PER_BLOCK = 10

Scope = tuple[str, str]
"""A tenant and a country."""


class Parameters(msgspec.Struct, frozen=True):
    """The formula that is tried."""

    settings: BrakeSettings
    learning: Learning = DEFAULT_LEARNING
    prices: PriceTable = DEFAULT_PRICE_TABLE


class SentMessage(msgspec.Struct, frozen=True):
    """What a sent message was charged, for its repayment."""

    charges: tuple[DebtCharge, ...]
    at: int
    measure: Measure
    scope: Scope


class _Totals(msgspec.Struct):
    """The totals of the current hour."""

    verified: int = 0
    unverified: int = 0
    volume: int = 0
    has_refusals: bool = False

    def to_hour_totals(self) -> HourTotals:
        unverified = max(0, self.unverified)
        return HourTotals(self.verified, unverified, self.volume, self.has_refusals)


class SimulatedBrake:
    """Decides sends of many tenants, and learns from their verifications."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.debts: dict[ScopeBucket, Debt] = {}
        self.known: dict[str, KnownNumber] = {}
        self.outages: tuple[Outage, ...] = ()
        self._hours: dict[Scope, list[HourTotals]] = defaultdict(list)
        self._current: dict[Scope, _Totals] = defaultdict(_Totals)
        self._figures: dict[Scope, tuple[Figures, Figures]] = {}
        self._strained: set[Scope] = set()
        self._changed: set[Scope] = set()

    def set_history(self, rng: random.Random, people: People, tenant: str, country: str) -> None:
        """Write the totals of the two weeks before, which had no attack and no refusal."""
        price = self.parameters.prices.find_price(country)
        hours = []
        for hour in range(-HISTORY_HOURS, 0):
            if hour % DAY_HOURS == 0:
                conversion = draw_conversion(rng, people)
            logins = compute_rate(people, hour * HOUR_MS) * 60 * (1 - people.known_share)
            verified = draw_poisson(rng, logins * conversion)
            lost = draw_poisson(rng, logins * (1 - conversion) * count_unverified_sends(people))
            hours.append(HourTotals(verified * price, lost * price))
        self._hours[tenant, country] = hours

    def send(
        self, subject: SendSubject, number: str, now: int
    ) -> tuple[SendDecision, SentMessage | None]:
        """Decide one send; return the decision, and what it was charged."""
        now += SIMULATED_EPOCH_MS
        known = self.known.get(number)
        measure = choose_measure(
            is_delivery=False,
            is_exempt=is_exempt(known, now),
            outages=self.outages,
            tenant=subject.tenant,
            country=subject.country,
            now=now,
        )
        price = self.parameters.prices.find_price(subject.country)
        figures = self._get_figures(subject, measure)
        charges = build_debt_charges(subject, price, measure, figures, self.parameters.settings)
        decision = decide_send(self.debts, charges, now)
        scope = subject.tenant, subject.country
        totals = self._current[scope]
        self._changed.add(scope)
        if decision.refusal is not None:
            if decision.refusal.bucket.limit is DebtLimit.UNVERIFIED_COUNTRY:
                totals.has_refusals = True
            return decision, None
        self.debts.update(decision.debts)
        if measure is Measure.EXEMPT:
            assert known is not None
            self.known[number] = note_exempt_send(known, now)
        totals.unverified += price * (measure is Measure.UNVERIFIED)
        totals.volume += price * (measure is Measure.VOLUME)
        return decision, SentMessage(charges, now, measure, scope)

    def verify(self, messages: list[SentMessage], number: str, now: int) -> None:
        """Repay the messages of a challenge that has verified."""
        now += SIMULATED_EPOCH_MS
        is_counted = can_count(self.known.get(number), now)
        for index, message in enumerate(messages):
            if message.measure is not Measure.UNVERIFIED:
                continue
            is_last = is_counted and index == len(messages) - 1
            self.debts.update(
                repay_send(self.debts, message.charges, message.at, now, is_counted=is_last)
            )
            price = message.charges[0].price
            totals = self._current[message.scope]
            totals.unverified -= price
            totals.verified += price * is_last
        if number:
            self.known[number] = note_verification(now)

    def work(self, now: int) -> None:
        """Do what the worker does at the start of each minute."""
        if now % HOUR_MS == 0:
            self._learn(now)
        for scope in self._changed if now % HOUR_MS else set(self._figures):
            if scope in self._figures and self._is_strained(scope, now):
                self._strained.add(scope)
            else:
                self._strained.discard(scope)
        self._changed = set()

    def _learn(self, now: int) -> None:
        if now > 0:
            for scope in set(self._hours) | set(self._current):
                hours = self._hours[scope] or [HourTotals()] * HISTORY_HOURS
                totals = self._current.pop(scope, _Totals()).to_hour_totals()
                self._hours[scope] = [*hours[1:], totals]
        for scope, hours in self._hours.items():
            price = self.parameters.prices.find_price(scope[1])
            self._figures[scope] = (
                learn_figures(hours, price, self.parameters.learning),
                learn_volume_figures(hours),
            )

    def _is_strained(self, scope: Scope, now: int) -> bool:
        settings = self.parameters.settings
        bucket = ScopeBucket(DebtLimit.UNVERIFIED_COUNTRY, *scope)
        terms = Terms(settings.floors.country_money, self._figures[scope][0], settings.deviations)
        debt = settle_debt(self.debts.get(bucket, EMPTY_DEBT), now + SIMULATED_EPOCH_MS)
        price = self.parameters.prices.find_price(scope[1])
        return is_strained(terms, debt, price, settings.strained_parts)

    def _get_figures(self, subject: SendSubject, measure: Measure) -> SendFigures:
        scope = subject.tenant, subject.country
        index = int(measure is Measure.VOLUME)
        empty = Figures(), Figures()
        return SendFigures(
            self._figures.get(scope, empty)[index],
            scope in self._strained,
        )
