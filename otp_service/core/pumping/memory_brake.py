"""The brake in the memory of one process: it decides, repays and learns as the service does with Redis.

`pumping replay` runs it over an archive of events, and `bench/pumping` over simulated people. Buckets and
records are dictionaries; the caller passes the time, which never goes back. There are two differences from
the service: a verification counts in the totals of its own hour and not in that of the send, and what is
learned is in force at once.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from otp_service.core.pumping.allowance import NO_FIGURES, Figures, Terms, is_strained
from otp_service.core.pumping.debt import EMPTY_DEBT, Debt, settle_debt
from otp_service.core.pumping.decision import (
    DebtCharge,
    SendDecision,
    decide_send,
    repay_charge,
    repay_send,
)
from otp_service.core.pumping.known_number import (
    KNOWN_NUMBER_TTL_MS,
    KnownNumber,
    can_count,
    is_exempt,
    note_exempt_send,
    note_verification,
)
from otp_service.core.pumping.outages import can_be_strained
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
from otp_service.core.timestamps import HOUR_MS


HISTORY_HOURS: Final = HISTORY_DAYS * DAY_HOURS
BUCKET_TTL_MS: Final = 28 * HOUR_MS
"""After which nothing of a bucket counts: seven slots of four hours."""
_NO_HISTORY: Final = [HourTotals()] * HISTORY_HOURS

TrafficScope = tuple[str, str]
"""A tenant and a country."""


class BrakeFormula(msgspec.Struct, frozen=True):
    """What is decided by: the settings of every tenant, and how much is learned."""

    settings: BrakeSettings
    learning: Learning = DEFAULT_LEARNING


class ChargedSend(msgspec.Struct, frozen=True):
    """What a message that is sent was charged, for its repayment."""

    charges: tuple[DebtCharge, ...]
    """Those that were charged."""
    at: int
    price: int
    measure: Measure
    scope: TrafficScope
    is_over: bool = False
    """Whether a scope was full in record mode: it counts in the budget of the day alone."""

    @property
    def is_repaid(self) -> bool:
        """Whether a verification repays it."""
        return self.measure is Measure.UNVERIFIED and not self.is_over

    @property
    def is_volume(self) -> bool:
        """Whether it counts in the volume of its country."""
        return self.measure is Measure.VOLUME and not self.is_over


class _RunningTotals(msgspec.Struct):
    """The totals of the current hour."""

    verified: int = 0
    unverified: int = 0
    volume: int = 0
    has_refusals: bool = False

    def to_hour_totals(self) -> HourTotals:
        unverified = max(0, self.unverified)
        return HourTotals(self.verified, unverified, self.volume, self.has_refusals)


class MemoryBrake:
    """Decides sends of many tenants by one formula, and learns from their verifications."""

    def __init__(self, formula: BrakeFormula, find_price: Callable[[str], int]) -> None:
        """Call `find_price` with a country for the usual price of a message to it."""
        self.settings = formula.settings
        """The caller may replace it, by one of another mode."""
        self.debts: dict[ScopeBucket, Debt] = {}
        self.known: dict[str, KnownNumber] = {}
        """By what the caller names a number of a tenant."""
        self.outages: tuple[Outage, ...] = ()
        self.hours: dict[TrafficScope, list[HourTotals]] = defaultdict(_NO_HISTORY.copy)
        """The HISTORY_HOURS before the current hour, oldest first."""
        self.strained: set[TrafficScope] = set()
        self.changed: set[TrafficScope] = set()
        """Those with sends since the worker has looked."""
        self._learning = formula.learning
        self._find_price = find_price
        self._current: dict[TrafficScope, _RunningTotals] = defaultdict(_RunningTotals)
        self._current_hour: int | None = None
        self._figures: dict[TrafficScope, tuple[Figures, Figures]] = {}

    def send(
        self, subject: SendSubject, number: str, price: int, now: int, *, is_delivery: bool = False
    ) -> tuple[SendDecision, ChargedSend | None]:
        """Decide one send; return the decision, and what it was charged if it is sent."""
        known = self.known.get(number)
        measure = choose_measure(
            is_delivery=is_delivery,
            is_exempt=is_exempt(known, now) and not is_delivery,
            outages=self.outages,
            tenant=subject.tenant,
            country=subject.country,
            now=now,
        )
        scope = subject.tenant, subject.country
        figures = self._get_figures(scope, measure)
        charges = build_debt_charges(subject, price, measure, figures, self.settings)
        decision = decide_send(self.debts, charges, now)
        totals = self._current[scope]
        self.changed.add(scope)
        refusal = decision.refusal
        if refusal is not None and refusal.bucket.limit is DebtLimit.UNVERIFIED_COUNTRY:
            totals.has_refusals = True
        if not decision.is_sent:
            return decision, None
        self.debts.update(decision.debts)
        if measure is Measure.EXEMPT:
            assert known is not None
            self.known[number] = note_exempt_send(known, now)
        if refusal is not None:
            charges = tuple(charge for charge in charges if charge.is_always_charged)
        sent = ChargedSend(charges, now, price, measure, scope, is_over=refusal is not None)
        totals.unverified += price * sent.is_repaid
        totals.volume += price * sent.is_volume
        return decision, sent

    def verify(self, sends: Sequence[ChargedSend], number: str, now: int) -> None:
        """Repay the sends of a challenge that has verified; an empty `number` becomes not known."""
        is_counted = can_count(self.known.get(number), now)
        owed = [send for send in sends if send.is_repaid]
        for index, send in enumerate(owed):
            is_last = is_counted and index == len(owed) - 1
            self.debts.update(
                repay_send(self.debts, send.charges, send.at, now, is_counted=is_last)
            )
            totals = self._current[send.scope]
            totals.unverified -= send.price
            totals.verified += send.price * is_last
        if number:
            self.known[number] = note_verification(now)

    def withdraw(self, send: ChargedSend, number: str, now: int) -> None:
        """Take back a send that no provider took."""
        for charge in send.charges:
            self.debts[charge.bucket] = repay_charge(self.debts, charge, send.at, now)
        totals, known = self._current[send.scope], self.known.get(number)
        totals.unverified -= send.price * send.is_repaid
        totals.volume -= send.price * send.is_volume
        if send.measure is Measure.EXEMPT and known is not None:
            unpaid = tuple(instant for instant in known.unpaid_at if instant != send.at)
            self.known[number] = replace(known, unpaid_at=unpaid)

    def work(self, now: int) -> None:
        """Do what the worker does at the start of the minute `now`: figures each hour, strain each minute.

        Minutes in which nothing is sent may be left out. Strain is computed again of the scopes in
        `changed`, and each hour of all.
        """
        is_new_hour = now // HOUR_MS != self._current_hour
        if is_new_hour:
            self._learn(now)
        for scope in set(self._figures) if is_new_hour else self.changed:
            if scope in self._figures and self._is_strained(scope, now):
                self.strained.add(scope)
            else:
                self.strained.discard(scope)
        self.changed = set()

    def forget_expired(self, now: int) -> None:
        """Drop the buckets and numbers that nothing depends on any more."""
        oldest_slot = (now - BUCKET_TTL_MS) // (4 * HOUR_MS)
        self.debts = {
            bucket: debt
            for bucket, debt in self.debts.items()
            if debt.windows[1].newest_slot > oldest_slot
        }
        verified_since = now - KNOWN_NUMBER_TTL_MS
        self.known = {
            number: known
            for number, known in self.known.items()
            if known.verified_at > verified_since
        }

    def _learn(self, now: int) -> None:
        hour = now // HOUR_MS
        if self._current_hour is not None:
            passed = hour - self._current_hour
            for scope in set(self.hours) | set(self._current):
                totals = self._current.pop(scope, _RunningTotals()).to_hour_totals()
                hours = [*self.hours[scope], totals, *[HourTotals()] * (passed - 1)]
                self.hours[scope] = hours[-HISTORY_HOURS:]
        self._current_hour = hour
        for scope, hours in self.hours.items():
            price = self._find_price(scope[1])
            self._figures[scope] = (
                learn_figures(hours, price, self._learning),
                learn_volume_figures(hours),
            )

    def _is_strained(self, scope: TrafficScope, now: int) -> bool:
        if not can_be_strained(self.outages, *scope, now):
            return False
        settings = self.settings
        bucket = ScopeBucket(DebtLimit.UNVERIFIED_COUNTRY, *scope)
        terms = Terms(settings.floors.country_money, self._figures[scope][0], settings.deviations)
        debt = settle_debt(self.debts.get(bucket, EMPTY_DEBT), now)
        return is_strained(terms, debt, self._find_price(scope[1]), settings.strained_parts)

    def _get_figures(self, scope: TrafficScope, measure: Measure) -> SendFigures:
        unverified, volume = self._figures.get(scope, (NO_FIGURES, NO_FIGURES))
        figures = volume if measure is Measure.VOLUME else unverified
        return SendFigures(figures, scope in self.strained)
