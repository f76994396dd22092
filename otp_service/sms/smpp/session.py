"""A link that is kept: bound when it is first wanted, and again whenever it is lost.

    wanted ──> connecting ──> bound ──> lost
                  ^   │                  │
                  │   v                  │
                  └ resting <────────────┘     1, 2, 4 … 16 seconds, each a little at random

Who wants the link while it is being made waits for it, and while it rests is told at once why there
is none, so that the next provider can take over.
"""

import asyncio
import logging
import random
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

import msgspec

from otp_service.core.delivery import About, Fault, Refused
from otp_service.sms.smpp.connection import Deliver, Link, answered
from otp_service.sms.smpp.pdu import BIND_TRANSCEIVER, OK, RESPONSE
from otp_service.sms.smpp.pdu_bodies import Bind


logger = logging.getLogger(__name__)

STEADY: Final = 10.0
"""Seconds after which a link that is lost was a good one, and is made again at once."""
FIRST_REST: Final = 1.0
LONGEST_REST: Final = 16.0
GOODBYE: Final = 1.0
"""Seconds for the answer to unbind."""

_FAILURES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (TimeoutError, "connect-timeout"),
    (socket.gaierror, "dns-error"),
    (ssl.SSLError, "tls-error"),
)


class Centre(msgspec.Struct, frozen=True, kw_only=True):
    """Where a centre is, and how it is spoken to."""

    host: str
    port: int
    bind: Bind
    tls: ssl.SSLContext | None
    window: int
    connect_timeout: float
    """Seconds for DNS, TCP, TLS and the bind together."""
    reply_timeout: float
    enquire_every: float

    def __repr__(self) -> str:
        return f"Centre({self.host}:{self.port})"


class Session:
    """What one process has with one centre; every process has its own."""

    def __init__(
        self,
        name: str,
        centre: Centre,
        *,
        deliver: Deliver,
        refusal: Callable[[int], Refused],
    ) -> None:
        """Take what is to be done with receipts, and what a command_status means."""
        self._name = name
        self._centre = centre
        self._deliver = deliver
        self._refusal = refusal
        self._keeping: asyncio.Task[None] | None = None
        self._outcome: asyncio.Future[Link | Refused]

    async def link(self) -> Link | Refused:
        """Return the bound link, or why there is none."""
        if self._keeping is None or self._keeping.done():
            self._expect()
            self._keeping = asyncio.create_task(self._keep())
        outcome = self._outcome
        # Either, for a session that was closed meanwhile has no outcome.
        either: set[asyncio.Future[Any]] = {outcome, self._keeping}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return outcome.result() if outcome.done() else unreachable("closed")

    async def aclose(self) -> None:
        """Unbind, and make no link any more."""
        keeping, self._keeping = self._keeping, None
        if keeping is None:
            return
        link = self._outcome.result() if self._outcome.done() else None
        if isinstance(link, Link):
            await link.unbind(GOODBYE)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    def _expect(self) -> None:
        self._outcome = asyncio.get_running_loop().create_future()

    async def _keep(self) -> None:
        rest = FIRST_REST
        while True:
            if await self._one():
                rest = FIRST_REST
            else:
                await asyncio.sleep(rest * random.uniform(0.75, 1.0))  # noqa: S311  # no secret
                rest = min(2 * rest, LONGEST_REST)
            self._expect()

    async def _one(self) -> bool:
        """Make a link and keep it until it is lost; return whether it was a good one."""
        clock = asyncio.get_running_loop().time
        end = clock() + self._centre.connect_timeout
        try:
            async with asyncio.timeout_at(end):
                link = await self._connected()
        except (OSError, ValueError) as error:
            self._tell(unreachable(_why(error)))
            return False
        reading = asyncio.create_task(link.run())
        try:
            bound = await self._bind(link, end - clock())
            return bound and await self._lasts(link, reading)
        finally:
            link.end()
            await asyncio.gather(reading, return_exceptions=True)

    async def _connected(self) -> Link:
        centre = self._centre
        reader, writer = await asyncio.open_connection(centre.host, centre.port, ssl=centre.tls)
        return Link(reader, writer, deliver=self._deliver, window=centre.window)

    async def _bind(self, link: Link, patience: float) -> bool:
        """Bind (4.1.5), and tell whoever waits what came of it."""
        asked = link.ask(BIND_TRANSCEIVER, self._centre.bind.encode())
        answer = await answered(asked, patience)
        if answer is None:
            self._tell(unreachable("disconnected" if link.has_ended else "bind-timeout"))
        elif answer.status != OK:
            self._tell(self._refusal(answer.status))
        elif answer.command != BIND_TRANSCEIVER | RESPONSE:
            self._tell(unreachable("bad-reply"))
        else:
            logger.info("provider %s: bound", self._name)
            self._outcome.set_result(link)
            return True
        return False

    async def _lasts(self, link: Link, reading: asyncio.Task[None]) -> bool:
        """Wait until a bound link is lost; return whether it had lasted."""
        clock = asyncio.get_running_loop().time
        began, centre = clock(), self._centre
        watching = asyncio.create_task(link.watch(centre.enquire_every, centre.reply_timeout))
        try:
            await asyncio.wait({reading, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
        self._expect()
        self._tell(unreachable("disconnected"))
        return clock() - began >= STEADY

    def _tell(self, why: Refused) -> None:
        logger.warning("provider %s: not bound, %s", self._name, why.reason)
        self._outcome.set_result(why)


def _why(error: Exception) -> str:
    return next((why for kind, why in _FAILURES if isinstance(error, kind)), "connect-error")


def unreachable(reason: str) -> Refused:
    """Return the refusal for a centre that nothing was sent to."""
    return Refused(Fault.PROVIDER, reason, about=About.SILENCE)
