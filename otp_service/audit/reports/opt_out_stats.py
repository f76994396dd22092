"""Statistics of messages from phones: opt-outs by day, provider and own number; what they refused."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec

from otp_service.audit.reports.event_record import EventRecord
from otp_service.core.timestamps import format_rfc3339


MAX_ROWS: Final = 100
"""Days, providers and own numbers that have a row of their own. A provider may pass on any own number."""

OTHER_OWN_NUMBERS: Final = "other numbers"
"""The own number of the row for what is beyond `MAX_ROWS`."""

OPT_OUT_COLUMNS: Final = ("opted_out", "opted_in", "help", "imported")
"""The counts of `OptOutRow` that tables show."""

ROW_FIELDS: Final[Mapping[str, str]] = {
    "number.opted_out": "opted_out",
    "number.opted_in": "opted_in",
    "number.help_requested": "help",
}
"""The field of `OptOutRow` that an event counts in."""

ANSWER_TYPES: Final = tuple(ROW_FIELDS)
SENT_TYPES: Final = ("otp.sent", "delivery.sent")
REFUSED_SEND_TYPES: Final = ("otp.issue_denied", "delivery.denied")

IGNORED_REASONS: Final = ("unexpected", "invalid_sender", "token", "unsigned")
"""Why a message from a phone had no effect: the first two are keywords, and the others were not read."""


class OptOutRow(msgspec.Struct):
    """The counts of one UTC day, provider and own number."""

    day: str
    provider: str
    """Empty for an import that does not name it; so is `own_number` where it is unknown."""
    own_number: str
    opted_out: int = 0
    """People who answered STOP."""
    opted_in: int = 0
    help: int = 0
    imported: int = 0
    """Opt-outs that a command imported."""


class IgnoredMessages(msgspec.Struct, frozen=True):
    """Messages from phones that had no effect, by provider and reason."""

    provider: str
    reason: str
    """One of `IGNORED_REASONS`."""
    times: int


class ProviderOptOuts(msgspec.Struct):
    """The opt-outs of one provider, with the messages that they may answer."""

    provider: str
    opted_out: int = 0
    sent: int = 0
    """Messages of challenges and deliveries that it accepted, or may have."""


class OptOutStats(msgspec.Struct, frozen=True, kw_only=True):
    """What people answered in the period, and what it changed."""

    rows: tuple[OptOutRow, ...]
    """The newest day first, then those with most opt-outs."""
    refused: int
    """Sends that were refused because of an opt-out."""
    ignored: tuple[IgnoredMessages, ...]
    """Those with most come first."""
    providers: tuple[ProviderOptOuts, ...]


class OptOutCollector:
    """Counts the events of messages from phones, and of the sends that opt-outs refuse."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, str], OptOutRow] = {}
        self._providers: dict[str, ProviderOptOuts] = {}
        self._ignored: Counter[tuple[str, str]] = Counter()
        self._refused = 0

    def add_event(self, event: EventRecord) -> None:
        if event.type in ROW_FIELDS:
            self._count_answer(event)
        elif event.type in SENT_TYPES:
            self._get_provider(event).sent += 1
        elif event.type in REFUSED_SEND_TYPES and event.reason == "opted_out":
            self._refused += event.folded
        elif event.type == "callback.rejected" and event.reason in IGNORED_REASONS:
            self._ignored[event.provider or "", event.reason] += event.count

    def build_stats(self) -> OptOutStats:
        rows = sorted(
            self._rows.values(), key=lambda row: (-row.opted_out, row.provider, row.own_number)
        )
        return OptOutStats(
            rows=tuple(sorted(rows, key=lambda row: row.day, reverse=True)),
            refused=self._refused,
            ignored=tuple(
                IgnoredMessages(*key, times) for key, times in self._ignored.most_common()
            ),
            providers=tuple(row for _, row in sorted(self._providers.items())),
        )

    def _count_answer(self, event: EventRecord) -> None:
        field = ROW_FIELDS[event.type]
        is_import = field == "opted_out" and event.keyword is None
        row = self._get_row(event)
        name = "imported" if is_import else field
        setattr(row, name, getattr(row, name) + 1)
        if name == "opted_out":
            self._get_provider(event).opted_out += 1

    def _get_row(self, event: EventRecord) -> OptOutRow:
        day, provider = format_rfc3339(event.at)[:10], event.provider or ""
        key = day, provider, event.own_number or ""
        if key not in self._rows and len(self._rows) >= MAX_ROWS:
            key = day, provider, OTHER_OWN_NUMBERS
        return self._rows.setdefault(key, OptOutRow(*key))

    def _get_provider(self, event: EventRecord) -> ProviderOptOuts:
        name = event.provider or ""
        return self._providers.setdefault(name, ProviderOptOuts(name))
