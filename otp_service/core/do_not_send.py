"""The do-not-send list: what is stored about a number, and what a message from a phone is decided on.

An operator blocks a number for all tenants. A person opts out for one tenant, or for all.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from otp_service.core.phone_number import mask_number
from otp_service.core.timestamps import DAY_MS


ALL_TENANTS: Final = ""
"""The tenant of an opt-out that holds for all tenants."""

SUBMISSION_MARK_TTL_MS: Final = 30 * DAY_MS
"""A STOP, START or HELP counts for so long after the last submission to its number."""

ANY_PROVIDER: Final = ""
"""The provider of the mark of a message that is being submitted: which one may take it is not known yet."""

PROCESSED_MESSAGE_TTL_MS: Final = 2 * DAY_MS
"""Vendors repeat a message for a day at most."""


class DoNotSendReason(StrEnum):
    """Why the list refuses a send: also the `reason` of the refusal and of its event."""

    BLOCKED = "blocked"
    """An operator blocked the number."""
    OPTED_OUT = "opted_out"
    """The person sent STOP."""


class Recipient(msgspec.Struct, frozen=True):
    """Where a send goes, as the do-not-send list is searched for it. Its `repr` omits the number."""

    number: str
    """The canonical number."""
    tenant: str
    earlier_refusal: DoNotSendReason | None = None
    """The reason of an entry under the other limit key; `rotating_store.py` alone sets it."""

    def __repr__(self) -> str:
        return f"Recipient({self.tenant!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("tenant", self.tenant)]  # msgspec's own would show the number


class SubmissionMark(msgspec.Struct, frozen=True):
    """That a provider may have sent something to a number. Its `repr` omits the number."""

    provider: str
    """ANY_PROVIDER while a message is being submitted: a person may answer before its provider does."""
    number: str
    """The canonical number."""
    expires_at: int
    """Milliseconds since 1970. The mark is deleted if this is past."""

    def __repr__(self) -> str:
        return f"SubmissionMark({self.provider!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("provider", self.provider)]  # msgspec's own would show the number


def mark_submitting(number: str, now: int) -> SubmissionMark:
    """Return the mark that is written before a message is given to any provider.

    It stays if the process ends, or Redis fails, before what the providers answered is stored.
    """
    return SubmissionMark(ANY_PROVIDER, number, now + SUBMISSION_MARK_TTL_MS)


def unmark_submitting(number: str, now: int) -> SubmissionMark:
    """Return what deletes that mark: it is now known which providers may have sent something."""
    return SubmissionMark(ANY_PROVIDER, number, now)


class DoNotSendEntry(msgspec.Struct, frozen=True, array_like=True):
    """What is stored of a block or an opt-out. Its `repr` masks the number."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    number: str
    """In E.164 form."""
    at: int
    """The instant of the block or the opt-out, in milliseconds since 1970."""
    provider: str = ""
    """The provider that passed on the STOP; empty for a block or an import without it."""
    own_number: str = ""
    """Our number that the person answered."""

    @property
    def masked(self) -> str:
        return mask_number(self.number)

    def __repr__(self) -> str:
        return f"DoNotSendEntry({self.masked}, {self.at})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("masked", self.masked), ("at", self.at)]


class UnreadableEntry(msgspec.Struct, frozen=True):
    """A record that cannot be opened. It refuses sends nevertheless."""

    problem: str

    @property
    def masked(self) -> str:
        return "(unreadable)"


class StoredOptOut(msgspec.Struct, frozen=True):
    """An opt-out as it was read, for the START that lifts it."""

    tenant: str
    """ALL_TENANTS for all."""
    entry: DoNotSendEntry | UnreadableEntry
    key: str
    """The name of its record, which only the store uses."""


class ReceivedMessage(msgspec.Struct, frozen=True):
    """The message that a change is made for, so that its repeat changes nothing."""

    provider: str
    id: str
    """The provider's id of the message; empty without one, and then a repeat is not known."""
    at: int
    """The instant at which it was handled, by the store's clock: `InboundState.now`."""
    processed: Mapping[str, bytes] = {}
    """Of the state that it was decided on."""


class InboundState(msgspec.Struct, frozen=True):
    """What a message with a keyword is decided on."""

    now: int
    """Milliseconds since 1970, by the store's clock."""
    is_expected: bool
    """Whether the provider submitted something to the number within SUBMISSION_MARK_TTL_MS, or any one may have."""
    is_repeated: bool
    """Whether a message of the provider with this id has made a change."""
    processed: Mapping[str, bytes] = {}
    """By key, what is stored of earlier messages that made a change; only the store uses it."""
    opt_outs: tuple[StoredOptOut, ...] = ()
    """Those of the tenants that were asked for; two of one tenant during a rotation of the limit key."""


class ListedEntry(msgspec.Struct, frozen=True):
    """An entry as operators list it."""

    reason: DoNotSendReason
    tenant: str
    """ALL_TENANTS for all, and for a block."""
    entry: DoNotSendEntry | UnreadableEntry
