"""A session: binds with the first message, and binds again whenever the connection is lost.

    needed ──> connecting ──> bound ──> lost
                  ^   │                  │
                  │   v                  │
                  └ backoff <────────────┘     1, 2, 4 … 16 seconds, each a little at random

A caller waits while the session connects, and during a backoff gets the reason at once, so that the
next provider is tried.
"""

import asyncio
import logging
import random
import socket
import ssl
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec

from otp_service.core.delivery import Fault, RefusalScope, Refused
from otp_service.core.secret import Secret
from otp_service.sms.provider_settings import TimeoutSeconds
from otp_service.sms.smpp.connection import DeliveryHandler, SmppConnection, wait_for_response
from otp_service.sms.smpp.pdu import BIND_TRANSCEIVER, RESPONSE_BIT, STATUS_OK
from otp_service.sms.smpp.pdu_bodies import BindRequest
from otp_service.task_end import cancel_tasks


logger = logging.getLogger(__name__)

STABLE_CONNECTION_SECONDS: Final = 10.0
"""A connection that lasted this long is replaced at once when it is lost."""
FIRST_BACKOFF_SECONDS: Final = 1.0
MAX_BACKOFF_SECONDS: Final = 16.0
UNBIND_TIMEOUT_SECONDS: Final = 1.0

INVALID_REQUEST_REFUSAL: Final = Refused(
    Fault.PROVIDER, "invalid-request", scope=RefusalScope.ACCOUNT
)
"""For a setting that no PDU can contain: nothing was written."""

_CONNECT_ERRORS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (TimeoutError, "connect-timeout"),
    (socket.gaierror, "dns-error"),
    (ssl.SSLError, "tls-error"),
)


class SmscSettings(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True
):
    """The settings of a session with an SMSC."""

    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 2775
    tls: bool = False
    tls_ca: str | None = None
    """PEM file of the authority of the SMSC's certificate, instead of the system's."""
    system_id: str
    password: Secret
    system_type: str = ""
    window: Annotated[int, msgspec.Meta(ge=1, le=500)] = 10
    """Messages of one session that wait for an answer at the same time."""
    connect_timeout: TimeoutSeconds = 2.0
    """For DNS, TCP, TLS and the bind together, and for a free slot of the window."""
    reply_timeout: TimeoutSeconds = 5.0
    enquire_every: Annotated[float, msgspec.Meta(gt=0, le=600)] = 30.0
    """Seconds between two enquire_link requests."""

    @property
    def bind_request(self) -> BindRequest:
        """The bind_transceiver of every connection."""
        return BindRequest(
            system_id=self.system_id, password=self.password.reveal(), system_type=self.system_type
        )


