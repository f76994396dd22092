"""A scripted SMSC on loopback, in a few lines of its own PDUs.

async with FakeSmsc() as smsc:
    centre.answers(0x58)      …to every submit_sm
    centre.hangs()
    await centre.brings(message)
"""

import asyncio
import ssl
from typing import Self

from otp_service.sms.smpp.pdu import (
    BIND_TRANSCEIVER,
    DELIVER_SM,
    ENQUIRE_LINK,
    RESPONSE_BIT,
    SUBMIT_SM,
    UNBIND,
    Pdu,
    PduDecoder,
)
from otp_service.sms.smpp.pdu_bodies import ShortMessage
from tests.sms.smpp.samples import decode_bind


PASSWORD = "s3cret"


class FakeSmsc:
    """Accepts every bind with the right password, and every message, unless scripted otherwise."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, password: str = PASSWORD) -> None:
        self._tls = tls
        self._password = password
        self._writers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.port = 0
        self.received_pdus: list[Pdu] = []
        self.pdu_received = asyncio.Event()
        self.ignored_commands: set[int] = set()
        self.bind_status = 0
        self.set_submit_reply()

    async def __aenter__(self) -> Self:
        await self.start_listening()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop_listening()

    async def start_listening(self) -> None:
        """Listen, after the first time on the same port."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop_listening(self) -> None:
        """Listen no more, and drop every connection."""
        self._server.close()
        self.drop_connections()
        await asyncio.gather(*self._writers, return_exceptions=True)

    def drop_connections(self) -> None:
        """Drop every connection."""
        for writer in self._writers.values():
            writer.transport.abort()

    def set_submit_reply(
        self, status: int = 0, *, body: bytes = b"7a2f\0", command: int = 0
    ) -> None:
        """Answer every submit_sm with this."""
        self.submit_reply = (command or SUBMIT_SM | RESPONSE_BIT, status, b"" if status else body)

    def ignore_submits(self) -> None:
        """Answer no submit_sm."""
        self.ignored_commands.add(SUBMIT_SM)

    async def send_pdu(self, pdu: Pdu, connection_index: int | None = None) -> None:
        """Send this over every connection, or over one, counted from 0 in the order they came."""
        writers = [*self._writers.values()]
        for writer in writers if connection_index is None else [writers[connection_index]]:
            writer.write(pdu.encode())
            await writer.drain()

    async def deliver_message(
        self, message: ShortMessage, sequence: int = 1, connection_index: int | None = None
    ) -> None:
        """Bring a message or a receipt."""
        await self.send_pdu(Pdu(DELIVER_SM, sequence, body=message.encode()), connection_index)

    async def wait_for_pdus(self, command: int, count: int = 1) -> list[Pdu]:
        """Return all of these PDUs, once there are so many."""
        async with asyncio.timeout(10):
            while len(self.list_pdus(command)) < count:
                self.pdu_received.clear()
                await self.pdu_received.wait()
        return self.list_pdus(command)

    def list_pdus(self, command: int) -> list[Pdu]:
        """Return the PDUs with this command so far."""
        return [pdu for pdu in self.received_pdus if pdu.command == command]

    @property
    def messages(self) -> list[ShortMessage]:
        """The submitted messages."""
        return [ShortMessage.decode(pdu.body) for pdu in self.list_pdus(SUBMIT_SM)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._writers[task] = writer
        frames = PduDecoder()
        try:
            while data := await reader.read(4096):
                for pdu in frames.decode_pdus(data):
                    self._handle_pdu(pdu, writer)
        except ConnectionError:
            pass
        finally:
            del self._writers[task]
            writer.close()

    def _handle_pdu(self, pdu: Pdu, writer: asyncio.StreamWriter) -> None:
        self.received_pdus.append(pdu)
        self.pdu_received.set()
        if pdu.is_response or pdu.command in self.ignored_commands:
            return
        command, status, body = self._build_reply(pdu)
        writer.write(Pdu(command, pdu.sequence, status, body).encode())

    def _build_reply(self, pdu: Pdu) -> tuple[int, int, bytes]:
        if pdu.command == SUBMIT_SM:
            return self.submit_reply
        assert pdu.command in {BIND_TRANSCEIVER, ENQUIRE_LINK, UNBIND}
        return pdu.command | RESPONSE_BIT, self._check_bind(pdu), b""

    def _check_bind(self, pdu: Pdu) -> int:
        if pdu.command != BIND_TRANSCEIVER or self.bind_status:
            return self.bind_status
        return 0 if decode_bind(pdu.body).password == self._password else 0x0E
