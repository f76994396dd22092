"""What one formula would have done to logged sends."""

from collections import Counter

import msgspec


class ReplayPeriod(msgspec.Struct, frozen=True):
    """The sends that are counted. Those before are decided as in record mode, to learn from."""

    start: int
    end: int
    """Exclusive."""
    tenant: str | None = None
    country: str | None = None
    """Only these are counted; all of them are decided, since they share budgets."""

    def has_send(self, at: int, tenant: str, country: str) -> bool:
        """Return whether a send is counted."""
        return (
            self.start <= at < self.end
            and self.tenant in {None, tenant}
            and self.country in {None, country}
        )


class ReplayResult(msgspec.Struct):
    """The counts of one formula. Amounts are in millionths of the currency."""

    refused: int = 0
    """Sends that it would have refused."""
    refused_by: Counter[str] = msgspec.field(default_factory=Counter)
    """Those by the limit."""
    later_verified: int = 0
    """Those whose number verified within a day: an estimate of persons who were refused wrongly."""
    saved: int = 0
    """What they have cost."""
    first_refused_at: int | None = None
    refused_in: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    """By country and day in UTC."""
    admitted_denials: int = 0
    """Of the sends that the service's own brake had refused, those that this formula admits."""


class LogTotals(msgspec.Struct):
    """What the log has of the counted sends, whatever the formula."""

    sends: int = 0
    deliveries: int = 0
    """Of the sends: codes of other products."""
    spent: int = 0
    """What the messages have cost, in millionths of the currency."""
    verified: int = 0
    """Challenges that were verified."""
    denials: int = 0
    """Sends that the service's own brake had refused, so that nothing is known of their numbers."""
    over: int = 0
    """Sends that the service itself has recorded as over a limit."""


class ReplayRemarks(msgspec.Struct):
    """What the result does not know, counted over the whole replay."""

    without_price: int = 0
    """Sends whose event has no price: that of the table counts."""
    without_range: int = 0
    without_block: int = 0
    unknown_challenges: int = 0
    """Resends of challenges whose issue is not in the log."""
    late_events: int = 0
    """Events that are more than a minute older than one before them; they count at the later instant."""
    pseudonym_keys: dict[str, int] = {}
    """The ids of the keys that numbers are named by, each with the instant of its first event."""