class SmppSession:
    """The session of one process with one SMSC; every process has its own."""

    def __init__(
        self,
        name: str,
        settings: SmscSettings,
        *,
        tls_context: ssl.SSLContext | None,
        delivery_handler: DeliveryHandler,
        classify_bind_status: Callable[[int], Refused],
    ) -> None:
        self._name = name
        self._settings = settings
        self._tls_context = tls_context
        self._delivery_handler = delivery_handler
        self._classify_bind_status = classify_bind_status
        self._keep_task: asyncio.Task[None] | None = None
        self._connection_future: asyncio.Future[SmppConnection | Refused]

    async def get_connection(self) -> SmppConnection | Refused:
        """Return the bound connection, or the refusal without one."""
        if self._keep_task is None or self._keep_task.done():
            self._reset_connection_future()
            self._keep_task = asyncio.create_task(self._keep_bound())
        outcome = self._connection_future
        # Also the task: a session that is closed meanwhile sets no outcome.
        either: set[asyncio.Future[Any]] = {outcome, self._keep_task}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return outcome.result() if outcome.done() else build_unreachable_refusal("closed")

    async def aclose(self) -> None:
        """Unbind, and connect no more."""
        keep_task, self._keep_task = self._keep_task, None
        if keep_task is None:
            return
        connection = self._connection_future.result() if self._connection_future.done() else None
        if isinstance(connection, SmppConnection):
            await connection.unbind(UNBIND_TIMEOUT_SECONDS)
        await cancel_tasks([keep_task], timeout_seconds=UNBIND_TIMEOUT_SECONDS)

    def _reset_connection_future(self) -> None:
        self._connection_future = asyncio.get_running_loop().create_future()

    async def _keep_bound(self) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            if await self._run_connection():
                backoff = FIRST_BACKOFF_SECONDS
            else:
                await asyncio.sleep(backoff * random.uniform(0.75, 1.0))  # noqa: S311  # no secret
                backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)
            self._reset_connection_future()

    async def _run_connection(self) -> bool:
        """Connect, bind and wait until the connection is lost; return whether it was stable."""
        clock = asyncio.get_running_loop().time
        end = clock() + self._settings.connect_timeout
        try:
            bind_body = self._settings.bind_request.encode()
        except ValueError:  # its text omits the value
            self._set_refusal(INVALID_REQUEST_REFUSAL)
            return False
        try:
            async with asyncio.timeout_at(end):
                connection = await self._open_connection()
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name that IDNA refuses
            self._report_failure(_reason_from_error(error))
            return False
        read_task = asyncio.create_task(connection.read_pdus())
        try:
            is_bound = await self._bind_connection(connection, bind_body, end - clock())
            return is_bound and await self._wait_until_lost(connection, read_task)
        finally:
            connection.close()  # which ends the reading
            await asyncio.wait([read_task])

    async def _open_connection(self) -> SmppConnection:
        host, port = self._settings.host, self._settings.port
        reader, writer = await asyncio.open_connection(host, port, ssl=self._tls_context)
        return SmppConnection(
            reader, writer, delivery_handler=self._delivery_handler, window=self._settings.window
        )

    async def _bind_connection(
        self, connection: SmppConnection, bind_body: bytes, timeout_seconds: float
    ) -> bool:
        """Bind (4.1.5), and set the outcome for the callers that wait."""
        future = connection.send_request(BIND_TRANSCEIVER, bind_body)
        response = await wait_for_response(future, timeout_seconds)
        if response is None:
            self._report_failure("disconnected" if connection.is_closed else "bind-timeout")
        elif response.status != STATUS_OK:
            self._set_refusal(self._classify_bind_status(response.status))
        elif response.command != BIND_TRANSCEIVER | RESPONSE_BIT:
            self._report_failure("bad-reply")
        else:
            logger.info("provider %s: bound", self._name)
            self._connection_future.set_result(connection)
            return True
        return False

    async def _wait_until_lost(
        self, connection: SmppConnection, read_task: asyncio.Task[None]
    ) -> bool:
        """Wait until a bound connection is lost; return whether it was stable."""
        clock = asyncio.get_running_loop().time
        began, settings = clock(), self._settings
        watch_task = asyncio.create_task(
            connection.watch_peer(settings.enquire_every, settings.reply_timeout)
        )
        try:
            await asyncio.wait({read_task, watch_task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch_task.cancel()
        self._reset_connection_future()
        self._report_failure("disconnected")
        return clock() - began >= STABLE_CONNECTION_SECONDS

    def _report_failure(self, reason: str) -> None:
        self._set_refusal(build_unreachable_refusal(reason))

    def _set_refusal(self, refusal: Refused) -> None:
        logger.warning("provider %s: not bound, %s", self._name, refusal.reason)
        self._connection_future.set_result(refusal)


def _reason_from_error(error: Exception) -> str:
    return next((why for kind, why in _CONNECT_ERRORS if isinstance(error, kind)), "connect-error")


def build_unreachable_refusal(reason: str) -> Refused:
    """Return the refusal for an SMSC to which nothing was sent."""
    return Refused(Fault.PROVIDER, reason, scope=RefusalScope.SILENCE)
