"""How many requests with messages from phones are handled at once."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from otp_service.core.errors import Overloaded


MAX_RUNNING_REQUESTS: Final = 4
"""Of one provider in one process. A request handles one message after another, so this is also the
number of its calls to Redis at once, of 1,024 for all calls."""
MAX_WAITING_REQUESTS: Final = 60
"""Each of these holds a parsed body. Some vendors never repeat a message, so a burst waits."""


class InboundAdmission:
    """Admits requests with messages from phones, a bounded number for each provider.

    So a caller with the token of one provider can delay the messages of that provider alone, and no
    login: a message with a keyword asks Redis whether anything was sent to its number.
    """

    def __init__(self) -> None:
        self._slots: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(MAX_RUNNING_REQUESTS)
        )
        self._request_counts: Counter[str] = Counter()

    @asynccontextmanager
    async def admit(self, provider: str) -> AsyncIterator[None]:
        """Wait for a slot of this provider. Raises Overloaded if too many requests wait already."""
        if self._request_counts[provider] >= MAX_RUNNING_REQUESTS + MAX_WAITING_REQUESTS:
            raise Overloaded(
                "Too many messages of this provider are being handled. Call again later."
            )
        self._request_counts[provider] += 1
        try:
            async with self._slots[provider]:
                yield
        finally:
            self._request_counts[provider] -= 1
