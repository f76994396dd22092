"""One connection to a centre, from the first PDU to the last; it does not come back."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from otp_service.sms.smpp.pdu import (
    DELIVER_SM,
    ENQUIRE_LINK,
    GENERIC_NACK,
    MAX_SEQUENCE_NUMBER,
    RESPONSE_BIT,
    STATUS_INVALID_COMMAND,
    STATUS_OK,
    STATUS_PERMANENT_ERROR,
    STATUS_QUEUE_FULL,
    STATUS_TEMPORARY_ERROR,
    UNBIND,
    InvalidPduError,
    Pdu,
    PduDecoder,
)
from otp_service.sms.smpp.pdu_bodies import ShortMessage


logger = logging.getLogger(__name__)

MAX_PENDING_DELIVERIES: Final = 100
"""Receipts being noted at once; further ones are to be brought again."""
MAX_UNANSWERED_REQUESTS: Final = 1000
"""Requests whose late answers are still understood."""
READ_CHUNK_BYTES: Final = 64 * 1024

DeliveryHandler = Callable[[ShortMessage], Awaitable[None]]
"""Takes what the centre brings; if it raises, the centre is to bring it again."""


class SmppConnection:
    """Asks, and answers what it is asked. All of it in one process and one loop."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        delivery_handler: DeliveryHandler,
        window: int,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._delivery_handler = delivery_handler
        self.window = asyncio.Semaphore(window)
        """One for each message that waits for its answer (2.9): taken by who submits."""
        self.is_closed = False
        self._sequence = 0
        self._pending_requests: dict[
            int, tuple[asyncio.Future[Pdu | None], Callable[[Pdu], None]]
        ] = {}
        self._delivery_tasks: set[asyncio.Task[None]] = set()

    def send_request(
        self, command: int, body: bytes = b"", on_response: Callable[[Pdu], None] = lambda _: None
    ) -> asyncio.Future[Pdu | None]:
        """Write a request; its answer comes in the future, or None if the link ends before.

        `told` hears it before anything that came after it is looked at, also if it is late and
        nobody waits for it any more. The link must not have ended.
        """
        self._sequence = self._sequence % MAX_SEQUENCE_NUMBER + 1
        answer = asyncio.get_running_loop().create_future()
        self._pending_requests[self._sequence] = (answer, on_response)
        if len(self._pending_requests) > MAX_UNANSWERED_REQUESTS:
            del self._pending_requests[next(iter(self._pending_requests))]
        # Not drained: the window bounds what can be waiting here.
        self._write_pdu(Pdu(command, self._sequence, body=body))
        return answer

    async def read_pdus(self) -> None:
        """Read until the end, whoever makes it."""
        frames = PduDecoder()
        try:
            while not self.is_closed and (data := await self._reader.read(READ_CHUNK_BYTES)):
                for pdu in frames.decode_pdus(data):
                    self._handle_pdu(pdu)
                await self._writer.drain()
        except Exception as error:  # noqa: BLE001  # whatever it is, it ends this link alone
            logger.warning("a connection to a centre ended with %s", type(error).__name__)
        finally:
            self.close()

    async def watch_peer(self, interval_seconds: float, timeout_seconds: float) -> None:
        """Ask every so many seconds whether the centre is there (4.11), and return if it is not."""
        while True:
            await asyncio.sleep(interval_seconds)
            if self.is_closed or not await wait_for_response(
                self.send_request(ENQUIRE_LINK), timeout_seconds
            ):
                return

    async def unbind(self, timeout_seconds: float) -> None:
        """Take leave (4.2), and end."""
        if not self.is_closed:
            await wait_for_response(self.send_request(UNBIND), timeout_seconds)
        for task in self._delivery_tasks:
            task.cancel()
        await asyncio.gather(*self._delivery_tasks, return_exceptions=True)
        self.close()

    def close(self) -> None:
        """Close the connection; who waits for an answer hears that there is none."""
        self.is_closed = True
        self._writer.transport.abort()
        for answer, _ in self._pending_requests.values():
            _resolve_future(answer, None)
        self._pending_requests.clear()

    def _write_pdu(self, pdu: Pdu) -> None:
        self._writer.write(pdu.encode())

    def _handle_pdu(self, pdu: Pdu) -> None:
        if pdu.is_response:
            self._handle_response(pdu)
        elif pdu.command == DELIVER_SM:
            self._handle_delivery(pdu)
        elif pdu.command in {ENQUIRE_LINK, UNBIND}:
            self._send_response(pdu)
            self.is_closed = self.is_closed or pdu.command == UNBIND
        else:
            self._write_pdu(Pdu(GENERIC_NACK, pdu.sequence, STATUS_INVALID_COMMAND))

    def _handle_response(self, pdu: Pdu) -> None:
        answer, told = self._pending_requests.pop(pdu.sequence, (None, None))
        if answer and told:
            told(pdu)
            _resolve_future(answer, pdu)

    def _handle_delivery(self, pdu: Pdu) -> None:
        if len(self._delivery_tasks) >= MAX_PENDING_DELIVERIES:
            self._send_response(pdu, STATUS_QUEUE_FULL)
            return
        try:
            brought = ShortMessage.decode(pdu.body)
        except InvalidPduError:
            self._send_response(pdu, STATUS_PERMANENT_ERROR)
            return
        task = asyncio.get_running_loop().create_task(self._process_delivery(pdu, brought))
        self._delivery_tasks.add(task)
        task.add_done_callback(self._delivery_tasks.discard)

    async def _process_delivery(self, pdu: Pdu, short_message: ShortMessage) -> None:
        """Answer once it is noted, so that the centre keeps it until then."""
        status = STATUS_OK
        try:
            await self._delivery_handler(short_message)
        except Exception as error:  # noqa: BLE001  # whatever it is, the link has to go on
            # By its name only: its text may hold a number (R68).
            logger.error("a receipt could not be noted: %s", type(error).__name__)  # noqa: TRY400
            status = STATUS_TEMPORARY_ERROR
        if not self.is_closed:
            self._send_response(pdu, status)

    def _send_response(self, pdu: Pdu, status: int = STATUS_OK) -> None:
        # The body of deliver_sm_resp is one empty string (4.6.2); the others have none.
        body = b"\0" if pdu.command == DELIVER_SM else b""
        self._write_pdu(Pdu(pdu.command | RESPONSE_BIT, pdu.sequence, status, body))


async def wait_for_response(
    future: asyncio.Future[Pdu | None], timeout_seconds: float
) -> Pdu | None:
    """Return the answer, or None if there is none so soon; a late one is still heard."""
    await asyncio.wait({future}, timeout=timeout_seconds)
    return future.result() if future.done() else None


def _resolve_future(future: asyncio.Future[Pdu | None], value: Pdu | None) -> None:
    if not future.done():
        future.set_result(value)
