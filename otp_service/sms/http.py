"""Runs any HTTP provider: its dialect says what to ask and what the answer meant; this asks.

What cannot be answered is told by how far the request came, which decides whether the message
may have been sent (R88):

    no free connection, DNS, refused, connect timeout, TLS    nothing was sent     provider
    redirect (never followed)                                 nothing was sent     provider
    reset, read timeout, half a reply, too big, not HTTP      it may have been     unknown

A request goes straight to an httpx transport and past `httpx.AsyncClient`: the client would look
for redirects, keep the vendor's cookies, and log the URL and the vendor's reason phrase (R68),
and takes half as much CPU again.
"""

import functools
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Protocol, TypeVar, cast

import aiohttp
import httpx
import msgspec
from httpx_aiohttp import AiohttpTransport

from otp_service.core.delivery import About, Accepted, Fault, Message, Receipt, Refused, Reply
from otp_service.sms.callbacks import Callback, Receiver
from otp_service.sms.checks import Faults, url_faults
from otp_service.sms.router import Tools
from otp_service.sms.telltale import UNGROUPED, gives_away, parts_of, secrets_in


MAX_REPLY = 64 * 1024
KEEP_ALIVE = 4.0
"""Seconds for which an idle connection is kept. Servers close theirs after 5 (Apache, Node): a
message written to a connection that is being closed would count as perhaps sent."""
LONGEST_WAIT = 24 * 3600

Headers = tuple[tuple[str, str], ...]
T = TypeVar("T")

HEADERS: Headers = (
    ("accept", "application/json, */*;q=0.1"),
    ("accept-encoding", "identity"),  # so the size that is capped is the size there is
    ("user-agent", "otp-service"),
)

# aiohttp's own errors, where the transport gives them as a cause: httpx-aiohttp calls every
# ClientConnectionError that it does not know better a ConnectTimeout, also a connection that was
# lost after the body was written. httpx's follow for other transports. The first match counts.
NOTHING_SENT: tuple[tuple[type[Exception], str], ...] = (
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
PERHAPS_SENT: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.SocketTimeoutError, "read-timeout"),
    (aiohttp.ClientPayloadError, "incomplete-reply"),
    (aiohttp.ClientResponseError, "bad-reply"),
    (httpx.ReadTimeout, "read-timeout"),
    (Exception, "disconnected"),
)

_ABOUT = {401: About.ACCOUNT, 402: About.ACCOUNT, 403: About.ACCOUNT, 429: About.THROTTLED}
_SLUG = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_MESSAGE_ID = re.compile(r"[!-~]{1,128}")


class HttpRequest(msgspec.Struct, frozen=True):
    """What to ask; names of headers in lower case. Its `repr` says nothing: it holds it all."""

    method: str
    url: str
    headers: Headers
    body: bytes

    def __repr__(self) -> str:
        return f"HttpRequest({self.method}, {len(self.body)} bytes)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("method", self.method)]  # not the fields, as msgspec would show them


