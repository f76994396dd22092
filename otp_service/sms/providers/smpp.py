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

from otp_service.core.delivery import About, Accepted, Fault, Message, Refused, Reply
from otp_service.core.ip_address import is_loopback
from otp_service.core.secret import Secret
from otp_service.sms.provider_settings import Seconds
from otp_service.sms.redaction import presentable_reply
from otp_service.sms.router import Tools
from otp_service.sms.sender_ids import sender_faults, sender_for, serves
from otp_service.sms.smpp.connection import Link, answered
from otp_service.sms.smpp.delivery_receipts import receipt_in
from otp_service.sms.smpp.message_ids import Ids
from otp_service.sms.smpp.pdu import OK, RESPONSE, SUBMIT_SM, Pdu
from otp_service.sms.smpp.pdu_bodies import (
    INTERNATIONAL,
    RECEIPT_WANTED,
    Address,
    Bind,
    ShortMessage,
    for_seconds,
    message_id,
)
from otp_service.sms.smpp.session import Centre, Session, unreachable
from otp_service.sms.smpp.text_codec import encoded
from otp_service.sms.validation import Faults


RECIPIENT: Final = frozenset({0x0B, 0x65})
ACCOUNT: Final = frozenset({0x0A, 0x0D, 0x0E, 0x0F})
THROTTLED: Final = frozenset({0x14, 0x58})
LAST_STATUS: Final = 0x04FF
"""Up to which the protocol and vendors have given a meaning to numbers."""

EARLY: Final = 1.0
"""Seconds by which a receipt may be here before the answer that tells the id of its message, or
before another process has told what was answered to it."""

LONGEST_SYSTEM_ID: Final = 15
LONGEST_SYSTEM_TYPE: Final = 12
LONGEST_SENDER: Final = 20
LONGEST_PASSWORD: Final = 64
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
    connect_timeout: Seconds = 2.0
    """For a connection with its bind, and for a place in the window."""
    reply_timeout: Seconds = 5.0
    enquire_every: Annotated[float, msgspec.Meta(gt=0, le=600)] = 30.0
    """Seconds between two questions whether the centre is still there."""

    def as_sender(self, name: str, tools: Tools) -> "SmppProvider":
        """Return the provider, which binds once there is a message."""
        return SmppProvider(name, self, tools)

    def serves(self, place: str) -> bool:
        """Whether messages to this country, or to numbers that begin so, have a sender."""
        return serves(self, place)

    def faults(self) -> list[tuple[str, str]]:
        """Return what is wrong or unsafe in these settings, as (field, remedy)."""
        return [*self._link_faults(), *self._name_faults(), *sender_faults(self)]

    def _link_faults(self) -> Faults:
        if not self.tls and not is_loopback(self.host):
            yield "tls", "must be true: the code would cross the network in the open"
        if not self.host or not self.host.isascii() or set(self.host) & set(" /:@"):
            yield "host", "write the name or the address alone, like smsc.example"

    def _name_faults(self) -> Faults:
        fields = {
            "system_id": (self.system_id, LONGEST_SYSTEM_ID),
            "system_type": (self.system_type, LONGEST_SYSTEM_TYPE),
            "password": (self.password.reveal(), LONGEST_PASSWORD),
            "sender": (self.sender, LONGEST_SENDER),
        }
        for country, sender in self.senders.items():
            fields[f"senders.{country}"] = (sender, LONGEST_SENDER)
        for field, (value, longest) in fields.items():
            if not value.isascii() or "\0" in value or len(value) > longest:
                yield field, f"must be at most {longest} characters of ASCII"

    @cached_property
    def bind(self) -> Bind:
        """Who we are to the centre."""
        password = self.password.reveal()
        return Bind(system_id=self.system_id, password=password, system_type=self.system_type)

    def centre(self, tls: ssl.SSLContext | None) -> Centre:
        """Return how the centre is reached."""
        return Centre(
            host=self.host,
            port=self.port,
            bind=self.bind,
            tls=tls,
            window=self.window,
            connect_timeout=self.connect_timeout,
            reply_timeout=self.reply_timeout,
            enquire_every=self.enquire_every,
        )

    def submit(self, message: Message) -> ShortMessage:
        """Return the message as the centre wants it: one segment, as all of ours are (R39)."""
        data_coding, octets = encoded(message.text)
        return ShortMessage(
            source=Address.of(sender_for(self, message)),
            destination=Address(INTERNATIONAL, message.to.e164.removeprefix("+")),
            validity=for_seconds(message.valid_for),
            registered_delivery=RECEIPT_WANTED,
            data_coding=data_coding,
            text=octets,
        )


