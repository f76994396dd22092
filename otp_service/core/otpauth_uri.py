"""The `otpauth://totp/` URI: what an app scans, and what an import reads.

    otpauth://totp/Example:alice?secret=BASE32&issuer=Example&algorithm=SHA1&digits=6&period=30

The form is Google's Key Uri Format. Apps disagree about what is optional: so issuer and name are
encoded apart from each other (a space as `%20`), the colon between them is literal, the issuer is
in the label and in a parameter, and every parameter is given. pyotp leaves out defaults and lets a
colon pass, so the text is built here.
"""

from urllib.parse import parse_qsl, quote, urlsplit

import msgspec

from otp_service.core.authenticator import (
    CODE_DIGITS,
    PERIOD_SECONDS,
    Algorithm,
    Authenticator,
    parse_base32_secret,
)
from otp_service.core.visible_text import has_invisible_characters


URI_PREFIX = "otpauth://"

MAX_LABEL_CHARS = 64
"""Of the issuer and of the name; a longer one makes a QR code that cameras read badly."""

MAX_URI_CHARS = 2048


class AuthenticatorParameters(msgspec.Struct, frozen=True):
    """What an app needs to compute codes; the defaults are those of the Key Uri Format."""

    secret: bytes
    algorithm: Algorithm = Algorithm.SHA1
    digits: int = 6
    period: int = 30

    def __repr__(self) -> str:
        return f"AuthenticatorParameters({self.algorithm}, {self.digits}, {self.period})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # The default of msgspec shows the secret in pretty tracebacks.
        return [("algorithm", self.algorithm), ("digits", self.digits), ("period", self.period)]


def check_label(text: str) -> None:
    """Raise ValueError, with a sentence for the caller, unless an app can show the text.

    A colon separates issuer and name. Several apps replace an entry whose issuer and name are those
    of a new one, and users find an entry by them: so no part of them is invisible.
    """
    if not text.strip() or len(text) > MAX_LABEL_CHARS:
        raise ValueError(f"must have 1 to {MAX_LABEL_CHARS} characters that are not all spaces")
    if ":" in text:
        raise ValueError("must not contain a colon: it separates issuer and name in the app")
    if has_invisible_characters(text):
        raise ValueError("must not contain control characters, line breaks or invisible characters")


def choose_label(name: str | None, account: str) -> str:
    """Return the name that the app shows, which is the account without one. Raises ValueError."""
    if name is not None:
        check_label(name)
        return name
    label = account[:MAX_LABEL_CHARS]
    try:
        check_label(label)
    except ValueError as error:
        text = f"is missing, and the account cannot take its place: it {error}"
        raise ValueError(text) from None
    return label


def format_issuer(brand: str) -> str:
    """Return the issuer for the brand of a tenant: without colons, and at most 64 characters."""
    return " ".join(brand.replace(":", " ").split())[:MAX_LABEL_CHARS]


def build_otpauth_uri(authenticator: Authenticator, issuer: str, name: str) -> str:
    """Return the URI that an app scans. Raises ValueError if issuer or name is not a label."""
    check_label(issuer)
    check_label(name)
    label = f"{quote(issuer, safe='')}:{quote(name, safe='')}"
    parameters = (
        f"secret={authenticator.base32_secret}",
        f"issuer={quote(issuer, safe='')}",
        # Google Authenticator for iOS reads the algorithm in capitals only.
        f"algorithm={authenticator.algorithm.upper()}",
        f"digits={authenticator.digits}",
        f"period={authenticator.period}",
    )
    return f"{URI_PREFIX}totp/{label}?{'&'.join(parameters)}"


def parse_otpauth_uri(text: str, min_bits: int) -> AuthenticatorParameters:
    """Return the parameters of a URI; its label says nothing about codes, and is not read.

    Raises ValueError with a sentence that does not repeat the URI, which holds the secret.
    """
    if len(text) > MAX_URI_CHARS or not text.isascii() or not text.isprintable():
        raise ValueError("must be an otpauth:// URI in printable ASCII")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("must be an otpauth:// URI: brackets belong to IPv6 addresses") from None
    if (parts.scheme, parts.netloc.lower()) != ("otpauth", "totp"):
        raise ValueError("must begin with otpauth://totp/: only time-based codes are supported")
    values = _read_parameters(parts.query)
    if "secret" not in values:
        raise ValueError("must have the parameter secret")
    return AuthenticatorParameters(
        secret=parse_base32_secret(values["secret"], min_bits),
        algorithm=parse_algorithm(values.get("algorithm", "SHA1")),
        digits=parse_digits(_parse_whole_number(values.get("digits", "6"), "digits")),
        period=parse_period(_parse_whole_number(values.get("period", "30"), "period")),
    )


def _read_parameters(query: str) -> dict[str, str]:
    """Return the parameters by name, in lower case. Raises ValueError where the codes are unclear."""
    pairs = [(name.lower(), value) for name, value in parse_qsl(query, keep_blank_values=True)]
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("must not have a parameter twice")
    if "encoder" in values:
        raise ValueError("must not have the parameter encoder: such codes are not digits")
    return values


def _parse_whole_number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4):  # noqa: PLR2004
        raise ValueError(f"{name} must be a number")
    return int(text)


def parse_algorithm(name: str) -> Algorithm:
    """Return the algorithm of a name like `SHA1` or `sha-256`. Raises ValueError otherwise."""
    try:
        return Algorithm(name.lower().replace("-", "").removeprefix("hmac"))
    except ValueError:
        raise ValueError("algorithm must be SHA1, SHA256 or SHA512") from None


def parse_digits(digits: int) -> int:
    """Return the number of digits of a code. Raises ValueError unless it is 6, 7 or 8."""
    if digits not in CODE_DIGITS:
        raise ValueError(f"digits must be {CODE_DIGITS.start} to {CODE_DIGITS.stop - 1}")
    return digits


def parse_period(seconds: int) -> int:
    """Return the period in seconds. Raises ValueError unless it is 10 to 120."""
    if seconds not in PERIOD_SECONDS:
        raise ValueError(
            f"period must be {PERIOD_SECONDS.start} to {PERIOD_SECONDS.stop - 1} seconds"
        )
    return seconds
