"""HTTP providers: a pure dialect builds the request and interprets the reply; this module sends.

Without a reply, the progress of the request decides whether the message may have been sent (R88):

    no free connection, DNS, refused, connect timeout, TLS    nothing was sent     provider
    redirect (never followed)                                 nothing was sent     provider
    reset, read timeout, half a reply, too big, not HTTP      it may have been     unknown

Requests use an httpx transport without `httpx.AsyncClient`: the client would look for redirects,
keep the vendor's cookies, log the URL and the vendor's reason phrase (R68), and take half as much
CPU again.
"""

import functools
import ssl
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar, cast

import aiohttp
import httpx
import msgspec
from httpx_aiohttp import AiohttpTransport

from otp_service.clock import now_ms
from otp_service.core.delivery import Accepted, Fault, Message, RefusalScope, Refused, Reply
from otp_service.sms.receipt_callbacks import ReceiptDialect
from otp_service.sms.redaction import extract_fragments, iter_secrets, redact_reply


MAX_REPLY_BYTES = 64 * 1024
KEEP_ALIVE_SECONDS = 4.0
"""How long an idle connection is kept. Servers close theirs after 5 s (Apache, Node): a message
written to a connection that is being closed would count as perhaps sent."""

Headers = tuple[tuple[str, str], ...]
StructT = TypeVar("StructT")

DEFAULT_HEADERS: Headers = (
    ("accept", "application/json, */*;q=0.1"),
    ("accept-encoding", "identity"),  # so that MAX_REPLY_BYTES limits the real size
    ("user-agent", "otp-service"),
)

# aiohttp's own errors, where the transport has them as a cause: httpx-aiohttp turns every other
# ClientConnectionError into a ConnectTimeout, also a connection that was lost after the body was
# written. httpx's errors follow for other transports. The first match counts.
NOT_SENT_ERRORS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "dns-error"),
    (aiohttp.ClientSSLError, "tls-error"),
    (aiohttp.ClientConnectorError, "connect-error"),
    (aiohttp.ConnectionTimeoutError, "connect-timeout"),
    (aiohttp.InvalidURL, "invalid-url"),
    (aiohttp.NonHttpUrlClientError, "invalid-url"),
    (httpx.ConnectTimeout, "connect-timeout"),
    (httpx.PoolTimeout, "connect-timeout"),
    (httpx.ConnectError, "connect-error"),
    (httpx.UnsupportedProtocol, "invalid-url"),
)
MAYBE_SENT_ERRORS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.SocketTimeoutError, "read-timeout"),
    (aiohttp.ClientPayloadError, "incomplete-reply"),
    (aiohttp.ClientResponseError, "bad-reply"),
    (httpx.ReadTimeout, "read-timeout"),
    (Exception, "disconnected"),
)


class HttpRequest(msgspec.Struct, frozen=True):
    """A request; header names in lower case. Its `repr` omits the fields: they have code and key."""

    method: str
    url: str
    headers: Headers
    body: bytes

    def __repr__(self) -> str:
        return f"HttpRequest({self.method}, {len(self.body)} bytes)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("method", self.method)]  # msgspec's own would show the fields


