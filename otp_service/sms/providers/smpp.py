"""SMPP 3.4: a centre (SMSC) that is spoken to without a gateway in between. command_status (5.1.3):

    0x00 with a message_id                           accepted
    0x0B invalid destination, 0x65 refused for good  the number's
    0x58 throttled, 0x14 queue full                  the provider's, throttled
    0x0D bind failed, 0x0E password, 0x0F system_id  account
    0x0A invalid source address                      account: a sender that is not ours
    any other                                        the provider's
    no answer to what was written                    it may have been sent: unknown
    not connected, not bound, window full            nothing was sent: the provider's

The protocol is ours (sms/smpp/). aiosmpplib 0.7.4 has no TLS and no window, keeps messages while it
is not bound and sends them later, when another provider has long sent them too, and logs texts at
ERROR. smpplib 2.2.4 blocks its thread; smppy 0.3.2 is a server, and alpha.

Receipts come over the same connection, and so are trusted. Each worker process binds a session of
its own, with its first message: the window is per session, and the centre has to allow that many
binds of one system_id. It may bring a receipt to any of them, also after a restart: all processes
know which message one is about (sms/smpp/ids.py).
"""

import asyncio
import ssl
from functools import cached_property
from typing import Annotated, Final

import httpx
import msgspec

from otp_service.core.delivery import Accepted, Fault, Message, RefusalScope, Refused, Reply
from otp_service.core.ip_address import is_loopback
from otp_service.core.secret import Secret
from otp_service.core.url_check import FieldErrors
from otp_service.sms.provider_settings import TimeoutSeconds
from otp_service.sms.redaction import redact_reply
from otp_service.sms.router import ProviderDependencies
from otp_service.sms.sender_ids import can_serve, find_sender_errors, select_sender_id
from otp_service.sms.smpp.connection import SmppConnection, wait_for_response
from otp_service.sms.smpp.delivery_receipts import parse_receipt
from otp_service.sms.smpp.message_ids import ReceiptMatcher
from otp_service.sms.smpp.pdu import RESPONSE_BIT, STATUS_OK, SUBMIT_SM, Pdu
from otp_service.sms.smpp.pdu_bodies import (
    INTERNATIONAL_TYPE,
    REGISTERED_DELIVERY_RECEIPT,
    BindRequest,
    ShortMessage,
    SmppAddress,
    format_validity_period,
    parse_message_id,
)
from otp_service.sms.smpp.session import SmppSession, SmscConfig, build_unreachable_refusal
from otp_service.sms.smpp.text_codec import encode_text


RECIPIENT_STATUSES: Final = frozenset({0x0B, 0x65})
ACCOUNT_STATUSES: Final = frozenset({0x0A, 0x0D, 0x0E, 0x0F})
THROTTLED_STATUSES: Final = frozenset({0x14, 0x58})
MAX_KNOWN_STATUS: Final = 0x04FF
"""Up to which the protocol and vendors have given a meaning to numbers."""

EARLY_RECEIPT_SECONDS: Final = 1.0
"""Seconds by which a receipt may be here before the answer that tells the id of its message, or
before another process has told what was answered to it."""

MAX_SYSTEM_ID_CHARS: Final = 15
MAX_SYSTEM_TYPE_CHARS: Final = 12
MAX_SENDER_CHARS: Final = 20
MAX_PASSWORD_CHARS: Final = 64
"""5.2.2 has 8, and centres that take more."""


class Smpp(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    dict=True,  # a place for cached_property
    tag_field="type",
    tag="smpp",
    forbid_unknown_fields=True,
):
    """The settings of a session."""

    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 2775
    tls: bool = False
    system_id: str
    password: Secret
    system_type: str = ""
    sender: str = ""
    """A number or a name of ours; for a tenant that has no sender, and where names are not taken."""
    senders: dict[str, str] = msgspec.field(default_factory=dict)
    """By country (libphonenumber region), before all others."""
    window: Annotated[int, msgspec.Meta(ge=1, le=500)] = 10
    """Messages of one session that wait for their answers at the same time."""
    connect_timeout: TimeoutSeconds = 2.0
    """For a connection with its bind, and for a place in the window."""
    reply_timeout: TimeoutSeconds = 5.0
    enquire_every: Annotated[float, msgspec.Meta(gt=0, le=600)] = 30.0
    """Seconds between two questions whether the centre is still there."""

    def build_provider(self, name: str, dependencies: ProviderDependencies) -> "SmppProvider":
        """Return the provider, which binds once there is a message."""
        return SmppProvider(name, self, dependencies)

    def can_serve(self, destination: str) -> bool:
        """Whether messages to this country, or to numbers that begin so, have a sender."""
        return can_serve(self, destination)

    def find_errors(self) -> list[tuple[str, str]]:
        """Return what is wrong or unsafe in these settings, as (field, remedy)."""
        return [
            *self._find_connection_errors(),
            *self._find_length_errors(),
            *find_sender_errors(self),
        ]

    def _find_connection_errors(self) -> FieldErrors:
        if not self.tls and not is_loopback(self.host):
            yield "tls", "must be true: the code would cross the network in the open"
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

    @cached_property
    def bind_request(self) -> BindRequest:
        """Who we are to the centre."""
        password = self.password.reveal()
        return BindRequest(
            system_id=self.system_id, password=password, system_type=self.system_type
        )

    def build_smsc_config(self, tls: ssl.SSLContext | None) -> SmscConfig:
        """Return how the centre is reached."""
        return SmscConfig(
            host=self.host,
            port=self.port,
            bind_request=self.bind_request,
            tls=tls,
            window=self.window,
            connect_timeout=self.connect_timeout,
            reply_timeout=self.reply_timeout,
            enquire_interval_seconds=self.enquire_every,
        )

    def build_short_message(self, message: Message) -> ShortMessage:
        """Return the message as the centre wants it: one segment, as all of ours are (R39)."""
        data_coding, octets = encode_text(message.text)
        return ShortMessage(
            source=SmppAddress.from_sender_id(select_sender_id(self, message)),
            destination=SmppAddress(INTERNATIONAL_TYPE, message.to.e164.removeprefix("+")),
            validity=format_validity_period(message.validity_seconds),
            registered_delivery=REGISTERED_DELIVERY_RECEIPT,
            data_coding=data_coding,
            text=octets,
        )


