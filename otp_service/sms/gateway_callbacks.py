"""What `receipt` and `inbound` of a gateway share: their secret, our answer, and values in a callback.

A path is dotted for JSON, names a field of the form or query, or is "header:X-From" (gateway_values.py).
"""

import hmac
from typing import Annotated, Final

import msgspec

from otp_service.core.secret import Secret
from otp_service.core.url_check import FieldErrors
from otp_service.sms.gateway_values import HEADER_PREFIX, find_value
from otp_service.sms.provider_callbacks import Callback


KEY_PARAMETER: Final = "key"
MIN_KEY_CHARS: Final = 16


class GatewayCallbackSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """The secret of an address, and what to answer there."""

    key: Secret | None = None
    """The secret of that address."""
    key_header: str = ""
    """The header with the secret; empty for the parameter `key` of the address."""
    answer: str = ""
    """The body of our answer."""
    answer_status: Annotated[int, msgspec.Meta(ge=200, le=299)] = 0
    """Of our answer; by default 204, or 200 with a body."""

    @property
    def acknowledgement(self) -> tuple[int, bytes]:
        return self.answer_status or (200 if self.answer else 204), self.answer.encode()

    def has_key(self, callback: Callback) -> bool:
        """Whether the callback has the secret, compared in constant time; False without one."""
        if self.key is None:
            return False
        if self.key_header:
            given = callback.headers.get(self.key_header.lower(), "")
        else:
            given = callback.query.get(KEY_PARAMETER, "")
        return hmac.compare_digest(self.key.reveal().encode(), given.encode(errors="replace"))

    def find_shared_errors(self, table: str) -> FieldErrors:
        """Yield the errors of these settings, in the table `receipt` or `inbound`."""
        if self.key and len(self.key.reveal()) < MIN_KEY_CHARS:
            yield f"{table}.key", f"use at least {MIN_KEY_CHARS} random characters"
        if self.key_header and not self.key:
            yield f"{table}.key", "give the secret that the gateway sends in key_header"
        if self.answer and self.answer_status == 204:  # noqa: PLR2004  # which has no body
            yield f"{table}.answer_status", "an answer with a body needs another status than 204"


def is_json(callback: Callback) -> bool:
    return callback.headers.get("content-type", "").startswith("application/json")


def find_callback_value(path: str, callback: Callback) -> str | None:
    """Return the value at a path; None without one, or for an empty path. Raises UnreadableCallback."""
    if not path:
        return None
    if path.startswith(HEADER_PREFIX):
        return find_value(path, callback.headers, None)
    if is_json(callback):
        return find_value(path, callback.headers, callback.json)
    return callback.form.get(path) or callback.query.get(path)
