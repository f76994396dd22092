"""Which submission a provider's own name for a message stands for: told by one process, asked by all.

One key for each, with a life of its own: nothing is read to add one, and nothing is tidied up.
There is no decision in it and no event, so a plain SET does, which may be made again.
"""

from collections.abc import Sequence

import msgspec

from otp_service.core.errors import StoreUnavailable
from otp_service.core.policy import (
    ENDED_RETENTION_MS,
    MAX_LIFETIME_SECONDS,
)
from otp_service.core.ports import MessageIdRecord
from otp_service.core.timestamps import SECOND_MS
from otp_service.store.pipeline import retry_lost_reply
from otp_service.store.redis_store import RedisStore


MESSAGE_ID_TTL_MS = MAX_LIFETIME_SECONDS * SECOND_MS + ENDED_RETENTION_MS
"""A receipt that comes later finds no challenge any more: it ends, and is kept for an hour."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(MessageIdRecord).decode


class RedisMessageIdIndex:
    """Implements `core.ports.Submissions`."""

    def __init__(self, store: RedisStore) -> None:
        self._client = store.client
        self._cipher = store.cipher
        self._all_key_names = (store.key_names, *store.earlier_key_names)

    async def put(self, provider: str, message_id: str, record: MessageIdRecord) -> None:
        """Keep one, under the limit key in force."""
        key = self._all_key_names[0].message_id_key(provider, message_id)
        value = self._cipher.seal_record(key, 1, _encode(record))
        put = (("SET", key, value, "PX", MESSAGE_ID_TTL_MS),)
        (answer,) = await retry_lost_reply(lambda: self._client.run_pipeline(key, put))
        if isinstance(answer, Exception):
            raise StoreUnavailable from answer

    async def get_many(
        self, provider: str, message_ids: Sequence[str]
    ) -> list[MessageIdRecord | None]:
        """Return what is kept under each name, whichever limit key it was noted under."""
        keys = [
            each.message_id_key(provider, name)
            for name in message_ids
            for each in self._all_key_names
        ]
        records = await self._client.read_many([(key, [("GET", key)]) for key in keys])
        found = [
            _decode(self._cipher.open_record(key, record)[1]) if record else None
            for key, (record,) in zip(keys, records, strict=True)
        ]
        each = len(self._all_key_names)
        return [next(filter(None, found[i : i + each]), None) for i in range(0, len(found), each)]
