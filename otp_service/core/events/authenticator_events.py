"""Events of authenticators."""

from otp_service.core.events.event import Event, build_explicit_default


class AuthenticatorEvent(Event, frozen=True, kw_only=True):
    """What events of one authenticator share; no event type of its own."""

    authenticator: str | None = None
    """The id inside the token, in hexadecimal; None if no token was opened."""
    sealed_under: str | None = None
    """The id of the key under which the token was sealed."""


class AuthenticatorEnrolled(
    AuthenticatorEvent, frozen=True, tag="authenticator.enrolled", kw_only=True
):
    """A secret was generated or taken over; the authenticator is unconfirmed."""


class AuthenticatorConfirmed(
    AuthenticatorEvent, frozen=True, tag="authenticator.confirmed", kw_only=True
):
    """The first right code made an authenticator active; `repeated` if the same call was answered again."""

    repeated: bool = False


class AuthenticatorAttempted(
    AuthenticatorEvent, frozen=True, tag="authenticator.attempted", kw_only=True
):
    """An attempt to confirm or verify was charged; the code is compared next."""


class AuthenticatorVerified(
    AuthenticatorEvent, frozen=True, tag="authenticator.verified", kw_only=True
):
    """The code of a new time step was accepted, once; `repeated` if the same call was answered again."""

    repeated: bool = False


class AuthenticatorRejected(
    AuthenticatorEvent, frozen=True, tag="authenticator.rejected", kw_only=True
):
    """A charged attempt failed: the code is that of no time step near the present one."""

    outcome: str = build_explicit_default("failure")


class AuthenticatorReplayed(
    AuthenticatorEvent, frozen=True, tag="authenticator.replayed", kw_only=True
):
    """A charged attempt failed: the code is right, and its time step was accepted before."""

    outcome: str = build_explicit_default("failure")


class AuthenticatorDenied(
    AuthenticatorEvent, frozen=True, tag="authenticator.denied", kw_only=True
):
    """Enrolling, confirming or verifying was refused before a code was compared."""

    outcome: str = build_explicit_default("failure")
    limit: str | None = None
    quota: int | None = None
    period: int | None = None


class AuthenticatorLocked(
    AuthenticatorEvent, frozen=True, tag="authenticator.locked", kw_only=True
):
    """Too many failures in a row locked the authenticators of an account until an operator unlocks it."""


class AuthenticatorsImported(Event, frozen=True, tag="authenticator.imported", kw_only=True):
    """The command line sealed secrets of another system as active authenticators."""

    count: int = build_explicit_default(0)
    by: str | None = None


class AuthenticatorsExported(Event, frozen=True, tag="authenticator.exported", kw_only=True):
    """The command line wrote the secrets of authenticators in the clear."""

    count: int = build_explicit_default(0)
    by: str | None = None
