"""Which submission a provider's own name for a message stands for: told by one process, asked by all.

One key for each, with a life of its own: nothing is read to add one, and nothing is tidied up.
There is no decision in it and no event, so a plain SET does, which may be made again.
"""

from collections.abc import Sequence

import msgspec

from otp_service.core.errors import StoreUnavailable
from otp_service.core.policy import LONGEST_LIFETIME, SECOND, TOMBSTONE
from otp_service.core.ports import Submitted
from otp_service.store.pipeline import insist
from otp_service.store.redis_store import RedisStore


LIFE = LONGEST_LIFETIME * SECOND + TOMBSTONE
"""A receipt that comes later finds no challenge any more: it ends, and is kept for an hour."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Submitted).decode


class RedisSubmissions:
    """Implements `core.ports.Submissions`."""

    def __init__(self, store: RedisStore) -> None:
        self._link = store.link
        self._vault = store.vault
        self._every = (store.names, *store.earlier)

    async def note(self, provider: str, name: str, submitted: Submitted) -> None:
        """Keep one, under the limit key in force."""
        key = self._every[0].submission(provider, name)
        record = self._vault.close(key, 1, _encode(submitted))
        put = (("SET", key, record, "PX", LIFE),)
        (answer,) = await insist(lambda: self._link.together(key, put))
        if isinstance(answer, Exception):
            raise StoreUnavailable from answer

    async def look_up(self, provider: str, names: Sequence[str]) -> list[Submitted | None]:
        """Return what is kept under each name, whichever limit key it was noted under."""
        keys = [each.submission(provider, name) for name in names for each in self._every]
        records = await self._link.read([(key, [("GET", key)]) for key in keys])
        found = [
            _decode(self._vault.open(key, record)[1]) if record else None
            for key, (record,) in zip(keys, records, strict=True)
        ]
        each = len(self._every)
        return [next(filter(None, found[i : i + each]), None) for i in range(0, len(found), each)]
