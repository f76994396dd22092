"""Statistics of the brake on SMS pumping: ranges with most unverified messages, refusals, and what they saved.

Only messages with a price are counted: without a brake, events have none. Amounts are in millionths of the
configured currency, as events have them.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from otp_service.audit.reports.bounded_counter import MAX_TRACKED_ITEMS
from otp_service.audit.reports.event_record import EventRecord
from otp_service.audit.reports.issue_outcome import IssueOutcome
from otp_service.core.pumping.scopes import BrakeMode, DebtLimit
from otp_service.core.pumping.send_debts import Measure
from otp_service.core.timestamps import DAY_MS


TOP_RANGES: Final = 10

MAX_TRACKED_NUMBERS: Final = 200_000
"""Numbers whose next verification is known, and those that each limit has refused: 20 MB each."""

MAX_PENDING_CHALLENGES: Final = 200_000

BRAKE_LIMITS: Final = frozenset(limit.value for limit in DebtLimit)

RANGE_COLUMNS: Final = ("sends", "unverified", "pending", "refused")
REFUSAL_COLUMNS: Final = ("times", "numbers", "verified_later")
"""The counts that tables show, in addition to the price."""

STARTED_TYPES: Final = ("otp.issued", "delivery.created")
SEND_TYPES: Final = (*STARTED_TYPES, "otp.resent")
DENIED_TYPES: Final = ("otp.issue_denied", "delivery.denied")


class RangeRow(msgspec.Struct):
    """The messages to numbers that differ in their last four digits alone."""

    prefix: str
    """Its pseudonym."""
    country: str | None
    sends: int = 0
    """Messages that count as unverified until their challenge verifies; resends are among them."""
    unverified: int = 0
    """Those of challenges that were not verified and no longer can be, and their price."""
    unverified_money: int = 0
    pending: int = 0
    """Those of challenges that could still be verified at the end of the period."""
    refused: int = 0
    """Messages that the brake refused, or in record mode would have refused."""


class RefusalRow(msgspec.Struct):
    """What one limit refused (`refuse`), or would have refused (`record`)."""

    limit: str
    mode: str
    times: int = 0
    money: int = 0
    """Their price. In refuse mode it is at most what was saved: a person who tries again counts again."""
    numbers: int = 0
    verified_later: int = 0
    """Of these numbers, those that verified within a day: the estimate of false refusals."""


class BrakeStats(msgspec.Struct, frozen=True, kw_only=True):
    """What the brake did in the period."""

    ranges: tuple[RangeRow, ...]
    """At most TOP_RANGES, those with the highest price of unverified messages."""
    refusals: tuple[RefusalRow, ...]
    """Those with the highest price come first."""
    sent_money: int
    """The price of all messages; exempt ones and deliveries are among them."""
    unverified_money: int
    """The price of those that count as unverified, were not verified and no longer can be."""
    pending_money: int
    """The price of those that count as unverified, and could still be verified at the end of the period."""

    @property
    def saved_money(self) -> int:
        return _sum_money(self.refusals, BrakeMode.REFUSE)

    @property
    def recorded_money(self) -> int:
        """The price of the messages that refuse mode would have refused."""
        return _sum_money(self.refusals, BrakeMode.RECORD)


class BrakeCollector:
    """Counts events, newest first: a verification is known before the messages that it is later than."""

    def __init__(self) -> None:
        self._ranges: dict[str, RangeRow] = {}
        self._refusals: dict[tuple[str, str], RefusalRow] = {}
        self._seen_numbers: dict[tuple[str, str], set[int]] = {}
        self._verified_at: dict[int, int] = {}
        self._unsent: set[str] = set()
        self._resent: dict[str, tuple[int, int]] = {}
        self._sent_money = self._unverified_money = self._pending_money = 0

    def add_event(self, event: EventRecord) -> None:
        """Count an event, except what `add_issue` counts of it."""
        if event.type == "otp.verified" and event.number and not event.repeated:
            _make_room(self._verified_at, MAX_TRACKED_NUMBERS)
            self._verified_at[hash(event.number)] = event.at
        elif event.type == "otp.canceled" and event.reason == "delivery_failed":
            _make_room(self._unsent, MAX_PENDING_CHALLENGES)
            self._unsent.add(event.challenge or "")
        elif event.type in DENIED_TYPES and event.limit in BRAKE_LIMITS:
            self._count_refusal(event, event.limit or "", BrakeMode.REFUSE)
        elif event.type in SEND_TYPES and event.price is not None:
            self._sent_money += event.price
            if event.over_limit in BRAKE_LIMITS:
                self._count_refusal(event, event.over_limit or "", BrakeMode.RECORD)
            if event.type == "otp.resent" and event.measure == Measure.UNVERIFIED:
                self._keep_resend(event)

    def add_issue(self, event: EventRecord, outcome: IssueOutcome) -> None:
        """Count an `otp.issued` in its range with its resends, except where no provider took a message."""
        count, money = self._resent.pop(event.challenge or "", (0, 0))
        if event.challenge in self._unsent:
            self._unsent.discard(event.challenge)
            return
        if event.price is None or event.measure != Measure.UNVERIFIED:
            return
        count, money = count + 1, money + event.price
        is_unverified = outcome is IssueOutcome.UNVERIFIED
        is_pending = outcome is IssueOutcome.PENDING
        self._unverified_money += is_unverified * money
        self._pending_money += is_pending * money
        if event.prefix:
            row = self._get_range(event.prefix, event.country)
            row.sends += count
            row.unverified += is_unverified * count
            row.unverified_money += is_unverified * money
            row.pending += is_pending * count

    def build_stats(self) -> BrakeStats:
        refusals = sorted(self._refusals.values(), key=lambda row: (-row.money, row.limit))
        return BrakeStats(
            ranges=tuple(self._sort_ranges()[:TOP_RANGES]),
            refusals=tuple(refusals),
            sent_money=self._sent_money,
            unverified_money=self._unverified_money,
            pending_money=self._pending_money,
        )

    def _count_refusal(self, event: EventRecord, limit: str, mode: BrakeMode) -> None:
        key = limit, mode.value
        row = self._refusals.setdefault(key, RefusalRow(*key))
        row.times += event.folded
        row.money += event.folded * (event.price or 0)
        if event.prefix:
            self._get_range(event.prefix, event.country).refused += event.folded
        seen = self._seen_numbers.setdefault(key, set())
        number = hash(event.number)
        if event.number and number not in seen and len(seen) < MAX_TRACKED_NUMBERS:
            seen.add(number)
            row.numbers += 1
            verified_at = self._verified_at.get(number)
            row.verified_later += verified_at is not None and verified_at - event.at <= DAY_MS

    def _keep_resend(self, event: EventRecord) -> None:
        _make_room(self._resent, MAX_PENDING_CHALLENGES)
        count, money = self._resent.get(event.challenge or "", (0, 0))
        self._resent[event.challenge or ""] = count + 1, money + (event.price or 0)

    def _get_range(self, prefix: str, country: str | None) -> RangeRow:
        if prefix not in self._ranges and len(self._ranges) >= MAX_TRACKED_ITEMS:
            top = self._sort_ranges()[: MAX_TRACKED_ITEMS // 2]
            self._ranges = {row.prefix: row for row in top}
        return self._ranges.setdefault(prefix, RangeRow(prefix, country))

    def _sort_ranges(self) -> list[RangeRow]:
        return sorted(
            self._ranges.values(),
            key=lambda row: (-row.unverified_money, -row.refused, -row.pending, row.prefix),
        )


def _sum_money(rows: Iterable[RefusalRow], mode: BrakeMode) -> int:
    return sum(row.money for row in rows if row.mode == mode)


def _make_room(items: set[str] | dict[int, int] | dict[str, tuple[int, int]], most: int) -> None:
    """Forget all items if there are too many: a long period is then counted a little too high."""
    if len(items) >= most:
        items.clear()
