"""SMPP 3.4: a direct session with an SMSC, without a gateway between.

A written request without an answer may have been sent: unknown. Nothing was sent without a bound
connection or a free slot of the window: the provider's fault.

The protocol is our own code (sms/smpp/). aiosmpplib 0.7.4 has no TLS and no window, keeps messages
while it is not bound and sends them later, after another provider has sent them too, and logs texts
at ERROR. smpplib 2.2.4 blocks its thread; smppy 0.3.2 is a server, and alpha.

Receipts and messages from phones come over the same connection, and so are trusted. Each worker process
binds its own session with its first message: the window is per session, and the SMSC has to allow that
many binds of one system_id. It may send a receipt to any of them, also after a restart: all processes can
look up its message (sms/smpp/message_ids.py). Until the first message it keeps what it has for us.
"""

import asyncio
import ssl
from typing import Final

import httpx
import msgspec

from otp_service.core.delivery import Accepted, Fault, Message, RefusalScope, Refused, Reply
from otp_service.core.ip_address import is_loopback
from otp_service.core.pumping.prices import Money
from otp_service.core.url_check import FieldErrors
from otp_service.sms.fault_table import FAULT_SCOPES, FaultTable
from otp_service.sms.redaction import redact_reply
from otp_service.sms.router import ProviderDependencies
from otp_service.sms.sender_ids import SenderSelection
from otp_service.sms.smpp import pdu_bodies
from otp_service.sms.smpp.connection import SmppConnection, wait_for_response
from otp_service.sms.smpp.delivery_handler import SmppDeliveryHandler
from otp_service.sms.smpp.message_ids import ReceiptMatcher
from otp_service.sms.smpp.pdu import RESPONSE_BIT, STATUS_OK, SUBMIT_SM, Pdu
from otp_service.sms.smpp.session import (
    INVALID_REQUEST_REFUSAL,
    SmppSession,
    SmscSettings,
    build_unreachable_refusal,
)
from otp_service.sms.smpp.text_codec import encode_text


FAULT_TABLE: Final[FaultTable] = {
    "smpp-0b": "recipient",  # invalid destination
    "smpp-0a": "account",  # invalid source address: a sender that is not ours
    "smpp-0d": "account",  # bind failed
    "smpp-0e": "account",  # password
    "smpp-0f": "account",  # system_id
    "smpp-14": "throttled",  # queue full
    "smpp-58": "throttled",  # throttled
}
"""By command_status (5.1.3); any other is the provider's, also 65 "permanent application error",
which may be about the sender, the text or the account."""
MAX_KNOWN_STATUS: Final = 0x04FF
"""The highest number to which the protocol and vendors have given a meaning."""

MAX_SYSTEM_ID_CHARS: Final = 15
MAX_SYSTEM_TYPE_CHARS: Final = 12
MAX_SENDER_CHARS: Final = 20
MAX_PASSWORD_CHARS: Final = 64
"""5.2.2 allows 8, and some SMSCs accept more."""


class Smpp(SmscSettings, SenderSelection, frozen=True, kw_only=True, tag="smpp"):
    """The settings of an SMSC, and the submit_sm of its messages."""

    sender: str = ""
    """A number or a name of ours; for a tenant without a sender, and where names are not allowed."""
    senders: dict[str, str] = msgspec.field(default_factory=dict)
    """By country (libphonenumber region); takes precedence over all others."""
    prices: dict[str, Money] = msgspec.field(default_factory=dict)
    """What one message costs by contract, by country (libphonenumber region)."""

    def build_provider(self, name: str, dependencies: ProviderDependencies) -> "SmppProvider":
        """Return the provider, which binds with its first message."""
        return SmppProvider(name, self, dependencies)

    def find_errors(self) -> list[tuple[str, str]]:
        connection = self._find_connection_errors()
        return [*connection, *self._find_length_errors(), *self.find_sender_errors()]

    def _find_connection_errors(self) -> FieldErrors:
        if not self.tls and not is_loopback(self.host):
            yield "tls", "must be true: the code would cross the network in the open"
        if self.tls_ca and not self.tls:
            yield "tls_ca", "has no effect without tls: set tls to true"
        if not self.host or not self.host.isascii() or set(self.host) & set(" /:@"):
            yield "host", "write the name or the address alone, like smsc.example"

    def _find_length_errors(self) -> FieldErrors:
        fields = {
            "system_id": (self.system_id, MAX_SYSTEM_ID_CHARS),
            "system_type": (self.system_type, MAX_SYSTEM_TYPE_CHARS),
            "password": (self.password.reveal(), MAX_PASSWORD_CHARS),
            "sender": (self.sender, MAX_SENDER_CHARS),
        }
        for country, sender in self.senders.items():
            fields[f"senders.{country}"] = (sender, MAX_SENDER_CHARS)
        for field, (value, longest) in fields.items():
            if not value.isascii() or "\0" in value or len(value) > longest:
                yield field, f"must be at most {longest} characters of ASCII"

    def build_short_message(self, message: Message) -> pdu_bodies.ShortMessage:
        """Return the submit_sm: one segment, as all messages of ours are (R39)."""
        data_coding, octets = encode_text(message.text)
        return pdu_bodies.ShortMessage(
            source=pdu_bodies.SmppAddress.from_sender_id(self.select_sender_id(message)),
            destination=pdu_bodies.SmppAddress(
                pdu_bodies.INTERNATIONAL_TYPE, message.to.e164.removeprefix("+")
            ),
            validity=pdu_bodies.format_validity_period(message.validity_seconds),
            registered_delivery=pdu_bodies.REGISTERED_DELIVERY_RECEIPT,
            data_coding=data_coding,
            text=octets,
        )


