"""Bodies of responses: views of challenges, authenticators and recovery codes, and problems."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from otp_service.core.challenge import ChallengeStatus
from otp_service.core.delivery import DeliveryStatus, Fault
from otp_service.schemas.members import (
    EXAMPLE_BASE32_KEY,
    EXAMPLE_OTPAUTH_URI,
    AuthenticatorToken,
    ChallengeId,
    ChallengeOrDeliveryId,
    DeliveryId,
    MaskedNumber,
    RecoveryCode,
    RecoverySetToken,
    TimestampText,
)


class SubmissionView(msgspec.Struct, frozen=True):
    """One message that was submitted to one provider."""

    provider: str
    outcome: Literal["accepted", "refused", "unknown"]
    fault: Fault | None
    reason: str | None
    at: TimestampText


class DeliveryView(msgspec.Struct, frozen=True):
    """The delivery of the newest message; `provider` is the last one that may have sent it."""

    status: DeliveryStatus
    provider: str | None
    submissions: list[SubmissionView]


class ChallengeView(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a challenge."""

    # To add a field: here, in api.responses.build_challenge_view, in openapi.yaml (generated) and in
    # docs/api-guide.md. If it must be stored, append it to core.challenge.Challenge with a default:
    # its fields are stored by position, and older records do not have it. The document and the guide
    # are checked by tests/api/test_checklists.py.

    id: ChallengeId
    status: ChallengeStatus
    phone_number: MaskedNumber
    purpose: str
    account: str | None
    created_at: TimestampText
    expires_at: TimestampText
    attempts_left: Annotated[int, Meta(ge=0)]
    sends_left: Annotated[int, Meta(ge=0)]
    resend_at: TimestampText
    delivery: DeliveryView
    verified_at: TimestampText | UnsetType = UNSET


# `DeliveryView` is the contract's word; a schema `Delivery` with a member `delivery` makes generators of
# clients use one name for two variables.
class CodeDeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """A code of yours that was sent. It has no status: only you know whether it was used."""

    id: DeliveryId
    phone_number: MaskedNumber
    purpose: str
    account: str | None
    created_at: TimestampText
    delivery: DeliveryView


class NewAuthenticatorView(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticator that is not confirmed yet. Its secret is in this response only."""

    authenticator: AuthenticatorToken
    status: Literal["unconfirmed"] = "unconfirmed"
    secret: Annotated[
        str,
        Meta(
            description="Base32, to type into the app.",
            examples=[EXAMPLE_BASE32_KEY],
        ),
    ]
    uri: Annotated[
        str,
        Meta(
            description="What the QR code shows; also a link that opens the app.",
            examples=[EXAMPLE_OTPAUTH_URI],
        ),
    ]
    qr_svg: Annotated[str, Meta(description="The QR code, as an `svg` element for your page.")]
    expires_at: Annotated[
        TimestampText, Meta(description="Until when it can be confirmed. RFC 3339, UTC.")
    ]


class ActiveAuthenticatorView(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticator that verifies codes. Store this token in place of the unconfirmed one."""

    authenticator: AuthenticatorToken
    status: Literal["active"] = "active"
    confirmed_at: TimestampText


class VerifiedAuthenticatorView(msgspec.Struct, frozen=True, kw_only=True):
    """The code was right. Store the token if it differs from the one that you sent."""

    status: Literal["verified"] = "verified"
    verified_at: TimestampText
    authenticator: AuthenticatorToken


class NewRecoverySetView(msgspec.Struct, frozen=True, kw_only=True):
    """A recovery set. Its codes are in this response only."""

    recovery_set: RecoverySetToken
    codes: Annotated[list[RecoveryCode], Meta(min_length=10, max_length=10)]


class VerifiedRecoverySetView(msgspec.Struct, frozen=True, kw_only=True):
    """The code was right. Store this token in place of the one that you sent."""

    status: Literal["verified"] = "verified"
    verified_at: TimestampText
    recovery_set: RecoverySetToken
    codes_left: Annotated[int, Meta(ge=0, le=9)]


class FieldError(msgspec.Struct, frozen=True):
    """One invalid field."""

    path: str
    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A problem document (RFC 9457) with flat extension members."""

    type: Annotated[str, Meta(description="Identifies the problem; programs decide by it.")]
    title: str
    status: int
    detail: Annotated[str, Meta(description="What to do, for a developer. Do not parse it.")]
    errors: list[FieldError] | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    attempts_left: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    retry_after: (
        Annotated[int, Meta(ge=1, description="Seconds to wait, as in `Retry-After`.")] | UnsetType
    ) = UNSET
    limit: str | UnsetType = UNSET
    id: ChallengeOrDeliveryId | UnsetType = UNSET
