"""The scripts that the service runs, by the digest and the source with which it names them."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from otp_service.store.commit_request import COMMIT_LUA, INSPECT_LUA, read_lua
from otp_service.store.health import READY_SCRIPT
from otp_service.store.lua_script import LuaScript
from tests.simulation.redis_model.commit_script import (
    ServerInfo,
    run_commit_script,
    run_inspect_script,
)
from tests.simulation.redis_model.keyspace import Keyspace
from tests.simulation.redis_model.scripts import SMALL_SCRIPTS, Script, run_ready_script


ModeledScript = Callable[[Keyspace, ServerInfo, Sequence[bytes], Sequence[bytes]], Any]
"""A script by its keyspace, what it asks of the server, KEYS and ARGV."""


class KnownScript(NamedTuple):
    """A script that the model has."""

    sha: bytes
    run: ModeledScript
    is_write: bool
    """Whether it may write: it has no flag `no-writes`."""


class ScriptTable:
    """All scripts that the model has."""

    def __init__(self) -> None:
        self.by_sha: dict[bytes, KnownScript] = {}
        self._by_source: dict[bytes, KnownScript] = {}
        self.add(LuaScript(COMMIT_LUA), run_commit_script)
        self.add(LuaScript(INSPECT_LUA), run_inspect_script)
        self.add(READY_SCRIPT, _ignore_info(run_ready_script))
        for name, run in SMALL_SCRIPTS.items():
            self.add(LuaScript(read_lua(name)), _ignore_info(run))

    def find_source(self, source: bytes) -> KnownScript | None:
        """Return the script with this source, or None for another one."""
        return self._by_source.get(source)

    def add(self, script: LuaScript, run: ModeledScript) -> None:
        """Let the servers of this process know one more script."""
        source = script.source.encode()
        is_write = re.match(rb"#![^\n]*no-writes", source) is None
        known = KnownScript(script.sha.encode(), run, is_write)
        self.by_sha[known.sha] = self._by_source[source] = known


@cache
def load_script_table() -> ScriptTable:
    """Return the table, which is made once in a process."""
    return ScriptTable()


def _ignore_info(run: Script) -> ModeledScript:
    def run_without_info(
        keyspace: Keyspace, _: ServerInfo, keys: Sequence[bytes], arguments: Sequence[bytes]
    ) -> Any:
        return run(keyspace, keys, arguments)

    return run_without_info
