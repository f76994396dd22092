"""What one process has learnt of its providers, for all of them: an exchange a second, not a request.

The memory is one sealed record in Redis. Whoever has something new reads it, adds that, and writes
it if nobody was first; a process that comes too late tries again a second later. Redis in doubt
costs nothing but what the others do not hear of.
"""

import msgspec

from otp_service.core.events import BreakerChanged, Event
from otp_service.service import RandomSource
from otp_service.sms.provider_health import BreakerChange, ProviderHealth
from otp_service.sms.router import LocalProviderHealth
from otp_service.store.redis_store import RedisStore


_encode_health = msgspec.msgpack.Encoder().encode
_decode_health = msgspec.msgpack.Decoder(ProviderHealth).decode


async def load_provider_health(store: RedisStore) -> tuple[int, ProviderHealth]:
    """Return the version of what all know, and that. Raises StoreUnavailable."""
    version, body = await store.get_provider_health()
    return version, _decode_health(body) if body else ProviderHealth()


class ProviderHealthSync:
    """Keeps one process's view and the others' the same; `versions` is what its events tell."""

    def __init__(
        self,
        store: RedisStore,
        local_health: LocalProviderHealth,
        random: RandomSource,
        versions: dict[str, str],
    ) -> None:
        self._store = store
        self._local_health = local_health
        self._random = random
        self._versions = versions

    async def sync_health(self) -> bool:
        """Read what all know, and add what is new; False if somebody was first. Raises OtpError."""
        version, known = await load_provider_health(self._store)
        new = tuple(self._local_health.unshared_events)
        after, changes = known.apply_events(new)
        if new:
            told = tuple(self._build_breaker_event(change) for change in changes)
            operation = self._random.generate_operation_id()
            if not await self._store.swap_provider_health(
                version, _encode_health(after), told, operation
            ):
                return False
        self._local_health.merge_shared_health(after, len(new))
        return True

    def _build_breaker_event(self, change: BreakerChange) -> Event:
        return BreakerChanged(
            id=self._random.generate_operation_id(),
            versions=self._versions,
            provider=change.provider,
            country=change.country,
            state=change.state,
            reason=change.reason or None,
        )
