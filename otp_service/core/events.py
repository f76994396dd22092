"""The events of the audit log: one struct for each event type.

The worker writes the members and a MAC over them. Redis adds what only it knows in the step that
makes the change: time, partition, epoch, sequence, and the limit of a refusal.
No event holds a code, a hash, a message, a whole number, the token or secret of an authenticator, or a
credential (R68).
The types are those of the requirements' vocabulary map (OCSF, ECS, OWASP).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec


def _explicit_default(value: str | int) -> Any:
    """Return a default that is always written; `omit_defaults` omits plain ones."""
    return msgspec.field(default_factory=lambda: value)


class EventFields(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: str
    tenant: str | None = None
    key_id: str | None = None
    request: str | None = None
    trace: str | None = None
    client_ip: str | None = None
    """The address of the person's device, as the caller sent it."""
    purpose: str | None = None
    challenge: str | None = None
    number: str | None = None
    """Keyed pseudonym, after the id of its key."""
    country: str | None = None
    number_suffix: str | None = None
    """The number's last two digits."""
    account: str | None = None
    """Keyed pseudonym."""
    versions: dict[str, str] | None = None
    """Fingerprint of the configuration and ids of the keys in force."""


class Event(EventFields, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    outcome: str = _explicit_default("success")
    reason: str | None = None

    @property
    def fold_name(self) -> str:
        """The name that events share which may become one event with their count.

        It has the type, or refused resends would be counted as refused verifies, and the API key,
        so that each key that reads or changes something is recorded. An account counts only without
        a number: a caller that varies it would be recorded without a bound otherwise.
        """
        tag, subject = self.__struct_config__.tag, self.number or self.account or ""
        return f"{tag}:{self.tenant}:{self.key_id}:{subject}:{self.reason or ''}"


class SendStarted(Event, frozen=True, kw_only=True):
    """What the events before the first message share; no event type of its own."""

    phone_metadata: str | None = None
    """Version of the numbering plans that the number was checked against (R37)."""
    expires_at: str | None = None
    """The deadline, as RFC 3339: of a challenge, which never moves, or as the message states it."""
    prefix: str | None = None
    """Keyed pseudonym of the number without its last four digits: the unit that SMS pumping buys."""


class Issued(SendStarted, frozen=True, tag="otp.issued", kw_only=True):
    """A challenge was stored; its code is sent next."""


class SendDenied(Event, frozen=True, kw_only=True):
    """What the refusals of a send share; no event type of its own."""

    outcome: str = _explicit_default("failure")
    limit: str | None = None
    quota: int | None = None
    period: int | None = None


class IssueDenied(SendDenied, frozen=True, tag="otp.issue_denied", kw_only=True):
    """Issue or resend was refused; nothing was sent."""


class Resent(Event, frozen=True, tag="otp.resent", kw_only=True):
    """Another code was added to a challenge."""

    send: int = _explicit_default(0)


class MessageTaken(Event, frozen=True, kw_only=True):
    """What the events of a message that may be billed share; no event type of its own."""

    provider: str
    milliseconds: int


class Sent(MessageTaken, frozen=True, tag="otp.sent", kw_only=True):
    """A provider accepted a message, or may have."""


class MessageRefused(Event, frozen=True, kw_only=True):
    """What the events of a message that was not taken share; no event type of its own."""

    provider: str
    milliseconds: int
    fault: str
    about: str
    """`account` (an operator has to act), `throttled`, `silence`, `blocked` (fraud or an opt-out), or
    this `message` only."""
    outcome: str = _explicit_default("failure")


class ProviderFailed(MessageRefused, frozen=True, tag="otp.provider_failed", kw_only=True):
    """A provider certainly did not accept a message."""


class BreakerChanged(Event, frozen=True, tag="provider.moved", kw_only=True):
    """A provider's circuit breaker for a country was opened (`open`) or closed (`closed`)."""

    provider: str
    state: str


class MessageReported(Event, frozen=True, kw_only=True):
    """What the events of a receipt share; no event type of its own."""

    provider: str
    status: str
    send: int
    trusted: bool


class DeliveryUpdated(MessageReported, frozen=True, tag="otp.delivery", kw_only=True):
    """A receipt changed the delivery status; `trusted` if it was signed or carried our token."""


class Superseded(Event, frozen=True, tag="otp.superseded", kw_only=True):
    """A newer code replaced the oldest one, which is no longer valid."""

    send: int = _explicit_default(0)


class Attempted(Event, frozen=True, tag="otp.attempted", kw_only=True):
    """An attempt was charged; the code is compared next."""

    attempts_left: int = _explicit_default(0)


class Verified(Event, frozen=True, tag="otp.verified", kw_only=True):
    """The right code was accepted, once; `repeated` if the same call was answered again."""

    repeated: bool = False
    client_ip_changed: bool | None = None
    """Whether the challenge was issued for another client IP (IPv6: another /64).

    None if the call or the issue named none, and where it is `repeated`.
    """


class Rejected(Event, frozen=True, tag="otp.rejected", kw_only=True):
    """A charged attempt failed: the code or a bound value differs."""

    outcome: str = _explicit_default("failure")
    attempts_left: int = _explicit_default(0)
    client_ip_changed: bool | None = None
    """As in `otp.verified`."""


class VerifyDenied(Event, frozen=True, tag="otp.verify_denied", kw_only=True):
    """Verify was refused before the code was compared."""

    outcome: str = _explicit_default("failure")
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


class DeliveryCreated(SendStarted, frozen=True, tag="delivery.created", kw_only=True):
    """A delivery was stored; the code of another product is sent next."""


class DeliveryDenied(SendDenied, frozen=True, tag="delivery.denied", kw_only=True):
    """A delivery was refused; nothing was sent."""


class DeliverySent(MessageTaken, frozen=True, tag="delivery.sent", kw_only=True):
    """A provider accepted the message of a delivery, or may have."""


class DeliveryProviderFailed(
    MessageRefused, frozen=True, tag="delivery.provider_failed", kw_only=True
):
    """A provider certainly did not accept the message of a delivery."""


class DeliveryReported(MessageReported, frozen=True, tag="delivery.reported", kw_only=True):
    """A receipt changed the status of a delivery; `trusted` if it was signed or carried our token."""


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

    outcome: str = _explicit_default("failure")


class AuthenticatorReplayed(
    AuthenticatorEvent, frozen=True, tag="authenticator.replayed", kw_only=True
):
    """A charged attempt failed: the code is right, and its time step was accepted before."""

    outcome: str = _explicit_default("failure")


class AuthenticatorDenied(
    AuthenticatorEvent, frozen=True, tag="authenticator.denied", kw_only=True
):
    """Enrolling, confirming or verifying was refused before a code was compared."""

    outcome: str = _explicit_default("failure")
    limit: str | None = None
    quota: int | None = None
    period: int | None = None


class AuthenticatorLocked(
    AuthenticatorEvent, frozen=True, tag="authenticator.locked", kw_only=True
):
    """Too many failures in a row locked the authenticators of an account until an operator unlocks it."""


class AuthenticatorsImported(Event, frozen=True, tag="authenticator.imported", kw_only=True):
    """The command line sealed secrets of another system as active authenticators."""

    count: int = _explicit_default(0)
    by: str | None = None


class AuthenticatorsExported(Event, frozen=True, tag="authenticator.exported", kw_only=True):
    """The command line wrote the secrets of authenticators in the clear."""

    count: int = _explicit_default(0)
    by: str | None = None


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

    codes_left: int = _explicit_default(0)
    repeated: bool = False


class RecoveryRejected(RecoveryEvent, frozen=True, tag="recovery.rejected", kw_only=True):
    """A charged attempt failed: the code is not in the set (`mismatch`), or is used (`used`)."""

    outcome: str = _explicit_default("failure")


class RecoveryDenied(RecoveryEvent, frozen=True, tag="recovery.denied", kw_only=True):
    """Creating a set or verifying a code was refused before a code was compared."""

    outcome: str = _explicit_default("failure")
    limit: str | None = None
    quota: int | None = None
    period: int | None = None


class RecoveryCodesLow(RecoveryEvent, frozen=True, tag="recovery.low", kw_only=True):
    """At most three codes of a set are left."""

    codes_left: int = _explicit_default(0)


class RecoveryLocked(RecoveryEvent, frozen=True, tag="recovery.locked", kw_only=True):
    """Too many failures in a row locked the recovery codes of an account until an operator unlocks it."""


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


class AuditLookup(Event, frozen=True, tag="audit.lookup", kw_only=True):
    """The events of a number or an account were read; `tenant` is set if only its events were."""

    by: str | None = None
    """The user of the machine where the command ran; empty for the API and the page."""
    found: int = _explicit_default(0)
    """Events that were shown."""


class AccessDenied(Event, frozen=True, tag="access.denied", kw_only=True):
    """Calls without a valid key or scope, counted over a minute."""

    outcome: str = _explicit_default("failure")
    count: int = _explicit_default(1)

    @property
    def fold_name(self) -> str:
        """A name of its own: it is a count already."""
        return self.id


class CallbackRejected(Event, frozen=True, tag="callback.rejected", kw_only=True):
    """Callbacks that were unsigned or held no receipt, counted over a minute."""

    outcome: str = _explicit_default("failure")
    provider: str
    """The provider that the callback's path names."""
    count: int = _explicit_default(1)

    @property
    def fold_name(self) -> str:
        """A name of its own: it is a count already."""
        return self.id


class Tampered(Event, frozen=True, tag="store.tampered", kw_only=True):
    """A record in Redis had an invalid MAC."""

    outcome: str = _explicit_default("failure")
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


def _iterate_event_types(base: type[Event]) -> Iterator[type[Event]]:
    """Yield the structs that no other one is derived from."""
    for kind in base.__subclasses__():
        yield from _iterate_event_types(kind) if kind.__subclasses__() else (kind,)


EVENT_TYPES: dict[str, type[Event]] = {
    str(kind.__struct_config__.tag): kind for kind in _iterate_event_types(Event)
}
"""Every event type with its struct.

To add one, or a field, follow the checklists in `audit/EVENTS.md`.
"""


class SendEvents(NamedTuple):
    """The event types of a send: of our own codes, or of the codes of other products."""

    started: type[SendStarted]
    denied: type[SendDenied]
    taken: type[MessageTaken]
    refused: type[MessageRefused]
    reported: type[MessageReported]


CHALLENGE_SEND_EVENTS = SendEvents(Issued, IssueDenied, Sent, ProviderFailed, DeliveryUpdated)
DELIVERY_SEND_EVENTS = SendEvents(
    DeliveryCreated, DeliveryDenied, DeliverySent, DeliveryProviderFailed, DeliveryReported
)

GRANT_EVENTS = (
    Issued,
    Resent,
    DeliveryCreated,
    Attempted,
    Verified,
    Unlocked,
    AuthenticatorEnrolled,
    AuthenticatorConfirmed,
    AuthenticatorAttempted,
    AuthenticatorVerified,
    RecoverySetCreated,
    RecoveryAttempted,
    RecoveryCodeUsed,
)
"""Events of changes that are refused if the event cannot be recorded (R73)."""

FOLDABLE_EVENTS = (
    IssueDenied,
    DeliveryDenied,
    VerifyDenied,
    Verified,
    Unlocked,
    AuditLookup,
    AccessDenied,
    CallbackRejected,
    Tampered,
    AuthenticatorEnrolled,
    AuthenticatorConfirmed,
    AuthenticatorVerified,
    AuthenticatorDenied,
    RecoveryCodeUsed,
    RecoveryDenied,
)
"""Events that a caller can cause again and again at no cost (those of a success where they repeat an answer).

They are passed as `Commit.foldable_event` or `event_if_refused`, never in `Commit.events`: they are
folded, and have a stream of their own, so that they displace no event of a change (store/README.md).
"""
