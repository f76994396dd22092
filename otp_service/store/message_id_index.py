"""Which submission a provider's own id of a message means, shared by all processes.

Each id has a key that expires by itself, so an addition reads nothing and no clean-up is needed.
There is no decision and no event in it, so a plain SET is enough, which may be repeated.
"""

from collections.abc import Sequence

import msgspec

from otp_service.core.policy import ENDED_RETENTION_MS, MAX_LIFETIME_SECONDS
from otp_service.core.ports import MessageIdRecord
from otp_service.core.timestamps import SECOND_MS
from otp_service.store.redis_store import RedisStore


MESSAGE_ID_TTL_MS = MAX_LIFETIME_SECONDS * SECOND_MS + ENDED_RETENTION_MS
"""A later receipt finds no challenge: it ends, and its record is kept for an hour after that."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(MessageIdRecord).decode


class RedisMessageIdIndex:
    """Implements `core.ports.MessageIdIndex`. Every method raises StoreUnavailable."""

    def __init__(self, store: RedisStore) -> None:
        self._client = store.client
        self._cipher = store.cipher
        self._all_key_names = store.all_key_names

    async def put(self, provider: str, message_id: str, record: MessageIdRecord) -> None:
        """Store a record under the limit key in force."""
        key = self._all_key_names[0].message_id_key(provider, message_id)
        value = self._cipher.seal_record(key, 1, _encode(record))
        command = ("SET", key, value, "PX", MESSAGE_ID_TTL_MS)
        await self._client.repeat_commands(key, [command])

    async def get_many(
        self, provider: str, message_ids: Sequence[str]
    ) -> list[MessageIdRecord | None]:
        """Return the record of each id, under whichever limit key it was stored."""
        keys = [
            names.message_id_key(provider, message_id)
            for message_id in message_ids
            for names in self._all_key_names
        ]
        values = await self._client.read_each(keys, "GET")
        records = [
            _decode(self._cipher.open_record(key, value)[1]) if value else None
            for key, value in zip(keys, values, strict=True)
        ]
        width = len(self._all_key_names)
        starts = range(0, len(records), width)
        return [next(filter(None, records[i : i + width]), None) for i in starts]
