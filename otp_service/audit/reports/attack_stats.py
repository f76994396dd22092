"""Statistics that show an attack without a period to compare with: guesses, pumping, phished logins."""

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from otp_service.audit.reports.bounded_counter import MAX_TRACKED_ITEMS, BoundedCounter
from otp_service.audit.reports.event_record import EventRecord
from otp_service.audit.reports.issue_outcome import IssueOutcome


TOP_SUBJECTS: Final = 10

WRONG_CODE_EVENTS: Final = frozenset(
    {"otp.rejected", "authenticator.rejected", "recovery.rejected"}
)


class GuessedSubject(msgspec.Struct, frozen=True):
    """A number or an account with its count of wrong codes, all of one type of event."""

    pseudonym: str
    event_type: str
    dimension: Literal["number", "account"]
    wrong_codes: int
    number_suffix: str | None = None
    country: str | None = None


class PrefixRow(msgspec.Struct):
    """The challenges for numbers that differ in their last four digits alone."""

    prefix: str
    """Its pseudonym."""
    country: str | None
    issued: int = 0
    verified: int = 0
    pending: int = 0
    """Those that could still be verified at the end of the period."""

    @property
    def settled(self) -> int:
        """Those that were verified or can no longer be."""
        return self.issued - self.pending


class AttackStats(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of what an attacker causes; the subjects with most come first."""

    locked_challenges: int
    """Challenges that ran out of attempts."""
    client_ip_changes: int
    """Challenges that were verified from another client IP than they were issued for."""
    compared_client_ips: int
    """Verified challenges of which both client IPs are known."""
    guessed: tuple[GuessedSubject, ...]
    """At most `TOP_SUBJECTS` numbers and as many accounts."""
    prefixes: tuple[PrefixRow, ...]
    """At most `TOP_SUBJECTS`, those with most unverified challenges."""


class AttackCollector:
    """Counts events, which have no copies among them."""

    def __init__(self) -> None:
        self._locked_challenges = 0
        self._client_ip_changes = 0
        self._compared_client_ips = 0
        self._numbers = BoundedCounter[tuple[str, str | None, str | None]]()
        self._accounts = BoundedCounter[tuple[str, str]]()
        self._only_number: dict[str, str | None] = {}
        self._prefixes: dict[str, PrefixRow] = {}

    def add_event(self, event: EventRecord) -> None:
        if event.type in WRONG_CODE_EVENTS:
            self._count_wrong_code(event)
        elif event.type == "otp.locked" and event.reason == "attempts_exhausted":
            self._locked_challenges += 1
        elif event.type == "otp.verified" and event.client_ip_changed is not None:
            self._compared_client_ips += 1
            self._client_ip_changes += event.client_ip_changed

    def add_issue(self, event: EventRecord, outcome: IssueOutcome) -> None:
        """Count an `otp.issued`, and what became of its challenge."""
        if event.prefix:
            row = self._prefixes.setdefault(event.prefix, PrefixRow(event.prefix, event.country))
            row.issued += 1
            row.verified += outcome is IssueOutcome.VERIFIED
            row.pending += outcome is IssueOutcome.PENDING
            if len(self._prefixes) > MAX_TRACKED_ITEMS:
                top = self._sort_prefixes()[: MAX_TRACKED_ITEMS // 2]
                self._prefixes = {row.prefix: row for row in top}

    def build_stats(self) -> AttackStats:
        return AttackStats(
            locked_challenges=self._locked_challenges,
            client_ip_changes=self._client_ip_changes,
            compared_client_ips=self._compared_client_ips,
            guessed=tuple(self._list_guessed()),
            prefixes=tuple(self._sort_prefixes()[:TOP_SUBJECTS]),
        )

    def _count_wrong_code(self, event: EventRecord) -> None:
        if event.number:
            number = event.number, event.number_suffix, event.country
            self._numbers.add_count(number, event.folded)
        if event.account:
            self._accounts.add_count((event.account, event.type), event.folded)
            self._track_number(event.account, event.number)

    def _track_number(self, account: str, number: str | None) -> None:
        """Remember the only number of an account, because its row has the same wrong codes."""
        if len(self._only_number) >= MAX_TRACKED_ITEMS:
            self._only_number.clear()
        if self._only_number.setdefault(account, number) != number:
            self._only_number[account] = None

    def _list_guessed(self) -> Iterator[GuessedSubject]:
        for (number, suffix, country), times in self._numbers.most_common(TOP_SUBJECTS):
            yield GuessedSubject(number, "otp.rejected", "number", times, suffix, country)
        for (account, event_type), times in self._accounts.most_common(TOP_SUBJECTS):
            if event_type != "otp.rejected" or self._only_number.get(account) is None:
                yield GuessedSubject(account, event_type, "account", times)

    def _sort_prefixes(self) -> list[PrefixRow]:
        return sorted(
            self._prefixes.values(), key=lambda row: (row.verified - row.settled, row.prefix)
        )
