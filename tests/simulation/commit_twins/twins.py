"""A client whose scripts run on a real server and on the model, and what a history does to both."""

from collections.abc import Sequence
from typing import Any, Final

from otp_service.store.client import ScriptClient
from otp_service.store.commit_request import COMMIT_LUA, INSPECT_LUA
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.lua_script import LuaScript
from tests.simulation.redis_model.keyspace import Keyspace
from tests.simulation.redis_model.typed_values import read_scores, set_fields
from tests.simulation.stopped_scripts import STOPPED_COMMIT, STOPPED_INSPECT, add_stopped_scripts
from tests.simulation.twin_lines import TwinLines
from tests.store.frozen_store import freeze_clock


COMMIT, INSPECT = LuaScript(COMMIT_LUA), LuaScript(INSPECT_LUA)

_MOVE_EXPIRIES_LUA: Final = """
for _, key in ipairs(redis.call('KEYS', '*')) do
  local expires_at = redis.call('PEXPIRETIME', key)
  if expires_at > 0 then
    redis.call('PEXPIREAT', key, string.format('%.0f', expires_at - ARGV[1]))
  end
end
"""


class TwinClient(ScriptClient):
    """Compares all that is stored after each commit and inspection.

    `commit_lua` is the script that the server runs instead, for a test that breaks it. Frozen, the
    time of decisions is the shift of the request alone, so that a history can meet a millisecond.
    """

    lines: TwinLines  # type: ignore[assignment]  # has what a client uses

    def __init__(
        self, server: EmbeddedServer, *, commit_lua: str = COMMIT_LUA, is_frozen: bool = False
    ) -> None:
        super().__init__(TwinLines(server.socket_path))  # type: ignore[arg-type]  # the same
        self.is_frozen = is_frozen
        self.replies: list[list[Any]] = []
        """Of every commit that ran, in turn."""
        run, commit, inspect = LuaScript(commit_lua), COMMIT, INSPECT
        if is_frozen:
            add_stopped_scripts()
            run, commit, inspect = freeze_clock(commit_lua), STOPPED_COMMIT, STOPPED_INSPECT
        self.lines.replace_script(COMMIT, run, commit)
        self.lines.replace_script(INSPECT, inspect, inspect)

    @property
    def keyspace(self) -> Keyspace:
        """The data of the model."""
        return self.lines.model.keyspace

    async def run_script(
        self,
        script: LuaScript,
        keys: Sequence[str],
        arguments: Sequence[bytes],
        *,
        durable: bool = False,
    ) -> Any:
        """Run a script on both, and compare the replies and then all that is stored."""
        try:
            replies = await super().run_script(script, keys, arguments, durable=durable)
        finally:
            self.compare_data()
        if script.sha in {COMMIT.sha, INSPECT.sha}:
            self.replies += replies
        return replies

    def compare_data(self) -> None:
        """Compare all that is stored."""
        self.lines.compare_data()

    def pass_time(self, span_ms: int) -> None:
        """Let keys expire as after a time; a negative one is a clock that was set back."""
        self.lines.run_real("EVAL", _MOVE_EXPIRIES_LUA, 0, span_ms)
        keyspace, now = self.keyspace, self.keyspace.clock()
        for key in keyspace.list_keys():
            expires_at = keyspace.get_expiry(key)
            value = keyspace.get(key)
            if not expires_at or value is None:
                continue
            if expires_at - span_ms <= now:
                keyspace.delete(key)
            else:
                keyspace.put(key, value, expires_at - span_ms)

    def restart(self) -> None:
        """Give the server another replication id, as a restart does."""
        # Nothing listens there, and nothing is lost.
        self.lines.run_alone("REPLICAOF", "127.0.0.1", 1)
        self.lines.run_alone("REPLICAOF", "NO", "ONE")
        self.lines.copy_identity()

    def delete_key(self, key: bytes) -> None:
        self.lines.run_real("DEL", key)
        self.keyspace.delete(key)

    def set_string(self, key: bytes, value: bytes) -> None:
        self.lines.run_real("SET", key, value)
        self.keyspace.put(key, value)

    def set_fields(self, key: bytes, fields: dict[bytes, bytes]) -> None:
        """HSET."""
        self.lines.run_real("HSET", key, *(part for pair in fields.items() for part in pair))
        set_fields(self.keyspace, key, fields)

    def add_member(self, key: bytes, member: bytes, score: int) -> None:
        """ZADD."""
        self.lines.run_real("ZADD", key, score, member)
        self.keyspace.replace(key, read_scores(self.keyspace, key).set(member, score))
