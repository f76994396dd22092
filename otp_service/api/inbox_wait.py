"""Waiting for a message of the inbox, also by many calls at the same time.

Each look decrypts the whole inbox. So calls that wait look together: at the same instants of the clock,
and with one look for all of them. Otherwise sixty waits would take a whole core.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from otp_service.core.admission import AdmissionControl
from otp_service.core.ports import InboxMessage


POLL_SECONDS: Final = 0.1
"""Between two looks at the messages, which another process may have stored."""

MAX_WAITING_CALLS: Final = 200
"""A call goes on waiting if its client disconnects, so connections do not bound them."""

MAX_WAITING_CALLS_PER_TENANT: Final = 100
"""The same for the calls of one tenant, and for those without a key."""

ListMessages = Callable[[], Awaitable[list[InboxMessage]]]
SelectMessages = Callable[[list[InboxMessage]], list[InboxMessage]]


class SharedLooks:
    """Looks at the messages, of which one runs and at most one waits for it."""

    def __init__(self, list_messages: ListMessages) -> None:
        self._list_messages = list_messages
        self._running: asyncio.Task[list[InboxMessage]] | None = None
        self._next: asyncio.Task[list[InboxMessage]] | None = None

    async def look(self) -> list[InboxMessage]:
        """Return the messages, newest first, as a look that begins after this call finds them.

        Raises what `list_messages` raises.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._look_after(self._running))
        return await asyncio.shield(self._next)

    async def _look_after(
        self, earlier: asyncio.Task[list[InboxMessage]] | None
    ) -> list[InboxMessage]:
        if earlier is not None:
            await asyncio.wait([earlier])  # what it raises is for its own callers
        self._running, self._next = self._next, None
        return await self._list_messages()


class InboxWaits:
    """The calls of one process that read messages, or wait for them."""

    def __init__(self, list_messages: ListMessages) -> None:
        self._looks = SharedLooks(list_messages)
        self._slots = AdmissionControl(MAX_WAITING_CALLS, MAX_WAITING_CALLS_PER_TENANT)

    async def wait_for(
        self, select: SelectMessages, seconds: float, tenant: str | None
    ) -> list[InboxMessage]:
        """Return what is selected of the messages; while it is nothing, wait for as long.

        `tenant` is the caller's. Raises Overloaded if too many calls wait, and what the look raises.
        """
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + seconds
        found = select(await self._looks.look())
        if found or not seconds:
            return found
        with self._slots.acquire(tenant or ""):
            while not found and clock() < give_up_at:
                await asyncio.sleep(POLL_SECONDS - clock() % POLL_SECONDS)
                found = select(await self._looks.look())
        return found
