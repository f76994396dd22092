"""Receipts of a gateway that is described in the settings.

A gateway calls the address in `{callback}`, which has a token of its message, or one address for all
receipts that is set up at the gateway:

    https://otp.example.com/v1/callbacks/gateway?key=SECRET

    [providers.gateway.receipt]
    status = "status"             # a path into JSON, or a field of the form or query
    delivered = ["DELIVRD"]
    reference = "client_ref"      # where it repeats {reference}
    key_file = "/run/secrets/gateway-receipts"
    answer = "OK"

With `key_header` the secret is expected in a header instead of in the address.
"""

from typing import Annotated

import msgspec

from otp_service.core.delivery import Receipt
from otp_service.core.secret import Secret
from otp_service.core.url_check import FieldErrors
from otp_service.sms.gateway_values import find_value
from otp_service.sms.provider_callbacks import Callback, CallbackPart, SkippedEvent, require_equal


GatewayCodes = frozenset[str | int]

KEY_PARAMETER = "key"
TOKEN_PARAMETER = "token"  # noqa: S105  # the name of the parameter (callbacks.py)
MIN_KEY_CHARS = 16


class ReceiptSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to read the receipts of the gateway, and what to answer."""

    status: str
    """The place of the status: a dotted path into the JSON, or a field of the form or query."""
    delivered: GatewayCodes = frozenset()
    undeliverable: GatewayCodes = frozenset()
    """The number's fault: no gateway could have delivered it."""
    failed: GatewayCodes = frozenset()
    """Final, and another gateway may deliver it."""
    expired: GatewayCodes = frozenset()
    """Not reached in time: a temporary failure."""
    reference: str = ""
    """The place of our `{reference}`, for an address without a token."""
    key: Secret | None = None
    """The secret of that address; without it such receipts are advisory."""
    key_header: str = ""
    """The header with the secret; empty for the parameter `key` of the address."""
    answer: str = ""
    """The body of our answer."""
    answer_status: Annotated[int, msgspec.Meta(ge=200, le=299)] = 0
    """Of our answer; by default 204, or 200 with a body."""

    @property
    def acknowledgement(self) -> tuple[int, bytes]:
        return self.answer_status or (200 if self.answer else 204), self.answer.encode()

    def parse_callback(self, callback: Callback) -> list[CallbackPart]:
        """Return the receipt; a word that is in no table is pending, and without one it is no receipt.

        Raises CallbackSignatureError and UnreadableCallback.
        """
        is_signed = self._verify_key(callback)
        word = _find_callback_value(self.status, callback)
        if word is None:
            return [_skip_other_event(callback)]
        reference = _find_callback_value(self.reference, callback) or ""
        tables = {
            "delivered": self.delivered,
            "permanent-failure": self.undeliverable,
            "technical-failure": self.failed,
            "temporary-failure": self.expired,
        }
        for status, words in tables.items():
            if word in map(str, words):
                reason = None if status == "delivered" else word
                return [Receipt(status, reference, reason=reason, is_signed=is_signed)]  # type: ignore[arg-type]  # a key of `tables`
        return [Receipt("pending", reference, is_signed=is_signed)]

    def find_errors(self) -> FieldErrors:
        """Yield the errors of these settings."""
        if self.key and not self.reference:
            yield "receipt.reference", "give the place where the gateway repeats {reference}"
        if self.key and len(self.key.reveal()) < MIN_KEY_CHARS:
            yield "receipt.key", f"use at least {MIN_KEY_CHARS} random characters"
        if self.key_header and not self.key:
            yield "receipt.key", "give the secret that the gateway sends in key_header"
        words = [*self.delivered, *self.undeliverable, *self.failed, *self.expired]
        if len({*map(str, words)}) < len(words):
            yield "receipt", "name each word in one of the tables only"
        if self.answer and self.answer_status == 204:  # noqa: PLR2004  # which has no body
            yield "receipt.answer_status", "an answer with a body needs another status than 204"

    def requires_key(self, callback: Callback) -> bool:
        """Whether the callback needs the secret: an address with a token needs no other one."""
        return self.key is not None and TOKEN_PARAMETER not in callback.query

    def _verify_key(self, callback: Callback) -> bool:
        """Return whether the callback has the secret. Raises CallbackSignatureError for a wrong one."""
        if self.key is None or not self.requires_key(callback):
            return False
        if self.key_header:
            given = callback.headers.get(self.key_header.lower(), "")
        else:
            given = callback.query.get(KEY_PARAMETER, "")
        require_equal(self.key.reveal(), given)
        return True


def _skip_other_event(callback: Callback) -> SkippedEvent:
    """Return OTHER. Raises UnreadableCallback for a form or an address without any field."""
    if not _is_json(callback):
        _ = callback.fields
    return SkippedEvent.OTHER


def _is_json(callback: Callback) -> bool:
    return callback.headers.get("content-type", "").startswith("application/json")


def _find_callback_value(path: str, callback: Callback) -> str | None:
    if _is_json(callback):
        return find_value(path, callback.headers, callback.json)
    return callback.form.get(path) or callback.query.get(path)
