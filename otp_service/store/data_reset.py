"""Deleting what calls have stored, so that tests begin with nothing. Never in live mode.

The event log stays. So do the records of authenticators and recovery sets and the stored answers: each
process remembers their versions, and would report a record that begins again as rolled back. Their codes
are accepted once, also after a reset: a test enrolls another authenticator.
"""

from collections.abc import Container
from itertools import groupby
from typing import Final

from otp_service.core.limits import Limit
from otp_service.schemas import Mode
from otp_service.store.key_names import parse_key_partition, parse_kind
from otp_service.store.key_scan import find_keys
from otp_service.store.mode_mark import require_mode
from otp_service.store.redis_store import RedisStore


RESET_KINDS: Final = frozenset(
    {
        "addresses",
        "blocked",
        "challenge",
        "debt",
        "idempotency",
        "inbound",
        "inbox",
        "known",
        "limit",
        "moved",
        "opted-out",
        "pointer",
        "secret",
        "submission",
        "submitted",
        "traffic",
        "traffic-index",
    }
)
"""The kinds of keys that a reset deletes, as `store/README.md` lists them."""

LIMIT_STATE_KINDS: Final = frozenset({"debt", "inbox", "limit"})
"""What a start of `dev` deletes: challenges survive a restart."""

MAX_KEYS_PER_COMMIT: Final = 500


class DataReset:
    """Deletes keys of one mode, which is not `live`."""

    def __init__(self, store: RedisStore, mode: Mode) -> None:
        if mode == "live":
            raise ValueError("the data of a live service are never reset")
        self._store = store
        self._mode: Mode = mode

    async def delete_all(self, operation_id: str) -> int:
        """Delete challenges, limits, messages and the do-not-send list; return how many keys.

        Raises StoreUnavailable, also if the Redis belongs to another mode: then nothing is deleted.
        """
        return await self._delete_kinds(RESET_KINDS, operation_id)

    async def delete_limit_state(self, operation_id: str) -> int:
        """Delete limits and messages of an earlier run, as `delete_all` does.

        The cooldowns stay: they end by themselves within a minute, and challenges show their end.
        """
        return await self._delete_kinds(LIMIT_STATE_KINDS, operation_id, kept=Limit.COOLDOWN)

    async def _delete_kinds(
        self, kinds: Container[str], operation_id: str, *, kept: Limit | None = None
    ) -> int:
        await require_mode(self._store.client, self._mode)
        found = await find_keys(self._store.client, "{[0-9][0-9]}:*")
        keys = [key for key in found if parse_kind(key) in kinds and f":limit:{kept}:" not in key]
        for partition, group in groupby(keys, parse_key_partition):
            own = list(group)
            for start in range(0, len(own), MAX_KEYS_PER_COMMIT):
                part = own[start : start + MAX_KEYS_PER_COMMIT]
                await self._store.delete_keys(part, f"{operation_id}-{partition}-{start}")
        return len(keys)
