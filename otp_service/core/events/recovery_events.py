"""Events of recovery sets and their codes."""

from otp_service.core.events.event import Event, build_explicit_default


class RecoveryEvent(Event, frozen=True, kw_only=True):
    """What events of one recovery set share; no event type of its own."""

    recovery_set: str | None = None
    """The id inside the token, in hexadecimal; None if no token was opened."""
    sealed_under: str | None = None
    """The id of the key under which the token was sealed."""


class RecoverySetCreated(RecoveryEvent, frozen=True, tag="recovery.created", kw_only=True):
    """Ten recovery codes were generated for an account."""


class RecoveryAttempted(RecoveryEvent, frozen=True, tag="recovery.attempted", kw_only=True):
    """An attempt was charged; the code is compared next."""


class RecoveryCodeUsed(RecoveryEvent, frozen=True, tag="recovery.used", kw_only=True):
    """A recovery code was accepted, once; `repeated` if the same call was answered again."""

    codes_left: int = build_explicit_default(0)
    repeated: bool = False


class RecoveryRejected(RecoveryEvent, frozen=True, tag="recovery.rejected", kw_only=True):
    """A charged attempt failed: the code is not in the set (`mismatch`), or is used (`used`)."""

    outcome: str = build_explicit_default("failure")


class RecoveryDenied(RecoveryEvent, frozen=True, tag="recovery.denied", kw_only=True):
    """Creating a set or verifying a code was refused before a code was compared."""

    outcome: str = build_explicit_default("failure")
    limit: str | None = None
    quota: int | None = None
    period: int | None = None


class RecoveryCodesLow(RecoveryEvent, frozen=True, tag="recovery.low", kw_only=True):
    """At most three codes of a set are left."""

    codes_left: int = build_explicit_default(0)


class RecoveryLocked(RecoveryEvent, frozen=True, tag="recovery.locked", kw_only=True):
    """Too many failures in a row locked the recovery codes of an account until an operator unlocks it."""
