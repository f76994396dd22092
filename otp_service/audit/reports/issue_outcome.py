"""What became of the challenges that were issued in a period, as far as its events show it."""

from collections import defaultdict
from contextlib import suppress
from enum import Enum
from typing import Final

from otp_service.audit.reports.event_record import EventRecord
from otp_service.core.timestamps import parse_rfc3339


MAX_CODE_LIFETIME_MS: Final = 600_000
"""The longest lifetime of a code that settings allow, in milliseconds."""

MAX_RECENT_CHALLENGES: Final = 200_000
"""Challenges of the last ten minutes whose messages, or whose end, are known: 20 MB each."""


class IssueOutcome(Enum):
    """What is known of a challenge at the end of a period."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    """It can no longer be verified."""
    PENDING = "pending"
    """Its code could still be entered when the period ended."""


class OutcomeCollector:
    """Finds the outcome of each challenge from events, which have to be added newest first.

    `ends_at` is the end of the period, or now if that is earlier, in milliseconds since 1970.
    """

    def __init__(self, ends_at: int) -> None:
        self._ends_at = ends_at
        self._verified: set[str] = set()
        self._ended: set[str] = set()
        self._providers: defaultdict[str, list[str]] = defaultdict(list)

    def add_event(self, event: EventRecord) -> None:
        """Note a success; near the end of the period, also an early end or the provider of a message."""
        challenge = event.challenge or ""
        if event.type == "otp.verified":
            if challenge and not event.repeated:
                self._verified.add(challenge)
        elif event.at + MAX_CODE_LIFETIME_MS <= self._ends_at:
            return
        elif event.type == "otp.sent" and event.provider:
            if len(self._providers) >= MAX_RECENT_CHALLENGES:
                self._providers.clear()
            self._providers[challenge].append(event.provider)
        elif event.type == "otp.canceled" or event.reason == "attempts_exhausted":
            if len(self._ended) >= MAX_RECENT_CHALLENGES:
                self._ended.clear()
            self._ended.add(challenge)

    def take_outcome(self, issue: EventRecord) -> IssueOutcome:
        """Return the outcome of the challenge of an `otp.issued`, and forget the challenge."""
        challenge = issue.challenge or ""
        if challenge in self._verified:
            self._verified.discard(challenge)
            return IssueOutcome.VERIFIED
        if challenge in self._ended:
            self._ended.discard(challenge)
            return IssueOutcome.UNVERIFIED
        is_over = find_deadline(issue) <= self._ends_at
        return IssueOutcome.UNVERIFIED if is_over else IssueOutcome.PENDING

    def take_providers(self, challenge: str) -> list[str]:
        """Return the provider of each message of a recent challenge, and forget them."""
        return self._providers.pop(challenge, [])

    def count_earlier(self) -> int:
        """Return how many verified challenges have no `otp.issued` in the period."""
        return len(self._verified)


def read_deadline(event: EventRecord) -> int | None:
    """Return the deadline that an event has, in milliseconds since 1970."""
    if event.expires_at:
        with suppress(ValueError):
            return parse_rfc3339(event.expires_at)
    return None


def find_deadline(first: EventRecord) -> int:
    """Return the deadline of a challenge by its first event; without one, the last that is possible."""
    latest = first.at + MAX_CODE_LIFETIME_MS
    return read_deadline(first) or latest
