"""What one call of a factor decides: the protocol of authenticators and recovery codes.

`factor_attempt.py` charges a call, asks a `FactorCheck` to compare and to decide, and applies the
decision.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from otp_service.core import errors, events
from otp_service.core.commit import RecordName, StoredRecord
from otp_service.core.factor import Factor
from otp_service.service.context import CallContext


class FactorEvents(msgspec.Struct, frozen=True):
    """The events of a factor that are the same for each of its calls."""

    attempted: type[events.AuthenticatorAttempted | events.RecoveryAttempted]
    denied: type[events.AuthenticatorDenied | events.RecoveryDenied]
    locked: type[events.AuthenticatorLocked | events.RecoveryLocked]


class FactorState(msgspec.Struct, frozen=True):
    """What Redis knows of a token, and the instant at which the call is decided."""

    now: int
    epoch: int
    """The instant since which Redis has lost nothing."""
    record: StoredRecord | None


class Acceptance(msgspec.Struct, frozen=True):
    """The code is right and new: the next state, the events, and the answer to the caller."""

    record: bytes
    expires_at: int
    events: tuple[events.Event, ...]
    answer: bytes


class Rejection(msgspec.Struct, frozen=True):
    """The code was compared and refused; the attempt stays charged."""

    event: events.Event
    error: errors.OtpError


class Deferral(msgspec.Struct, frozen=True):
    """The code is right and cannot be accepted yet; the attempt is refunded."""

    error: errors.RateLimited


Decision = Acceptance | Rejection | Deferral


class FactorCheck(Protocol):
    """What one call of a factor decides; `FactorAttempt` charges, stores and records it."""

    factor: Factor
    event_kinds: FactorEvents
    is_login: bool
    """Whether an accepted code ends the failures in a row, and offsets one failure of the tenant. An
    enrolment does not: it is free, and its user has the secret."""
    context: CallContext
    record_name: RecordName
    """The state of the token in Redis."""

    def list_fingerprint_fields(self) -> tuple[str, ...]:
        """Return what a repeat has in common with its call, in addition to key and code."""

    @property
    def compared_code(self) -> str:
        """The code, the same for each way to type it."""

    def check_request(self) -> None:
        """Raise what refuses the call before it is charged, after a lock: 400 and 409."""

    def acquire_slots(self) -> AbstractContextManager[object]:
        """Return the slots of argon2 that the comparison needs. Raises Overloaded."""

    async def compare(self, now: int) -> Callable[[FactorState], Decision]:
        """Compare the code with every candidate; return what decides on a state.

        The decision may be asked for again with a newer state, and compares nothing.
        """

    def build_repeat_event(self, answer: bytes) -> events.Event:
        """Return the event of a call that was answered again."""
