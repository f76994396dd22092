"""The scopes of the brake that operators have opened and closed: one sealed record for all processes."""

from typing import Final

import msgspec

from otp_service.core.events import Event
from otp_service.core.ports import StoredOverrides
from otp_service.core.pumping.overrides import Overrides
from otp_service.core.timestamps import DAY_MS
from otp_service.store.redis_store import RedisStore


RECORD_GRACE_MS: Final = DAY_MS
"""How long the record outlives its last override. It must end, or it would outlive the key that opens it;
and later than an operation that has read it, because versions then begin again."""

_encode_overrides = msgspec.msgpack.Encoder().encode
decode_overrides = msgspec.msgpack.Decoder(Overrides).decode


class BrakeOverrides:
    """Implements `core.ports.OverrideRegistry`."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._partition, self._key = store.key_names.locate_shared_record("brake-overrides")

    async def load_overrides(self) -> StoredOverrides:
        """Return the overrides, also those that have ended since the last change."""
        now, sealed = await self._store.read_values((self._key,))
        if sealed is None:
            return StoredOverrides(now, 0, Overrides())
        version, body = self._store.cipher.open_record(self._key, sealed)
        return StoredOverrides(now, version, decode_overrides(body))

    async def swap_overrides(
        self, old: StoredOverrides, new: Overrides, event: Event, operation_id: str
    ) -> bool:
        """Replace what was loaded, with the event of the change. Return False after a conflict."""
        expires_at = max((item.until for item in new.items), default=old.now) + RECORD_GRACE_MS
        body = _encode_overrides(new)
        draft = self._store.start_commit(self._partition, operation_id)
        draft.expect(self._key, old.version)
        draft.write(
            self._key,
            self._store.cipher.seal_record(self._key, old.version + 1, body),
            expires_at,
        )
        draft.append(event)
        reply = await self._store.run_commit(draft, durable=True)
        return bool(reply[0] == b"done")
