"""A client that runs each script on a real server and on the model, and compares them."""

import contextlib
from collections.abc import Sequence
from typing import Any, Final

import redis

from otp_service.store.client import ScriptClient
from otp_service.store.commit_request import COMMIT_LUA, INSPECT_LUA
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.lua_script import LuaScript
from tests.simulation.commit_twins.dump import DUMP_LUA, decode_dump, dump_keyspace
from tests.simulation.redis_model.commit_script import (
    ServerInfo,
    run_commit_script,
    run_inspect_script,
)
from tests.simulation.redis_model.keyspace import Hash, Keyspace, SortedSet
from tests.simulation.redis_model.replies import ErrorReply
from tests.store.frozen_store import freeze_clock


_MODELS: Final = {
    LuaScript(COMMIT_LUA).sha: run_commit_script,
    LuaScript(INSPECT_LUA).sha: run_inspect_script,
}

_MOVE_EXPIRIES_LUA: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, key in ipairs(redis.call('KEYS', '*')) do
  local expires_at = redis.call('PEXPIRETIME', key)
  if expires_at > 0 then
    redis.call('PEXPIREAT', key, string.format('%.0f', expires_at - ARGV[1]))
  end
end
return now
"""


class TwinClient(ScriptClient):
    """Runs commits and inspections on both, by the clock of the server.

    `commit_lua` is the script that the server runs instead, for a test that breaks it. Frozen, the
    time of decisions is the shift of the request alone, so that a history can meet a millisecond.
    """

    def __init__(
        self,
        server: EmbeddedServer,
        connection: redis.Redis,
        *,
        commit_lua: str = COMMIT_LUA,
        is_frozen: bool = False,
    ) -> None:
        super().__init__(create_redis_lines(url=server.url, timeout_ms=5000))
        self._connection = connection
        self.is_frozen = is_frozen
        self._shas = {
            LuaScript(original).sha: self._load_script(changed)
            for original, changed in ((COMMIT_LUA, commit_lua), (INSPECT_LUA, INSPECT_LUA))
        }
        self._dump_sha = connection.script_load(DUMP_LUA)
        connection.flushall()
        self._now = _to_milliseconds(connection.time())
        self.keyspace = Keyspace(lambda: self._now)
        self.replies: list[list[Any]] = []
        """Of every commit that ran, in turn."""
        self._server_info = self._read_replication_id()

    def _load_script(self, source: str) -> str:
        script = freeze_clock(source) if self.is_frozen else LuaScript(source)
        return str(self._connection.script_load(script.source))

    async def run_script(
        self,
        script: LuaScript,
        keys: Sequence[str],
        arguments: Sequence[bytes],
        *,
        durable: bool = False,
    ) -> Any:
        """Run a script on both, and compare the replies and then all that is stored."""
        if script.sha not in _MODELS:
            return await super().run_script(script, keys, arguments, durable=durable)
        # One transaction has one clock.
        pipeline = self._connection.pipeline(transaction=True)
        pipeline.time()
        pipeline.evalsha(self._shas[script.sha], len(keys), *keys, *arguments, b"token")
        pipeline.evalsha(self._dump_sha, 0)
        time, found, dump = pipeline.execute(raise_on_error=False)
        self._now = _to_milliseconds(time)
        replies = self._run_model(script.sha, [key.encode() for key in keys], arguments)
        # What a script says about its error is not part of the model.
        assert replies == (None if isinstance(found, redis.ResponseError) else found[1])
        self._compare_dump(dump)
        if replies is None:
            raise found
        self.replies += replies
        return replies

    def _run_model(
        self, sha: str, keys: Sequence[bytes], arguments: Sequence[bytes]
    ) -> list[Any] | None:
        """Return the replies of the model; None if its script ends with an error."""
        info = ServerInfo(0 if self.is_frozen else self._now, self._server_info)
        with contextlib.suppress(ErrorReply):
            return _MODELS[sha](self.keyspace, info, keys, [*arguments, b"token"])
        return None

    def compare_data(self) -> None:
        """Compare all that is stored."""
        self._compare_dump(self._connection.evalsha(self._dump_sha, 0))

    def _compare_dump(self, reply: Sequence[Any]) -> None:
        self._now, found = decode_dump(reply)
        expected = dump_keyspace(self.keyspace)
        for key in expected.keys() | found.keys():
            assert expected.get(key) == found.get(key), key

    def pass_time(self, span_ms: int) -> None:
        """Let keys expire as after a time; a negative one is a clock that was set back."""
        self._now = self._connection.eval(_MOVE_EXPIRIES_LUA, 0, span_ms)
        for key in self.keyspace.list_keys():
            expires_at = self.keyspace.get_expiry(key)
            value = self.keyspace.get(key)
            if not expires_at or value is None:
                continue
            if expires_at - span_ms <= self._now:
                self.keyspace.delete(key)
            else:
                self.keyspace.put(key, value, expires_at - span_ms)

    def restart(self) -> None:
        """Give the server another replication id, as a restart does."""
        # Nothing listens there, and nothing is lost.
        self._connection.replicaof("127.0.0.1", 1)
        self._connection.replicaof("NO", "ONE")
        self._server_info = self._read_replication_id()

    def delete_key(self, key: bytes) -> None:
        self._connection.delete(key)
        self.keyspace.delete(key)

    def set_string(self, key: bytes, value: bytes) -> None:
        self._connection.set(key, value)
        self.keyspace.put(key, value)

    def set_fields(self, key: bytes, fields: dict[bytes, bytes]) -> None:
        """HSET."""
        self._connection.execute_command(
            "HSET", key, *(part for pair in fields.items() for part in pair)
        )
        value = self.keyspace.get(key)
        stored = value.fields if isinstance(value, Hash) else {}
        self.keyspace.replace(key, Hash({**stored, **fields}))

    def add_member(self, key: bytes, member: bytes, score: int) -> None:
        """ZADD."""
        self._connection.zadd(key, {member: score})
        value = self.keyspace.get(key)
        stored = value if isinstance(value, SortedSet) else SortedSet({})
        self.keyspace.replace(key, stored.set(member, score))

    def _read_replication_id(self) -> bytes:
        replication_id = self._connection.info("replication")["master_replid"]
        return str(replication_id).encode()


def _to_milliseconds(time: tuple[int, int]) -> int:
    """Return what TIME replies as milliseconds."""
    return time[0] * 1000 + time[1] // 1000
