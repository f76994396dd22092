"""One connection to a centre, from the first PDU to the last; it does not come back."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from otp_service.sms.smpp.pdu import (
    DELIVER_SM,
    ENQUIRE_LINK,
    GENERIC_NACK,
    INVALID_COMMAND,
    LAST_SEQUENCE,
    OK,
    PERMANENT_ERROR,
    QUEUE_FULL,
    RESPONSE,
    TEMPORARY_ERROR,
    UNBIND,
    BadPdu,
    Frames,
    Pdu,
)
from otp_service.sms.smpp.pdu_bodies import ShortMessage


logger = logging.getLogger(__name__)

MOST_DELIVERIES: Final = 100
"""Receipts being noted at once; further ones are to be brought again."""
MOST_UNANSWERED: Final = 1000
"""Requests whose late answers are still understood."""
READ: Final = 64 * 1024

Deliver = Callable[[ShortMessage], Awaitable[None]]
"""Takes what the centre brings; if it raises, the centre is to bring it again."""


class Link:
    """Asks, and answers what it is asked. All of it in one process and one loop."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        deliver: Deliver,
        window: int,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._deliver = deliver
        self.window = asyncio.Semaphore(window)
        """One for each message that waits for its answer (2.9): taken by who submits."""
        self.has_ended = False
        self._sequence = 0
        self._waiting: dict[int, tuple[asyncio.Future[Pdu | None], Callable[[Pdu], None]]] = {}
        self._deliveries: set[asyncio.Task[None]] = set()

    def ask(
        self, command: int, body: bytes = b"", told: Callable[[Pdu], None] = lambda _: None
    ) -> asyncio.Future[Pdu | None]:
        """Write a request; its answer comes in the future, or None if the link ends before.

        `told` hears it before anything that came after it is looked at, also if it is late and
        nobody waits for it any more. The link must not have ended.
        """
        self._sequence = self._sequence % LAST_SEQUENCE + 1
        answer = asyncio.get_running_loop().create_future()
        self._waiting[self._sequence] = (answer, told)
        if len(self._waiting) > MOST_UNANSWERED:
            del self._waiting[next(iter(self._waiting))]
        # Not drained: the window bounds what can be waiting here.
        self._write(Pdu(command, self._sequence, body=body))
        return answer

    async def run(self) -> None:
        """Read until the end, whoever makes it."""
        frames = Frames()
        try:
            while not self.has_ended and (data := await self._reader.read(READ)):
                for pdu in frames.feed(data):
                    self._take(pdu)
                await self._writer.drain()
        except Exception as error:  # noqa: BLE001  # whatever it is, it ends this link alone
            logger.warning("a connection to a centre ended with %s", type(error).__name__)
        finally:
            self.end()

    async def watch(self, every: float, patience: float) -> None:
        """Ask every so many seconds whether the centre is there (4.11), and return if it is not."""
        while True:
            await asyncio.sleep(every)
            if self.has_ended or not await answered(self.ask(ENQUIRE_LINK), patience):
                return

    async def unbind(self, patience: float) -> None:
        """Take leave (4.2), and end."""
        if not self.has_ended:
            await answered(self.ask(UNBIND), patience)
        for task in self._deliveries:
            task.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)
        self.end()

    def end(self) -> None:
        """Close the connection; who waits for an answer hears that there is none."""
        self.has_ended = True
        self._writer.transport.abort()
        for answer, _ in self._waiting.values():
            _resolve(answer, None)
        self._waiting.clear()

    def _write(self, pdu: Pdu) -> None:
        self._writer.write(pdu.encode())

    def _take(self, pdu: Pdu) -> None:
        if pdu.answers:
            self._answered(pdu)
        elif pdu.command == DELIVER_SM:
            self._delivered(pdu)
        elif pdu.command in {ENQUIRE_LINK, UNBIND}:
            self._answer(pdu)
            self.has_ended = self.has_ended or pdu.command == UNBIND
        else:
            self._write(Pdu(GENERIC_NACK, pdu.sequence, INVALID_COMMAND))

    def _answered(self, pdu: Pdu) -> None:
        answer, told = self._waiting.pop(pdu.sequence, (None, None))
        if answer and told:
            told(pdu)
            _resolve(answer, pdu)

    def _delivered(self, pdu: Pdu) -> None:
        if len(self._deliveries) >= MOST_DELIVERIES:
            self._answer(pdu, QUEUE_FULL)
            return
        try:
            brought = ShortMessage.decode(pdu.body)
        except BadPdu:
            self._answer(pdu, PERMANENT_ERROR)
            return
        task = asyncio.get_running_loop().create_task(self._note(pdu, brought))
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)

    async def _note(self, pdu: Pdu, brought: ShortMessage) -> None:
        """Answer once it is noted, so that the centre keeps it until then."""
        status = OK
        try:
            await self._deliver(brought)
        except Exception as error:  # noqa: BLE001  # whatever it is, the link has to go on
            # By its name only: its text may hold a number (R68).
            logger.error("a receipt could not be noted: %s", type(error).__name__)  # noqa: TRY400
            status = TEMPORARY_ERROR
        if not self.has_ended:
            self._answer(pdu, status)

    def _answer(self, pdu: Pdu, status: int = OK) -> None:
        # The body of deliver_sm_resp is one empty string (4.6.2); the others have none.
        body = b"\0" if pdu.command == DELIVER_SM else b""
        self._write(Pdu(pdu.command | RESPONSE, pdu.sequence, status, body))


async def answered(answer: asyncio.Future[Pdu | None], patience: float) -> Pdu | None:
    """Return the answer, or None if there is none so soon; a late one is still heard."""
    await asyncio.wait({answer}, timeout=patience)
    return answer.result() if answer.done() else None


def _resolve(answer: asyncio.Future[Pdu | None], value: Pdu | None) -> None:
    if not answer.done():
        answer.set_result(value)
