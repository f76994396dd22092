"""What the router remembers of its providers: pure, and the same for all workers and machines.

    breaker   per provider and country: closed ─5 of the last 10 failed─► open ─its time is over─►
              half-open ─taken─► closed, or ─failed─► open for twice as long
    rest      per provider: it has asked to be left alone until then
    quality   per provider: what trusted receipts say, from 1 (all well) to a tenth

A breaker that is open, and a provider that rests, stand at the end of the list and never off it.
Whose failure counts: silence and account faults always; the refusal of one message only if another
provider then took that message, and of one number once in ten minutes, so that nobody opens a
country's breakers with a handful of bad numbers. Instants are milliseconds since 1970.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from otp_service.core.delivery import Accepted, Fault, RefusalScope, Refused, Reply
from otp_service.core.timestamps import HOUR_MS, MINUTE_MS, SECOND_MS


BREAKER_WINDOW_MS = 10 * MINUTE_MS
"""What is older than this has no say; and how long a number does not count again."""
BREAKER_WINDOW_OUTCOMES, BREAKER_FAILURE_THRESHOLD = 10, 5
FIRST_OPEN_MS, MAX_OPEN_MS = 30 * SECOND_MS, 10 * MINUTE_MS
HALF_OPEN_SHARE = 0.1
"""The share of real traffic that a half-open provider gets where it stands."""
DEFAULT_BACKOFF_MS = 5 * SECOND_MS
"""How long who is throttled rests, if it has not said."""

LATE_DELIVERY_MS = 30 * SECOND_MS
"""A receipt that comes later than this speaks of a message that came too late to be typed in."""
QUALITY_STEP = 0.05
"""How far one receipt moves the quality: damping, or two providers would swing against each other."""
MIN_QUALITY = 0.1
QUALITY_HALF_LIFE_MS = 15 * MINUTE_MS
"""In this time half of what a provider has lost comes back by itself."""
NUMBER_QUALITY_INTERVAL_MS = HOUR_MS
"""How often one number may move a quality."""
MAX_REMEMBERED_NUMBERS = 1000

BreakerState = Literal["closed", "open", "half-open"]


class Outcome(msgspec.Struct, frozen=True):
    """One outcome that counts."""

    at: int
    ok: bool
    number: str = ""
    """Its pseudonym, where it may count only once."""
    reason: str = ""
    """Why it failed, for operators."""


class Breaker(msgspec.Struct, frozen=True):
    """One provider in one country."""

    last: tuple[Outcome, ...] = ()
    until: int = 0
    """0 while it is closed; until then it is open, and after that half-open."""
    openings: int = 0
    """How often in a row."""

    def get_state(self, now: int) -> BreakerState:
        """Return where it stands."""
        if not self.until:
            return "closed"
        return "open" if now < self.until else "half-open"

    def add_outcome(self, outcome: Outcome) -> "Breaker":
        """Return it with one more outcome. Where all is well, one more success changes nothing."""
        recent = [one for one in self.last if one.at > outcome.at - BREAKER_WINDOW_MS]
        if outcome.ok and not self.until and all(one.ok for one in recent):
            return self if not self.last else Breaker()
        if outcome.number and any(one.number == outcome.number for one in recent):
            return self
        if self.get_state(outcome.at) == "half-open":
            return Breaker() if outcome.ok else self._open(outcome, recent)
        if (
            not self.until
            and sum(not one.ok for one in (*recent, outcome)[-BREAKER_WINDOW_OUTCOMES:])
            >= BREAKER_FAILURE_THRESHOLD
        ):
            return self._open(outcome, recent)
        return replace(self, last=(*recent, outcome)[-BREAKER_WINDOW_OUTCOMES:])

    def _open(self, outcome: Outcome, recent: Sequence[Outcome]) -> "Breaker":
        lasts = min(FIRST_OPEN_MS * 2**self.openings, MAX_OPEN_MS)
        return Breaker(
            (*recent, outcome)[-BREAKER_WINDOW_OUTCOMES:], outcome.at + lasts, self.openings + 1
        )


class Quality(msgspec.Struct, frozen=True):
    """What receipts say of one provider."""

    value: float = 1.0
    at: int = 0

    def compute_value(self, now: int) -> float:
        """Return it at this instant, never under a tenth; what was lost drifts back."""
        lost = (1 - self.value) * math.exp2(-max(0, now - self.at) / QUALITY_HALF_LIFE_MS)
        return max(MIN_QUALITY, 1 - lost)

    def add_score(self, score: float, now: int) -> "Quality":
        """Return it after a receipt that was good (1), bad (0) or in between."""
        value = self.compute_value(now)
        return Quality(max(MIN_QUALITY, value + QUALITY_STEP * (score - value)), now)


class HealthEvent(msgspec.Struct, frozen=True):
    """Something that is worth remembering."""

    provider: str
    country: str
    at: int
    kind: Literal["taken", "failed", "throttled", "receipt"]
    number_pseudonym: str = ""
    backoff_ms: int = 0
    """Milliseconds that a throttled provider rests."""
    score: float = 1.0
    reason: str = ""


class BreakerChange(msgspec.Struct, frozen=True):
    """A breaker that is not where it was: an operator may read of it."""

    provider: str
    country: str
    state: BreakerState
    reason: str


class ProviderHealth(msgspec.Struct, frozen=True):
    """Everything that is remembered."""

    breakers: dict[str, Breaker] = {}
    """By "provider country"."""
    rests: dict[str, int] = {}
    qualities: dict[str, Quality] = {}
    numbers: dict[str, int] = {}
    """Pseudonyms of numbers that have moved a quality, and when."""

    def get_breaker_state(self, provider: str, country: str, now: int) -> BreakerState:
        """Return where a breaker stands."""
        breaker = self.breakers.get(f"{provider} {country}")
        return breaker.get_state(now) if breaker else "closed"

    def compute_weight(self, provider: str, configured_weight: float, now: int) -> float:
        """Return the weight that it has at this instant, at least a tenth of what was configured."""
        quality = self.qualities.get(provider)
        return configured_weight * (quality.compute_value(now) if quality else 1.0)

    def order_providers(
        self, providers: Sequence[str], country: str, now: int, random_float: float
    ) -> tuple[str, ...]:
        """Return the providers with those at the end that are not well; `chance` is from 0 to 1."""

        def is_healthy(provider: str) -> bool:
            if self.rests.get(provider, 0) > now:
                return False
            state = self.get_breaker_state(provider, country, now)
            return state == "closed" or (state == "half-open" and random_float < HALF_OPEN_SHARE)

        return tuple(sorted(providers, key=lambda provider: not is_healthy(provider)))

    def apply_events(
        self, events: Iterable[HealthEvent]
    ) -> tuple["ProviderHealth", list[BreakerChange]]:
        """Return what is remembered then, and which breakers have moved."""
        memory, changes = self, list[BreakerChange]()
        for one in events:
            if one.kind == "throttled":
                rests = max(
                    memory.rests.get(one.provider, 0),
                    one.at + (one.backoff_ms or DEFAULT_BACKOFF_MS),
                )
                memory = replace(memory, rests={**memory.rests, one.provider: rests})
            elif one.kind == "receipt":
                memory = memory.apply_receipt(one)
            else:
                memory = memory.apply_outcome(one, changes)
        return memory, changes

    def apply_outcome(self, event: HealthEvent, changes: list[BreakerChange]) -> "ProviderHealth":
        """Return it after an outcome; a breaker that has moved is added to the changes."""
        name = f"{event.provider} {event.country}"
        old = self.breakers.get(name, Breaker())
        new = old.add_outcome(
            Outcome(event.at, event.kind == "taken", event.number_pseudonym, event.reason)
        )
        if new is old:
            return self
        if bool(new.until) != bool(old.until) or new.openings != old.openings:
            state = new.get_state(event.at)
            changes.append(BreakerChange(event.provider, event.country, state, event.reason))
        return replace(self, breakers={**self.breakers, name: new})

    def apply_receipt(self, event: HealthEvent) -> "ProviderHealth":
        """Return it after a trusted receipt; that all is well again and again changes nothing."""
        old = self.qualities.get(event.provider, Quality())
        numbers = {
            who: at
            for who, at in self.numbers.items()
            if at > event.at - NUMBER_QUALITY_INTERVAL_MS
        }
        if event.number_pseudonym in numbers or (event.score >= 1 and old.value >= 1):
            return self
        # Only so many, or an outage would fill the record: the oldest may count once more.
        kept = dict([*numbers.items()][1 - MAX_REMEMBERED_NUMBERS :])
        return replace(
            self,
            qualities={**self.qualities, event.provider: old.add_score(event.score, event.at)},
            numbers={**kept, event.number_pseudonym: event.at},
        )


def health_events_from_replies(
    replies: Sequence[tuple[str, Reply]], country: str, number_pseudonym: str, now: int
) -> list[HealthEvent]:
    """Return what one send has taught: the providers that were asked, and what they answered."""
    found = []
    for place, (provider, reply) in enumerate(replies):
        taken_later = any(isinstance(other, Accepted) for _, other in replies[place + 1 :])
        kind = _event_kind_from_reply(reply, accepted_later=taken_later)
        if kind is None:
            continue
        is_one_message = isinstance(reply, Refused) and reply.scope is RefusalScope.MESSAGE
        found.append(
            HealthEvent(
                provider,
                country,
                now,
                kind,
                number_pseudonym=number_pseudonym if is_one_message else "",
                backoff_ms=SECOND_MS
                * ((reply.retry_after or 0) if isinstance(reply, Refused) else 0),
                reason=reply.reason if isinstance(reply, Refused) else "",
            )
        )
    return found


def _event_kind_from_reply(
    reply: Reply, *, accepted_later: bool
) -> Literal["taken", "failed", "throttled"] | None:
    if isinstance(reply, Accepted):
        return "taken"
    if reply.scope is RefusalScope.THROTTLED:
        return "throttled"
    if reply.fault is Fault.RECIPIENT:
        return None
    always = reply.scope in {RefusalScope.SILENCE, RefusalScope.ACCOUNT}
    return "failed" if always or accepted_later else None
