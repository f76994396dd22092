"""The outages that a log shows, by the evidence that a worker has: breakers, and known numbers.

The log has no routes. So the providers of a country are those that took a message to it in the last day.
"""

from collections import defaultdict
from typing import Final

from otp_service.core.pumping.outages import (
    EVIDENCE_SLOT_MS,
    SLOTS_PER_DAY,
    WINDOW_SLOTS,
    Evidence,
    ExemptCounts,
    Scope,
    is_without_provider,
    judge_exempt_sends,
    update_outages,
)
from otp_service.core.pumping.send_debts import Outage
from otp_service.core.timestamps import DAY_MS, MINUTE_MS


OPEN_MS: Final = 10 * MINUTE_MS
"""How long an open breaker is evidence. The log has no end of a breaker that is tried again."""
KEPT_SLOTS: Final = SLOTS_PER_DAY + WINDOW_SLOTS + 2


class LoggedOutages:
    """Finds outages once a minute, as a worker does."""

    def __init__(self) -> None:
        self._outages: tuple[Outage, ...] = ()
        self._looked_at = 0
        self._taken_at: dict[str, dict[str, int]] = defaultdict(dict)
        """When each provider last took a message, by country."""
        self._open_until: dict[tuple[str, str], int] = {}
        """Of open breakers, by provider and country."""
        self._slots: dict[Scope, dict[int, ExemptCounts]] = defaultdict(dict)

    def note_taken(self, provider: str, country: str, now: int) -> None:
        self._taken_at[country][provider] = now

    def move_breaker(self, provider: str, country: str, now: int, *, is_open: bool) -> None:
        """Note that the breaker of a provider for a country was opened or closed."""
        if is_open:
            self._open_until[provider, country] = now + OPEN_MS
        else:
            self._open_until.pop((provider, country), None)

    def note_exempt_send(self, scope: Scope, now: int, *, is_verified: bool = False) -> None:
        """Note a send to a known number, or the verification of one."""
        slots, slot = self._slots[scope], now // EVIDENCE_SLOT_MS
        counts = slots.get(slot, ExemptCounts())
        slots[slot] = ExemptCounts(counts.sent + (not is_verified), counts.verified + is_verified)

    def list_outages(self, now: int) -> tuple[Outage, ...]:
        """Return what lasts at `now`, or has ended within the last hour."""
        if now - self._looked_at >= MINUTE_MS:
            self._looked_at = now - now % MINUTE_MS
            failing = [country for country in self._taken_at if self._is_failing(country, now)]
            if failing or self._slots or self._outages:
                evidence = {scope: self._judge(scope, now) for scope in self._slots}
                self._outages = update_outages(self._outages, failing, evidence, now)
        return self._outages

    def _is_failing(self, country: str, now: int) -> bool:
        """Return whether the breaker of each provider of a country is open."""
        if not self._open_until:
            return False
        recent = [p for p, at in self._taken_at[country].items() if at > now - DAY_MS]
        return is_without_provider(
            (self._open_until.get((provider, country), 0) for provider in recent), now
        )

    def _judge(self, scope: Scope, now: int) -> Evidence:
        """Return what the exempt sends of a country of a tenant show; drop slots that are too old."""
        slots, oldest = self._slots[scope], now // EVIDENCE_SLOT_MS - KEPT_SLOTS
        for slot in [slot for slot in slots if slot < oldest]:
            del slots[slot]
        return judge_exempt_sends(slots, now)
