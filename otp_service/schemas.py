"""Request and response bodies, as in the HTTP contract.

Patterns end in `\\Z`, because `$` matches before a trailing newline. The OpenAPI document, whose
patterns are JavaScript, has `$` instead. Docstrings and descriptions are part of that document.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from otp_service.core.authenticator import MIN_API_SECRET_BITS, parse_base32_secret
from otp_service.core.challenge import CHALLENGE_ID, ChallengeStatus
from otp_service.core.delivery import DeliveryStatus, Fault
from otp_service.core.ip_address import CLIENT_IP_RULE, parse_client_ip
from otp_service.core.language_tag import LOCALE_RULE, parse_locale
from otp_service.core.otpauth_uri import check_label, choose_label
from otp_service.core.value_rule import build_rule


PURPOSE_RULE: Final = "must be 1 to 64 lower-case letters, digits, dots, underscores and hyphens, the first a letter or digit"
CHALLENGE_ID_RULE: Final = "must be the `id` of a challenge"
EXAMPLE_BASE32_KEY: Final = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
"""The key of RFC 6238, appendix B."""
EXAMPLE_OTPAUTH_URI: Final = (
    f"otpauth://totp/Shop:alice%40example.com?secret={EXAMPLE_BASE32_KEY}&issuer=Shop"
    "&algorithm=SHA1&digits=6&period=30"
)

PhoneNumberText = Annotated[
    str,
    Meta(
        description="Strict E.164: `+` and 7 to 15 ASCII digits. Other spellings are refused.",
        examples=["+447400123456"],
        # Only documented: core.phone_number raises 422 invalid-phone-number for a violation.
        extra_json_schema={"pattern": r"^\+[1-9][0-9]{6,14}\Z", "maxLength": 16},
    ),
]
Purpose = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z",
        extra=build_rule(PURPOSE_RULE),
        description="Why the code is requested. A code for one purpose fails for another.",
        examples=["login"],
    ),
]
RecordedPurpose = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z",
        extra=build_rule(PURPOSE_RULE),
        description="What the code is verified for: events record it, and a purpose that the tenant may"
        " not use is 403. A code of an app has no purpose of its own.",
        examples=["login"],
    ),
]
Account = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        pattern=r"^[^\x00]*\Z",
        extra=build_rule("must be text of 1 to 128 characters, without NUL"),
        description="Your own opaque name for the user.",
        examples=["u-81"],
    ),
]
TenantName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9-]{0,31}\Z",
        extra=build_rule("must be the name of a tenant: lower-case letters, digits and hyphens"),
        description="The tenant of the account; the default is the tenant of the key.",
        examples=["shop"],
    ),
]
ClientIp = Annotated[
    str,
    Meta(
        max_length=45,
        extra=build_rule(CLIENT_IP_RULE, check=parse_client_ip),
        description="The address of the user's device, without zone and port.",
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
AuthenticatorToken = Annotated[
    str,
    Meta(
        description="The sealed token of an authenticator. Store it in the row of the user.",
        examples=["a1.AmExc2VhbGVkLWJ5LXVz"],
        # Only documented: a violation is 422 invalid-authenticator.
        extra_json_schema={"pattern": r"^a1\.[A-Za-z0-9_-]{1,4096}\Z"},
    ),
]
RecoverySetToken = Annotated[
    str,
    Meta(
        description="The sealed token of a recovery set. Store it in the row of the user.",
        examples=["r1.AmExc2VhbGVkLWJ5LXVz"],
        # Only documented: a violation is 422 invalid-recovery-set.
        extra_json_schema={"pattern": r"^r1\.[A-Za-z0-9_-]{1,4096}\Z"},
    ),
]
AppCode = Annotated[
    str,
    Meta(
        description="The code that the app shows, as ASCII digits; spaces and hyphens are ignored.",
        examples=["123456"],
        # Only documented: a violation is 400 malformed-code, after 422 invalid-authenticator.
        extra_json_schema={"pattern": r"^[ -]*([0-9][ -]*){6,8}\Z"},
    ),
]
RecoveryCode = Annotated[
    str,
    Meta(
        description="One of the ten codes. Case, hyphens and spaces are ignored; I and L are 1, O is 0,"
        " and U is not used.",
        examples=["7KQM-2D4X-9TRA-HVN5"],
        # Only documented: a violation is 400 malformed-code, after 422 invalid-recovery-set.
        extra_json_schema={"pattern": r"^[ -]*([0-9A-TV-Za-tv-z][ -]*){16}\Z"},
    ),
]
Locale = Annotated[
    str,
    Meta(
        max_length=35,
        extra=build_rule(LOCALE_RULE, check=parse_locale),
        description="Language of the message, a BCP 47 tag.",
        examples=["en-GB"],
    ),
]
IssuedPhoneNumber = Annotated[
    str,
    Meta(
        description="The number of the challenge; another one counts as a wrong code.",
        examples=["+447400123456"],
    ),
]
IssuedPurpose = Annotated[
    str,
    Meta(
        description="The purpose of the challenge; another one counts as a wrong code.",
        examples=["login"],
    ),
]
IssuedAccount = Annotated[
    str,
    Meta(
        description="The account of the challenge; another one counts as a wrong code.",
        examples=["u-81"],
    ),
]


class IssueRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The number to which a code is sent, and what it is for. Only `phone_number` is required."""

    phone_number: PhoneNumberText
    purpose: Purpose = "login"
    locale: Locale | None = None
    client_ip: ClientIp | None = None
    account: Account | None = None


class VerifyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The code to verify. Optional fields must equal those of the challenge."""

    code: Annotated[
        str,
        Meta(
            description="ASCII digits; spaces and hyphens are ignored.",
            examples=["123456"],
            # Only documented: a violation is 400 malformed-code, after 404 and 410.
            extra_json_schema={"pattern": r"^[ -]*([0-9][ -]*){6,10}\Z"},
        ),
    ]
    purpose: IssuedPurpose | None = None
    account: IssuedAccount | None = None
    phone_number: IssuedPhoneNumber | None = None
    client_ip: ClientIp | None = None


class UnlockRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The number whose failures are reset."""

    phone_number: PhoneNumberText


class UnlockAccountRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The account whose failures are reset."""

    account: Account
    tenant: TenantName | None = None


class CreateAuthenticatorRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The user who enrolls an authenticator app. Only `account` is required."""

    account: Account
    name: (
        Annotated[
            str,
            Meta(
                description="Shown in the app; without colons and invisible characters. The default"
                " is the account.",
                examples=["alice@example.com"],
                extra=build_rule(check=check_label),
                # Only documented: the error of `check_label` names the reason.
                extra_json_schema={"minLength": 1, "maxLength": 64},
            ),
        ]
        | None
    ) = None
    secret: (
        Annotated[
            str,
            Meta(
                max_length=256,
                extra=build_rule(check=partial(parse_base32_secret, min_bits=MIN_API_SECRET_BITS)),
                description="Imports a secret: base32, at least 128 bits. The default is a new one.",
                examples=[EXAMPLE_BASE32_KEY],
            ),
        ]
        | None
    ) = None

    @staticmethod
    def find_member_errors(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield the error of a missing name whose place the account cannot take."""
        account = fields.get("account")
        if fields.get("name") is None and isinstance(account, str) and account:
            try:
                choose_label(None, account)
            except ValueError as error:
                yield "name", str(error)


class ConfirmAuthenticatorRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code of the app proves that the user has set it up."""

    authenticator: AuthenticatorToken
    account: Account
    code: AppCode


class VerifyAuthenticatorRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The code to verify, for this account."""

    authenticator: AuthenticatorToken
    account: Account
    code: AppCode
    purpose: RecordedPurpose = "login"
    client_ip: ClientIp | None = None


class CreateRecoveryCodesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The user who gets ten new recovery codes."""

    account: Account


class VerifyRecoveryCodeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The recovery code to verify, for this account."""

    recovery_set: RecoverySetToken
    account: Account
    code: RecoveryCode
    client_ip: ClientIp | None = None


class EmptyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No fields. The body is optional."""


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
    # its fields are stored by position, and older records do not have it. tests/api/test_checklists.py checks the document and the guide.

    id: ChallengeId
    status: ChallengeStatus
    phone_number: Annotated[
        str,
        Meta(
            description="Masked: the country code and the last two digits.",
            examples=["+44********56"],
        ),
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
    id: ChallengeId | UnsetType = UNSET


Timestamp = Annotated[
    datetime,
    Meta(
        tz=True,
        extra=build_rule("must be a time with its zone, like 2026-11-22T00:00:00Z"),
        description="RFC 3339.",
        examples=["2026-11-22T00:00:00Z"],
    ),
]


Pseudonym = Annotated[
    str,
    Meta(
        max_length=128,
        description="The pseudonym of a number, an account or a prefix, as events have it.",
        examples=["p1:7d793037a0760186574b0282f2f435e7"],
    ),
]
ClientIpOrNetwork = Annotated[
    str,
    Meta(
        max_length=48,
        description="The address of the user's device. An IPv6 address finds those of its /64.",
        examples=["203.0.113.9", "2001:db8:1:2::/64"],
    ),
]


ClientIpChanged = Annotated[
    bool,
    Meta(
        description="Whether the code came from another client IP than the challenge was issued for."
    ),
]
EventReason = Annotated[
    str,
    Meta(max_length=64, description="The `reason` of the events.", examples=["attempts_exhausted"]),
]
EventCountry = Annotated[
    str, Meta(max_length=3, description="The region of the number.", examples=["GB"])
]
EventProvider = Annotated[
    str,
    Meta(
        max_length=64,
        description="The provider of the message, the receipt or the callback.",
        examples=["twilio"],
    ),
]
EventTypes = Annotated[
    str,
    Meta(
        max_length=200,
        description="One event type, or several with commas between them.",
        examples=["otp.verified", "otp.rejected,otp.locked"],
    ),
]


class AuditQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Filters of events, which are returned newest first."""

    since: (
        Annotated[Timestamp, Meta(description="The first instant, inclusive. RFC 3339.")] | None
    ) = None
    until: (
        Annotated[Timestamp, Meta(description="The last instant, exclusive. RFC 3339.")] | None
    ) = None
    type: EventTypes | None = None
    challenge: (
        Annotated[
            str,
            Meta(
                pattern=rf"^{CHALLENGE_ID.pattern}\Z",
                extra=build_rule(CHALLENGE_ID_RULE),
                description="The id of a challenge.",
                examples=["c07-5d41402abc4b2a76b9719d911017c592"],
            ),
        ]
        | None
    ) = None
    limit: Annotated[int, Meta(ge=1, le=1000, description="The most events of a page.")] = 100
    cursor: (
        Annotated[str, Meta(max_length=4096, description="`next` of the page before.")] | None
    ) = None


class AuditSearch(AuditQuery, frozen=True, forbid_unknown_fields=True):
    """More filters, among them a phone number and an account, which must not appear in a URL.

    Events must match every filter that is given.
    """

    phone_number: PhoneNumberText | None = None
    account: Account | None = None
    pseudonym: Pseudonym | None = None
    client_ip: ClientIpOrNetwork | None = None
    client_ip_changed: ClientIpChanged | None = None
    event_reason: EventReason | None = None
    country: EventCountry | None = None
    provider: EventProvider | None = None


class AuditPage(msgspec.Struct, frozen=True):
    """Events, and the cursor of the next page; `next` is null at the end."""

    events: list[dict[str, Any]]
    next: str | None


Mode = Literal["live", "test", "development"]


class Health(msgspec.Struct, frozen=True):
    """The process is alive; otherwise the response is a problem."""

    status: Literal["ok"] = "ok"


class Readiness(msgspec.Struct, frozen=True):
    """The process can serve requests; otherwise the response is a problem."""

    mode: Mode
    """Outside of `live`, codes of fictitious numbers are accepted and can be read."""
    status: Literal["ok"] = "ok"


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the service, or one job of its supervisor, and the configuration it runs."""

    role: str
    """`worker-1` and so on, `admin` or `sealer`."""
    pid: int
    configuration: str
    """The hash of its settings, as in `versions` of its events."""
    started_at: TimestampText
    state: str
    ready: bool


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Which process runs which configuration, and what is wrong."""

    version: str
    mode: Mode
    configuration: str
    """The hash of the configuration in force."""
    configuration_file: str
    started_at: TimestampText
    reload_refused: bool
    """Whether the last SIGHUP changed nothing."""
    processes: list[ProcessStatus]
    problems: list[str]
