"""Decides the logged sends of a service again, by other formulas, and counts what they would have done.

Each formula has a brake of its own. What it refuses is not sent, so it is no debt and never verifies: then
the number becomes known by a later challenge only. What persons would have done after a refusal is
unknown.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from otp_service.core.pumping.known_number import KnownNumber
from otp_service.core.pumping.logged_event import LoggedEvent
from otp_service.core.pumping.prices import PriceTable
from otp_service.core.pumping.replay_outages import LoggedOutages
from otp_service.core.pumping.replay_result import LogTotals, ReplayPeriod, ReplayRemarks
from otp_service.core.pumping.replayed_formula import ReplayedFormula
from otp_service.core.pumping.scopes import DebtLimit
from otp_service.core.pumping.send_debts import Measure, SendSubject
from otp_service.core.timestamps import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS


CHALLENGE_TTL_MS: Final = HOUR_MS
"""After its last send a challenge is forgotten: its code is valid for ten minutes at most."""
FORGET_PERIOD_MS: Final = 8 * HOUR_MS
"""The time between two looks for what has expired."""
FAILURE_SETTLE_MS: Final = SECOND_MS
"""After which a failed send has no other provider: the events of one send are of one commit."""
RECIPIENT_FAULT: Final = "recipient"
"""The fault of a number that does not exist: its charges stay, as in the service."""
UNSENT_REASON: Final = "store_unavailable"
_DEBT_LIMITS: Final = frozenset(DebtLimit)


class _LoggedChallenge(msgspec.Struct):
    """A challenge or delivery, whose last send may have failed."""

    subject: SendSubject
    number: str
    is_delivery: bool
    at: int
    price: int = 0
    send: int = 0
    is_counted: bool = False
    """Whether the last send is in the period."""
    is_taken: bool = False
    """Whether a provider has taken the last send."""
    is_failed: bool = False
    is_exempt: bool = False
    """Whether the service had measured the last send as one to a known number."""


class Replay:
    """Passes the events of a log, in their order, to each formula."""

    def __init__(
        self, formulas: Mapping[str, ReplayedFormula], period: ReplayPeriod, prices: PriceTable
    ) -> None:
        self.formulas = formulas
        self.totals = LogTotals()
        self.remarks = ReplayRemarks()
        self._runs: Sequence[ReplayedFormula] = tuple(formulas.values())
        self._period = period
        self._prices = prices
        self._now = 0
        self._period_number = 0
        self._challenges: dict[str, _LoggedChallenge] = {}
        self._failed: deque[tuple[int, str]] = deque()
        self._verified_numbers: set[int] = set()
        self._outages = LoggedOutages()
        self._handlers: Mapping[str, Callable[[LoggedEvent], None]] = {
            "otp.issued": self._start,
            "delivery.created": self._start,
            "otp.resent": self._resend,
            "otp.sent": self._note_taken,
            "delivery.sent": self._note_taken,
            "otp.provider_failed": self._note_failed,
            "delivery.provider_failed": self._note_failed,
            "otp.verified": self._verify,
            "otp.canceled": self._cancel,
            "otp.issue_denied": self._deny,
            "delivery.denied": self._deny,
            "provider.moved": self._move_breaker,
        }

    @property
    def event_types(self) -> frozenset[str]:
        """The types of events that change anything."""
        return frozenset(self._handlers)

    def add_event(self, event: LoggedEvent) -> None:
        """Count an event; they come in the order of the log."""
        self._advance(event.at)
        if event.number:
            self.remarks.pseudonym_keys.setdefault(event.number.partition(":")[0], self._now)
        self._handlers[event.type](event)

    def finish(self) -> None:
        """Settle what waits for a later event."""
        self._settle_failed(self._now + FAILURE_SETTLE_MS)

    def _advance(self, at: int) -> None:
        """Set the time to that of an event; it never goes back, as buckets would age twice."""
        self.remarks.late_events += at < self._now - MINUTE_MS
        self._now = max(self._now, at)
        self._settle_failed(self._now)
        outages = self._outages.list_outages(self._now)
        for run in self._runs:
            run.advance(self._now, outages)
        if self._now // FORGET_PERIOD_MS != self._period_number:
            self._period_number = self._now // FORGET_PERIOD_MS
            self._forget_expired()

    def _forget_expired(self) -> None:
        since = self._now - CHALLENGE_TTL_MS
        kept = {key: one for key, one in self._challenges.items() if one.at > since}
        for key in self._challenges.keys() - kept.keys():
            for run in self._runs:
                run.forget_challenge(key)
        self._challenges = kept
        for run in self._runs:
            run.forget_expired(self._now)

    def _start(self, event: LoggedEvent) -> None:
        """Decide the first send of a challenge. A copy of the event is ignored."""
        if not event.challenge or event.challenge in self._challenges:
            return
        self.remarks.without_range += not event.prefix
        self.remarks.without_block += not event.block
        challenge = _LoggedChallenge(
            _build_subject(event),
            _name_number(event),
            is_delivery=event.type == "delivery.created",
            at=self._now,
        )
        self._challenges[event.challenge] = challenge
        self._send(event, challenge)

    def _resend(self, event: LoggedEvent) -> None:
        challenge = self._challenges.get(event.challenge)
        if challenge is None:
            self.remarks.unknown_challenges += 1
            return
        if event.send > challenge.send or not event.send:
            self._withdraw_failed(event.challenge, challenge)
            self._send(event, challenge)

    def _send(self, event: LoggedEvent, challenge: _LoggedChallenge) -> None:
        subject, price = challenge.subject, event.price
        if price is None:
            self.remarks.without_price += 1
            price = self._prices.find_price(subject.country)
        challenge.at, challenge.price = self._now, price
        challenge.send = max(challenge.send + 1, event.send)
        challenge.is_taken = challenge.is_failed = False
        is_counted = self._period.has_send(self._now, subject.tenant, subject.country)
        challenge.is_counted = is_counted
        if is_counted:
            self.totals.sends += 1
            self.totals.deliveries += challenge.is_delivery
            self.totals.spent += price
            self.totals.over += bool(event.over_limit)
        challenge.is_exempt = event.measure == Measure.EXEMPT
        if challenge.is_exempt:
            self._outages.note_exempt_send((subject.tenant, subject.country), self._now)
        is_known_before = (
            challenge.is_exempt and hash(challenge.number) not in self._verified_numbers
        )
        for run in self._runs:
            if is_known_before:  # it has verified before the first event of the log
                run.brake.known.setdefault(challenge.number, KnownNumber(self._now - DAY_MS))
            run.send(
                event.challenge,
                challenge.number,
                subject,
                price,
                is_delivery=challenge.is_delivery,
                is_counted=is_counted,
            )

    def _note_taken(self, event: LoggedEvent) -> None:
        """Note that a provider has the message; each further one of the same send costs as much."""
        self._outages.note_taken(event.provider, event.country, self._now)
        challenge = self._challenges.get(event.challenge)
        if challenge is None:
            return
        if challenge.is_taken:
            self.totals.spent += challenge.price * challenge.is_counted
            for run in self._runs:
                run.charge_extra_message(event.challenge, challenge.price)
        challenge.is_taken, challenge.is_failed = True, False

    def _note_failed(self, event: LoggedEvent) -> None:
        challenge = self._challenges.get(event.challenge)
        if challenge and not challenge.is_taken and event.fault != RECIPIENT_FAULT:
            challenge.is_failed = True
            self._failed.append((self._now, event.challenge))

    def _settle_failed(self, now: int) -> None:
        """Withdraw the sends that no provider has taken."""
        while self._failed and self._failed[0][0] <= now - FAILURE_SETTLE_MS:
            _, key = self._failed.popleft()
            if challenge := self._challenges.get(key):
                self._withdraw_failed(key, challenge)

    def _withdraw_failed(self, key: str, challenge: _LoggedChallenge) -> None:
        if challenge.is_failed:
            self._withdraw(key, challenge)

    def _withdraw(self, key: str, challenge: _LoggedChallenge) -> None:
        """Take the last send back: it has cost nothing."""
        challenge.is_failed = False
        self.totals.spent -= challenge.price * challenge.is_counted
        for run in self._runs:
            run.withdraw(key, challenge.number, challenge.price, is_counted=challenge.is_counted)

    def _verify(self, event: LoggedEvent) -> None:
        challenge = self._challenges.pop(event.challenge, None)
        if event.repeated or not event.number:
            return
        if challenge is not None:
            subject = challenge.subject
            is_counted = self._period.has_send(self._now, subject.tenant, subject.country)
            self.totals.verified += is_counted
            if challenge.is_exempt:
                scope = subject.tenant, subject.country
                self._outages.note_exempt_send(scope, self._now, is_verified=True)
        number = challenge.number if challenge else _name_number(event)
        self._verified_numbers.add(hash(number))
        for run in self._runs:
            run.verify(event.challenge, number, is_known=challenge is not None)

    def _cancel(self, event: LoggedEvent) -> None:
        """Take back what was stored and not sent, because the store or its replicas failed."""
        challenge = self._challenges.get(event.challenge)
        if challenge and event.reason == UNSENT_REASON and not challenge.is_taken:
            self._withdraw(event.challenge, challenge)

    def _deny(self, event: LoggedEvent) -> None:
        """Decide what the service's own brake had refused. Whether it would have verified is unknown."""
        if event.reason == UNSENT_REASON:
            self._cancel(event)
        elif event.limit in _DEBT_LIMITS:
            subject, price = _build_subject(event), event.price
            price = self._prices.find_price(subject.country) if price is None else price
            is_counted = self._period.has_send(self._now, subject.tenant, subject.country)
            self.totals.denials += event.folded * is_counted
            is_delivery = event.type == "delivery.denied"
            for run in self._runs:
                run.decide_denied(
                    _name_number(event),
                    subject,
                    price,
                    event.folded,
                    is_delivery=is_delivery,
                    is_counted=is_counted,
                )

    def _move_breaker(self, event: LoggedEvent) -> None:
        is_open = event.state == "open"
        self._outages.move_breaker(event.provider, event.country, self._now, is_open=is_open)


def _build_subject(event: LoggedEvent) -> SendSubject:
    return SendSubject(event.tenant, event.country, event.prefix, event.block, event.client_ip)


def _name_number(event: LoggedEvent) -> str:
    """Return how the brakes name a number of a tenant."""
    return f"{event.tenant} {event.number}"
