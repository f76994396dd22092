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

from otp_service.core.delivery import Fault, RefusalScope, Refused
from otp_service.sms.smpp.connection import DeliveryHandler, SmppConnection, wait_for_response
from otp_service.sms.smpp.pdu import BIND_TRANSCEIVER, RESPONSE_BIT, STATUS_OK
from otp_service.sms.smpp.pdu_bodies import BindRequest


logger = logging.getLogger(__name__)

STABLE_CONNECTION_SECONDS: Final = 10.0
"""Seconds after which a link that is lost was a good one, and is made again at once."""
FIRST_BACKOFF_SECONDS: Final = 1.0
MAX_BACKOFF_SECONDS: Final = 16.0
UNBIND_TIMEOUT_SECONDS: Final = 1.0
"""Seconds for the answer to unbind."""

_CONNECT_ERRORS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (TimeoutError, "connect-timeout"),
    (socket.gaierror, "dns-error"),
    (ssl.SSLError, "tls-error"),
)


class SmscConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where a centre is, and how it is spoken to."""

    host: str
    port: int
    bind_request: BindRequest
    tls: ssl.SSLContext | None
    window: int
    connect_timeout: float
    """Seconds for DNS, TCP, TLS and the bind together."""
    reply_timeout: float
    enquire_interval_seconds: float

    def __repr__(self) -> str:
        return f"Centre({self.host}:{self.port})"


class SmppSession:
    """What one process has with one centre; every process has its own."""

    def __init__(
        self,
        name: str,
        config: SmscConfig,
        *,
        delivery_handler: DeliveryHandler,
        classify_bind_status: Callable[[int], Refused],
    ) -> None:
        """Take what is to be done with receipts, and what a command_status means."""
        self._name = name
        self._config = config
        self._delivery_handler = delivery_handler
        self._classify_bind_status = classify_bind_status
        self._keep_task: asyncio.Task[None] | None = None
        self._connection_future: asyncio.Future[SmppConnection | Refused]

    async def get_connection(self) -> SmppConnection | Refused:
        """Return the bound link, or why there is none."""
        if self._keep_task is None or self._keep_task.done():
            self._reset_connection_future()
            self._keep_task = asyncio.create_task(self._keep_bound())
        outcome = self._connection_future
        # Either, for a session that was closed meanwhile has no outcome.
        either: set[asyncio.Future[Any]] = {outcome, self._keep_task}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return outcome.result() if outcome.done() else build_unreachable_refusal("closed")

    async def aclose(self) -> None:
        """Unbind, and make no link any more."""
        keeping, self._keep_task = self._keep_task, None
        if keeping is None:
            return
        link = self._connection_future.result() if self._connection_future.done() else None
        if isinstance(link, SmppConnection):
            await link.unbind(UNBIND_TIMEOUT_SECONDS)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    def _reset_connection_future(self) -> None:
        self._connection_future = asyncio.get_running_loop().create_future()

    async def _keep_bound(self) -> None:
        rest = FIRST_BACKOFF_SECONDS
        while True:
            if await self._run_connection():
                rest = FIRST_BACKOFF_SECONDS
            else:
                await asyncio.sleep(rest * random.uniform(0.75, 1.0))  # noqa: S311  # no secret
                rest = min(2 * rest, MAX_BACKOFF_SECONDS)
            self._reset_connection_future()

    async def _run_connection(self) -> bool:
        """Make a link and keep it until it is lost; return whether it was a good one."""
        clock = asyncio.get_running_loop().time
        end = clock() + self._config.connect_timeout
        try:
            async with asyncio.timeout_at(end):
                link = await self._open_connection()
        except (OSError, ValueError) as error:
            self._report_failure(build_unreachable_refusal(_reason_from_error(error)))
            return False
        reading = asyncio.create_task(link.read_pdus())
        try:
            bound = await self._bind_connection(link, end - clock())
            return bound and await self._wait_until_lost(link, reading)
        finally:
            link.close()
            await asyncio.gather(reading, return_exceptions=True)

    async def _open_connection(self) -> SmppConnection:
        centre = self._config
        reader, writer = await asyncio.open_connection(centre.host, centre.port, ssl=centre.tls)
        return SmppConnection(
            reader, writer, delivery_handler=self._delivery_handler, window=centre.window
        )

    async def _bind_connection(self, connection: SmppConnection, timeout_seconds: float) -> bool:
        """Bind (4.1.5), and tell whoever waits what came of it."""
        asked = connection.send_request(BIND_TRANSCEIVER, self._config.bind_request.encode())
        answer = await wait_for_response(asked, timeout_seconds)
        if answer is None:
            self._report_failure(
                build_unreachable_refusal(
                    "disconnected" if connection.is_closed else "bind-timeout"
                )
            )
        elif answer.status != STATUS_OK:
            self._report_failure(self._classify_bind_status(answer.status))
        elif answer.command != BIND_TRANSCEIVER | RESPONSE_BIT:
            self._report_failure(build_unreachable_refusal("bad-reply"))
        else:
            logger.info("provider %s: bound", self._name)
            self._connection_future.set_result(connection)
            return True
        return False

    async def _wait_until_lost(
        self, connection: SmppConnection, read_task: asyncio.Task[None]
    ) -> bool:
        """Wait until a bound link is lost; return whether it had lasted."""
        clock = asyncio.get_running_loop().time
        began, centre = clock(), self._config
        watching = asyncio.create_task(
            connection.watch_peer(centre.enquire_interval_seconds, centre.reply_timeout)
        )
        try:
            await asyncio.wait({read_task, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
        self._reset_connection_future()
        self._report_failure(build_unreachable_refusal("disconnected"))
        return clock() - began >= STABLE_CONNECTION_SECONDS

    def _report_failure(self, refusal: Refused) -> None:
        logger.warning("provider %s: not bound, %s", self._name, refusal.reason)
        self._connection_future.set_result(refusal)


def _reason_from_error(error: Exception) -> str:
    return next((why for kind, why in _CONNECT_ERRORS if isinstance(error, kind)), "connect-error")


def build_unreachable_refusal(reason: str) -> Refused:
    """Return the refusal for a centre that nothing was sent to."""
    return Refused(Fault.PROVIDER, reason, scope=RefusalScope.SILENCE)
