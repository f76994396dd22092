"""The storms can fail: each client here is broken on purpose, and the books or the callers show it."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pytest

from otp_service.store.client import ScriptClient
from otp_service.store.commit_request import COMMIT_LUA
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.lua_script import LuaScript
from tests.store import redis_servers
from tests.store.breaking_proxy import Breakage, BreakingProxy
from tests.store.lua import replace_function
from tests.store.storm import Storm


T = TypeVar("T")


class FreshOperations(ScriptClient):
    """Every try is an operation of its own."""

    async def run_script(
        self,
        script: LuaScript,
        keys: Sequence[str],
        arguments: Sequence[bytes],
        *,
        durable: bool = False,
    ) -> Any:
        if ":operation:" in keys[0]:
            keys = [f"{keys[0]}{secrets.token_hex(4)}", *keys[1:]]
        return await super().run_script(script, keys, arguments, durable=durable)


class SingleTries(ScriptClient):
    """A lost reply is not asked for again."""

    async def retry_lost_reply(self, call: Callable[[], Awaitable[T]]) -> T:
        return await call()


class SwappedReplies(ScriptClient):
    """One call gets the reply of the next one."""

    _count = 0
    _waiting: asyncio.Future[Any] | None = None

    async def run_script(
        self,
        script: LuaScript,
        keys: Sequence[str],
        arguments: Sequence[bytes],
        *,
        durable: bool = False,
    ) -> Any:
        number = self._count = self._count + 1
        reply = await super().run_script(script, keys, arguments, durable=durable)
        if self._waiting:
            waiting, self._waiting = self._waiting, None
            waiting.set_result(reply)
        elif number == 100:  # the first ones may ask for an epoch event, which is the same reply
            self._waiting = asyncio.get_running_loop().create_future()
            return await self._waiting
        return reply


class ForgetfulServer(ScriptClient):
    """The script finds no reply of an earlier try."""

    async def run_script(
        self,
        script: LuaScript,
        keys: Sequence[str],
        arguments: Sequence[bytes],
        *,
        durable: bool = False,
    ) -> Any:
        if script.sha == LuaScript(COMMIT_LUA).sha:
            source = replace_function(COMMIT_LUA, "read_previous_reply", "return nil")
            script = LuaScript(source)
        return await super().run_script(script, keys, arguments, durable=durable)


@pytest.mark.parametrize("broken", [FreshOperations, SingleTries, SwappedReplies, ForgetfulServer])
async def test_a_storm_fails_on_a_client_that_is_broken(
    server: EmbeddedServer, broken: type[ScriptClient]
) -> None:
    """A reply is lost that only a commit can have, as nothing else is called."""
    redis_servers.flush_server(server)
    async with BreakingProxy(server, seed=1) as proxy:
        lines = create_redis_lines(url=proxy.url, timeout_ms=5000)
        with pytest.raises(AssertionError):
            await run_storm(broken(lines), server, proxy)
    assert proxy.break_count == 1


async def run_storm(client: ScriptClient, server: EmbeddedServer, proxy: BreakingProxy) -> None:
    async with client:
        storm = Storm(client, [server], callers=30, seed=1)
        proxy.break_at(250, Breakage.LOST_REPLY)
        await storm.run(calls=["charge"] * 10)
    await storm.assert_books_balanced()
