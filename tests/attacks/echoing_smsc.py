"""An SMSC that echoes what it receives, as the vendors of echoing_vendors.py do over HTTP.

It runs in its own thread, because its users call a service in other processes and wait.
"""

import asyncio
import secrets
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, Self

from otp_service.sms.smpp.delivery_receipts import MESSAGE_STATE, RECEIPTED_MESSAGE_ID
from otp_service.sms.smpp.pdu import (
    BIND_TRANSCEIVER,
    DELIVER_SM,
    ENQUIRE_LINK,
    GENERIC_NACK,
    RESPONSE_BIT,
    SUBMIT_SM,
    UNBIND,
    Pdu,
)
from otp_service.sms.smpp.pdu_bodies import ShortMessage, SmppAddress
from otp_service.sms.smpp.user_data import MESSAGE_PAYLOAD
from tests.attacks.echoing_vendors import CODE_PATTERN, ECHO_PLACEHOLDERS, fill_placeholders
from tests.processes import WAIT_TIMEOUT_SECONDS, RunningService
from tests.sms.smpp.fake_smsc import FakeSmsc


PROVIDER_NAME = "smpp"
ECHOED_VALUES = tuple(value.encode() for value in ECHO_PLACEHOLDERS)
ERROR_STATUSES = (0x0B, 0x65, 0x0A, 0x0E, 0x58, 0x14, 0x08, 0x45, 0x0400)
VALID_RECEIPT_FIELDS = (b"{name}", b"2611241530", b"2611241531", b"UNDELIV", b"011", b"{text}")
UNDELIVERABLE_STATE = b"\5"
UNKNOWN_COMMAND = 0x0102

BUG_SITECUSTOMIZE = """
import otp_service.sms.providers.smpp as smpp
import otp_service.sms.smpp.delivery_handler as delivery_handler
import otp_service.sms.smpp.pdu_bodies as pdu_bodies
import otp_service.sms.smpp.session as session

session.STABLE_CONNECTION_SECONDS = 0.0  # reconnect at once after a lost connection
session.FIRST_BACKOFF_SECONDS = session.MAX_BACKOFF_SECONDS = 0.1

def exploding(function, word, text_of):
    def explode(*arguments):
        if word in text_of(*arguments):
            raise RuntimeError(text_of(*arguments).decode(), arguments)
        return function(*arguments)
    return explode

def sent(reply, message):
    return f"{reply} {message.text} {message.to.e164}".encode()

smpp.redact_reply = exploding(smpp.redact_reply, b"explode", sent)
pdu_bodies.parse_message_id = exploding(pdu_bodies.parse_message_id, b"burst", bytes)
delivery_handler.parse_receipt = exploding(
    delivery_handler.parse_receipt, b"explode", lambda message: message.text
)
"""
"""Injected bugs whose exceptions contain the input: in a send, in a reply and in a receipt."""


