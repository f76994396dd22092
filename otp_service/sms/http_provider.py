"""HTTP providers: a pure dialect builds the request and interprets the reply; this module sends.

Without a reply, the progress of the request decides whether the message may have been sent (R88):

    the request cannot be built (a setting, a bug of ours)    nothing was sent     provider
    no free connection, DNS, refused, connect timeout, TLS    nothing was sent     provider
    redirect (never followed)                                 nothing was sent     provider
    reset or read timeout before a status, not HTTP           it may have been     unknown

A status is enough for a refusal: what follows it may be missing. Of a 2xx that ended early only
what its dialect proves from the part that came counts (a message id, a vendor's error code);
otherwise it may have been sent.

Requests use a transport of our own (http_transport.py) and no client of httpx, which would look for
redirects, keep the vendor's cookies, and log the URL and the vendor's reason phrase (R68).
"""

import functools
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar, cast

import httpx
import msgspec

from otp_service.clock import now_ms
from otp_service.core.delivery import Accepted, Fault, Message, RefusalScope, Refused, Reply
from otp_service.sms import reply_decoder
from otp_service.sms.http_transport import (
    MAX_REPLY_BYTES,
    HttpTransport,
    NotSentError,
    ReplyLostError,
)
from otp_service.sms.provider_callbacks import CallbackDialect
from otp_service.sms.redaction import extract_fragments, iter_secrets, redact_reply


logger = logging.getLogger(__name__)

Headers = tuple[tuple[str, str], ...]
StructT = TypeVar("StructT", bound=msgspec.Struct)

DEFAULT_HEADERS: Headers = (
    ("accept", "application/json, */*;q=0.1"),
    ("accept-encoding", "identity"),  # so that MAX_REPLY_BYTES limits the real size
    ("user-agent", "otp-service"),
)

NOT_SENT_ERRORS: Final = (
    *(httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ConnectError),
    *(httpx.UnsupportedProtocol, httpx.InvalidURL),
)
"""Of another transport than ours, as tests use them: all else may have been sent."""


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
    broken_by: str = ""
    """Why it ended early; empty for a complete one."""

    @property
    def is_2xx(self) -> bool:
        return 200 <= self.status < 300  # noqa: PLR2004

    def decode_or(self, default: StructT) -> StructT:
        """Return the body as JSON of the type of `default`, or `default` if it is anything else."""
        return reply_decoder.decode_or(self.body, default)

    def __repr__(self) -> str:
        return f"HttpReply({self.status}, {len(self.body)} bytes)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("status", self.status)]  # see HttpRequest


class Dialect(CallbackDialect, Protocol):
    """The requests, replies and receipts of one HTTP provider: pure, and all that differs.

    One whose requests contain the time also has `sign_request(request, now) -> HttpRequest`, which
    is called just before each request is sent; `now` in milliseconds since 1970. One with `tls_ca`
    trusts the certificates of that file alone.
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
        self._extensions: dict[str, Any] = {"timeout": timeouts}
        if ca_file := getattr(dialect, "tls_ca", None):
            self._extensions["tls_context"] = ssl.create_default_context(cafile=ca_file)
        # Both are almost constant, and building them takes a tenth of a send.
        self._parse_url = functools.lru_cache(maxsize=16)(httpx.URL)
        self._build_headers = functools.lru_cache(maxsize=16)(_merge_headers)

    async def send(self, message: Message) -> Reply:
        """Send the message; the reply is redacted, so that it can be stored."""
        try:
            outgoing = self._build_request(message)
        except Exception as error:  # noqa: BLE001  # nothing was written, whatever it was
            # Its name only: the text of an exception may contain the number, the code or a key.
            kind = type(error).__name__
            logger.error("provider %s: cannot build a request: %s", self.name, kind)  # noqa: TRY400
            return Refused(Fault.PROVIDER, "invalid-request", scope=RefusalScope.ACCOUNT)
        try:
            reply = await send_request(self._transport, outgoing)
        except (httpx.TransportError, OSError) as error:
            return _classify_error(error)
        if 300 <= reply.status < 400:  # noqa: PLR2004
            return Refused(Fault.PROVIDER, "redirect")
        return redact_reply(self._interpret_reply(reply), message, self._fragments)

    def _build_request(self, message: Message) -> httpx.Request:
        request = self._sign_request(self._dialect.build_request(message), self._now())
        return httpx.Request(
            request.method,
            self._parse_url(request.url),
            headers=self._build_headers(request.headers),
            content=request.body,
            extensions=self._extensions,
        )

    def _interpret_reply(self, reply: HttpReply) -> Reply:
        meaning = self._dialect.interpret_reply(reply)
        if not (reply.broken_by and reply.is_2xx) or _is_certain(meaning):
            return meaning
        scope = RefusalScope.SILENCE if reply.broken_by != "reply-too-big" else RefusalScope.MESSAGE
        return Refused(Fault.UNKNOWN, reply.broken_by, scope=scope)

    async def aclose(self) -> None:
        """Do nothing: the owner of the transport closes it."""


async def send_request(
    transport: httpx.AsyncBaseTransport, request: httpx.Request, max_bytes: int = MAX_REPLY_BYTES
) -> HttpReply:
    """Return the reply, with at most `max_bytes` of its body, expanded if it is compressed."""
    request.extensions = {**request.extensions, "max_bytes": max_bytes}
    response = await transport.handle_async_request(request)
    stream = cast("httpx.AsyncByteStream", response.stream)
    body = b"".join([chunk async for chunk in stream])
    await stream.aclose()
    broken_by = response.extensions.get("broken_by", "")
    coding = response.headers.get("content-encoding", "")
    expanded = reply_decoder.expand_body(body, coding, max_bytes)
    if expanded is None:
        expanded, broken_by = b"", "reply-too-big"
    return HttpReply(response.status_code, response.headers, expanded, broken_by)


def create_transport(
    *,
    tls_context: ssl.SSLContext | None = None,
    max_connections: int = 200,
    max_connections_per_provider: int = 100,
) -> HttpTransport:
    """Return a transport for all providers: no proxies, no cookies, nothing from the environment.

    The connections of one provider are limited, so that one that hangs leaves some to the others.
    """
    context = tls_context or _create_default_tls_context()
    return HttpTransport(context, max_connections, max_connections_per_provider)


@functools.cache
def _create_default_tls_context() -> ssl.SSLContext:
    """Return the context that all transports share: to read its authorities takes tens of milliseconds."""
    return httpx.create_ssl_context(trust_env=False)


def _merge_headers(headers: Headers) -> httpx.Headers:
    return httpx.Headers({**dict(DEFAULT_HEADERS), **dict(headers)})


def _return_unsigned(request: HttpRequest, _: int) -> HttpRequest:
    return request


def _is_certain(meaning: Reply) -> bool:
    """Whether a part of a reply proves its meaning: by a message id, or by an error of the vendor."""
    if isinstance(meaning, Accepted):
        return meaning.message_id is not None
    return meaning.fault is not Fault.UNKNOWN


def _classify_error(error: Exception) -> Refused:
    if isinstance(error, NotSentError):
        scope = RefusalScope.ACCOUNT if str(error) == "invalid-request" else RefusalScope.SILENCE
        return Refused(Fault.PROVIDER, str(error), scope=scope)
    if isinstance(error, NOT_SENT_ERRORS):
        return Refused(Fault.PROVIDER, "connect-error", scope=RefusalScope.SILENCE)
    reason = str(error) if isinstance(error, ReplyLostError) else "disconnected"
    return Refused(Fault.UNKNOWN, reason, scope=RefusalScope.SILENCE)
