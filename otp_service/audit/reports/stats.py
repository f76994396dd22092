"""Statistics: SMS challenges by hour, country, provider and tenant; the other factors; opt-outs; the brake; refusals.

Events of authenticators and recovery codes are in no `StatsRow`: these have neither messages nor a
conversion, so in one row with SMS they would look like a failure of it. Nor are those of deliveries,
whose codes are verified by other products.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec

from otp_service.audit.reports.attack_stats import AttackCollector, AttackStats
from otp_service.audit.reports.bounded_counter import BoundedCounter
from otp_service.audit.reports.brake_stats import BrakeCollector, BrakeStats
from otp_service.audit.reports.delivery_stats import DeliveryCollector, DeliveryRow
from otp_service.audit.reports.event_record import EventRecord
from otp_service.audit.reports.factor_stats import (
    AccountLock,
    FactorCollector,
    FactorRefusals,
    FactorRow,
)
from otp_service.audit.reports.issue_outcome import IssueOutcome, OutcomeCollector
from otp_service.audit.reports.opt_out_stats import OptOutCollector, OptOutStats
from otp_service.core.conversion import ConversionMatcher
from otp_service.core.errors import InvalidRequest
from otp_service.core.ip_address import client_ip_limit_key, parse_client_ip
from otp_service.core.timestamps import HOUR_MS


MAX_TRACKED_IDS = 1_000_000
"""Ids of events that are compared with each other: 60 MB."""

TOP_OFFENDERS = 10


class StatsRow(msgspec.Struct):
    """The counts of SMS challenges of one hour, country, tenant or provider, or of all."""

    issued: int = 0
    """Challenges; 0 in the row of a provider."""
    sent: int = 0
    """Messages that a provider accepted, or may have."""
    failed: int = 0
    """Messages that a provider certainly did not accept."""
    delivered: int = 0
    """Messages that a receipt reports as delivered."""
    verified: int = 0
    """Of those challenges (for a provider, of those messages) the ones that were verified."""
    pending: int = 0
    """Challenges that could still be verified at the end of the period; for a provider, their messages."""
    rejected: int = 0
    """Codes that were wrong."""
    refused: int = 0
    """Calls that were refused before a code was compared."""
    locked: int = 0
    """Challenges that ran out of attempts, and numbers and accounts that were locked for SMS."""

    @property
    def settled(self) -> int:
        """Challenges, for a provider messages, that were verified or can no longer be."""
        return (self.issued or self.sent) - self.pending

    @property
    def conversion(self) -> float | None:
        """Verified per settled; None if there were none."""
        return self.verified / self.settled if self.settled > 0 else None


StatsRows = tuple[tuple[str, StatsRow], ...]


class Offender(msgspec.Struct, frozen=True):
    """A number, an account or a client IP with its count of refusals and wrong codes."""

    name: str
    """A pseudonym, or a client IP as limits count it: IPv6 by its /64."""
    times: int
    number_suffix: str | None = None
    country: str | None = None


class NumberLock(msgspec.Struct, frozen=True):
    """A number that was locked and not unlocked since."""

    number: str
    number_suffix: str | None
    country: str | None
    tenant: str | None
    at: int


class StatsOverview(msgspec.Struct, frozen=True, kw_only=True):
    """All counts, sorted."""

    total: StatsRow
    hours: tuple[tuple[int, StatsRow], ...]
    """By the hour's start, in milliseconds since 1970."""
    countries: StatsRows
    """Those with most challenges first; so are `providers` and `tenants`."""
    providers: StatsRows
    tenants: StatsRows
    reasons: tuple[tuple[str, int], ...]
    """Refusals by reason and limit, at every factor and of deliveries; so are the three lists of offenders."""
    numbers: tuple[Offender, ...]
    accounts: tuple[Offender, ...]
    client_ips: tuple[Offender, ...]
    locked: tuple[NumberLock, ...]
    locked_accounts: tuple[AccountLock, ...]
    factors: tuple[FactorRow, ...]
    """Authenticators and recovery codes, each at every tenant that used it."""
    factor_refusals: tuple[FactorRefusals, ...]
    deliveries: tuple[DeliveryRow, ...]
    """Codes of other products, at every tenant that sent some."""
    opt_outs: OptOutStats
    """What people answered, and the sends that it refused."""
    brake: BrakeStats
    """What the brake on SMS pumping counted, and what it refused or would have refused."""
    earlier: int
    """Verified challenges that were issued before the period; in no row."""
    without_key: int
    """Calls without a valid key or scope."""
    copies: int
    """Events that occur a second time; in no row."""
    accepted_twice: tuple[str, ...]
    """Challenges whose code was accepted more than once; at most `TOP_OFFENDERS`."""
    attacks: AttackStats


