"""What one process has learnt of its providers, for all of them: an exchange a second, not a request.

The memory is one sealed record in Redis. Whoever has something new reads it, adds that, and writes
it if nobody was first; a process that comes too late tries again a second later. Redis in doubt
costs nothing but what the others do not hear of.
"""

import msgspec

from otp_service.core.events import Event, ProviderMoved
from otp_service.service import Random
from otp_service.sms.provider_health import Change, Memory
from otp_service.sms.router import Remembered
from otp_service.store.redis_store import RedisStore


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Memory).decode


async def remembered_by_all(store: RedisStore) -> tuple[int, Memory]:
    """Return the version of what all know, and that. Raises StoreUnavailable."""
    version, body = await store.shared()
    return version, _decode(body) if body else Memory()


class Sharing:
    """Keeps one process's view and the others' the same; `versions` is what its events tell."""

    def __init__(
        self, store: RedisStore, remembered: Remembered, random: Random, versions: dict[str, str]
    ) -> None:
        self._store = store
        self._remembered = remembered
        self._random = random
        self._versions = versions

    async def exchange(self) -> bool:
        """Read what all know, and add what is new; False if somebody was first. Raises OtpError."""
        version, known = await remembered_by_all(self._store)
        new = tuple(self._remembered.new)
        after, changes = known.after(new)
        if new:
            told = tuple(self._told(change) for change in changes)
            operation = self._random.operation()
            if not await self._store.share(version, _encode(after), told, operation):
                return False
        self._remembered.exchanged(after, len(new))
        return True

    def _told(self, change: Change) -> Event:
        return ProviderMoved(
            id=self._random.operation(),
            versions=self._versions,
            provider=change.provider,
            country=change.country,
            state=change.state,
            reason=change.reason or None,
        )
