"""Share what each process observes of its providers: one exchange a second, none per request.

The shared health is one encrypted record in Redis. A process reads it, applies its new events and
swaps it; if another process was first, it retries a second later. Without Redis each process
continues with its own observations.
"""

from dataclasses import dataclass

import msgspec

from otp_service.core.events import BreakerChanged, Event
from otp_service.service import RandomSource
from otp_service.sms.provider_health import BreakerChange, ProviderHealth
from otp_service.sms.router import LocalProviderHealth
from otp_service.store.redis_store import RedisStore


_encode_health = msgspec.msgpack.Encoder().encode
_decode_health = msgspec.msgpack.Decoder(ProviderHealth).decode


async def load_provider_health(store: RedisStore) -> tuple[int, ProviderHealth]:
    """Return the version of the shared health and the health. Raises StoreUnavailable."""
    version, body = await store.get_shared_record("providers")
    return version, _decode_health(body) if body else ProviderHealth()


@dataclass(frozen=True)
class ProviderHealthSync:
    """Synchronizes one process's provider health with Redis; its events carry `versions`."""

    _store: RedisStore
    _local_health: LocalProviderHealth
    _random: RandomSource
    _versions: dict[str, str]

    async def sync_health(self) -> bool:
        """Merge in both directions; False if another process wrote first. Raises OtpError."""
        version, shared = await load_provider_health(self._store)
        new = tuple(self._local_health.unshared_events)
        after, changes = shared.apply_events(new)
        if new:
            events = tuple(map(self._build_breaker_event, changes))
            operation_id, body = self._random.generate_operation_id(), _encode_health(after)
            swap = self._store.swap_shared_record
            if not await swap("providers", version, body, events, operation_id):
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
