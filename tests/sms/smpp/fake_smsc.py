"""A centre on loopback that does as it is told, in a few lines of its own PDUs.

async with Centre() as centre:
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
    RESPONSE,
    SUBMIT_SM,
    UNBIND,
    Frames,
    Pdu,
)
from otp_service.sms.smpp.pdu_bodies import Bind, ShortMessage


PASSWORD = "s3cret"


class Centre:
    """Takes every bind with the right password, and every message, until it is told otherwise."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, password: str = PASSWORD) -> None:
        self._tls = tls
        self._password = password
        self._writers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.port = 0
        self.asked: list[Pdu] = []
        self.heard = asyncio.Event()
        self.is_silent_to: set[int] = set()
        self.bind_status = 0
        self.answers()

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.leave()

    async def listen(self) -> None:
        """Listen, after the first time on the same port."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def leave(self) -> None:
        """Listen no more, and drop every connection."""
        self._server.close()
        self.drops()
        await asyncio.gather(*self._writers, return_exceptions=True)

    def drops(self) -> None:
        """Drop every connection."""
        for writer in self._writers.values():
            writer.transport.abort()

    def answers(self, status: int = 0, *, body: bytes = b"7a2f\0", command: int = 0) -> None:
        """Answer every submit_sm with this."""
        self.submit_answer = (command or SUBMIT_SM | RESPONSE, status, b"" if status else body)

    def hangs(self) -> None:
        """Answer no submit_sm."""
        self.is_silent_to.add(SUBMIT_SM)

    async def sends(self, pdu: Pdu, over: int | None = None) -> None:
        """Send this over every connection, or over one, counted from 0 in the order they came."""
        writers = [*self._writers.values()]
        for writer in writers if over is None else [writers[over]]:
            writer.write(pdu.encode())
            await writer.drain()

    async def brings(
        self, brought: ShortMessage, sequence: int = 1, over: int | None = None
    ) -> None:
        """Bring a message or a receipt."""
        await self.sends(Pdu(DELIVER_SM, sequence, body=brought.encode()), over)

    async def hears(self, command: int, count: int = 1) -> list[Pdu]:
        """Return all of these PDUs, once there are so many."""
        async with asyncio.timeout(10):
            while len(self.of(command)) < count:
                self.heard.clear()
                await self.heard.wait()
        return self.of(command)

    def of(self, command: int) -> list[Pdu]:
        """Return the PDUs with this command so far."""
        return [pdu for pdu in self.asked if pdu.command == command]

    @property
    def messages(self) -> list[ShortMessage]:
        """What was submitted."""
        return [ShortMessage.decode(pdu.body) for pdu in self.of(SUBMIT_SM)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._writers[task] = writer
        frames = Frames()
        try:
            while data := await reader.read(4096):
                for pdu in frames.feed(data):
                    self._take(pdu, writer)
        except ConnectionError:
            pass
        finally:
            del self._writers[task]
            writer.close()

    def _take(self, pdu: Pdu, writer: asyncio.StreamWriter) -> None:
        self.asked.append(pdu)
        self.heard.set()
        if pdu.answers or pdu.command in self.is_silent_to:
            return
        command, status, body = self._answer(pdu)
        writer.write(Pdu(command, pdu.sequence, status, body).encode())

    def _answer(self, pdu: Pdu) -> tuple[int, int, bytes]:
        if pdu.command == SUBMIT_SM:
            return self.submit_answer
        assert pdu.command in {BIND_TRANSCEIVER, ENQUIRE_LINK, UNBIND}
        return pdu.command | RESPONSE, self._judged(pdu), b""

    def _judged(self, pdu: Pdu) -> int:
        if pdu.command != BIND_TRANSCEIVER or self.bind_status:
            return self.bind_status
        return 0 if Bind.decode(pdu.body).password == self._password else 0x0E
