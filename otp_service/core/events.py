"""What is told to the audit log: one struct for each kind of event.

The worker fills in who and what, and puts a MAC on it. Redis adds, in the step that makes the
change, what only it knows: time, partition, epoch, sequence, and for a refusal the limit.
No event holds a code, a hash, a message, a whole number or a credential (R68).
The types are those of the requirements' vocabulary map (OCSF, ECS, OWASP).
"""

from typing import Any

import msgspec


def _explicit_default(value: str | int) -> Any:
    """Return a default that is written all the same, which `omit_defaults` has for plain ones."""
    return msgspec.field(default_factory=lambda: value)


class EventFields(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The fields of every event, as far as they are known."""

    id: str
    tenant: str | None = None
    key_id: str | None = None
    request: str | None = None
    trace: str | None = None
    client_address: str | None = None
    purpose: str | None = None
    challenge: str | None = None
    number: str | None = None
    """Keyed pseudonym, with the id of its key in front."""
    country: str | None = None
    number_suffix: str | None = None
    """The number's last two digits."""
    account: str | None = None
    """Keyed pseudonym."""
    versions: dict[str, str] | None = None
    """Configuration and keys in force."""


class Event(EventFields, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    """The base of all events."""

    outcome: str = _explicit_default("success")
    reason: str | None = None


class Issued(Event, frozen=True, tag="otp.issued", omit_defaults=True, kw_only=True):
    """A challenge was stored; its code goes to the providers next."""

    phone_metadata: str | None = None
    """The version of the numbering plans that the number was judged by (R37)."""


class IssueDenied(Event, frozen=True, tag="otp.issue_denied", omit_defaults=True, kw_only=True):
    """Issue or resend was refused; nothing was sent."""

    outcome: str = _explicit_default("failure")
    limit: str | None = None
    quota: int | None = None
    period: int | None = None


class Resent(Event, frozen=True, tag="otp.resent", omit_defaults=True, kw_only=True):
    """Another code was added to a challenge."""

    send: int = _explicit_default(0)


class Sent(Event, frozen=True, tag="otp.sent", omit_defaults=True, kw_only=True):
    """A provider took a message, or may have."""

    provider: str
    milliseconds: int


class ProviderFailed(
    Event, frozen=True, tag="otp.provider_failed", omit_defaults=True, kw_only=True
):
    """A provider certainly did not take a message."""

    provider: str
    milliseconds: int
    fault: str
    about: str
    """`account`: somebody has to act; `throttled`, `silence`, or this `message` alone."""
    outcome: str = _explicit_default("failure")


class BreakerChanged(Event, frozen=True, tag="provider.moved", omit_defaults=True, kw_only=True):
    """A provider's breaker in a country was opened (`open`) or closed."""

    provider: str
    state: str


class DeliveryUpdated(Event, frozen=True, tag="otp.delivery", omit_defaults=True, kw_only=True):
    """A receipt has changed what is known of a submission; `trusted`: signed, or by our token."""

    provider: str
    status: str
    send: int
    trusted: bool


class Superseded(Event, frozen=True, tag="otp.superseded", omit_defaults=True, kw_only=True):
    """The oldest code was driven out by a newer one."""

    send: int = _explicit_default(0)


class Attempted(Event, frozen=True, tag="otp.attempted", omit_defaults=True, kw_only=True):
    """An attempt was charged; nothing has been compared yet."""

    attempts_left: int = _explicit_default(0)


class Verified(Event, frozen=True, tag="otp.verified", omit_defaults=True, kw_only=True):
    """The right code was accepted, once. `repeated`: the same call was answered again."""

    repeated: bool = False


class Rejected(Event, frozen=True, tag="otp.rejected", omit_defaults=True, kw_only=True):
    """A charged attempt was wrong: mismatch of code or of binding."""

    outcome: str = _explicit_default("failure")
    attempts_left: int = _explicit_default(0)


class VerifyDenied(Event, frozen=True, tag="otp.verify_denied", omit_defaults=True, kw_only=True):
    """Nothing was compared: malformed, expired, replayed, locked, limited…"""

    outcome: str = _explicit_default("failure")
    limit: str | None = None
    quota: int | None = None
    period: int | None = None


class Locked(Event, frozen=True, tag="otp.locked", omit_defaults=True, kw_only=True):
    """A challenge has no attempts left (`attempts_exhausted`) or a number is locked."""


class Canceled(Event, frozen=True, tag="otp.canceled", omit_defaults=True, kw_only=True):
    """A challenge was ended by its tenant, or because nothing could be sent."""


class Unlocked(Event, frozen=True, tag="otp.unlocked", omit_defaults=True, kw_only=True):
    """An operator ended a number's rows of failures."""


class BlocklistChanged(Event, frozen=True, tag="otp.blocklist", omit_defaults=True, kw_only=True):
    """A number was put on the do-not-send list (`blocked`) or taken off it (`unblocked`)."""


class NumberErased(Event, frozen=True, tag="otp.forgotten", omit_defaults=True, kw_only=True):
    """Everything that Redis held about a number was deleted."""


class NumberLookup(Event, frozen=True, tag="audit.lookup", omit_defaults=True, kw_only=True):
    """Somebody looked for a number's events; `tenant` is whose, if they were not everybody's."""

    by: str | None = None
    """The user of the machine on which it was done, where that was not over the API."""
    found: int = _explicit_default(0)
    """How many events were shown."""


class AccessDenied(Event, frozen=True, tag="access.denied", omit_defaults=True, kw_only=True):
    """Calls without a valid key or scope, counted over a minute."""

    outcome: str = _explicit_default("failure")
    count: int = _explicit_default(1)


class CallbackRejected(
    Event, frozen=True, tag="callback.rejected", omit_defaults=True, kw_only=True
):
    """Callbacks that were not a provider's, or no receipts, counted over a minute."""

    outcome: str = _explicit_default("failure")
    provider: str
    """Whose they said to be."""
    count: int = _explicit_default(1)


class Tampered(Event, frozen=True, tag="store.tampered", omit_defaults=True, kw_only=True):
    """A record in Redis did not carry our MAC."""

    outcome: str = _explicit_default("failure")
    record: str = ""
    """Its key there, in which no number and no code can stand."""


class EpochStarted(Event, frozen=True, tag="log.epoch", omit_defaults=True, kw_only=True):
    """Redis was restarted or replaced: what it had not kept before this is missing."""


class ArchiveChanged(Event, frozen=True, tag="log.archive", omit_defaults=True, kw_only=True):
    """A sealer took over (`started`) or ended (`stopped`), found a `gap`, or the log is full.

    `dropped`: what is older than its retention is deleted, up to the seal that is named.
    `overflow`: too many events wait for the archive, and nothing is granted; `recovered`: no more.
    """

    missing: int = 0
    """Entries that Redis no longer had."""
    seal: int = 0
    """The last seal that was dropped."""


class ServiceChanged(Event, frozen=True, tag="service.changed", omit_defaults=True, kw_only=True):
    """The service started or stopped, with the configuration and keys in `versions`."""


EVENT_TYPES: dict[str, type[Event]] = {
    str(kind.__struct_config__.tag): kind for kind in Event.__subclasses__()
}
"""Every kind of event there is, by its type; `audit/EVENTS.md` tells of each."""

GRANT_EVENTS = (Issued, Resent, Attempted, Verified, Unlocked)
"""What is refused rather than done unrecorded (R73)."""
