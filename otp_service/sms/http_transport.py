"""The HTTP/1.1 client of providers: one request, one reply, and what was certainly not sent.

It does only what sending a message needs. A request is written once: it is never repeated, not even
on a kept connection that the server had just closed. There are no redirects, proxies, cookies or
settings from the environment. Everything before the first octet of the request raises NotSentError;
everything after it that leaves no status raises ReplyLostError (R88).
"""

import asyncio
import socket
import ssl
from collections import defaultdict
from contextlib import AsyncExitStack
from typing import Any, Final, NamedTuple

import aiohappyeyeballs
import httpx

from otp_service.sms.http_reply_parser import ReplyParser


KEEP_ALIVE_SECONDS: Final = 4.0
"""How long an idle connection is kept. Servers close theirs after 5 s (Apache, Node): a message
written to a connection that is being closed would count as perhaps sent."""
ADDRESS_TTL_SECONDS: Final = 10.0
"""How long the addresses of a host are kept, for which all its connections wait together."""
HAPPY_EYEBALLS_SECONDS: Final = 0.25
"""The wait before the next address of a host is tried too (RFC 8305)."""
MAX_REPLY_BYTES: Final = 64 * 1024

AddressInfos = list[tuple[Any, ...]]


class NotSentError(httpx.ConnectError):
    """Nothing of the request was written; its text is the reason."""


class ReplyLostError(httpx.ReadError):
    """The request was written, and no status came back; its text is the reason."""


class Origin(NamedTuple):
    """Where requests go; connections are shared by requests to one origin."""

    host: str
    port: int
    tls_context: ssl.SSLContext | None


class HttpConnection(asyncio.Protocol):
    """One connection, which has one request at a time."""

    def __init__(self) -> None:
        self.is_open = True
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser: ReplyParser | None = None
        self._settled: asyncio.Future[None]
        self._last_progress = 0.0

    async def exchange(self, request: bytes, silence_seconds: float, max_bytes: int) -> ReplyParser:
        """Write the request; return the reply, as far as it came before `silence_seconds` without any.

        The connection stays open only after a reply after which another request may follow.
        """
        self._parser = parser = ReplyParser(max_bytes)
        self._settled = self._loop.create_future()
        self._last_progress = self._loop.time()
        self._transport.write(request)
        try:
            if not await self._wait_until_settled(silence_seconds):
                parser.broken_by = "read-timeout"
        finally:
            self._parser = None
            if not parser.is_reusable:
                self.close()
        return parser

    def close(self) -> None:
        self.is_open = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # of create_connection

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            self.close()  # nothing was asked, so nothing may be answered
            return
        self._last_progress = self._loop.time()
        self._parser.feed(data)
        self._settle_if_done()

    def eof_received(self) -> None:
        self._end_reply()

    def connection_lost(self, _: Exception | None) -> None:
        self._end_reply()

    def _end_reply(self) -> None:
        self.is_open = False
        if self._parser:
            self._parser.feed_eof()
            self._settle_if_done()

    def _settle_if_done(self) -> None:
        if self._parser and self._parser.is_done and not self._settled.done():
            self._settled.set_result(None)

    async def _wait_until_settled(self, silence_seconds: float) -> bool:
        while not self._settled.done():
            left = self._last_progress + silence_seconds - self._loop.time()
            if left <= 0:
                return False
            await asyncio.wait({self._settled}, timeout=left)
        return True


class AddressCache:
    """The addresses of hosts: one lookup at a time for each host, so that a slow one blocks no other."""

    def __init__(self) -> None:
        self._lookups: dict[tuple[str, int], asyncio.Task[AddressInfos]] = {}

    async def resolve(self, host: str, port: int) -> AddressInfos:
        """Return the addresses. Raises OSError."""
        lookup = self._lookups.get((host, port))
        if lookup is None:
            lookup = asyncio.create_task(_look_up(host, port))
            self._lookups[host, port] = lookup
            lookup.add_done_callback(lambda done: self._forget_later(done, (host, port)))
        await asyncio.wait([lookup])  # it goes on if this call is canceled; others may wait for it
        return lookup.result()

    def _forget_later(self, lookup: asyncio.Task[AddressInfos], key: tuple[str, int]) -> None:
        if lookup.cancelled() or lookup.exception():
            del self._lookups[key]
        else:
            lookup.get_loop().call_later(ADDRESS_TTL_SECONDS, self._lookups.pop, key)


