"""What the calls return: frozen structs, as openapi.yaml describes them.

Members that a newer service adds are ignored. What is a closed set today (`status` of a challenge) is
text here, so that a new value is no error; only the `status` of a verified code is checked, because
2xx with another one must not count.
"""

from datetime import datetime
from typing import Any, ClassVar, Literal

from otp_service_client.redaction import RedactedStruct


class Submission(RedactedStruct, frozen=True):
    """One message that was submitted to one provider."""

    shown: ClassVar = ("provider", "outcome", "fault", "reason", "at")

    provider: str
    outcome: str
    """`accepted`, `refused` or `unknown`."""
    fault: str | None
    """The cause of a refusal: `recipient`, `provider` or `unknown`."""
    reason: str | None
    at: datetime


class Delivery(RedactedStruct, frozen=True):
    """The delivery of the newest message; `provider` is the last one that may have sent it."""

    shown: ClassVar = ("status", "provider", "submissions")

    status: str
    """`submitted`, `pending`, `delivered`, `temporary-failure`, `permanent-failure` or
    `technical-failure`."""
    provider: str | None
    submissions: tuple[Submission, ...]


class Challenge(RedactedStruct, frozen=True):
    """The state of a challenge."""

    shown: ClassVar = ("id", "status", "purpose", "expires_at", "attempts_left", "sends_left")

    id: str
    """Keep it in the server-side session of the user, never in the browser."""
    status: str
    """`pending`, `verified`, `locked`, `expired` or `canceled`."""
    phone_number: str
    """Masked: the country code and the last two digits."""
    purpose: str
    account: str | None
    created_at: datetime
    expires_at: datetime
    attempts_left: int
    sends_left: int
    resend_at: datetime
    """When the cooldown admits a resend."""
    delivery: Delivery
    verified_at: datetime | None = None


class VerifiedChallenge(Challenge, frozen=True):
    """A challenge whose code was right."""

    status: Literal["verified"]
    verified_at: datetime


class CodeDelivery(RedactedStruct, frozen=True):
    """A code of another product that was sent. Only that product knows whether it was used."""

    shown: ClassVar = ("id", "purpose")

    id: str
    phone_number: str
    """Masked: the country code and the last two digits."""
    purpose: str
    account: str | None
    created_at: datetime
    delivery: Delivery


class NewAuthenticator(RedactedStruct, frozen=True):
    """An authenticator that is not confirmed yet. Its secret is returned only once."""

    shown: ClassVar = ("status", "expires_at")

    authenticator: str
    """The sealed token: keep it until it is confirmed."""
    status: Literal["unconfirmed"]
    secret: str
    """Base32, to type into the app."""
    uri: str
    """What the QR code shows; also a link that opens the app."""
    qr_svg: str
    """The QR code, as an `svg` element for your page."""
    expires_at: datetime
    """Until when it can be confirmed."""


class ActiveAuthenticator(RedactedStruct, frozen=True):
    """An authenticator that verifies codes."""

    shown: ClassVar = ("status", "confirmed_at")

    authenticator: str
    """Store it in the row of the user, in place of the unconfirmed one."""
    status: Literal["active"]
    confirmed_at: datetime


class VerifiedAuthenticator(RedactedStruct, frozen=True):
    """The code of the app was right."""

    shown: ClassVar = ("status", "verified_at")

    authenticator: str
    """Store it in place of the one that you sent: it may be sealed under a newer key."""
    status: Literal["verified"]
    verified_at: datetime


class NewRecoverySet(RedactedStruct, frozen=True):
    """Ten new recovery codes, which are returned only once."""

    recovery_set: str
    """The sealed token: store it in the row of the user, in place of an earlier one."""
    codes: tuple[str, ...]
    """Show them to the user, and store them nowhere."""


class VerifiedRecoverySet(RedactedStruct, frozen=True):
    """The recovery code was right."""

    shown: ClassVar = ("status", "verified_at", "codes_left")

    recovery_set: str
    """Store it in place of the one that you sent."""
    status: Literal["verified"]
    verified_at: datetime
    codes_left: int


class AuditPage(RedactedStruct, frozen=True):
    """Events, newest first. A page may be empty while `next` is not None."""

    events: tuple[dict[str, Any], ...]
    """Each with the members of its `type`: otp_service/audit/EVENTS.md lists them."""
    next: str | None
    """The `cursor` of the next page; None at the end."""


class Health(RedactedStruct, frozen=True):
    """The service runs."""

    shown: ClassVar = ("status",)

    status: str


class Readiness(RedactedStruct, frozen=True):
    """The service can serve calls."""

    shown: ClassVar = ("mode", "status")

    mode: str
    """`live`, `test` or `development`. Outside of `live` codes can be read by others."""
    status: str


class FieldError(RedactedStruct, frozen=True):
    """One invalid member of a request, of `InvalidRequest.errors`."""

    shown: ClassVar = ("path", "message")

    path: str
    message: str
