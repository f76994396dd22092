"""What an audit finds: a promise that was broken, with the records that show it."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from tests.simulation.history import CallRecord


class Promise(StrEnum):
    """The promises of the contract, one for each module of the auditor."""

    COMPARISONS = "comparisons"
    SUCCESS = "success"
    FACTORS = "factors"
    SENDS = "sends"
    CHARGES = "charges"
    ANSWERS = "answers"
    EVENTS = "events"
    REPEATS = "repeats"
    SECRECY = "secrecy"
    LIVENESS = "liveness"
    ARCHIVE = "archive"


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """A promise that was broken.

    Promise and rule are the same for each seed that finds the same bug, so that a shorter prefix
    can be compared with the whole run.
    """

    promise: Promise
    rule: str
    """What happened that must not, without ids and numbers."""
    at: int
    """The instant at which it was certain, in milliseconds since 1970."""
    subject: str = ""
    """What it happened to: a challenge, an account, a place."""
    details: str = ""
    calls: tuple[int, ...] = ()
    """The numbers of the calls concerned."""


def build_violation(  # noqa: PLR0913  # the members of a violation
    promise: Promise,
    rule: str,
    calls: Iterable[CallRecord],
    *,
    subject: str = "",
    details: str = "",
    at: int = 0,
) -> Violation:
    """Return the violation that these calls show; without `at`, it was certain when the last ended."""
    calls = sorted(calls, key=lambda call: call.number)
    return Violation(
        promise=promise,
        rule=rule,
        at=at or max((call.ended_at or call.started_at for call in calls), default=0),
        subject=subject,
        details=details,
        calls=tuple(call.number for call in calls),
    )
