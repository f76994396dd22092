"""Two workers with one Redis, by a clock that only the test moves, so that a millisecond is hit."""

import msgspec

from otp_service.core.limits import LimitTable
from otp_service.store.client import ScriptClient
from otp_service.store.commit_request import COMMIT_LUA, INSPECT_LUA, read_lua
from otp_service.store.lua_script import LuaScript
from otp_service.store.redis_store import RedisStore
from tests.installation import Installation
from tests.store.lua import replace_function


NOW = 1_763_814_000_123

# What a request adds to the clock of Redis is the time of the test.
COMMIT_SCRIPT, INSPECT_SCRIPT = (
    LuaScript(replace_function(script, "read_clock", "return request.clock_shift_ms"))
    for script in (COMMIT_LUA, INSPECT_LUA)
)
FETCH_SCRIPT = LuaScript(
    read_lua("fetch").replace("time[1] * 1000 + math.floor(time[2] / 1000) + ", "")
)


def freeze_clock(store: RedisStore) -> None:
    """Let the time of a store be what its requests add to the clock."""
    store._commit_script, store._inspect_script = COMMIT_SCRIPT, INSPECT_SCRIPT
    store._fetch_script = FETCH_SCRIPT


class FrozenWorkers:
    """Each worker has what it remembers for itself; the keys and Redis are the same."""

    def __init__(self, client: ScriptClient, limits: LimitTable) -> None:
        first = Installation(client)
        self.workers = [first, Installation(client, keys=first.keys)]
        for worker in self.workers:
            shop = worker.tenants["shop"]
            worker.tenants["shop"] = msgspec.structs.replace(shop, limits=limits)
            freeze_clock(worker.store)
        self.now = NOW
        self.wait(0)

    def wait(self, milliseconds: int) -> None:
        self.now += milliseconds
        for worker in self.workers:
            worker.clock_shift_ms = self.now

    async def empty_redis(self) -> None:
        """Delete everything, as a restart without the data."""
        self.wait(1)
        client = self.workers[0].script_client
        for master in await client.list_masters():
            await client.read_from(master, "FLUSHALL")