class SmppProvider:
    """One provider: a name, its settings, and the session with its centre."""

    def __init__(
        self,
        name: str,
        settings: Smpp,
        dependencies: ProviderDependencies,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self._settings = settings
        self._on_receipt = dependencies.on_receipt
        self._receipt_matcher = ReceiptMatcher(name, dependencies.message_ids)
        if settings.tls and tls is None:
            tls = httpx.create_ssl_context(trust_env=False)
        centre = settings.build_smsc_config(tls)
        self._session = SmppSession(
            name,
            centre,
            delivery_handler=self._handle_delivery,
            classify_bind_status=classify_bind_status,
        )

    async def send(self, message: Message) -> Reply:
        """Submit, and return what came of it, in words that are safe to keep."""
        body = self._settings.build_short_message(message).encode()
        link = await self._session.get_connection()
        if isinstance(link, Refused):
            return link
        if not await _acquire_window_slot(link, self._settings.connect_timeout):
            return build_unreachable_refusal("window-full")
        try:
            return redact_reply(await self._submit_message(link, body, message), message)
        finally:
            link.window.release()

    async def aclose(self) -> None:
        """Unbind."""
        await self._session.aclose()
        await self._receipt_matcher.aclose()

    async def _submit_message(
        self, connection: SmppConnection, body: bytes, message: Message
    ) -> Reply:
        if connection.is_closed:
            return build_unreachable_refusal("disconnected")
        asked = connection.send_request(
            SUBMIT_SM, body, lambda answer: self._record_message_id(answer, message)
        )
        answer = await wait_for_response(asked, self._settings.reply_timeout)
        if answer is None:
            reason = "disconnected" if connection.is_closed else "read-timeout"
            return Refused(Fault.UNKNOWN, reason, scope=RefusalScope.SILENCE)
        return interpret_reply(answer)

    def _record_message_id(self, response: Pdu, message: Message) -> None:
        reply = interpret_reply(response)
        if isinstance(reply, Accepted) and reply.message_id:
            self._receipt_matcher.record_message(
                reply.message_id, message.reference, message.to.e164
            )

    async def _handle_delivery(self, short_message: ShortMessage) -> None:
        told = parse_receipt(short_message)
        if told is None:
            return
        receipt = await self._receipt_matcher.match_receipt(told)
        if not receipt.reference:
            await asyncio.sleep(EARLY_RECEIPT_SECONDS)
            receipt = await self._receipt_matcher.match_receipt(told)
        await self._on_receipt(self.name, receipt)


async def _acquire_window_slot(connection: SmppConnection, timeout_seconds: float) -> bool:
    try:
        async with asyncio.timeout(timeout_seconds):
            return await connection.window.acquire()
    except TimeoutError:
        return False


def interpret_reply(response: Pdu) -> Reply:
    """Return what the answer to a submit_sm means."""
    if response.status != STATUS_OK:
        return classify_command_status(response.status)
    if response.command != SUBMIT_SM | RESPONSE_BIT:
        return Refused(Fault.UNKNOWN, "bad-reply")
    name = parse_message_id(response.body)
    return Accepted(name) if name else Refused(Fault.UNKNOWN, "no-message-id")


def classify_command_status(status: int) -> Refused:
    """Return what a command_status means that is not 0."""
    reason = f"smpp-{status:02x}" if status <= MAX_KNOWN_STATUS else "smpp-other"
    if status in RECIPIENT_STATUSES:
        return Refused(Fault.RECIPIENT, reason)
    if status in ACCOUNT_STATUSES:
        return Refused(Fault.PROVIDER, reason, scope=RefusalScope.ACCOUNT)
    if status in THROTTLED_STATUSES:
        return Refused(Fault.PROVIDER, reason, scope=RefusalScope.THROTTLED)
    return Refused(Fault.PROVIDER, reason)


def classify_bind_status(status: int) -> Refused:
    """Return the same for a bind, which is never about a message or its number."""
    refused = classify_command_status(status)
    about = refused.scope if refused.scope is not RefusalScope.MESSAGE else RefusalScope.SILENCE
    return Refused(Fault.PROVIDER, refused.reason, scope=about)
