"""What happened, in numbers: by hour, country, provider and tenant, and who was refused most."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from otp_service.audit.reports.event_record import EventRecord
from otp_service.core.conversion import ConversionMatcher
from otp_service.core.timestamps import HOUR_MS


MAX_TRACKED_OFFENDERS = 50_000
"""Numbers or addresses that are counted; beyond them those with the fewest are forgotten."""

TOP_OFFENDERS = 10

T = TypeVar("T")


class StatsRow(msgspec.Struct):
    """What happened in one hour, country or tenant, through one provider, or at all."""

    issued: int = 0
    """Challenges; none of them is a provider's."""
    sent: int = 0
    """Messages that a provider took, or may have."""
    failed: int = 0
    """Messages that a provider certainly did not take."""
    delivered: int = 0
    """Messages that a receipt says have arrived."""
    verified: int = 0
    """Of those challenges, or for a provider of those messages: whose code came back."""
    rejected: int = 0
    """Wrong codes."""
    refused: int = 0
    """Issues, resends and verifies that were refused before anything was compared."""
    locked: int = 0
    """Challenges that ran out of attempts, and numbers that were locked."""

    @property
    def conversion(self) -> float | None:
        """Verified of issued, for a provider of sent; None where there were none."""
        of = self.issued or self.sent
        return self.verified / of if of else None


class Offender(msgspec.Struct, frozen=True):
    """Somebody who was refused, or whose code was wrong, so many times."""

    name: str
    """A pseudonym or an address."""
    times: int
    number_suffix: str | None = None
    country: str | None = None


class NumberLock(msgspec.Struct, frozen=True):
    """A number that was locked, and not unlocked since."""

    number: str
    number_suffix: str | None
    country: str | None
    tenant: str | None
    at: int


