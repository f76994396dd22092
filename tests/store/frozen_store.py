"""The store by a clock that only a test moves."""

import os
import secrets
from typing import Any

from otp_service.core.commit import Commit
from otp_service.core.events import EpochStarted
from otp_service.store.client import ScriptClient
from otp_service.store.commit_request import COMMIT_LUA, INSPECT_LUA
from otp_service.store.key_names import KeyNames
from otp_service.store.lua_script import LuaScript
from otp_service.store.record_cipher import RecordCipher
from otp_service.store.redis_store import RedisStore
from tests.installation import generate_keys
from tests.store.lua import replace_function


NOW = 1_763_814_000_123
PARTITION = 7


class FrozenStore(RedisStore):
    """The store by a clock that only the test moves, so that a millisecond can be hit."""

    def __init__(self, link: ScriptClient) -> None:
        # A key of its own names buckets that no other example knows.
        keys = generate_keys()
        super().__init__(
            link,
            KeyNames(keys.limit.current),
            RecordCipher(keys, os.urandom),
            epoch_event=EpochStarted(id="epoch"),
            clock_shift_ms=lambda: self.now,
        )
        self.now = NOW
        self._commit_script = freeze_clock(COMMIT_LUA)
        self._inspect_script = freeze_clock(INSPECT_LUA)

    async def decide(self, **fields: Any) -> Any:
        """Commit something."""
        operation = fields.pop("operation", None) or secrets.token_hex(8)
        return await self.commit(Commit(partition=PARTITION, operation_id=operation, **fields))


def freeze_clock(script: str) -> LuaScript:
    """Return a script whose time is the shift of its request."""
    return LuaScript(replace_function(script, "read_clock", "return request.clock_shift_ms"))
