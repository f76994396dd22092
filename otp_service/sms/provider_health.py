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

from otp_service.core.delivery import About, Accepted, Fault, Refused, Reply


SECOND = 1000
WINDOW = 600 * SECOND
"""What is older than this has no say; and how long a number does not count again."""
LAST, ENOUGH = 10, 5
OPEN_FOR, LONGEST = 30 * SECOND, 600 * SECOND
PROBES = 0.1
"""The share of real traffic that a half-open provider gets where it stands."""
REST = 5 * SECOND
"""How long who is throttled rests, if it has not said."""

SLOW = 30 * SECOND
"""A receipt that comes later than this speaks of a message that came too late to be typed in."""
STEP = 0.05
"""How far one receipt moves the quality: damping, or two providers would swing against each other."""
LEAST = 0.1
HEALED = 900 * SECOND
"""In this time half of what a provider has lost comes back by itself."""
ONCE = 3600 * SECOND
"""How often one number may move a quality."""
MOST_NUMBERS = 1000

State = Literal["closed", "open", "half-open"]


class Seen(msgspec.Struct, frozen=True):
    """One outcome that counts."""

    at: int
    ok: bool
    number: str = ""
    """Its pseudonym, where it may count only once."""
    reason: str = ""
    """Why it failed, for operators."""


class Breaker(msgspec.Struct, frozen=True):
    """One provider in one country."""

    last: tuple[Seen, ...] = ()
    until: int = 0
    """0 while it is closed; until then it is open, and after that half-open."""
    openings: int = 0
    """How often in a row."""

    def state(self, now: int) -> State:
        """Return where it stands."""
        if not self.until:
            return "closed"
        return "open" if now < self.until else "half-open"

    def after(self, seen: Seen) -> "Breaker":
        """Return it with one more outcome. Where all is well, one more success changes nothing."""
        recent = [one for one in self.last if one.at > seen.at - WINDOW]
        if seen.ok and not self.until and all(one.ok for one in recent):
            return self if not self.last else Breaker()
        if seen.number and any(one.number == seen.number for one in recent):
            return self
        if self.state(seen.at) == "half-open":
            return Breaker() if seen.ok else self._opened(seen, recent)
        if not self.until and sum(not one.ok for one in (*recent, seen)[-LAST:]) >= ENOUGH:
            return self._opened(seen, recent)
        return replace(self, last=(*recent, seen)[-LAST:])

    def _opened(self, seen: Seen, recent: Sequence[Seen]) -> "Breaker":
        lasts = min(OPEN_FOR * 2**self.openings, LONGEST)
        return Breaker((*recent, seen)[-LAST:], seen.at + lasts, self.openings + 1)


class Quality(msgspec.Struct, frozen=True):
    """What receipts say of one provider."""

    value: float = 1.0
    at: int = 0

    def now(self, now: int) -> float:
        """Return it at this instant, never under a tenth; what was lost drifts back."""
        lost = (1 - self.value) * math.exp2(-max(0, now - self.at) / HEALED)
        return max(LEAST, 1 - lost)

    def after(self, good: float, now: int) -> "Quality":
        """Return it after a receipt that was good (1), bad (0) or in between."""
        value = self.now(now)
        return Quality(max(LEAST, value + STEP * (good - value)), now)


class Observation(msgspec.Struct, frozen=True):
    """Something that is worth remembering."""

    provider: str
    country: str
    at: int
    kind: Literal["taken", "failed", "throttled", "receipt"]
    number: str = ""
    rests: int = 0
    """Milliseconds that a throttled provider rests."""
    good: float = 1.0
    reason: str = ""


class Change(msgspec.Struct, frozen=True):
    """A breaker that is not where it was: an operator may read of it."""

    provider: str
    country: str
    state: State
    reason: str