class StatsOverview(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was counted; all of it is in order."""

    total: StatsRow
    hours: tuple[tuple[int, StatsRow], ...]
    """By when each began, in milliseconds."""
    countries: tuple[tuple[str, StatsRow], ...]
    """Those with most challenges first, as in the following ones."""
    providers: tuple[tuple[str, StatsRow], ...]
    tenants: tuple[tuple[str, StatsRow], ...]
    reasons: tuple[tuple[str, int], ...]
    """Why refused, and under which limit."""
    numbers: tuple[Offender, ...]
    addresses: tuple[Offender, ...]
    locked: tuple[NumberLock, ...]
    earlier: int
    """Codes that came back for challenges that were issued before; in no row."""
    without_key: int
    """Calls without a valid key or scope."""


class _BoundedCounter(Counter[T]):
    """Counts, and forgets those with the fewest when there are too many."""

    def add_count(self, item: T, times: int) -> None:
        self[item] += times
        if len(self) > MAX_TRACKED_OFFENDERS:
            kept = dict(self.most_common(MAX_TRACKED_OFFENDERS // 2))
            self.clear()
            self.update(kept)


class StatsCollector:
    """Counts events, which have to come newest first.

    So a success is known before its challenge's issue and its newest message, and counts in
    their rows: of what was issued in an hour, so much was verified.
    """

    def __init__(self) -> None:
        self._total = StatsRow()
        self._hours: defaultdict[int, StatsRow] = defaultdict(StatsRow)
        self._countries: defaultdict[str, StatsRow] = defaultdict(StatsRow)
        self._providers: defaultdict[str, StatsRow] = defaultdict(StatsRow)
        self._tenants: defaultdict[str, StatsRow] = defaultdict(StatsRow)
        self._reasons: Counter[str] = Counter()
        self._numbers = _BoundedCounter[tuple[str, str | None, str | None]]()
        self._addresses = _BoundedCounter[str]()
        self._locked_numbers: dict[str, NumberLock] = {}
        self._unlocked_numbers: set[str] = set()
        self._awaiting_issue: set[str] = set()
        self._conversion_matcher = ConversionMatcher()
        self._without_key = 0
        self._handlers: Mapping[str, Callable[[EventRecord], None]] = {
            "otp.issued": self._count_issued,
            "otp.sent": self._count_sent,
            "otp.provider_failed": self._count_failed,
            "otp.delivery": self._count_delivered,
            "otp.verified": self._count_verified,
            "otp.rejected": self._count_rejected,
            "otp.issue_denied": self._count_refused,
            "otp.verify_denied": self._count_refused,
            "otp.locked": self._count_locked,
            "otp.unlocked": self._record_unlocked,
            "access.denied": self._count_without_key,
        }

    def add_event(self, event: EventRecord) -> None:
        """Count one event."""
        if counts := self._handlers.get(event.type):
            counts(event)

    def build_overview(self) -> StatsOverview:
        """Return what was counted until now."""
        return StatsOverview(
            total=self._total,
            hours=tuple(sorted(self._hours.items())),
            countries=_sort_by_volume(self._countries),
            providers=_sort_by_volume(self._providers),
            tenants=_sort_by_volume(self._tenants),
            reasons=tuple(self._reasons.most_common()),
            numbers=tuple(
                Offender(number, times, suffix, country)
                for (number, suffix, country), times in self._numbers.most_common(TOP_OFFENDERS)
            ),
            addresses=tuple(Offender(*one) for one in self._addresses.most_common(TOP_OFFENDERS)),
            locked=tuple(self._locked_numbers.values()),
            earlier=len(self._awaiting_issue),
            without_key=self._without_key,
        )

    def _count_issued(self, event: EventRecord) -> None:
        self._increment_rows(event, "issued")
        if event.challenge in self._awaiting_issue:
            self._awaiting_issue.remove(event.challenge)
            self._increment_rows(event, "verified")

    def _count_sent(self, event: EventRecord) -> None:
        self._increment_rows(event, "sent", is_provider=True)
        if self._conversion_matcher.add_sent(event.challenge or "") and event.provider:
            self._providers[event.provider].verified += 1

    def _count_failed(self, event: EventRecord) -> None:
        self._increment_rows(event, "failed", is_provider=True)

    def _count_delivered(self, event: EventRecord) -> None:
        if event.status == "delivered":
            self._increment_rows(event, "delivered", is_provider=True)

    def _count_verified(self, event: EventRecord) -> None:
        if event.challenge and not event.repeated:
            self._awaiting_issue.add(event.challenge)
            self._conversion_matcher.add_verified(event.challenge, repeated=event.repeated)

    def _count_rejected(self, event: EventRecord) -> None:
        self._increment_rows(event, "rejected")
        self._count_offender(event)

    def _count_refused(self, event: EventRecord) -> None:
        self._increment_rows(event, "refused", event.folded)
        why = event.reason or "unknown"
        self._reasons[f"{why}: {event.limit}" if event.limit else why] += event.folded
        self._count_offender(event)

    def _count_offender(self, event: EventRecord) -> None:
        if event.number:
            self._numbers.add_count(
                (event.number, event.number_suffix, event.country), event.folded
            )
        if event.client_address:
            self._addresses.add_count(event.client_address, event.folded)

    def _count_without_key(self, event: EventRecord) -> None:
        self._without_key += event.count

    def _record_unlocked(self, event: EventRecord) -> None:
        self._unlocked_numbers.add(event.number or "")

    def _count_locked(self, event: EventRecord) -> None:
        self._increment_rows(event, "locked")
        number = event.number
        if event.reason == "number_locked" and number and number not in self._unlocked_numbers:
            locked = NumberLock(number, event.number_suffix, event.country, event.tenant, event.at)
            self._locked_numbers.setdefault(number, locked)

    def _increment_rows(
        self, event: EventRecord, field: str, times: int = 1, *, is_provider: bool = False
    ) -> None:
        rows = [self._total, self._hours[event.at // HOUR_MS * HOUR_MS]]
        if event.country:
            rows.append(self._countries[event.country])
        if event.tenant:
            rows.append(self._tenants[event.tenant])
        if is_provider and event.provider:
            rows.append(self._providers[event.provider])
        for row in rows:
            setattr(row, field, getattr(row, field) + times)


def _sort_by_volume(rows: Mapping[str, StatsRow]) -> tuple[tuple[str, StatsRow], ...]:
    return tuple(sorted(rows.items(), key=lambda one: (-one[1].issued, -one[1].sent, one[0])))
