"""Members that several bodies have: their types, rules and descriptions.

Patterns end in `\\Z`, because `$` matches before a trailing newline. The OpenAPI document, whose
patterns are JavaScript, has `$` instead.
"""

from typing import Annotated, Final

from msgspec import Meta

from otp_service.core.challenge import CHALLENGE_ID, CHALLENGE_OR_DELIVERY_ID, DELIVERY_ID
from otp_service.core.ip_address import CLIENT_IP_RULE, parse_client_ip
from otp_service.core.language_tag import LOCALE_RULE, parse_locale
from otp_service.core.pumping.bot_check import BotCheck
from otp_service.core.value_rule import build_rule


PURPOSE_RULE: Final = "must be 1 to 64 lower-case letters, digits, dots, underscores and hyphens, the first a letter or digit"
CHALLENGE_ID_RULE: Final = "must be the `id` of a challenge or a delivery"
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
DeliveredPurpose = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z",
        extra=build_rule(PURPOSE_RULE),
        description="Why the code is sent: events record it, and a purpose that the tenant may not use is"
        " 403.",
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
DeliveryId = Annotated[
    str,
    Meta(
        examples=["d07-7d793037a0760186574b0282f2f435e7"],
        extra_json_schema={"pattern": rf"^{DELIVERY_ID.pattern}\Z"},
    ),
]
ChallengeOrDeliveryId = Annotated[
    str,
    Meta(
        description="The `id` of the challenge or the delivery.",
        examples=["c07-5d41402abc4b2a76b9719d911017c592"],
        extra_json_schema={"pattern": rf"^{CHALLENGE_OR_DELIVERY_ID.pattern}\Z"},
    ),
]
MaskedNumber = Annotated[
    str,
    Meta(
        description="Masked: the country code and the last two digits.",
        examples=["+44********56"],
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
Known = Annotated[
    bool,
    Meta(
        description="Whether this user has verified this number with you before, so that the brake on SMS"
        " pumping does not count the message as unverified, within the bounds of a number that has verified"
        " here. Only for a tenant with the setting `trust_known`; else 400, whatever the value.",
        examples=[True],
    ),
]
BotCheckResult = Annotated[
    BotCheck,
    Meta(
        description="The result of your own check for bots, such as a CAPTCHA or an attestation of the app."
        " `passed` halves the money or the message that the brake on SMS pumping counts as unverified,"
        " `failed` is 422 `number-not-allowed`, and `none` is as no value.",
        examples=["passed"],
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