class Memory(msgspec.Struct, frozen=True):
    """Everything that is remembered."""

    breakers: dict[str, Breaker] = {}
    """By "provider country"."""
    rests: dict[str, int] = {}
    qualities: dict[str, Quality] = {}
    numbers: dict[str, int] = {}
    """Pseudonyms of numbers that have moved a quality, and when."""

    def state(self, provider: str, country: str, now: int) -> State:
        """Return where a breaker stands."""
        breaker = self.breakers.get(f"{provider} {country}")
        return breaker.state(now) if breaker else "closed"

    def weight(self, provider: str, configured: float, now: int) -> float:
        """Return the weight that it has at this instant, at least a tenth of what was configured."""
        quality = self.qualities.get(provider)
        return configured * (quality.now(now) if quality else 1.0)

    def order(
        self, providers: Sequence[str], country: str, now: int, chance: float
    ) -> tuple[str, ...]:
        """Return the providers with those at the end that are not well; `chance` is from 0 to 1."""

        def is_well(provider: str) -> bool:
            if self.rests.get(provider, 0) > now:
                return False
            state = self.state(provider, country, now)
            return state == "closed" or (state == "half-open" and chance < PROBES)

        return tuple(sorted(providers, key=lambda provider: not is_well(provider)))

    def after(self, observations: Iterable[Observation]) -> tuple["Memory", list[Change]]:
        """Return what is remembered then, and which breakers have moved."""
        memory, changes = self, list[Change]()
        for one in observations:
            if one.kind == "throttled":
                rests = max(memory.rests.get(one.provider, 0), one.at + (one.rests or REST))
                memory = replace(memory, rests={**memory.rests, one.provider: rests})
            elif one.kind == "receipt":
                memory = memory.received(one)
            else:
                memory = memory.seen(one, changes)
        return memory, changes

    def seen(self, one: Observation, changes: list[Change]) -> "Memory":
        """Return it after an outcome; a breaker that has moved is added to the changes."""
        name = f"{one.provider} {one.country}"
        old = self.breakers.get(name, Breaker())
        new = old.after(Seen(one.at, one.kind == "taken", one.number, one.reason))
        if new is old:
            return self
        if bool(new.until) != bool(old.until) or new.openings != old.openings:
            state = new.state(one.at)
            changes.append(Change(one.provider, one.country, state, one.reason))
        return replace(self, breakers={**self.breakers, name: new})

    def received(self, one: Observation) -> "Memory":
        """Return it after a trusted receipt; that all is well again and again changes nothing."""
        old = self.qualities.get(one.provider, Quality())
        numbers = {who: at for who, at in self.numbers.items() if at > one.at - ONCE}
        if one.number in numbers or (one.good >= 1 and old.value >= 1):
            return self
        # Only so many, or an outage would fill the record: the oldest may count once more.
        kept = dict([*numbers.items()][1 - MOST_NUMBERS :])
        return replace(
            self,
            qualities={**self.qualities, one.provider: old.after(one.good, one.at)},
            numbers={**kept, one.number: one.at},
        )


def observations(
    walk: Sequence[tuple[str, Reply]], country: str, number: str, now: int
) -> list[Observation]:
    """Return what one send has taught: the providers that were asked, and what they answered."""
    found = []
    for place, (provider, reply) in enumerate(walk):
        taken_later = any(isinstance(other, Accepted) for _, other in walk[place + 1 :])
        kind = _kind(reply, taken_later=taken_later)
        if kind is None:
            continue
        is_one_message = isinstance(reply, Refused) and reply.about is About.MESSAGE
        found.append(
            Observation(
                provider,
                country,
                now,
                kind,
                number=number if is_one_message else "",
                rests=SECOND * ((reply.retry_after or 0) if isinstance(reply, Refused) else 0),
                reason=reply.reason if isinstance(reply, Refused) else "",
            )
        )
    return found


def _kind(reply: Reply, *, taken_later: bool) -> Literal["taken", "failed", "throttled"] | None:
    if isinstance(reply, Accepted):
        return "taken"
    if reply.about is About.THROTTLED:
        return "throttled"
    if reply.fault is Fault.RECIPIENT:
        return None
    always = reply.about in {About.SILENCE, About.ACCOUNT}
    return "failed" if always or taken_later else None
