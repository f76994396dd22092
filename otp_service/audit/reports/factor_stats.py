"""Statistics of authenticators and recovery codes, by tenant and hour, and the locked accounts."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Final

import msgspec

from otp_service.audit.reports.event_record import EventRecord
from otp_service.core.timestamps import HOUR_MS


MAX_TRACKED_ACCOUNTS: Final = 50_000
"""Accounts of one tenant and factor that are tracked; further ones are not counted."""

FACTOR_NAMES: Final = {
    "authenticator": "authenticator apps",
    "recovery": "recovery codes",
    "otp": "messages",
}
"""Each factor as a sentence names it, by the beginning of its event types."""

FACTOR_COLUMNS: Final = (
    *("created", "confirmed", "verified", "rejected", "replayed", "refused", "locked"),
)
"""The counts of `FactorRow` that tables show."""

ROW_FIELDS: Final[Mapping[str, str]] = {
    "authenticator.enrolled": "created",
    "authenticator.confirmed": "confirmed",
    "authenticator.verified": "verified",
    "authenticator.rejected": "rejected",
    "authenticator.replayed": "replayed",
    "authenticator.denied": "refused",
    "authenticator.locked": "locked",
    "recovery.created": "created",
    "recovery.used": "verified",
    "recovery.rejected": "rejected",
    "recovery.denied": "refused",
    "recovery.locked": "locked",
}
"""The field of `FactorRow` that an event counts in."""


class FactorRow(msgspec.Struct):
    """The counts of one factor, at one tenant or at all."""

    factor: str
    """`authenticator` or `recovery`."""
    tenant: str | None
    created: int = 0
    """Authenticators that were enrolled, or recovery sets."""
    confirmed: int = 0
    """Authenticators that became active."""
    verified: int = 0
    rejected: int = 0
    """Wrong codes."""
    replayed: int = 0
    """Codes that were right and used before."""
    refused: int = 0
    """Calls that were refused before a code was compared."""
    locked: int = 0
    wrong_accounts: int = 0
    """Accounts with a wrong code and no right one."""

    def add_counts(self, other: "FactorRow") -> None:
        for name in self.__struct_fields__[2:]:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class FactorRefusals(msgspec.Struct, frozen=True):
    """How many calls of one factor were refused in each hour that has events of it."""

    factor: str
    hours: tuple[tuple[int, int], ...]
    """By the hour's start, in milliseconds since 1970."""


class AccountLock(msgspec.Struct, frozen=True):
    """An account that was locked at a factor and not unlocked since."""

    account: str
    tenant: str | None
    factor: str
    """`authenticator`, `recovery`, or `otp` for codes in messages."""
    at: int


class FactorCollector:
    """Counts the events of factors, which have to be added newest first."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str | None], FactorRow] = {}
        self._refusals: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._wrong = _AccountSets()
        self._right = _AccountSets()
        self._locks: dict[tuple[str, str | None, str], AccountLock] = {}
        self._unlocked: set[tuple[str, str | None]] = set()

    def add_event(self, event: EventRecord) -> None:
        if event.type == "otp.unlocked" and event.account:
            self._unlocked.add((event.account, event.tenant))
        if event.type.endswith(".locked"):
            self._record_lock(event)
        field = ROW_FIELDS.get(event.type)
        if field and not event.repeated:
            self._count_event(event, field)

    def build_rows(self) -> tuple[FactorRow, ...]:
        """Return the rows of each factor and tenant, sorted."""
        for key, row in self._rows.items():
            row.wrong_accounts = len(self._wrong[key] - self._right[key])
        return tuple(sorted(self._rows.values(), key=lambda row: (row.factor, row.tenant or "")))

    def build_refusals(self) -> tuple[FactorRefusals, ...]:
        return tuple(
            FactorRefusals(factor, tuple(sorted(hours.items())))
            for factor, hours in sorted(self._refusals.items())
        )

    def build_locks(self) -> tuple[AccountLock, ...]:
        return tuple(self._locks.values())

    def _count_event(self, event: EventRecord, field: str) -> None:
        if event.type == "recovery.rejected" and event.reason == "used":
            field = "replayed"
        key = event.type.partition(".")[0], event.tenant
        row = self._rows.setdefault(key, FactorRow(*key))
        setattr(row, field, getattr(row, field) + event.folded)
        hour = event.at // HOUR_MS * HOUR_MS
        self._refusals[row.factor][hour] += event.folded if field == "refused" else 0
        if field == "rejected":
            self._wrong.add_account(key, event.account)
        if field == "verified":
            self._right.add_account(key, event.account)

    def _record_lock(self, event: EventRecord) -> None:
        if not event.account or event.reason != "account_locked":
            return
        if (event.account, event.tenant) not in self._unlocked:
            lock = AccountLock(event.account, event.tenant, event.type.partition(".")[0], event.at)
            self._locks.setdefault((lock.account, lock.tenant, lock.factor), lock)


def sum_by_factor(rows: tuple[FactorRow, ...]) -> tuple[FactorRow, ...]:
    """Return one row for each factor, over all tenants."""
    totals: dict[str, FactorRow] = {}
    for row in rows:
        totals.setdefault(row.factor, FactorRow(row.factor, None)).add_counts(row)
    return tuple(totals.values())


class _AccountSets(defaultdict[tuple[str, str | None], set[int]]):
    """The accounts of each factor and tenant, as hashes, which take less memory."""

    def __init__(self) -> None:
        super().__init__(set)

    def add_account(self, key: tuple[str, str | None], account: str | None) -> None:
        if account and len(self[key]) < MAX_TRACKED_ACCOUNTS:
            self[key].add(hash(account))