class HttpReply(msgspec.Struct, frozen=True):
    """What was answered; names of headers are looked up in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"HttpReply({self.status}, {len(self.body)} bytes)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("status", self.status)]  # see HttpRequest


class Dialect(Receiver, Protocol):
    """How one HTTP provider phrases requests and replies: pure, and all that differs.

    One whose requests carry the time also has `signed(request, now) -> HttpRequest`, and is given
    the milliseconds since 1970 with each request just before it is sent.
    """

    @property
    def connect_timeout(self) -> float:
        """Seconds for a connection: waiting for a free one, DNS, TCP and TLS together."""

    @property
    def read_timeout(self) -> float:
        """Seconds of silence after which no more of the reply is awaited."""

    def request(self, message: Message) -> HttpRequest:
        """Return what to ask for this message to be sent."""

    def reply(self, reply: HttpReply) -> Accepted | Refused:
        """Return what the provider meant; never asked about redirects."""


Seconds = Annotated[float, msgspec.Meta(gt=0, le=30)]


class HttpSettings(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    dict=True,  # a place for cached_property
    tag_field="type",
    forbid_unknown_fields=True,
):
    """What can be set for every HTTP provider."""

    connect_timeout: Seconds = 2.0
    read_timeout: Seconds = 5.0

    @property
    def acknowledgement(self) -> tuple[int, bytes]:
        """204 and nothing, where the vendor has no wish of its own."""
        return 204, b""

    def needs(self, callback: Callback) -> str | None:  # noqa: ARG002  # see Dialect
        """Nothing: most vendors sign with a key that stands in the settings."""
        return None

    def receipts(self, callback: Callback) -> Sequence[Receipt]:
        """Nothing: a vendor that brings no receipts is never asked."""
        raise ValueError(f"no receipts are understood, {callback.method} or other")


NUMBERS_ONLY = frozenset({"US", "CA"})
"""Where an alphanumeric sender is dropped or refused: a registered number is required (R44)."""


class VendorSettings(HttpSettings, frozen=True, kw_only=True):
    """What can be set for every named vendor; each gives `base_url` its own default."""

    base_url: str
    sender: str = ""
    """A number or a name of ours; for a tenant that has no sender, and where names are not taken."""
    senders: dict[str, str] = msgspec.field(default_factory=dict)
    """By country (libphonenumber region), before all others."""

    def sender_for(self, message: Message) -> str:
        """Return the sender for this destination; empty if there is none that may be used."""
        country = message.to.country
        candidates = (self.senders.get(country), message.sender, self.sender)
        numbers = country in NUMBERS_ONLY
        fitting = (one for one in candidates if one and (is_number(one) or not numbers))
        return next(fitting, "")

    def serves(self, place: str) -> bool:
        """Whether messages to this country, or to numbers that begin so, have a sender."""
        if place not in NUMBERS_ONLY and place != "+1":
            return True
        return is_number(self.senders.get(place, "") or self.sender)

    def as_sender(self, name: str, tools: Tools) -> "HttpProvider":
        """Return the provider that speaks this dialect."""
        return HttpProvider(name, self, tools.transport, now=tools.now)  # type: ignore[arg-type]  # a dialect is one

    def faults(self) -> list[tuple[str, str]]:
        """Return what is wrong or unsafe in these settings, as (field, remedy)."""
        named = [("base_url", remedy) for _, remedy in url_faults(self.base_url)]
        return [*named, *self._sender_faults()]

    def _sender_faults(self) -> Faults:
        for country in NUMBERS_ONLY & self.senders.keys():
            if not is_number(self.senders[country]):
                yield f"senders.{country}", "must be a registered number: names are not taken there"


def is_number(sender: str) -> bool:
    """Whether a sender is a number or a short code, and not a name."""
    return re.fullmatch(r"\+?[0-9]{3,15}", sender) is not None


def wall_clock() -> int:
    """Return the milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class HttpProvider:
    """One provider: a name, its dialect, and the transport that all providers share."""

    def __init__(
        self,
        name: str,
        dialect: Dialect,
        transport: httpx.AsyncBaseTransport,
        *,
        now: Callable[[], int] = wall_clock,
    ) -> None:
        self.name = name
        self._dialect = dialect
        self._transport = transport
        self._now = now
        self._credentials = parts_of(*secrets_in(dialect))
        self._signed: Callable[[HttpRequest, int], HttpRequest] = getattr(
            dialect, "signed", _as_it_is
        )
        connect, read = dialect.connect_timeout, dialect.read_timeout
        timeouts = {"connect": connect, "pool": connect, "read": read, "write": read}
        self._extensions = {"timeout": timeouts}
        # Both are as good as constant, and take a tenth of a send to make.
        self._url = functools.lru_cache(maxsize=16)(httpx.URL)
        self._headers = functools.lru_cache(maxsize=16)(_headers)

    async def send(self, message: Message) -> Reply:
        """Ask, and return what came of it, in words that are safe to keep."""
        request = self._signed(self._dialect.request(message), self._now())
        try:
            reply = await self._exchange(request)
        except (httpx.TransportError, aiohttp.ClientError, OSError) as error:
            return _refusal(error)
        if reply is None:
            return Refused(Fault.UNKNOWN, "reply-too-big")
        if 300 <= reply.status < 400:  # noqa: PLR2004
            return Refused(Fault.PROVIDER, "redirect")
        return self._presentable(self._dialect.reply(reply), message)

    async def aclose(self) -> None:
        """Do nothing: the transport belongs to whoever made it."""

    def _presentable(self, reply: Reply, message: Message) -> Reply:
        """Return the reply without what a vendor should not have put there: events keep it (R68)."""
        if isinstance(reply, Accepted):
            known = reply.message_id or ""
            is_told = message.to.e164[-9:] in known.translate(UNGROUPED) or self._opens(known)
            return reply if _MESSAGE_ID.fullmatch(known) and not is_told else Accepted()
        word = reply.reason
        if _SLUG.fullmatch(word) and not gives_away(word, message) and not self._opens(word):
            return reply
        return Refused(reply.fault, "unreadable", reply.retry_after, reply.about)

    def _opens(self, word: str) -> bool:
        """Return whether it has a part of what opens the account."""
        return not self._credentials.isdisjoint(parts_of(word))

    async def _exchange(self, request: HttpRequest) -> HttpReply | None:
        """Return the reply, or None if there is more of it than anybody needs."""
        return await exchange(
            self._transport,
            httpx.Request(
                request.method,
                self._url(request.url),
                headers=self._headers(request.headers),
                content=request.body,
                extensions=self._extensions,
            ),
        )


