"""An SMPP centre that echoes, as the vendors of vendors.py do over HTTP, and all that it can do.

It runs in a thread of its own: who needs it speaks to a service in other processes, and waits.
"""

import asyncio
import secrets
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, Self

from otp_service.sms.smpp.delivery_receipts import (
    MESSAGE_PAYLOAD,
    MESSAGE_STATE,
    RECEIPTED_MESSAGE_ID,
)
from otp_service.sms.smpp.pdu import (
    BIND_TRANSCEIVER,
    DELIVER_SM,
    ENQUIRE_LINK,
    GENERIC_NACK,
    RESPONSE,
    SUBMIT_SM,
    UNBIND,
    Pdu,
)
from otp_service.sms.smpp.pdu_bodies import Address, ShortMessage
from tests.attacks.echoing_vendors import CODE, VALUES, filled
from tests.processes import PATIENCE, Service
from tests.sms.smpp.fake_smsc import Centre


NAME = "smpp"
ECHOES = tuple(value.encode() for value in VALUES)
STATUSES = (0x0B, 0x65, 0x0A, 0x0E, 0x58, 0x14, 0x08, 0x45, 0x0400)
RIGHT = (b"{name}", b"2611241530", b"2611241531", b"UNDELIV", b"011", b"{text}")
UNDELIVERABLE = b"\5"
UNKNOWN_COMMAND = 0x0102

BUG = """
import otp_service.sms.providers.smpp as smpp
import otp_service.sms.smpp.session as session

session.STEADY = 0.0  # a link that is lost is made again at once
session.FIRST_REST = session.LONGEST_REST = 0.1

def exploding(function, word, what_came):
    def explode(*came):
        if word in what_came(*came):
            raise RuntimeError(what_came(*came).decode(), came)
        return function(*came)
    return explode

def sent(reply, message):
    return f"{reply} {message.text} {message.to.e164}".encode()

smpp.presentable_reply = exploding(smpp.presentable_reply, b"explode", sent)
smpp.message_id = exploding(smpp.message_id, b"burst", bytes)
smpp.receipt_in = exploding(smpp.receipt_in, b"explode", lambda brought: brought.text)
"""
"""Bugs of ours, whose exceptions hold what came: in a send, in reading an answer, in a receipt."""


class EchoingCentre(Centre):
    """Fills placeholders in its answers to submit_sm with what came."""

    def __init__(self) -> None:
        self.key = secrets.token_urlsafe(48)
        super().__init__(password=self.key)
        self.codes: list[str] = []
        self.number = ""
        self.status_of: Callable[[str], int] | None = None
        """Makes the status of the next answers of the code, if there is to be one."""
        self.octets: bytes | None = None
        """What is written in the place of the next answers."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.do(self.listen())
        return self

    def __exit__(self, *error: object) -> None:
        self.do(self.leave())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    @property
    def environment(self) -> dict[str, str]:
        """The settings, as the service takes them from its environment."""
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
        return {f"PROVIDERS__{NAME.upper()}__{field}": value for field, value in settings.items()}

    def do(self, step: Coroutine[Any, Any, Any]) -> Any:
        """Run this in the centre's own thread, and return what it returns."""
        return asyncio.run_coroutine_threadsafe(step, self._loop).result(PATIENCE)

    def filled(self, text: bytes) -> bytes:
        """Put in what the last message held."""
        return filled(text, self.number, self.codes[-1], self.key)

    def _take(self, pdu: Pdu, writer: asyncio.StreamWriter) -> None:
        if pdu.command == SUBMIT_SM:
            message = ShortMessage.decode(pdu.body)
            self.codes.append(CODE.findall(message.text.decode())[0])
            self.number = f"+{message.destination.text}"
            if self.octets is not None:
                self.asked.append(pdu)
                writer.write(self.filled(self.octets))
                return
        super()._take(pdu, writer)

    def _answer(self, pdu: Pdu) -> tuple[int, int, bytes]:
        command, status, body = super()._answer(pdu)
        if pdu.command != SUBMIT_SM:
            return command, status, self.key.encode() + b"\0"
        if self.status_of:
            status = self.status_of(self.codes[-1])
        return command, status, self.filled(body or b"{key} {text}\0")


