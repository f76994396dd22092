"""What travels: the bodies of requests and answers, as the contract has them.

Patterns end in `\\Z`, because `$` lets a trailing newline through; the OpenAPI document, whose
regular expressions are JavaScript's, says `$` instead.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from otp_service.core.challenge import CHALLENGE_ID, ChallengeStatus
from otp_service.core.delivery import DeliveryStatus, Fault


PhoneNumberText = Annotated[
    str,
    Meta(
        description="Strict E.164: `+` and 7 to 15 ASCII digits. Refused, not repaired.",
        examples=["+447400123456"],
        # Documented only: what breaks it is 422 invalid-phone-number, which core.phone decides.
        extra_json_schema={"pattern": r"^\+[1-9][0-9]{6,14}\Z", "maxLength": 16},
    ),
]
Purpose = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z",
        description="Why the code is asked. A code for one purpose fails for another.",
        examples=["login"],
    ),
]
Account = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        pattern=r"^[^\x00]*\Z",
        description="Your own opaque name for the user.",
        examples=["u-81"],
    ),
]
ClientIp = Annotated[
    str,
    Meta(
        max_length=45,
        description="The address of the person's device, without zone and port.",
        examples=["203.0.113.9"],
    ),
]
TimestampText = Annotated[
    str, Meta(description="RFC 3339, UTC.", extra_json_schema={"format": "date-time"})
]
ChallengeId = Annotated[
    str,
    Meta(
        examples=["c07-5d41402abc4b2a76b9719d911017c592"],
        extra_json_schema={"pattern": rf"^{CHALLENGE_ID.pattern}\Z"},
    ),
]
Locale = Annotated[
    str, Meta(max_length=35, description="BCP 47 tag of the text.", examples=["en-GB"])
]
IssuedPhoneNumber = Annotated[
    str, Meta(description="As it was issued to.", examples=["+447400123456"])
]
IssuedPurpose = Annotated[str, Meta(description="As it was issued for.", examples=["login"])]
IssuedAccount = Annotated[str, Meta(description="As it was issued with.", examples=["u-81"])]


class IssueRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ask for a code to be sent."""

    phone_number: PhoneNumberText
    purpose: Purpose = "login"
    locale: Locale | None = None
    client_ip: ClientIp | None = None
    account: Account | None = None


class VerifyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Try the code that came back; what else is given has to be the challenge's."""

    code: Annotated[
        str,
        Meta(
            description="ASCII digits; spaces and hyphens are ignored.",
            examples=["123456"],
            # Documented only: what breaks it is 400 malformed-code, after 404 and 410.
            extra_json_schema={"pattern": r"^[ -]*([0-9][ -]*){6,10}\Z"},
        ),
    ]
    purpose: IssuedPurpose | None = None
    account: IssuedAccount | None = None
    phone_number: IssuedPhoneNumber | None = None
    client_ip: ClientIp | None = None


class UnlockRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """End a number's rows of failures."""

    phone_number: PhoneNumberText


class EmptyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No fields: the body may be left out."""


class SubmissionView(msgspec.Struct, frozen=True):
    """One message handed to one provider."""

    provider: str
    outcome: Literal["accepted", "refused", "unknown"]
    fault: Fault | None
    reason: str | None
    at: TimestampText


class DeliveryView(msgspec.Struct, frozen=True):
    """What is known of the delivery; `provider` is the last that may have sent."""

    status: DeliveryStatus
    provider: str | None
    submissions: list[SubmissionView]


class ChallengeView(msgspec.Struct, frozen=True, kw_only=True):
    """A challenge as its tenant sees it."""

    id: ChallengeId
    status: ChallengeStatus
    phone_number: Annotated[
        str, Meta(description="Country code and last two digits.", examples=["+44********56"])
    ]
    purpose: str
    account: str | None
    created_at: TimestampText
    expires_at: TimestampText
    attempts_left: Annotated[int, Meta(ge=0)]
    sends_left: Annotated[int, Meta(ge=0)]
    resend_at: TimestampText
    delivery: DeliveryView
    verified_at: TimestampText | UnsetType = UNSET


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field."""

    path: str
    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A problem document (RFC 9457); the extension members are flat."""

    type: Annotated[str, Meta(description="What went wrong, by which a program decides.")]
    title: str
    status: int
    detail: Annotated[str, Meta(description="What to do, for a developer; not to be parsed.")]
    errors: list[FieldError] | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    attempts_left: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    retry_after: Annotated[int, Meta(ge=1, description="Seconds.")] | UnsetType = UNSET
    limit: str | UnsetType = UNSET
    id: ChallengeId | UnsetType = UNSET


Timestamp = Annotated[
    datetime, Meta(tz=True, description="RFC 3339.", examples=["2026-11-22T00:00:00Z"])
]


class AuditQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events to give, newest first."""

    since: Timestamp | None = None
    until: Timestamp | None = None
    type: Annotated[str, Meta(max_length=64, examples=["otp.verified"])] | None = None
    challenge: Annotated[str, Meta(pattern=rf"^{CHALLENGE_ID.pattern}\Z")] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: Annotated[str, Meta(max_length=4096)] | None = None


class AuditSearch(AuditQuery, frozen=True, forbid_unknown_fields=True):
    """The same filters, and a number that must not stand in a URL."""

    phone_number: PhoneNumberText | None = None


class AuditPage(msgspec.Struct, frozen=True):
    """Events and where to go on; `next` is null at the end."""

    events: list[dict[str, Any]]
    next: str | None


class Health(msgspec.Struct, frozen=True):
    """Alive, or ready; whatever is not is a problem."""

    status: Literal["ok"] = "ok"
