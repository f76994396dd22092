"""Fetches the certificates that dialects need to judge a callback, and keeps them.

A dialect is pure: it says which address it `needs`, having made sure that it is the vendor's, and
is asked again with what was found there. Whoever runs it does

    callback = await certificates.complete(dialect, callback)
    receipts = dialect.receipts(callback)

Each fetch is one GET without redirects, cookies or proxies, of 16 KiB at most. At most five are
made in a minute, so that those who can make up an address, and nothing else, cannot have us knock
at the vendor's door all day; certificates that are known are not touched by that.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import aiohttp
import httpx
import msgspec

from otp_service.sms.http_provider import DEFAULT_HEADERS, HttpReply, send_request
from otp_service.sms.receipt_callbacks import Callback, ReceiptDialect


CERTIFICATE_TTL_SECONDS = 24 * 3600
MAX_FETCHES_PER_MINUTE = 5
MAX_CERTIFICATE_BYTES = 16 * 1024
FETCH_TIMEOUT_SECONDS = 3.0


class CertificateUnavailable(Exception):
    """The certificate is not to be had right now: 503, so that the vendor comes again."""


class CertificateCache:
    """What was fetched, by address."""

    def __init__(self, transport: httpx.AsyncBaseTransport, *, clock: Callable[[], float]) -> None:
        """Take the transport of the providers, and a monotonic clock in seconds."""
        self._transport = transport
        self._clock = clock
        self._cache: dict[str, tuple[float, bytes]] = {}
        self._fetch_times: deque[float] = deque(maxlen=MAX_FETCHES_PER_MINUTE)
        self._fetch_lock = asyncio.Lock()

    async def attach_certificates(self, dialect: ReceiptDialect, callback: Callback) -> Callback:
        """Return the callback with what its dialect needs; raises CertificateUnavailable, or as the dialect."""
        url = dialect.find_certificate_url(callback)
        if url is None:
            return callback
        found = {url: await self._get_certificate(url)}
        return msgspec.structs.replace(callback, certificates=found)

    async def _get_certificate(self, url: str) -> bytes:
        if (known := self._find_cached(url)) is not None:
            return known
        async with self._fetch_lock:
            if (known := self._find_cached(url)) is not None:  # by the one before
                return known
            self._throttle_fetch()
            found = await self._fetch_certificate(url)
            self._cache[url] = self._clock(), found
            return found

    def _find_cached(self, url: str) -> bytes | None:
        at, found = self._cache.get(url, (0.0, None))
        return found if self._clock() - at < CERTIFICATE_TTL_SECONDS else None

    def _throttle_fetch(self) -> None:
        now = self._clock()
        if len(self._fetch_times) == MAX_FETCHES_PER_MINUTE and now - self._fetch_times[0] < 60:  # noqa: PLR2004
            raise CertificateUnavailable
        self._fetch_times.append(now)

    async def _fetch_certificate(self, url: str) -> bytes:
        timeouts = dict.fromkeys(("connect", "pool", "read", "write"), FETCH_TIMEOUT_SECONDS)
        request = httpx.Request(
            "GET", url, headers=DEFAULT_HEADERS, extensions={"timeout": timeouts}
        )
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_SECONDS):
                reply: HttpReply | None = await send_request(
                    self._transport, request, MAX_CERTIFICATE_BYTES
                )
        except (httpx.TransportError, aiohttp.ClientError, OSError) as error:
            raise CertificateUnavailable from error
        if reply is None or reply.status != 200:  # noqa: PLR2004
            raise CertificateUnavailable
        return reply.body
