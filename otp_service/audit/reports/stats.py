"""What happened, in numbers: by hour, country, provider and tenant, and who was refused most."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from otp_service.audit.reports.event_record import Told


HOUR = 3600_000

MOST = 50_000
"""Numbers or addresses that are counted; beyond them those with the fewest are forgotten."""

TOP = 10

T = TypeVar("T")


class Row(msgspec.Struct):
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
    tail: str | None = None
    country: str | None = None


class LockedNumber(msgspec.Struct, frozen=True):
    """A number that was locked, and not unlocked since."""

    number: str
    tail: str | None
    country: str | None
    tenant: str | None
    at: int


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was counted; all of it is in order."""

    total: Row
    hours: tuple[tuple[int, Row], ...]
    """By when each began, in milliseconds."""
    countries: tuple[tuple[str, Row], ...]
    """Those with most challenges first, as in the following ones."""
    providers: tuple[tuple[str, Row], ...]
    tenants: tuple[tuple[str, Row], ...]
    reasons: tuple[tuple[str, int], ...]
    """Why refused, and under which limit."""
    numbers: tuple[Offender, ...]
    addresses: tuple[Offender, ...]
    locked: tuple[LockedNumber, ...]
    earlier: int
    """Codes that came back for challenges that were issued before; in no row."""
    without_key: int
    """Calls without a valid key or scope."""


class _Top(Counter[T]):
    """Counts, and forgets those with the fewest when there are too many."""

    def add(self, one: T, times: int) -> None:
        self[one] += times
        if len(self) > MOST:
            kept = dict(self.most_common(MOST // 2))
            self.clear()
            self.update(kept)


class Stats:
    """Counts events, which have to come newest first.

    So a success is known before its challenge's issue and its newest message, and counts in
    their rows: of what was issued in an hour, so much was verified.
    """

    def __init__(self) -> None:
        self._total = Row()
        self._hours: defaultdict[int, Row] = defaultdict(Row)
        self._countries: defaultdict[str, Row] = defaultdict(Row)
        self._providers: defaultdict[str, Row] = defaultdict(Row)
        self._tenants: defaultdict[str, Row] = defaultdict(Row)
        self._reasons: Counter[str] = Counter()
        self._numbers = _Top[tuple[str, str | None, str | None]]()
        self._addresses = _Top[str]()
        self._locked: dict[str, LockedNumber] = {}
        self._unlocked: set[str] = set()
        self._to_issue: set[str] = set()
        self._to_send: set[str] = set()
        self._without_key = 0
        self._counts: Mapping[str, Callable[[Told], None]] = {
            "otp.issued": self._issued,
            "otp.sent": self._sent,
            "otp.provider_failed": self._failed,
            "otp.delivery": self._delivered,
            "otp.verified": self._verified,
            "otp.rejected": self._rejected,
            "otp.issue_denied": self._refused,
            "otp.verify_denied": self._refused,
            "otp.locked": self._was_locked,
            "otp.unlocked": self._was_unlocked,
            "access.denied": self._without,
        }

    def add(self, told: Told) -> None:
        """Count one event."""
        if counts := self._counts.get(told.type):
            counts(told)

    def overview(self) -> Overview:
        """Return what was counted until now."""
        return Overview(
            total=self._total,
            hours=tuple(sorted(self._hours.items())),
            countries=_most_first(self._countries),
            providers=_most_first(self._providers),
            tenants=_most_first(self._tenants),
            reasons=tuple(self._reasons.most_common()),
            numbers=tuple(
                Offender(number, times, tail, country)
                for (number, tail, country), times in self._numbers.most_common(TOP)
            ),
            addresses=tuple(Offender(*one) for one in self._addresses.most_common(TOP)),
            locked=tuple(self._locked.values()),
            earlier=len(self._to_issue),
            without_key=self._without_key,
        )

    def _issued(self, told: Told) -> None:
        self._count(told, "issued")
        if told.challenge in self._to_issue:
            self._to_issue.remove(told.challenge)
            self._count(told, "verified")

    def _sent(self, told: Told) -> None:
        self._count(told, "sent", of_provider=True)
        if told.challenge in self._to_send:
            self._to_send.remove(told.challenge)
            if told.provider:
                self._providers[told.provider].verified += 1

    def _failed(self, told: Told) -> None:
        self._count(told, "failed", of_provider=True)

    def _delivered(self, told: Told) -> None:
        if told.status == "delivered":
            self._count(told, "delivered", of_provider=True)

    def _verified(self, told: Told) -> None:
        if told.challenge and not told.repeated:
            self._to_issue.add(told.challenge)
            self._to_send.add(told.challenge)

    def _rejected(self, told: Told) -> None:
        self._count(told, "rejected")
        self._offended(told)

    def _refused(self, told: Told) -> None:
        self._count(told, "refused", told.folded)
        why = told.reason or "unknown"
        self._reasons[f"{why}: {told.limit}" if told.limit else why] += told.folded
        self._offended(told)

    def _offended(self, told: Told) -> None:
        if told.number:
            self._numbers.add((told.number, told.tail, told.country), told.folded)
        if told.client_address:
            self._addresses.add(told.client_address, told.folded)

    def _without(self, told: Told) -> None:
        self._without_key += told.count

    def _was_unlocked(self, told: Told) -> None:
        self._unlocked.add(told.number or "")

    def _was_locked(self, told: Told) -> None:
        self._count(told, "locked")
        number = told.number
        if told.reason == "number_locked" and number and number not in self._unlocked:
            locked = LockedNumber(number, told.tail, told.country, told.tenant, told.at)
            self._locked.setdefault(number, locked)

    def _count(self, told: Told, what: str, times: int = 1, *, of_provider: bool = False) -> None:
        rows = [self._total, self._hours[told.at // HOUR * HOUR]]
        if told.country:
            rows.append(self._countries[told.country])
        if told.tenant:
            rows.append(self._tenants[told.tenant])
        if of_provider and told.provider:
            rows.append(self._providers[told.provider])
        for row in rows:
            setattr(row, what, getattr(row, what) + times)


def _most_first(rows: Mapping[str, Row]) -> tuple[tuple[str, Row], ...]:
    return tuple(sorted(rows.items(), key=lambda one: (-one[1].issued, -one[1].sent, one[0])))
