"""One connection to an SMSC, from the first PDU to the last; it is never reopened."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from otp_service.sms.smpp import pdu as protocol
from otp_service.sms.smpp.pdu import Pdu
from otp_service.sms.smpp.pdu_bodies import ShortMessage, decode_data_sm
from otp_service.task_end import cancel_tasks


logger = logging.getLogger(__name__)

MAX_PENDING_DELIVERIES: Final = 100
"""Receipts and messages handled at the same time; the SMSC has to repeat further ones."""
MAX_UNANSWERED_REQUESTS: Final = 1000
"""Requests whose late responses are still matched."""
READ_CHUNK_BYTES: Final = 64 * 1024

DeliveryHandler = Callable[[ShortMessage | None], Awaitable[None]]
"""Handles a deliver_sm or data_sm, None for one with an invalid body; after an exception the SMSC has
to repeat it."""

DELIVERY_DECODERS: Final[dict[int, Callable[[bytes], ShortMessage]]] = {
    protocol.DELIVER_SM: ShortMessage.decode,
    protocol.DATA_SM: decode_data_sm,
}


PendingRequest = tuple[asyncio.Future[Pdu | None], Callable[[Pdu], None]]


class SmppConnection:
    """Sends requests, and answers those of the SMSC. Used in one event loop only."""

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
        """One slot for each message that waits for its response (2.9); acquired by the caller."""
        self.is_closed = False
        self._sequence = 0
        self._pending_requests: dict[int, PendingRequest] = {}
        self._delivery_tasks: set[asyncio.Task[None]] = set()

    def send_request(
        self, command: int, body: bytes = b"", on_response: Callable[[Pdu], None] = lambda _: None
    ) -> asyncio.Future[Pdu | None]:
        """Write a request; the future gets its response, or None if the connection ends first.

        `on_response` is called before any later PDU is handled, also for a late response whose
        caller no longer waits. The connection must be open.
        """
        self._sequence = self._sequence % protocol.MAX_SEQUENCE_NUMBER + 1
        future = asyncio.get_running_loop().create_future()
        self._pending_requests[self._sequence] = (future, on_response)
        if len(self._pending_requests) > MAX_UNANSWERED_REQUESTS:
            del self._pending_requests[next(iter(self._pending_requests))]
        # Not drained: the window limits what can be buffered here.
        self._write_pdu(Pdu(command, self._sequence, body=body))
        return future

    async def read_pdus(self) -> None:
        """Read and handle PDUs until either side ends the connection."""
        decoder = protocol.PduDecoder()
        try:
            while not self.is_closed and (data := await self._reader.read(READ_CHUNK_BYTES)):
                for pdu in decoder.decode_pdus(data):
                    self._handle_pdu(pdu)
                await self._writer.drain()
        except Exception as error:  # noqa: BLE001  # any error ends this connection alone
            logger.warning("a connection to an SMSC ended with %s", type(error).__name__)
        finally:
            self.close()

    async def watch_peer(self, interval_seconds: float, timeout_seconds: float) -> None:
        """Send enquire_link at this interval (4.11); return when the SMSC does not respond."""
        while True:
            await asyncio.sleep(interval_seconds)
            if self.is_closed or not await wait_for_response(
                self.send_request(protocol.ENQUIRE_LINK), timeout_seconds
            ):
                return

    async def unbind(self, timeout_seconds: float) -> None:
        """Unbind (4.2), cancel the handling of deliveries, and close."""
        if not self.is_closed:
            await wait_for_response(self.send_request(protocol.UNBIND), timeout_seconds)
        await cancel_tasks(self._delivery_tasks, timeout_seconds=timeout_seconds)
        self.close()

    def close(self) -> None:
        """Close the connection; callers that wait for a response get None."""
        self.is_closed = True
        self._writer.transport.abort()
        for future, _ in self._pending_requests.values():
            _resolve_future(future, None)
        self._pending_requests.clear()

    def _write_pdu(self, pdu: Pdu) -> None:
        self._writer.write(pdu.encode())

    def _handle_pdu(self, pdu: Pdu) -> None:
        if pdu.is_response:
            self._handle_response(pdu)
        elif pdu.command in DELIVERY_DECODERS:
            self._handle_delivery(pdu)
        elif pdu.command in {protocol.ENQUIRE_LINK, protocol.UNBIND}:
            self._send_response(pdu)
            self.is_closed = self.is_closed or pdu.command == protocol.UNBIND
        else:
            self._write_pdu(
                Pdu(protocol.GENERIC_NACK, pdu.sequence, protocol.STATUS_INVALID_COMMAND)
            )

    def _handle_response(self, pdu: Pdu) -> None:
        future, on_response = self._pending_requests.pop(pdu.sequence, (None, None))
        if future and on_response:
            on_response(pdu)
            _resolve_future(future, pdu)

    def _handle_delivery(self, pdu: Pdu) -> None:
        if len(self._delivery_tasks) >= MAX_PENDING_DELIVERIES:
            self._send_response(pdu, protocol.STATUS_QUEUE_FULL)
            return
        try:
            short_message = DELIVERY_DECODERS[pdu.command](pdu.body)
        except protocol.InvalidPduError:
            short_message = None
        task = asyncio.get_running_loop().create_task(self._process_delivery(pdu, short_message))
        self._delivery_tasks.add(task)
        task.add_done_callback(self._delivery_tasks.discard)

    async def _process_delivery(self, pdu: Pdu, short_message: ShortMessage | None) -> None:
        """Respond after it is handled, so that the SMSC keeps it until then."""
        status = protocol.STATUS_OK if short_message else protocol.STATUS_PERMANENT_ERROR
        try:
            await self._delivery_handler(short_message)
        except Exception as error:  # noqa: BLE001  # any error: the connection has to continue
            # Its name only: its text may contain a number or a code (R68).
            logger.error("a delivery could not be handled: %s", type(error).__name__)  # noqa: TRY400
            status = protocol.STATUS_TEMPORARY_ERROR
        if not self.is_closed:
            self._send_response(pdu, status)

    def _send_response(self, pdu: Pdu, status: int = protocol.STATUS_OK) -> None:
        # The bodies of deliver_sm_resp (4.6.2) and data_sm_resp are one empty string.
        body = b"\0" if pdu.command in DELIVERY_DECODERS else b""
        self._write_pdu(Pdu(pdu.command | protocol.RESPONSE_BIT, pdu.sequence, status, body))


async def wait_for_response(
    future: asyncio.Future[Pdu | None], timeout_seconds: float
) -> Pdu | None:
    """Return the response, or None after the timeout; `on_response` still gets a late one."""
    await asyncio.wait({future}, timeout=timeout_seconds)
    return future.result() if future.done() else None


def _resolve_future(future: asyncio.Future[Pdu | None], value: Pdu | None) -> None:
    if not future.done():
        future.set_result(value)
