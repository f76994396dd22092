"""One formula in a replay: its brake, and what it would have done."""

from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from otp_service.core.pumping.debt import EMPTY_DEBT, charge_debt
from otp_service.core.pumping.formula_text import NO_DAY_BUDGET
from otp_service.core.pumping.memory_brake import BrakeFormula, ChargedSend, MemoryBrake
from otp_service.core.pumping.replay_result import ReplayResult
from otp_service.core.pumping.scopes import BrakeMode, DebtLimit, ScopeBucket
from otp_service.core.pumping.send_debts import Outage, SendSubject
from otp_service.core.timestamps import DAY_MS, MINUTE_MS, to_datetime


_OVERALL_BUCKET: Final = ScopeBucket(DebtLimit.SPEND_OVERALL)


class ReplayedFormula:
    """Decides the sends of a log by one formula.

    Before `starts_at` it records, and the budget of the day is not applied: the messages were sent.
    """

    def __init__(
        self, formula: BrakeFormula, find_price: Callable[[str], int], starts_at: int
    ) -> None:
        self.result = ReplayResult()
        self._refusing = replace(formula.settings, mode=BrakeMode.REFUSE)
        recording = replace(formula.settings, mode=BrakeMode.RECORD, day_budget=NO_DAY_BUDGET)
        self.brake = MemoryBrake(replace(formula, settings=recording), find_price)
        self._starts_at = starts_at
        self._now = self._worked_at = 0
        self._sends: dict[str, list[ChargedSend | None]] = {}
        """Of each challenge; None for one that was refused."""
        self._refused_at: dict[str, deque[int]] = {}
        """The counted refusals of each number, of the last day."""

    def advance(self, now: int, outages: tuple[Outage, ...]) -> None:
        """Do what a worker has done up to `now`."""
        self._now = now
        self.brake.outages = outages
        if now >= self._starts_at:
            self.brake.settings = self._refusing
        if (minute := now - now % MINUTE_MS) != self._worked_at:
            self._worked_at = minute
            self.brake.changed |= self.brake.strained  # a worker of the service looks at each scope
            self.brake.work(minute)

    def send(  # noqa: PLR0913  # a send has as many traits
        self,
        challenge: str,
        number: str,
        subject: SendSubject,
        price: int,
        *,
        is_delivery: bool,
        is_counted: bool,
    ) -> None:
        """Decide a send of the log."""
        decision, sent = self.brake.send(subject, number, price, self._now, is_delivery=is_delivery)
        self._sends.setdefault(challenge, []).append(sent)
        if decision.refusal is None or not is_counted:
            return
        result = self.result
        result.refused += 1
        result.refused_by[decision.refusal.bucket.limit.value] += 1
        result.saved += price
        result.refused_in[subject.country, f"{to_datetime(self._now):%Y-%m-%d}"] += 1
        if result.first_refused_at is None:
            result.first_refused_at = self._now
        if not is_delivery:
            self._refused_at.setdefault(number, deque()).append(self._now)

    def decide_denied(  # noqa: PLR0913  # a send has as many traits
        self,
        number: str,
        subject: SendSubject,
        price: int,
        count: int,
        *,
        is_delivery: bool,
        is_counted: bool,
    ) -> None:
        """Decide `count` equal sends that were not sent. Those that are admitted are never verified."""
        for _ in range(count):
            _, sent = self.brake.send(subject, number, price, self._now, is_delivery=is_delivery)
            if sent is None:
                return  # the others are refused as well
            self.result.admitted_denials += is_counted

    def verify(self, challenge: str, number: str, *, is_known: bool) -> None:
        """Repay the sends of a challenge; `is_known` says whether the log has its issue.

        If none of them would have been sent, the number would not have verified.
        """
        sends = [send for send in self._sends.pop(challenge, []) if send is not None]
        if sends or not is_known:
            self.brake.verify(sends, number, self._now)
        refusals = self._refused_at.pop(number, ())
        self.result.later_verified += sum(at > self._now - DAY_MS for at in refusals)

    def withdraw(self, challenge: str, number: str, price: int, *, is_counted: bool) -> None:
        """Take back the last send of a challenge, which has cost nothing."""
        sends = self._sends.get(challenge, [])
        if not sends:
            return
        if (last := sends[-1]) is None:
            self.result.saved -= price * is_counted
        else:
            self.brake.withdraw(last, number, self._now)
        sends[-1] = None

    def charge_extra_message(self, challenge: str, price: int) -> None:
        """Charge one more message of the last send to the budget of the day, if it is sent."""
        sends = self._sends.get(challenge, [])
        if sends and sends[-1] is not None:
            debts = self.brake.debts
            debts[_OVERALL_BUCKET] = charge_debt(
                debts.get(_OVERALL_BUCKET, EMPTY_DEBT), price, self._now
            )

    def forget_challenge(self, challenge: str) -> None:
        self._sends.pop(challenge, None)

    def forget_expired(self, now: int) -> None:
        """Drop what no later event can depend on."""
        self.brake.forget_expired(now)
        since = now - DAY_MS
        self._refused_at = {n: ats for n, ats in self._refused_at.items() if ats[-1] > since}