class EchoingSmsc(FakeSmsc):
    """Fills the placeholders in its replies to submit_sm with the content of the message."""

    def __init__(self) -> None:
        self.key = secrets.token_urlsafe(48)
        super().__init__(password=self.key)
        self.codes: list[str] = []
        self.number = ""
        self.status_of: Callable[[str], int] | None = None
        """Returns the status of the next replies from the code; None keeps the set status."""
        self.raw_reply: bytes | None = None
        """Bytes that replace the next replies; None sends normal replies."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.run_coroutine(self.start_listening())
        return self

    def __exit__(self, *error: object) -> None:
        self.run_coroutine(self.stop_listening())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_TIMEOUT_SECONDS)
        self._loop.close()

    @property
    def environment(self) -> dict[str, str]:
        """The settings as environment variables of the service."""
        settings = {
            "TYPE": "smpp",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "SYSTEM_ID": "tester",
            "PASSWORD": self.key,
            "SENDER": "Example",
            "CONNECT_TIMEOUT": "1.0",
            "REPLY_TIMEOUT": "1.0",
        }
        return {
            f"PROVIDERS__{PROVIDER_NAME.upper()}__{field}": value
            for field, value in settings.items()
        }

    def run_coroutine(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the thread of the SMSC, and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(WAIT_TIMEOUT_SECONDS)

    def fill_placeholders(self, text: bytes) -> bytes:
        """Fill placeholders with the content of the last message."""
        return fill_placeholders(text, self.number, self.codes[-1], self.key)

    def _handle_pdu(self, pdu: Pdu, writer: asyncio.StreamWriter) -> None:
        if pdu.command == SUBMIT_SM:
            message = ShortMessage.decode(pdu.body)
            self.codes.append(CODE_PATTERN.findall(message.text.decode())[0])
            self.number = f"+{message.destination.text}"
            if self.raw_reply is not None:
                self.received_pdus.append(pdu)
                writer.write(self.fill_placeholders(self.raw_reply))
                return
        super()._handle_pdu(pdu, writer)

    def _build_reply(self, pdu: Pdu) -> tuple[int, int, bytes]:
        command, status, body = super()._build_reply(pdu)
        if pdu.command != SUBMIT_SM:
            return command, status, self.key.encode() + b"\0"
        if self.status_of:
            status = self.status_of(self.codes[-1])
        return command, status, self.fill_placeholders(body or b"{key} {text}\0")


class SmppScenario:
    """Exercises every reply, receipt and failure of an SMSC."""

    def __init__(self, service: RunningService, smsc: EchoingSmsc, prefix: str) -> None:
        self.service, self.smsc = service, smsc
        self.numbers: list[str] = []
        self._prefix = prefix

    def run_steps(self) -> None:
        """Run all steps."""
        self.refuse_binds()
        self.send_statuses()
        self.break_replies()
        self.deliver_receipts()

    def refuse_binds(self) -> None:
        """Refuse binds, then ignore one, then accept one."""
        for status in (0x0E, 0x0D, 0x58, 0x864209):
            self.smsc.bind_status = status
            self.issue_code()  # there is no session before the first message
            self.wait_for_bind()
            self.issue_code()
        self.smsc.ignored_commands.add(BIND_TRANSCEIVER)
        self.wait_for_bind()
        self.issue_code()
        self.smsc.ignored_commands.clear()
        self.smsc.bind_status = 0
        self.wait_for_bind()

    def send_statuses(self) -> None:
        """Reply with every status, a status that equals the code, and echoed or invalid ids."""
        for status in ERROR_STATUSES:
            self.smsc.set_submit_reply(status)
            self.issue_code()
        for base in (10, 16):
            self.smsc.status_of = lambda code, base=base: int(code, base)
            self.issue_code()
        self.smsc.status_of = None
        for body in (
            *(echo + b"\0" for echo in ECHOED_VALUES),
            b"",
            b"\0",
            b"{text}",
            b"7a2f{code}\0",
        ):
            self.smsc.set_submit_reply(body=body)
            self.issue_code()
        for command in (GENERIC_NACK, ENQUIRE_LINK | RESPONSE_BIT):
            self.smsc.set_submit_reply(3, body=b"{text}\0", command=command)
            self.issue_code()
        self.smsc.set_submit_reply(body=b"explode-{code}\0")
        self.issue_code()

    def break_replies(self) -> None:
        """Send no reply, invalid PDUs, and a reply whose handling raises and ends the connection."""
        self.smsc.ignore_submits()
        self.issue_code()
        self.smsc.ignored_commands.clear()
        for octets in (b"{text} {to} {key}", b"\xff" * 64, b"\0" * 16):
            self.smsc.raw_reply = octets
            self.issue_code()
        self.smsc.raw_reply = None
        self.smsc.set_submit_reply(body=b"burst {text} {key}\0")
        self.issue_code()

    def deliver_receipts(self) -> None:
        """Deliver receipts with echoes in every field, inbound messages, invalid PDUs, and a bug."""
        for text, tlvs in generate_receipts():
            self.deliver_message(text, tlvs, name=self.issue_until_accepted())
        for text in (b"{text} {key}", b"explode {text} {to} {key}"):
            self.deliver_message(text, {}, esm_class=0)
        body = self.smsc.fill_placeholders(b"{text} {to} {key}")
        for command in (UNKNOWN_COMMAND, SUBMIT_SM | RESPONSE_BIT, DELIVER_SM, UNBIND):
            self.smsc.run_coroutine(self.smsc.send_pdu(Pdu(command, 99, body=body)))

    def issue_code(self) -> None:
        """Request a code for the next number."""
        number = f"{self._prefix}{len(self.numbers):04d}"
        self.numbers.append(number)
        self.service.issue(number)

    def wait_for_bind(self) -> None:
        """Wait until the service binds again. A code requested meanwhile waits for the outcome."""
        count = len(self.smsc.list_pdus(BIND_TRANSCEIVER)) + 1
        self.smsc.run_coroutine(self.smsc.wait_for_pdus(BIND_TRANSCEIVER, count))

    def issue_until_accepted(self) -> bytes:
        """Request codes until one is accepted, and return its message id at the SMSC."""
        name = b"m-%d" % len(self.numbers)
        self.smsc.set_submit_reply(body=name + b"\0")
        before = len(self.smsc.codes)
        while len(self.smsc.codes) == before:  # not bound again yet
            self.issue_code()
        return name

    def deliver_message(
        self, text: bytes, tlvs: Mapping[int, bytes], *, name: bytes = b"", esm_class: int = 4
    ) -> None:
        """Deliver a message from the last number, and wait for the reply of the service."""

        def fill_text(template: bytes) -> bytes:
            return self.smsc.fill_placeholders(template.replace(b"{name}", name))

        delivered = ShortMessage(
            source=SmppAddress((1, 1), self.smsc.number[1:]),
            text=fill_text(text),
            esm_class=esm_class,
            tlvs={tag: fill_text(value) for tag, value in tlvs.items()},
        )
        count = len(self.smsc.list_pdus(DELIVER_SM | RESPONSE_BIT)) + 1
        self.smsc.run_coroutine(self.smsc.deliver_message(delivered))
        self.smsc.run_coroutine(self.smsc.wait_for_pdus(DELIVER_SM | RESPONSE_BIT, count))


def generate_receipts() -> Iterator[tuple[bytes, dict[int, bytes]]]:
    """Yield failure receipts as text and optional parameters, with echoes in every field."""
    yield format_receipt(*VALID_RECEIPT_FIELDS), {}
    for place in range(len(VALID_RECEIPT_FIELDS)):
        for echo in ECHOED_VALUES:
            yield (
                format_receipt(
                    *VALID_RECEIPT_FIELDS[:place], echo, *VALID_RECEIPT_FIELDS[place + 1 :]
                ),
                {},
            )
    right = {RECEIPTED_MESSAGE_ID: b"{name}", MESSAGE_STATE: UNDELIVERABLE_STATE}
    for echo in ECHOED_VALUES:
        yield echo, right
        yield echo, right | {MESSAGE_STATE: echo}
        yield b"", {MESSAGE_PAYLOAD: format_receipt(*VALID_RECEIPT_FIELDS[:4], echo, echo)}


def format_receipt(*fields: bytes) -> bytes:
    """Return a receipt in the format of appendix B."""
    return b"id:%s submit date:%s done date:%s stat:%s err:%s text:%s" % fields
