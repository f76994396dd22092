"""The secret in the address of /v1/inbound: it proves messages of a vendor that signs nothing.

    https://otp.example.com/v1/inbound/acme?token=SECRET

It may also be the password of Basic authentication, with any user. Two secrets count while the address
at the vendor is being changed.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Sequence
from typing import Final

from otp_service.core.secret import Secret
from otp_service.core.url_check import FieldErrors
from otp_service.sms.provider_callbacks import Callback


TOKEN_PARAMETER: Final = "token"  # noqa: S105  # the name of the parameter
MIN_TOKEN_CHARS: Final = 16

_TOKEN_PATTERN: Final = re.compile(r"[A-Za-z0-9._~-]+")
"""Unreserved characters (RFC 3986 §2.3): any other one has two forms in an address."""
_BASIC_PATTERN: Final = re.compile(r"(?i)basic +([A-Za-z0-9+/=]+)")


class InboundTokenError(Exception):
    """A callback at /v1/inbound has neither a right token nor a signature: 401."""


def has_inbound_token(callback: Callback, tokens: Sequence[Secret]) -> bool:
    """Whether the address or the password of Basic authentication is one of these secrets.

    Each secret is compared with both, in constant time, whatever the others were.
    """
    given = (callback.query.get(TOKEN_PARAMETER, ""), parse_basic_password(callback))
    matches = [
        hmac.compare_digest(token.reveal().encode(), each.encode(errors="replace"))
        for token in tokens
        for each in given
    ]
    return any(matches)


def parse_basic_password(callback: Callback) -> str:
    """Return the password of the Authorization header; empty without one that can be read."""
    match = _BASIC_PATTERN.fullmatch(callback.headers.get("authorization", ""))
    try:
        decoded = base64.b64decode(match[1], validate=True).decode() if match else ""
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return decoded.partition(":")[2]


def find_inbound_token_errors(token: Secret | None, previous: Secret | None) -> FieldErrors:
    """Yield the errors of both secrets of one provider."""
    named = {"inbound_token": token, "previous_inbound_token": previous}
    for field, secret in named.items():
        if secret is None:
            continue
        text = secret.reveal()
        if len(text) < MIN_TOKEN_CHARS or not _TOKEN_PATTERN.fullmatch(text):
            remedy = f"use at least {MIN_TOKEN_CHARS} random letters, digits, '-' and '_'"
            yield field, f"{remedy}: it is a part of an address"
    if previous is not None and token is None:
        yield "previous_inbound_token", "needs inbound_token, the secret in force"
    elif previous is not None and previous == token:
        yield "previous_inbound_token", "is the same as inbound_token: remove it"