class SmppProvider:
    """A provider: its name, its settings, and the session with its SMSC."""

    def __init__(
        self,
        name: str,
        settings: Smpp,
        dependencies: ProviderDependencies,
        *,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self._settings = settings
        self._matcher = ReceiptMatcher(name, dependencies.message_ids)
        self._deliveries = SmppDeliveryHandler(name, dependencies, self._matcher)
        if settings.tls and tls_context is None:
            tls_context = _create_tls_context(settings.tls_ca)
        self._session = SmppSession(
            name,
            settings,
            tls_context=tls_context,
            delivery_handler=self._deliveries.handle_delivery,
            classify_bind_status=classify_bind_status,
        )

    async def send(self, message: Message) -> Reply:
        """Submit the message; the reply is redacted, so that it can be stored."""
        try:
            body = self._settings.build_short_message(message).encode()
        except ValueError:  # its text omits the value
            return INVALID_REQUEST_REFUSAL
        connection = await self._session.get_connection()
        if isinstance(connection, Refused):
            return connection
        if not await _acquire_window_slot(connection, self._settings.connect_timeout):
            return build_unreachable_refusal("window-full")
        try:
            return redact_reply(await self._submit_message(connection, body, message), message)
        finally:
            connection.window.release()

    async def aclose(self) -> None:
        """Unbind, and share the ids of all messages."""
        await self._session.aclose()
        self._deliveries.close()
        await self._matcher.aclose()

    async def _submit_message(
        self, connection: SmppConnection, body: bytes, message: Message
    ) -> Reply:
        if connection.is_closed:
            return build_unreachable_refusal("disconnected")
        future = connection.send_request(
            SUBMIT_SM, body, lambda response: self._record_message_id(response, message)
        )
        response = await wait_for_response(future, self._settings.reply_timeout)
        if response is None:
            reason = "disconnected" if connection.is_closed else "read-timeout"
            return Refused(Fault.UNKNOWN, reason, scope=RefusalScope.SILENCE)
        return interpret_reply(response)

    def _record_message_id(self, response: Pdu, message: Message) -> None:
        reply = interpret_reply(response)
        if isinstance(reply, Accepted) and reply.message_id:
            self._matcher.record_message(reply.message_id, message.reference, message.to.e164)


def _create_tls_context(ca_file: str | None) -> ssl.SSLContext:
    if ca_file:
        return ssl.create_default_context(cafile=ca_file)
    return httpx.create_ssl_context(trust_env=False)


async def _acquire_window_slot(connection: SmppConnection, timeout_seconds: float) -> bool:
    try:
        async with asyncio.timeout(timeout_seconds):
            return await connection.window.acquire()
    except TimeoutError:
        return False


def interpret_reply(response: Pdu) -> Reply:
    """Return the meaning of the answer to a submit_sm.

    Status 0 alone says that it was taken; without a message id only its receipts are lost.
    """
    if response.status != STATUS_OK:
        return classify_command_status(response.status)
    if response.command != SUBMIT_SM | RESPONSE_BIT:
        return Refused(Fault.UNKNOWN, "bad-reply")
    return Accepted(pdu_bodies.parse_message_id(response.body) or None)


def classify_command_status(status: int) -> Refused:
    """Return the meaning of a command_status other than 0."""
    reason = f"smpp-{status:02x}" if status <= MAX_KNOWN_STATUS else "smpp-other"
    fault, scope = FAULT_SCOPES[FAULT_TABLE.get(reason, "provider")]
    return Refused(fault, reason, scope=scope)


def classify_bind_status(status: int) -> Refused:
    """Return the same for a bind, which is never about a message or its number."""
    refused = classify_command_status(status)
    scope = refused.scope if refused.scope is not RefusalScope.MESSAGE else RefusalScope.SILENCE
    return Refused(Fault.PROVIDER, refused.reason, scope=scope)
