"""Bodies of requests, except for the search of events."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from otp_service.core.authenticator import MIN_API_SECRET_BITS, parse_base32_secret
from otp_service.core.otpauth_uri import check_label, choose_label
from otp_service.core.tenant import CODE_RULE, LETTER_CODE_PATTERN, MAX_VALID_MINUTES
from otp_service.core.value_rule import build_rule
from otp_service.schemas.members import (
    EXAMPLE_BASE32_KEY,
    Account,
    AppCode,
    AuthenticatorToken,
    BotCheckResult,
    ClientIp,
    DeliveredPurpose,
    IssuedAccount,
    IssuedPhoneNumber,
    IssuedPurpose,
    Known,
    Locale,
    PhoneNumberText,
    Purpose,
    RecordedPurpose,
    RecoveryCode,
    RecoverySetToken,
    TenantName,
)


class IssueRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The number to which a code is sent, and what it is for. Only `phone_number` is required."""

    phone_number: PhoneNumberText
    purpose: Purpose = "login"
    locale: Locale | None = None
    client_ip: ClientIp | None = None
    account: Account | None = None
    known: Known | None = None
    bot_check: BotCheckResult | None = None


class DeliveryRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code that you generated and will check, and the number to which it is sent."""

    phone_number: PhoneNumberText
    code: Annotated[
        str,
        Meta(
            pattern=rf"^{LETTER_CODE_PATTERN}\Z",
            extra=build_rule(CODE_RULE),
            description="4 to 8 ASCII digits; up to 10 ASCII letters and digits where the tenant's"
            " setting `delivery_letters` allows them. It is never stored.",
            examples=["471093"],
        ),
    ]
    purpose: DeliveredPurpose = "login"
    locale: Locale | None = None
    client_ip: ClientIp | None = None
    account: Account | None = None
    valid_minutes: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_VALID_MINUTES,
            description="For how many minutes you will accept the code. The message states it.",
            examples=[10],
        ),
    ] = 5

    def __repr__(self) -> str:
        return "DeliveryRequest()"  # it holds a code and a number

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return []  # msgspec's own would show the fields


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
