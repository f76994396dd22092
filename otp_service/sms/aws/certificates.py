"""Fetches and caches the certificates that dialects need to check a callback.

A dialect is pure: it returns the address of the certificate, after a check that it is the vendor's,
and gets the certificate in the callback:

    callback = await certificates.attach_certificates(dialect, callback)
    receipts = dialect.parse_callback(callback)

Each fetch is one GET without redirects, cookies or proxies, of 16 KiB at most. There are at most
five fetches a minute, so that an attacker who can only invent addresses cannot make us flood the
vendor; cached certificates are not affected.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import httpx
import msgspec

from otp_service.sms.http_provider import DEFAULT_HEADERS, send_request
from otp_service.sms.provider_callbacks import Callback, CallbackDialect


CERTIFICATE_TTL_SECONDS = 24 * 3600
MAX_FETCHES_PER_MINUTE = 5
MAX_CERTIFICATE_BYTES = 16 * 1024
FETCH_TIMEOUT_SECONDS = 3.0


class CertificateUnavailable(Exception):
    """The certificate cannot be fetched now: 503, so that the vendor repeats the callback."""


class CertificateCache:
    """The certificates by address."""

    def __init__(self, transport: httpx.AsyncBaseTransport, *, clock: Callable[[], float]) -> None:
        """`transport` is that of the providers; `clock` is monotonic, in seconds."""
        self._transport = transport
        self._clock = clock
        self._cache: dict[str, tuple[float, bytes]] = {}
        self._fetch_times: deque[float] = deque(maxlen=MAX_FETCHES_PER_MINUTE)
        self._fetch_lock = asyncio.Lock()

    async def attach_certificates(self, dialect: CallbackDialect, callback: Callback) -> Callback:
        """Return the callback with the certificate that its dialect needs, if any.

        Raises CertificateUnavailable, and as `find_certificate_url`.
        """
        url = dialect.find_certificate_url(callback)
        if url is None:
            return callback
        certificates = {url: await self._get_certificate(url)}
        return msgspec.structs.replace(callback, certificates=certificates)

    async def _get_certificate(self, url: str) -> bytes:
        if (known := self._find_cached(url)) is not None:
            return known
        async with self._fetch_lock:
            if (known := self._find_cached(url)) is not None:  # fetched while this call waited
                return known
            self._throttle_fetch()
            certificate = await self._fetch_certificate(url)
            self._cache[url] = self._clock(), certificate
            return certificate

    def _find_cached(self, url: str) -> bytes | None:
        at, certificate = self._cache.get(url, (0.0, None))
        return certificate if self._clock() - at < CERTIFICATE_TTL_SECONDS else None

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
                reply = await send_request(self._transport, request, MAX_CERTIFICATE_BYTES)
        except (httpx.TransportError, OSError) as error:
            raise CertificateUnavailable from error
        if reply.broken_by or reply.status != 200:  # noqa: PLR2004
            raise CertificateUnavailable
        return reply.body