class HttpReply(msgspec.Struct, frozen=True):
    """A reply; header names are looked up in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_2xx(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004

    def decode_or(self, default: StructT) -> StructT:
        """Return the body as JSON of the type of `default`, or `default` if it is anything else."""
        try:
            return msgspec.json.decode(self.body, type=type(default))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return default

    def __repr__(self) -> str:
        return f"HttpReply({self.status}, {len(self.body)} bytes)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("status", self.status)]  # see HttpRequest


class Dialect(ReceiptDialect, Protocol):
    """The requests, replies and receipts of one HTTP provider: pure, and all that differs.

    One whose requests contain the time also has `sign_request(request, now) -> HttpRequest`, which
    is called just before each request is sent; `now` in milliseconds since 1970.
    """

    @property
    def connect_timeout(self) -> float:
        """Seconds to wait for a connection: a free slot, DNS, TCP and TLS together."""

    @property
    def read_timeout(self) -> float:
        """Seconds of silence after which the rest of the reply is given up."""

    def build_request(self, message: Message) -> HttpRequest:
        """Return the request that sends this message."""

    def interpret_reply(self, reply: HttpReply) -> Accepted | Refused:
        """Return the meaning of a reply, which is never a redirect."""


class HttpProvider:
    """A provider: its name, its dialect, and the transport that all providers share."""

    def __init__(
        self,
        name: str,
        dialect: Dialect,
        transport: httpx.AsyncBaseTransport,
        *,
        now: Callable[[], int] = now_ms,
    ) -> None:
        self.name = name
        self._dialect = dialect
        self._transport = transport
        self._now = now
        self._fragments = extract_fragments(*iter_secrets(dialect))
        self._sign_request: Callable[[HttpRequest, int], HttpRequest] = getattr(
            dialect, "sign_request", _return_unsigned
        )
        connect, read = dialect.connect_timeout, dialect.read_timeout
        timeouts = {"connect": connect, "pool": connect, "read": read, "write": read}
        self._extensions = {"timeout": timeouts}
        # Both are almost constant, and building them takes a tenth of a send.
        self._parse_url = functools.lru_cache(maxsize=16)(httpx.URL)
        self._build_headers = functools.lru_cache(maxsize=16)(_merge_headers)

    async def send(self, message: Message) -> Reply:
        """Send the message; the reply is redacted, so that it can be stored."""
        request = self._sign_request(self._dialect.build_request(message), self._now())
        outgoing = httpx.Request(
            request.method,
            self._parse_url(request.url),
            headers=self._build_headers(request.headers),
            content=request.body,
            extensions=self._extensions,
        )
        try:
            reply = await send_request(self._transport, outgoing)
        except (httpx.TransportError, aiohttp.ClientError, OSError) as error:
            return _classify_error(error)
        if reply is None:
            return Refused(Fault.UNKNOWN, "reply-too-big")
        if 300 <= reply.status < 400:  # noqa: PLR2004
            return Refused(Fault.PROVIDER, "redirect")
        return redact_reply(self._dialect.interpret_reply(reply), message, self._fragments)

    async def aclose(self) -> None:
        """Do nothing: the owner of the transport closes it."""


async def send_request(
    transport: httpx.AsyncBaseTransport, request: httpx.Request, max_bytes: int = MAX_REPLY_BYTES
) -> HttpReply | None:
    """Return the reply, or None if it has more than `max_bytes`."""
    response = await transport.handle_async_request(request)
    stream = cast("httpx.AsyncByteStream", response.stream)
    try:
        body = b""
        async for chunk in stream:
            body += chunk
            if len(body) > max_bytes:
                return None
    finally:
        await stream.aclose()
    return HttpReply(response.status_code, response.headers, body)


def create_transport(
    *,
    tls_context: ssl.SSLContext | None = None,
    max_connections: int = 200,
    max_connections_per_provider: int = 100,
) -> AiohttpTransport:
    """Return a transport for all providers: no proxies, no cookies, nothing from the environment.

    The connections of one provider are limited, so that one that hangs leaves some to the others.
    """
    context = tls_context or httpx.create_ssl_context(trust_env=False)

    def create_session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=max_connections,
            limit_per_host=max_connections_per_provider,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            ssl=context,
        )
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        )

    return AiohttpTransport(verify=context, trust_env=False, client=create_session)


def _merge_headers(headers: Headers) -> httpx.Headers:
    return httpx.Headers({**dict(DEFAULT_HEADERS), **dict(headers)})


def _return_unsigned(request: HttpRequest, _: int) -> HttpRequest:
    return request


def _classify_error(error: Exception) -> Refused:
    cause = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
    for kind, reason in NOT_SENT_ERRORS:
        if isinstance(cause, kind):
            return Refused(Fault.PROVIDER, reason, scope=RefusalScope.SILENCE)
    reason = next(r for kind, r in MAYBE_SENT_ERRORS if isinstance(cause, kind))
    return Refused(Fault.UNKNOWN, reason, scope=RefusalScope.SILENCE)