class StatsCollector:
    """Counts events, which have to be added newest first.

    `ends_at` is the end of the period, or now if that is earlier, in milliseconds since 1970. A success
    is known before its challenge's issue and newest message, and is counted in their rows: of the
    challenges issued in an hour, so many were verified.
    """

    def __init__(self, ends_at: int) -> None:
        self._total = StatsRow()
        self._hours: defaultdict[int, StatsRow] = defaultdict(StatsRow)
        self._countries: defaultdict[str, StatsRow] = defaultdict(StatsRow)
        self._providers: defaultdict[str, StatsRow] = defaultdict(StatsRow)
        self._tenants: defaultdict[str, StatsRow] = defaultdict(StatsRow)
        self._reasons: Counter[str] = Counter()
        self._numbers = BoundedCounter[tuple[str, str | None, str | None]]()
        self._accounts = BoundedCounter[str]()
        self._client_ips = BoundedCounter[str]()
        self._attacks = AttackCollector()
        self._factors = FactorCollector()
        self._deliveries = DeliveryCollector()
        self._opt_outs = OptOutCollector()
        self._brake = BrakeCollector()
        self._locked_numbers: dict[str, NumberLock] = {}
        self._unlocked_numbers: set[str] = set()
        self._outcomes = OutcomeCollector(ends_at)
        self._conversion_matcher = ConversionMatcher()
        self._without_key = 0
        self._seen_ids: set[int] = set()
        self._copies = 0
        self._accepted: set[int] = set()
        self._accepted_twice: dict[str, None] = {}
        self._handlers: Mapping[str, tuple[str, Callable[[EventRecord], None] | None]] = {
            "otp.issued": ("issued", self._count_issued),
            "otp.sent": ("sent", self._count_sent),
            "otp.provider_failed": ("failed", None),
            "otp.verified": ("", self._count_verified),
            "otp.rejected": ("rejected", self._count_offender),
            "otp.issue_denied": ("refused", self._count_refused),
            "otp.verify_denied": ("refused", self._count_refused),
            "otp.locked": ("locked", self._record_locked),
            "otp.unlocked": ("", self._record_unlocked),
            "authenticator.rejected": ("", self._count_offender),
            "authenticator.replayed": ("", self._count_offender),
            "authenticator.denied": ("", self._count_refused),
            "recovery.rejected": ("", self._count_offender),
            "recovery.denied": ("", self._count_refused),
            "delivery.denied": ("", self._count_refused),
            "access.denied": ("", self._count_without_key),
        }
        """The field of `StatsRow` that an event counts in, and what else counts it."""

    def add_event(self, event: EventRecord) -> None:
        if event.type != "log.epoch" and _add_bounded(self._seen_ids, event.id):
            self._copies += 1
            return
        field, handler = self._handlers.get(event.type, ("", None))
        if event.type == "otp.delivery" and event.status == "delivered":
            field = "delivered"
        if field:
            self._increment_rows(event, field, event.folded if field == "refused" else 1)
        if handler:
            handler(event)
        self._outcomes.add_event(event)
        self._factors.add_event(event)
        self._deliveries.add_event(event)
        self._opt_outs.add_event(event)
        self._brake.add_event(event)
        self._attacks.add_event(event)

    def build_overview(self) -> StatsOverview:
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
            accounts=tuple(Offender(*pair) for pair in self._accounts.most_common(TOP_OFFENDERS)),
            client_ips=tuple(
                Offender(*pair) for pair in self._client_ips.most_common(TOP_OFFENDERS)
            ),
            locked=tuple(self._locked_numbers.values()),
            locked_accounts=self._factors.build_locks(),
            factors=self._factors.build_rows(),
            factor_refusals=self._factors.build_refusals(),
            deliveries=self._deliveries.build_rows(),
            opt_outs=self._opt_outs.build_stats(),
            brake=self._brake.build_stats(),
            earlier=self._outcomes.count_earlier(),
            without_key=self._without_key,
            copies=self._copies,
            accepted_twice=tuple(self._accepted_twice),
            attacks=self._attacks.build_stats(),
        )

    def _count_issued(self, event: EventRecord) -> None:
        outcome = self._outcomes.take_outcome(event)
        self._attacks.add_issue(event, outcome)
        self._brake.add_issue(event, outcome)
        providers = self._outcomes.take_providers(event.challenge or "")
        if outcome is IssueOutcome.VERIFIED:
            self._increment_rows(event, "verified", 1)
        elif outcome is IssueOutcome.PENDING:
            self._increment_rows(event, "pending", 1)
            for provider in providers:
                self._providers[provider].pending += 1

    def _count_sent(self, event: EventRecord) -> None:
        if self._conversion_matcher.add_sent(event.challenge or "") and event.provider:
            self._providers[event.provider].verified += 1

    def _count_verified(self, event: EventRecord) -> None:
        if event.challenge and not event.repeated:
            is_second = _add_bounded(self._accepted, event.challenge)
            if is_second and len(self._accepted_twice) < TOP_OFFENDERS:
                self._accepted_twice[event.challenge] = None
            self._conversion_matcher.add_verified(event.challenge, repeated=event.repeated)

    def _count_refused(self, event: EventRecord) -> None:
        reason = event.reason or "unknown"
        self._reasons[f"{reason}: {event.limit}" if event.limit else reason] += event.folded
        self._count_offender(event)

    def _count_offender(self, event: EventRecord) -> None:
        if event.number:
            number = event.number, event.number_suffix, event.country
            self._numbers.add_count(number, event.folded)
        if event.account:
            self._accounts.add_count(event.account, event.folded)
        if event.client_ip:
            with suppress(InvalidRequest):
                name = client_ip_limit_key(parse_client_ip(event.client_ip))
                self._client_ips.add_count(name, event.folded)

    def _count_without_key(self, event: EventRecord) -> None:
        self._without_key += event.count

    def _record_unlocked(self, event: EventRecord) -> None:
        self._unlocked_numbers.add(event.number or "")

    def _record_locked(self, event: EventRecord) -> None:
        number = event.number
        if event.reason == "number_locked" and number and number not in self._unlocked_numbers:
            locked = NumberLock(number, event.number_suffix, event.country, event.tenant, event.at)
            self._locked_numbers.setdefault(number, locked)

    def _increment_rows(self, event: EventRecord, field: str, times: int) -> None:
        rows = [self._total, self._hours[event.at // HOUR_MS * HOUR_MS]]
        groups = self._countries, self._tenants, self._providers
        names = event.country, event.tenant, event.provider
        rows += [group[name] for group, name in zip(groups, names, strict=True) if name]
        for row in rows:
            setattr(row, field, getattr(row, field) + times)


def _add_bounded(seen: set[int], text: str) -> bool:
    """Return whether a text was seen; add it. Empty texts are never seen, too many are forgotten."""
    key = hash(text)  # keyed by the process, and much smaller than the text
    if not text or key in seen:
        return bool(text)
    if len(seen) >= MAX_TRACKED_IDS:
        seen.clear()
    seen.add(key)
    return False


def _sort_by_volume(rows: Mapping[str, StatsRow]) -> StatsRows:
    return tuple(sorted(rows.items(), key=lambda row: (-row[1].issued, -row[1].sent, row[0])))