class HttpTransport(httpx.AsyncBaseTransport):
    """Sends requests of all providers.

    A request's `timeout` extension has `connect` (a free slot, DNS, TCP and TLS together) and `read`
    (silence), in seconds; `tls_context` and `max_bytes` replace the defaults. A reply that ended
    early has the reason in its extension `broken_by`.
    """

    def __init__(
        self, tls_context: ssl.SSLContext, max_connections: int, max_connections_per_origin: int
    ) -> None:
        self._tls_context = tls_context
        self._slots = asyncio.Semaphore(max_connections)
        self._origin_slots: dict[Origin, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(max_connections_per_origin)
        )
        self._addresses = AddressCache()
        self._idle: dict[Origin, list[tuple[HttpConnection, asyncio.TimerHandle]]] = defaultdict(
            list
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the reply. Raises NotSentError and ReplyLostError."""
        content, origin = encode_request(request), self._find_origin(request)
        timeouts = request.extensions["timeout"]
        async with AsyncExitStack() as slots:
            connection = await self._take_connection(origin, timeouts["connect"], slots)
            max_bytes = request.extensions.get("max_bytes", MAX_REPLY_BYTES)
            parser = await connection.exchange(content, timeouts["read"], max_bytes)
            self._keep_connection(origin, connection)
        if not parser.status:
            raise ReplyLostError(parser.broken_by)
        return httpx.Response(
            parser.status,
            headers=parser.headers,
            stream=httpx.ByteStream(bytes(parser.body)),
            extensions={"broken_by": parser.broken_by},
        )

    async def aclose(self) -> None:
        """Close all idle connections."""
        for connections in self._idle.values():
            while connections:
                connection, timer = connections.pop()
                timer.cancel()
                connection.close()

    def _find_origin(self, request: httpx.Request) -> Origin:
        url = request.url
        if url.scheme not in {"http", "https"} or not url.host:
            raise NotSentError("invalid-url")
        host = url.raw_host.decode("ascii").strip("[]")
        if url.scheme == "http":
            return Origin(host, url.port or 80, None)
        context = request.extensions.get("tls_context") or self._tls_context
        return Origin(host, url.port or 443, context)

    async def _take_connection(
        self, origin: Origin, timeout_seconds: float, slots: AsyncExitStack
    ) -> HttpConnection:
        try:
            async with asyncio.timeout(timeout_seconds):
                # The origin's first: those that wait for it hold none of the others' slots.
                await slots.enter_async_context(self._origin_slots[origin])
                await slots.enter_async_context(self._slots)
                return self._pop_idle(origin) or await self._connect(origin)
        except TimeoutError:
            raise NotSentError("connect-timeout") from None
        except socket.gaierror:
            raise NotSentError("dns-error") from None
        except ssl.SSLError:
            raise NotSentError("tls-error") from None
        except OSError:
            raise NotSentError("connect-error") from None
        except (ValueError, OverflowError):  # UnicodeError: a host name that IDNA refuses
            raise NotSentError("invalid-url") from None

    async def _connect(self, origin: Origin) -> HttpConnection:
        infos = await self._addresses.resolve(origin.host, origin.port)
        connected = await aiohappyeyeballs.start_connection(
            infos,
            happy_eyeballs_delay=HAPPY_EYEBALLS_SECONDS,
            interleave=1,
        )
        _, connection = await asyncio.get_running_loop().create_connection(
            HttpConnection,
            sock=connected,
            ssl=origin.tls_context,
            server_hostname=origin.host if origin.tls_context else None,
        )
        return connection

    def _pop_idle(self, origin: Origin) -> HttpConnection | None:
        connections = self._idle[origin]
        while connections:
            connection, timer = connections.pop()
            timer.cancel()
            if connection.is_open:
                return connection
        return None

    def _keep_connection(self, origin: Origin, connection: HttpConnection) -> None:
        still_open = [each for each in self._idle[origin] if each[0].is_open]
        if connection.is_open:
            timer = asyncio.get_running_loop().call_later(KEEP_ALIVE_SECONDS, connection.close)
            still_open.append((connection, timer))
        self._idle[origin] = still_open


def encode_request(request: httpx.Request) -> bytes:
    """Return the octets of a request. Raises NotSentError if they would not be one request."""
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%s: %s" % (name, value) for name, value in request.headers.raw]
    if any(set(line) & set(b"\r\n\0") for line in lines):
        raise NotSentError("invalid-request")
    return b"\r\n".join((*lines, b"", request.content))


async def _look_up(host: str, port: int) -> AddressInfos:
    loop = asyncio.get_running_loop()
    return [*await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