class SmppStory:
    """Everything that a centre can do."""

    def __init__(self, service: Service, centre: EchoingCentre, prefix: str) -> None:
        self.service, self.centre = service, centre
        self.numbers: list[str] = []
        self._prefix = prefix

    def run(self) -> None:
        """Do all of it."""
        self.binds()
        self.answers()
        self.accidents()
        self.receipts()

    def binds(self) -> None:
        """It does not take us, or says nothing at all; and then it does."""
        for status in (0x0E, 0x0D, 0x58, 0x864209):
            self.centre.bind_status = status
            self.issue()  # there is no session before the first message
            self.next_bind()
            self.issue()
        self.centre.is_silent_to.add(BIND_TRANSCEIVER)
        self.next_bind()
        self.issue()
        self.centre.is_silent_to.clear()
        self.centre.bind_status = 0
        self.next_bind()

    def answers(self) -> None:
        """Every status, also one that is the code; ids that echo, or are none."""
        for status in STATUSES:
            self.centre.answers(status)
            self.issue()
        for base in (10, 16):
            self.centre.status_of = lambda code, base=base: int(code, base)
            self.issue()
        self.centre.status_of = None
        for body in (*(echo + b"\0" for echo in ECHOES), b"", b"\0", b"{text}", b"7a2f{code}\0"):
            self.centre.answers(body=body)
            self.issue()
        for command in (GENERIC_NACK, ENQUIRE_LINK | RESPONSE):
            self.centre.answers(3, body=b"{text}\0", command=command)
            self.issue()
        self.centre.answers(body=b"explode-{code}\0")
        self.issue()

    def accidents(self) -> None:
        """No answer, what is no PDU, and a bug that ends the link."""
        self.centre.hangs()
        self.issue()
        self.centre.is_silent_to.clear()
        for octets in (b"{text} {to} {key}", b"\xff" * 64, b"\0" * 16):
            self.centre.octets = octets
            self.issue()
        self.centre.octets = None
        self.centre.answers(body=b"burst {text} {key}\0")
        self.issue()

    def receipts(self) -> None:
        """Echoes in every place, what people write, what is no message, and a bug."""
        for text, tlvs in news():
            self.bring(text, tlvs, name=self.accepted())
        for text in (b"{text} {key}", b"explode {text} {to} {key}"):
            self.bring(text, {}, esm_class=0)
        body = self.centre.filled(b"{text} {to} {key}")
        for command in (UNKNOWN_COMMAND, SUBMIT_SM | RESPONSE, DELIVER_SM, UNBIND):
            self.centre.do(self.centre.sends(Pdu(command, 99, body=body)))

    def issue(self) -> None:
        """Ask for a code."""
        number = f"{self._prefix}{len(self.numbers):04d}"
        self.numbers.append(number)
        self.service.issue(number)

    def next_bind(self) -> None:
        """Wait until the service tries to bind once more; who asks then, waits for the outcome."""
        count = len(self.centre.of(BIND_TRANSCEIVER)) + 1
        self.centre.do(self.centre.hears(BIND_TRANSCEIVER, count))

    def accepted(self) -> bytes:
        """Ask for codes until one is taken, and return what the centre calls it."""
        name = b"m-%d" % len(self.numbers)
        self.centre.answers(body=name + b"\0")
        before = len(self.centre.codes)
        while len(self.centre.codes) == before:  # not bound again yet
            self.issue()
        return name

    def bring(
        self, text: bytes, tlvs: Mapping[int, bytes], *, name: bytes = b"", esm_class: int = 4
    ) -> None:
        """Bring this from the last number, and wait until it is noted, or not."""

        def filled_in(said: bytes) -> bytes:
            return self.centre.filled(said.replace(b"{name}", name))

        brought = ShortMessage(
            source=Address((1, 1), self.centre.number[1:]),
            text=filled_in(text),
            esm_class=esm_class,
            tlvs={tag: filled_in(value) for tag, value in tlvs.items()},
        )
        count = len(self.centre.of(DELIVER_SM | RESPONSE)) + 1
        self.centre.do(self.centre.brings(brought))
        self.centre.do(self.centre.hears(DELIVER_SM | RESPONSE, count))


def news() -> Iterator[tuple[bytes, dict[int, bytes]]]:
    """Give receipts of a message that has failed, as text and as optional parameters.

    With echoes in every place.
    """
    yield said(*RIGHT), {}
    for place in range(len(RIGHT)):
        for echo in ECHOES:
            yield said(*RIGHT[:place], echo, *RIGHT[place + 1 :]), {}
    right = {RECEIPTED_MESSAGE_ID: b"{name}", MESSAGE_STATE: UNDELIVERABLE}
    for echo in ECHOES:
        yield echo, right
        yield echo, right | {MESSAGE_STATE: echo}
        yield b"", {MESSAGE_PAYLOAD: said(*RIGHT[:4], echo, echo)}


def said(*fields: bytes) -> bytes:
    """Return a receipt as appendix B has it."""
    return b"id:%s submit date:%s done date:%s stat:%s err:%s text:%s" % fields
