"""Messages from phones of a gateway that is described in the settings.

    https://otp.example.com/v1/inbound/gateway?token=SECRET       inbound_token of the provider
    https://otp.example.com/v1/inbound/gateway?key=SECRET         or a key, mostly in a header

    [providers.gateway.inbound]
    sender = "from"               # a path into JSON, or a field of the form or query
    text = "text"
    receiver = "to"
    id = "message_id"
    key_file = "/run/secrets/gateway-messages"
    key_header = "X-Api-Key"

A request has one message. Texts are UTF-8.
"""

from otp_service.core.inbound import InboundMessage
from otp_service.core.url_check import FieldErrors
from otp_service.sms.gateway_callbacks import GatewayCallbackSettings, find_callback_value
from otp_service.sms.provider_callbacks import Callback


class InboundMessageSettings(GatewayCallbackSettings, frozen=True, forbid_unknown_fields=True):
    """How to read a message from a phone, and what to answer."""

    sender: str
    """The place of the phone's number."""
    text: str
    receiver: str = ""
    """The place of our number that the person answered."""
    id: str = ""
    """The place of the gateway's id of the message, by which a repeat is known."""

    def parse_message(self, callback: Callback, *, is_signed: bool) -> InboundMessage | None:
        """Return the message; None without a sender or a text. Raises UnreadableCallback."""
        sender, text = (find_callback_value(path, callback) for path in (self.sender, self.text))
        if not sender or not text:
            return None
        receiver, message_id = (
            find_callback_value(path, callback) or "" for path in (self.receiver, self.id)
        )
        return InboundMessage(sender, text, receiver, message_id, is_signed)

    def find_errors(self, *, has_token: bool) -> FieldErrors:
        """Yield the errors of these settings; `has_token` is whether there is an `inbound_token`."""
        for name, path in (("sender", self.sender), ("text", self.text)):
            if not path:
                yield f"inbound.{name}", "give the place where it is: a path into JSON, or a field"
        if not (self.key or has_token):
            remedy = "give a secret, or inbound_token of this provider: no other message counts"
            yield "inbound.key", remedy
        yield from self.find_shared_errors("inbound")