async def exchange(
    transport: httpx.AsyncBaseTransport, request: httpx.Request, most: int = MAX_REPLY
) -> HttpReply | None:
    """Return the reply, or None if there is more of it than anybody needs."""
    response = await transport.handle_async_request(request)
    stream = cast("httpx.AsyncByteStream", response.stream)
    try:
        body = b""
        async for chunk in stream:
            body += chunk
            if len(body) > most:
                return None
    finally:
        await stream.aclose()
    return HttpReply(response.status_code, response.headers, body)


def new_transport(
    *, tls: ssl.SSLContext | None = None, connections: int = 200, per_provider: int = 100
) -> AiohttpTransport:
    """Return a transport for all providers: no proxies, no cookies, nothing from the environment.

    One provider may have `per_provider` of the connections, so that one that hangs leaves some.
    """
    context = tls or httpx.create_ssl_context(trust_env=False)

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=connections,
            limit_per_host=per_provider,
            keepalive_timeout=KEEP_ALIVE,
            ssl=context,
        )
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        )

    return AiohttpTransport(verify=context, trust_env=False, client=session)


def _headers(headers: Headers) -> httpx.Headers:
    return httpx.Headers({**dict(HEADERS), **dict(headers)})


def _as_it_is(request: HttpRequest, _: int) -> HttpRequest:
    return request


def read_as(kind: type[T], body: bytes) -> T:
    """Return the JSON of a reply in this form, or the empty form if it has another one."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return kind()


def refused(
    fault: Fault, reply: HttpReply, code: str | None, about: About | None = None
) -> Refused:
    """Return a refusal with the vendor's code, or the status where there is none.

    What it is about is told by the status unless the dialect knows better.
    """
    said = about or _ABOUT.get(reply.status, About.MESSAGE)
    return Refused(fault, code or f"http-{reply.status}", retry_after(reply.headers), said)


def by_status(reply: HttpReply, code: str | None = None) -> Refused:
    """Return what a reply means that its dialect's tables do not know.

    A 4xx with an unknown code is the provider's, never the recipient's: a wrong "recipient"
    denies somebody the login. A 5xx, or a 2xx that is not what it should be, may have been sent.
    """
    if reply.status == 503 and "retry-after" in reply.headers:  # noqa: PLR2004
        return refused(Fault.PROVIDER, reply, code, About.THROTTLED)
    fault = Fault.PROVIDER if 400 <= reply.status < 500 else Fault.UNKNOWN  # noqa: PLR2004
    return refused(fault, reply, code)


def retry_after(headers: Mapping[str, str]) -> int | None:
    """Return the seconds to wait: as given, or from the reply's own Date to the date given."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return min(int(value), LONGEST_WAIT)
    until, now = _date(value), _date(headers.get("date", ""))
    if until is None or now is None:
        return None
    return max(0, min(int((until - now).total_seconds()), LONGEST_WAIT))


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else None


def _refusal(error: Exception) -> Refused:
    cause = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
    for kind, reason in NOTHING_SENT:
        if isinstance(cause, kind):
            return Refused(Fault.PROVIDER, reason, about=About.SILENCE)
    reason = next(r for kind, r in PERHAPS_SENT if isinstance(cause, kind))
    return Refused(Fault.UNKNOWN, reason, about=About.SILENCE)
