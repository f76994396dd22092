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

from otp_service.core.delivery import Receipt
from otp_service.core.url_check import FieldErrors
from otp_service.sms.gateway_callbacks import GatewayCallbackSettings, find_callback_value
from otp_service.sms.provider_callbacks import Callback


GatewayCodes = frozenset[str | int]


class ReceiptSettings(GatewayCallbackSettings, frozen=True, forbid_unknown_fields=True):
    """How to read the receipts of the gateway, and what to answer. Without `key` they are advisory."""

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

    def parse_receipt(self, callback: Callback, *, is_signed: bool) -> Receipt | None:
        """Return the receipt; a word that is in no table is pending, and without one it is no receipt.

        Raises UnreadableCallback.
        """
        word = find_callback_value(self.status, callback)
        if word is None:
            return None
        reference = find_callback_value(self.reference, callback) or ""
        tables = {
            "delivered": self.delivered,
            "permanent-failure": self.undeliverable,
            "technical-failure": self.failed,
            "temporary-failure": self.expired,
        }
        for status, words in tables.items():
            if word in map(str, words):
                reason = None if status == "delivered" else word
                return Receipt(status, reference, reason=reason, is_signed=is_signed)  # type: ignore[arg-type]  # a key of `tables`
        return Receipt("pending", reference, is_signed=is_signed)

    def find_errors(self) -> FieldErrors:
        """Yield the errors of these settings."""
        if self.key and not self.reference:
            yield "receipt.reference", "give the place where the gateway repeats {reference}"
        words = [*self.delivered, *self.undeliverable, *self.failed, *self.expired]
        if len({*map(str, words)}) < len(words):
            yield "receipt", "name each word in one of the tables only"
        yield from self.find_shared_errors("receipt")
