"""Events of the service itself: calls that it refused to all, its brake, records, log and processes."""

from otp_service.core.events.event import Event, build_explicit_default


class AccessDenied(Event, frozen=True, tag="access.denied", kw_only=True):
    """Calls without a valid key or scope, counted over a minute."""

    outcome: str = build_explicit_default("failure")
    count: int = build_explicit_default(1)

    @property
    def fold_name(self) -> str:
        """A name of its own: it is a count already."""
        return self.id


class CallbackRejected(Event, frozen=True, tag="callback.rejected", kw_only=True):
    """Callbacks that were unsigned, unreadable or may be forged, counted over a minute."""

    outcome: str = build_explicit_default("failure")
    provider: str
    """The provider that the callback's path names."""
    count: int = build_explicit_default(1)

    @property
    def fold_name(self) -> str:
        """A name of its own: it is a count already."""
        return self.id


class BrakeMoved(Event, frozen=True, tag="brake.moved", kw_only=True):
    """A country of a tenant ran out of what may be unverified (`over`), or has room again (`normal`)."""

    state: str
    mode: str
    """Whether its messages are refused (`refuse`), or sent and recorded (`record`)."""
    limit: str | None = None
    """The limit that refuses, or would."""
    unverified: int | None = None
    """In the first full window of the scope, in millionths of the configured currency."""
    allowance: int | None = None


class Tampered(Event, frozen=True, tag="store.tampered", kw_only=True):
    """A record in Redis had an invalid MAC."""

    outcome: str = build_explicit_default("failure")
    record: str = ""
    """Its key in Redis, which holds no number and no code."""

    @property
    def fold_name(self) -> str:
        return f"{super().fold_name}:{self.record}"


class EpochStarted(Event, frozen=True, tag="log.epoch", kw_only=True):
    """Redis was restarted or replaced: events before this that it had not kept are missing."""


class ArchiveChanged(Event, frozen=True, tag="log.archive", kw_only=True):
    """A sealer started or stopped, found a gap or deleted old seals, or the log is full or was.

    `dropped`: segments past their retention were deleted, up to `seal`. `overflow`: too many
    events wait for the archive, so nothing is granted; `recovered`: that has ended.
    """

    missing: int = 0
    """Entries that were no longer in Redis."""
    seal: int = 0
    """The last seal that retention deleted."""


class ServiceChanged(Event, frozen=True, tag="service.changed", kw_only=True):
    """The service started, stopped or refused a reload, with what it runs in `versions`."""
