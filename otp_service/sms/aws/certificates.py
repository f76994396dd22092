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

from otp_service.sms.callbacks import Callback, Receiver
from otp_service.sms.http_provider import HEADERS, HttpReply, exchange


KEPT_FOR = 24 * 3600
MOST_IN_A_MINUTE = 5
MOST_BYTES = 16 * 1024
SECONDS = 3.0


class NotFetched(Exception):
    """The certificate is not to be had right now: 503, so that the vendor comes again."""


class Certificates:
    """What was fetched, by address."""

    def __init__(self, transport: httpx.AsyncBaseTransport, *, clock: Callable[[], float]) -> None:
        """Take the transport of the providers, and a monotonic clock in seconds."""
        self._transport = transport
        self._clock = clock
        self._kept: dict[str, tuple[float, bytes]] = {}
        self._fetches: deque[float] = deque(maxlen=MOST_IN_A_MINUTE)
        self._one_at_a_time = asyncio.Lock()

    async def complete(self, dialect: Receiver, callback: Callback) -> Callback:
        """Return the callback with what its dialect needs; raises NotFetched, or as `needs`."""
        url = dialect.needs(callback)
        if url is None:
            return callback
        found = {url: await self._get(url)}
        return msgspec.structs.replace(callback, certificates=found)

    async def _get(self, url: str) -> bytes:
        if (known := self._known(url)) is not None:
            return known
        async with self._one_at_a_time:
            if (known := self._known(url)) is not None:  # by the one before
                return known
            self._count()
            found = await self._fetch(url)
            self._kept[url] = self._clock(), found
            return found

    def _known(self, url: str) -> bytes | None:
        at, found = self._kept.get(url, (0.0, None))
        return found if self._clock() - at < KEPT_FOR else None

    def _count(self) -> None:
        now = self._clock()
        if len(self._fetches) == MOST_IN_A_MINUTE and now - self._fetches[0] < 60:  # noqa: PLR2004
            raise NotFetched
        self._fetches.append(now)

    async def _fetch(self, url: str) -> bytes:
        timeouts = dict.fromkeys(("connect", "pool", "read", "write"), SECONDS)
        request = httpx.Request("GET", url, headers=HEADERS, extensions={"timeout": timeouts})
        try:
            async with asyncio.timeout(SECONDS):
                reply: HttpReply | None = await exchange(self._transport, request, MOST_BYTES)
        except (httpx.TransportError, aiohttp.ClientError, OSError) as error:
            raise NotFetched from error
        if reply is None or reply.status != 200:  # noqa: PLR2004
            raise NotFetched
        return reply.body
