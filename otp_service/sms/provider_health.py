"""The health of providers: pure, and the same value for all workers and machines.

    breaker   per provider and country: closed ─5 of the last 10 failed─► open ─its time is over─►
              half-open ─accepted─► closed, or ─failed─► open for twice as long
    backoff   per provider: it asked for no traffic until then
    quality   per provider: the score of its trusted receipts, from 1 (all well) to a tenth

A provider with an open breaker or a backoff is moved to the end of the list, and never removed.
Failures that count: silence and account faults always; the refusal of one message only if another
provider then accepted that message, and of one number once in ten minutes, so that a few bad
numbers cannot open a country's breakers. Instants are milliseconds since 1970.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from otp_service.core.delivery import Accepted, Fault, RefusalScope, Refused, Reply
from otp_service.core.timestamps import SECOND_MS
from otp_service.sms.recipient_refusals import UnreachableRun


BREAKER_WINDOW_MS = 600 * SECOND_MS
"""Older outcomes are ignored; a number counts again after this time."""
BREAKER_WINDOW_OUTCOMES, BREAKER_FAILURE_THRESHOLD = 10, 5
FIRST_OPEN_MS, MAX_OPEN_MS = 30 * SECOND_MS, 600 * SECOND_MS
HALF_OPEN_SHARE = 0.1
"""The share of real traffic for which a half-open provider keeps its place."""
DEFAULT_BACKOFF_MS = 5 * SECOND_MS
"""For a provider that throttles without a Retry-After."""

LATE_DELIVERY_MS = 30 * SECOND_MS
"""A message that is delivered later than this is probably too late to be typed in."""
QUALITY_STEP = 0.05
"""The part of the distance that one receipt moves: with larger steps two providers oscillate."""
MIN_QUALITY = 0.1
QUALITY_HALF_LIFE_MS = 900 * SECOND_MS
"""The time in which half of a lost quality recovers."""
NUMBER_QUALITY_INTERVAL_MS = 3600 * SECOND_MS
"""How often one number may change a quality."""
MAX_SCORED_NUMBERS = 1000

BreakerState = Literal["closed", "open", "half-open"]


class Outcome(msgspec.Struct, frozen=True):
    """One outcome that counts."""

    at: int
    ok: bool
    number_pseudonym: str = ""
    """Of a number that may count only once."""
    reason: str = ""
    """Why it failed, for operators."""


class Breaker(msgspec.Struct, frozen=True):
    """The circuit breaker of one provider in one country."""

    outcomes: tuple[Outcome, ...] = ()
    """The last ones, oldest first."""
    open_until: int = 0
    """0 while it is closed; open until then, and half-open afterwards."""
    openings: int = 0
    """Consecutive ones, each twice as long as the one before."""

    def get_state(self, now: int) -> BreakerState:
        if not self.open_until:
            return "closed"
        return "open" if now < self.open_until else "half-open"

    def add_outcome(self, outcome: Outcome) -> "Breaker":
        """Return the breaker after an outcome; a success changes nothing while all is well."""
        recent = [each for each in self.outcomes if each.at > outcome.at - BREAKER_WINDOW_MS]
        if outcome.ok and not self.open_until and all(each.ok for each in recent):
            return Breaker() if self.outcomes else self
        if outcome.number_pseudonym and any(
            each.number_pseudonym == outcome.number_pseudonym for each in recent
        ):
            return self
        outcomes = (*recent, outcome)[-BREAKER_WINDOW_OUTCOMES:]
        if self.get_state(outcome.at) == "half-open":
            return Breaker() if outcome.ok else self._open(outcome, outcomes)
        failures = sum(not each.ok for each in outcomes)
        if not self.open_until and failures >= BREAKER_FAILURE_THRESHOLD:
            return self._open(outcome, outcomes)
        return replace(self, outcomes=outcomes)

    def _open(self, outcome: Outcome, outcomes: tuple[Outcome, ...]) -> "Breaker":
        open_ms = min(FIRST_OPEN_MS * 2**self.openings, MAX_OPEN_MS)
        return Breaker(outcomes, outcome.at + open_ms, self.openings + 1)


class Quality(msgspec.Struct, frozen=True):
    """The quality of one provider, as its receipts show it."""

    value: float = 1.0
    at: int = 0

    def compute_value(self, now: int) -> float:
        """Return the quality at this instant, from a tenth to 1; it recovers with time."""
        lost = (1 - self.value) * math.exp2(-max(0, now - self.at) / QUALITY_HALF_LIFE_MS)
        return max(MIN_QUALITY, 1 - lost)

    def add_score(self, score: float, now: int) -> "Quality":
        """Return the quality after a receipt with a score from 0 (bad) to 1 (good)."""
        value = self.compute_value(now)
        return Quality(max(MIN_QUALITY, value + QUALITY_STEP * (score - value)), now)


class HealthEvent(msgspec.Struct, frozen=True):
    """One observation of a provider."""

    provider: str
    country: str
    at: int
    kind: Literal["accepted", "failed", "throttled", "receipt", "unreachable"]
    """`unreachable`: it called the number unreachable."""
    number_pseudonym: str = ""
    backoff_ms: int = 0
    """What a throttled provider asked for; 0 if it did not."""
    score: float = 1.0
    reason: str = ""


class BreakerChange(msgspec.Struct, frozen=True):
    """A breaker with a new state, for the event that operators read."""

    provider: str
    country: str
    state: BreakerState
    reason: str


class ProviderHealth(msgspec.Struct, frozen=True):
    """The health of all providers."""

    breakers: dict[str, Breaker] = {}
    """By "provider country"."""
    backoffs: dict[str, int] = {}
    """By provider: until when."""
    qualities: dict[str, Quality] = {}
    """By provider."""
    scored_numbers: dict[str, int] = {}
    """By pseudonym of a number: when it last changed a quality."""
    unreachable_runs: dict[str, UnreachableRun] = {}
    """By "provider country": the numbers it called unreachable since it accepted one."""

    def get_breaker_state(self, provider: str, country: str, now: int) -> BreakerState:
        breaker = self.breakers.get(f"{provider} {country}")
        return breaker.get_state(now) if breaker else "closed"

    def get_unreachable_run(self, provider: str, country: str) -> UnreachableRun:
        return self.unreachable_runs.get(f"{provider} {country}", UnreachableRun())

    def compute_weight(self, provider: str, configured_weight: float, now: int) -> float:
        """Return the weight at this instant, at least a tenth of the configured one."""
        quality = self.qualities.get(provider)
        return configured_weight * (quality.compute_value(now) if quality else 1.0)

    def order_providers(
        self, providers: Sequence[str], country: str, now: int, random_float: float
    ) -> tuple[str, ...]:
        """Return the providers, unhealthy ones last; `random_float` is from 0 to 1."""

        def is_healthy(provider: str) -> bool:
            if self.backoffs.get(provider, 0) > now:
                return False
            state = self.get_breaker_state(provider, country, now)
            return state == "closed" or (state == "half-open" and random_float < HALF_OPEN_SHARE)

        return tuple(sorted(providers, key=lambda provider: not is_healthy(provider)))

    def apply_events(
        self, events: Iterable[HealthEvent]
    ) -> tuple["ProviderHealth", list[BreakerChange]]:
        """Return the health after these events, and the breakers that changed."""
        health, changes = self, list[BreakerChange]()
        for event in events:
            if event.kind == "throttled":
                health = health.apply_throttling(event)
            elif event.kind == "receipt":
                health = health.apply_receipt(event)
            elif event.kind == "unreachable":
                health = health.apply_unreachable(event)
            else:
                health = health.end_unreachable_run(event).apply_outcome(event, changes)
        return health, changes

    def apply_throttling(self, event: HealthEvent) -> "ProviderHealth":
        """Return the health after a throttled request; a longer backoff stays."""
        until = event.at + (event.backoff_ms or DEFAULT_BACKOFF_MS)
        until = max(self.backoffs.get(event.provider, 0), until)
        return replace(self, backoffs={**self.backoffs, event.provider: until})

    def apply_unreachable(self, event: HealthEvent) -> "ProviderHealth":
        """Return the health after a number was called unreachable."""
        run = self.get_unreachable_run(event.provider, event.country)
        run = run.add_number(event.number_pseudonym, event.at)
        name = f"{event.provider} {event.country}"
        return replace(self, unreachable_runs={**self.unreachable_runs, name: run})

    def end_unreachable_run(self, event: HealthEvent) -> "ProviderHealth":
        """Return the health after an outcome: one accepted message ends a run."""
        name = f"{event.provider} {event.country}"
        if event.kind != "accepted" or name not in self.unreachable_runs:
            return self
        runs = {other: run for other, run in self.unreachable_runs.items() if other != name}
        return replace(self, unreachable_runs=runs)

    def apply_outcome(self, event: HealthEvent, changes: list[BreakerChange]) -> "ProviderHealth":
        """Return the health after an outcome; a change of the breaker is added to `changes`."""
        name, ok = f"{event.provider} {event.country}", event.kind == "accepted"
        old = self.breakers.get(name, Breaker())
        new = old.add_outcome(Outcome(event.at, ok, event.number_pseudonym, event.reason))
        if new is old:
            return self
        if bool(new.open_until) != bool(old.open_until) or new.openings != old.openings:
            state = new.get_state(event.at)
            changes.append(BreakerChange(event.provider, event.country, state, event.reason))
        return replace(self, breakers={**self.breakers, name: new})

    def apply_receipt(self, event: HealthEvent) -> "ProviderHealth":
        """Return the health after a trusted receipt; a good one changes a full quality nothing."""
        old = self.qualities.get(event.provider, Quality())
        oldest = event.at - NUMBER_QUALITY_INTERVAL_MS
        numbers = {number: at for number, at in self.scored_numbers.items() if at > oldest}
        if event.number_pseudonym in numbers or (event.score >= 1 and old.value >= 1):
            return self
        # Bounded, or an outage would fill the record: the oldest numbers may count once more.
        newest = dict([*numbers.items()][1 - MAX_SCORED_NUMBERS :])
        return replace(
            self,
            qualities={**self.qualities, event.provider: old.add_score(event.score, event.at)},
            scored_numbers={**newest, event.number_pseudonym: event.at},
        )


def health_events_from_replies(
    replies: Sequence[tuple[str, Reply]], country: str, number_pseudonym: str, now: int
) -> list[HealthEvent]:
    """Return the events of one send, from its providers and their replies in order."""
    events = []
    for index, (provider, reply) in enumerate(replies):
        accepted_later = any(isinstance(later, Accepted) for _, later in replies[index + 1 :])
        kind = _event_kind_from_reply(reply, accepted_later=accepted_later)
        if kind is None:
            continue
        event = HealthEvent(provider, country, now, kind)
        if isinstance(reply, Refused):
            is_one_message = reply.scope is RefusalScope.MESSAGE
            event = replace(
                event,
                number_pseudonym=number_pseudonym if is_one_message else "",
                backoff_ms=SECOND_MS * (reply.retry_after or 0),
                reason=reply.reason,
            )
        events.append(event)
    return events


def _event_kind_from_reply(
    reply: Reply, *, accepted_later: bool
) -> Literal["accepted", "failed", "throttled"] | None:
    if isinstance(reply, Accepted):
        return "accepted"
    if reply.scope is RefusalScope.THROTTLED:
        return "throttled"
    if reply.fault is Fault.RECIPIENT:
        return None
    always = reply.scope in {RefusalScope.SILENCE, RefusalScope.ACCOUNT}
    return "failed" if always or accepted_later else None
