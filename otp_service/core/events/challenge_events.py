"""Events of a challenge after it was issued: its attempts, its locks and its end."""

from otp_service.core.events.event import Event, build_explicit_default


class Superseded(Event, frozen=True, tag="otp.superseded", kw_only=True):
    """A newer code replaced the oldest one, which is no longer valid."""

    send: int = build_explicit_default(0)


class Attempted(Event, frozen=True, tag="otp.attempted", kw_only=True):
    """An attempt was charged; the code is compared next."""

    attempts_left: int = build_explicit_default(0)


class Verified(Event, frozen=True, tag="otp.verified", kw_only=True):
    """The right code was accepted, once; `repeated` if the same call was answered again."""

    repeated: bool = False
    client_ip_changed: bool | None = None
    """Whether the challenge was issued for another client IP (IPv6: another /64).

    None if the call or the issue named none, and where it is `repeated`.
    """


class Rejected(Event, frozen=True, tag="otp.rejected", kw_only=True):
    """A charged attempt failed: the code or a bound value differs."""

    outcome: str = build_explicit_default("failure")
    attempts_left: int = build_explicit_default(0)
    client_ip_changed: bool | None = None
    """As in `otp.verified`."""


class VerifyDenied(Event, frozen=True, tag="otp.verify_denied", kw_only=True):
    """Verify was refused before the code was compared."""

    outcome: str = build_explicit_default("failure")
    limit: str | None = None
    quota: int | None = None
    period: int | None = None


class Locked(Event, frozen=True, tag="otp.locked", kw_only=True):
    """A challenge has no attempts left (`attempts_exhausted`), or a number or account was locked."""


class Canceled(Event, frozen=True, tag="otp.canceled", kw_only=True):
    """A challenge was ended by its tenant, or because no message could be sent."""


class Unlocked(Event, frozen=True, tag="otp.unlocked", kw_only=True):
    """An operator reset the consecutive failures of a number or an account."""

    by: str | None = None