class SmppProvider:
    """One provider: a name, its settings, and the session with its centre."""

    def __init__(
        self, name: str, settings: Smpp, tools: Tools, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.name = name
        self._settings = settings
        self._received = tools.received
        self._ids = Ids(name, tools.submissions)
        if settings.tls and tls is None:
            tls = httpx.create_ssl_context(trust_env=False)
        centre = settings.centre(tls)
        self._session = Session(name, centre, deliver=self._deliver, refusal=bind_refusal)

    async def send(self, message: Message) -> Reply:
        """Submit, and return what came of it, in words that are safe to keep."""
        body = self._settings.submit(message).encode()
        link = await self._session.link()
        if isinstance(link, Refused):
            return link
        if not await _place_in(link, self._settings.connect_timeout):
            return unreachable("window-full")
        try:
            return presentable_reply(await self._submit(link, body, message), message)
        finally:
            link.window.release()

    async def aclose(self) -> None:
        """Unbind."""
        await self._session.aclose()
        await self._ids.aclose()

    async def _submit(self, link: Link, body: bytes, message: Message) -> Reply:
        if link.has_ended:
            return unreachable("disconnected")
        asked = link.ask(SUBMIT_SM, body, lambda answer: self._learn(answer, message))
        answer = await answered(asked, self._settings.reply_timeout)
        if answer is None:
            reason = "disconnected" if link.has_ended else "read-timeout"
            return Refused(Fault.UNKNOWN, reason, about=About.SILENCE)
        return meaning(answer)

    def _learn(self, answer: Pdu, message: Message) -> None:
        reply = meaning(answer)
        if isinstance(reply, Accepted) and reply.message_id:
            self._ids.learn(reply.message_id, message.reference, message.to.e164)

    async def _deliver(self, brought: ShortMessage) -> None:
        told = receipt_in(brought)
        if told is None:
            return
        receipt = await self._ids.found(told)
        if not receipt.reference:
            await asyncio.sleep(EARLY)
            receipt = await self._ids.found(told)
        await self._received(self.name, receipt)


async def _place_in(link: Link, patience: float) -> bool:
    try:
        async with asyncio.timeout(patience):
            return await link.window.acquire()
    except TimeoutError:
        return False


def meaning(answer: Pdu) -> Reply:
    """Return what the answer to a submit_sm means."""
    if answer.status != OK:
        return refusal(answer.status)
    if answer.command != SUBMIT_SM | RESPONSE:
        return Refused(Fault.UNKNOWN, "bad-reply")
    name = message_id(answer.body)
    return Accepted(name) if name else Refused(Fault.UNKNOWN, "no-message-id")


def refusal(status: int) -> Refused:
    """Return what a command_status means that is not 0."""
    reason = f"smpp-{status:02x}" if status <= LAST_STATUS else "smpp-other"
    if status in RECIPIENT:
        return Refused(Fault.RECIPIENT, reason)
    if status in ACCOUNT:
        return Refused(Fault.PROVIDER, reason, about=About.ACCOUNT)
    if status in THROTTLED:
        return Refused(Fault.PROVIDER, reason, about=About.THROTTLED)
    return Refused(Fault.PROVIDER, reason)


def bind_refusal(status: int) -> Refused:
    """Return the same for a bind, which is never about a message or its number."""
    refused = refusal(status)
    about = refused.about if refused.about is not About.MESSAGE else About.SILENCE
    return Refused(Fault.PROVIDER, refused.reason, about=about)
