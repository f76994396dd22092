"""Events of a send: of a challenge's codes (`otp.…`), or of the code of another product (`delivery.…`).

What both kinds share is in a base without a tag; `SendEvents` names the types of one kind.
"""

from typing import NamedTuple

from otp_service.core.events.event import Event, build_explicit_default


class BrakedSend(Event, frozen=True, kw_only=True):
    """What the brake on SMS pumping decided about a message that is sent; no event type of its own.

    Amounts are in millionths of the configured currency. All are absent without a brake.
    """

    price: int | None = None
    """Of the message: what its scopes are charged."""
    measure: str | None = None
    """How it counts: `unverified`, `volume` or `exempt`."""
    over_limit: str | None = None
    """The limit that refuse mode would have refused it by; only in record mode."""
    unverified: int | None = None
    """What was unverified in the scope of that limit, and how much may be."""
    allowance: int | None = None


class SendStarted(BrakedSend, frozen=True, kw_only=True):
    """What the events before the first message share; no event type of its own."""

    phone_metadata: str | None = None
    """Version of the numbering plans that the number was checked against (R37)."""
    expires_at: str | None = None
    """The deadline, as RFC 3339: of a challenge, which never moves, or as the message states it."""
    prefix: str | None = None
    """Keyed pseudonym of the number without its last four digits: the unit that SMS pumping buys."""
    block: str | None = None
    """Keyed pseudonym of the number without its last five digits: its operator block."""
    risk_answer: str | None = None
    """What the risk service answered, or `failed`; absent if it was not asked (R31)."""
    risk_reason: str | None = None
    """The code that it gave, or why it failed."""


class Issued(SendStarted, frozen=True, tag="otp.issued", kw_only=True):
    """A challenge was stored; its code is sent next."""


class DeliveryCreated(SendStarted, frozen=True, tag="delivery.created", kw_only=True):
    """A delivery was stored; the code of another product is sent next."""


class SendDenied(Event, frozen=True, kw_only=True):
    """What the refusals of a send share; no event type of its own."""

    outcome: str = build_explicit_default("failure")
    limit: str | None = None
    quota: int | None = None
    period: int | None = None
    unverified: int | None = None
    """What is unverified in the scope of the limit, and how much may be, if the brake refused."""
    allowance: int | None = None
    price: int | None = None
    """Of the message that was not sent."""
    prefix: str | None = None
    """As in `SendStarted`: they name the scopes that a limit can refuse by."""
    block: str | None = None
    risk_answer: str | None = None
    risk_reason: str | None = None


class IssueDenied(SendDenied, frozen=True, tag="otp.issue_denied", kw_only=True):
    """Issue or resend was refused; nothing was sent."""


class DeliveryDenied(SendDenied, frozen=True, tag="delivery.denied", kw_only=True):
    """A delivery was refused; nothing was sent."""


class Resent(BrakedSend, frozen=True, tag="otp.resent", kw_only=True):
    """Another code was added to a challenge."""

    send: int = build_explicit_default(0)
    risk_answer: str | None = None
    risk_reason: str | None = None


class MessageTaken(Event, frozen=True, kw_only=True):
    """What the events of a message that may be billed share; no event type of its own."""

    provider: str
    milliseconds: int


class Sent(MessageTaken, frozen=True, tag="otp.sent", kw_only=True):
    """A provider accepted a message, or may have."""


class DeliverySent(MessageTaken, frozen=True, tag="delivery.sent", kw_only=True):
    """A provider accepted the message of a delivery, or may have."""


class MessageRefused(Event, frozen=True, kw_only=True):
    """What the events of a message that was not taken share; no event type of its own."""

    provider: str
    milliseconds: int
    fault: str
    about: str
    """`account` (an operator has to act), `throttled`, `silence`, `blocked` (fraud or an opt-out), or
    this `message` only."""
    outcome: str = build_explicit_default("failure")


class ProviderFailed(MessageRefused, frozen=True, tag="otp.provider_failed", kw_only=True):
    """A provider certainly did not accept a message."""


class DeliveryProviderFailed(
    MessageRefused, frozen=True, tag="delivery.provider_failed", kw_only=True
):
    """A provider certainly did not accept the message of a delivery."""


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


class DeliveryReported(MessageReported, frozen=True, tag="delivery.reported", kw_only=True):
    """A receipt changed the status of a delivery; `trusted` if it was signed or carried our token."""


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
