"""Events of what operators and auditors change and read, except unlocking (`challenge_events`)."""

from otp_service.core.events.event import Event, build_explicit_default


class LimitReset(Event, frozen=True, tag="otp.limit_reset", kw_only=True):
    """An operator emptied the bucket of a limit that counts a country, a prefix, a tenant or all."""

    limit: str
    by: str | None = None
    """The user of the machine where the command ran."""


class BlocklistChanged(Event, frozen=True, tag="otp.blocklist", kw_only=True):
    """A number was put on the do-not-send list (`blocked`) or taken off it (`unblocked`)."""

    by: str | None = None


class NumberErased(Event, frozen=True, tag="otp.forgotten", kw_only=True):
    """Everything that Redis held about a number was deleted."""

    by: str | None = None


class LimitKeyMoved(Event, frozen=True, tag="limit_key.moved", kw_only=True):
    """What is under an earlier limit key is being moved (`started`) or was moved (`finished`) to that in `versions`."""

    count: int = build_explicit_default(0)
    """Blocks, opt-outs and buckets of consecutive failures: those to move, then those that were moved."""
    by: str | None = None


class BrakeOverridden(Event, frozen=True, kw_only=True):
    """What these events share; no event type of its own.

    The scope is named by `limit` with `tenant`, and by `country`, `client_ip`, `prefix` or `block`.
    """

    limit: str
    """The limit of the scope; that of its volume is overridden as well."""
    prefix: str | None = None
    """Keyed pseudonyms of a range and of an operator block, as in the events of sends."""
    block: str | None = None
    by: str | None = None
    """The user of the machine where the command ran."""


class ScopeOpened(BrakeOverridden, frozen=True, tag="brake.opened", kw_only=True):
    """An operator opened a scope of the brake until `expires_at`: it refuses nothing."""

    expires_at: str
    """The end, as RFC 3339."""
    note: str
    """Why, as the operator wrote it: at most 200 characters, and no phone number."""


class ScopeClosed(BrakeOverridden, frozen=True, tag="brake.closed", kw_only=True):
    """An operator closed a scope of the brake until `expires_at`: it refuses unknown numbers."""

    expires_at: str
    note: str


class OverrideLifted(BrakeOverridden, frozen=True, tag="brake.lifted", kw_only=True):
    """An operator ended what was decided of a scope; it was `open` or `closed`."""

    state: str


class AuditLookup(Event, frozen=True, tag="audit.lookup", kw_only=True):
    """The events or limits of a number or an account were read; `tenant` is set if only its were."""

    by: str | None = None
    """The user of the machine where the command ran; empty for the API and the page."""
    found: int = build_explicit_default(0)
    """Events that were shown."""
