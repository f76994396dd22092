"""One way to run a script, on one Redis, behind Sentinel, or on a cluster.

No command is blindly repeated: a caller who repeats a script does so with the same operation id.
`replicas` makes WAIT follow on the same connection.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Self

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import NoScriptError

from otp_service.core.errors import StoreUnavailable
from otp_service.store.cluster import ClusterClient
from otp_service.store.pipeline import Command, execute_pipeline, retry_lost_reply


class LuaScript:
    """A Lua script and the name that Redis knows it by."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


RedisClient = Redis | ClusterClient

Master = ClusterNode | None
"""One of a cluster's masters; None where there is only one server."""


class ScriptClient:
    """Runs scripts on a client that it owns; `wait` is in milliseconds.

    Raises redis-py's errors, and StoreUnavailable where replicas or a whole cluster are away.
    """

    def __init__(self, redis_client: RedisClient, *, replicas: int = 0, wait_ms: int = 100) -> None:
        self.redis_client = redis_client
        self.replicas = replicas
        self._wait_commands: tuple[Command, ...] = (
            (("WAIT", replicas, wait_ms),) if replicas else ()
        )

    async def run_script(
        self,
        script: LuaScript,
        keys: Sequence[str],
        arguments: Sequence[bytes],
        *,
        durable: bool = False,
    ) -> Any:
        """Run the script by its name, and by its text where Redis has lost it."""
        wait = self._wait_commands if durable else ()
        for command, text in (("EVALSHA", script.sha), ("EVAL", script.source)):
            call: Command = (command, text, len(keys), *keys, *arguments)
            answer, *acknowledged = await self.run_pipeline(keys[0], (call, *wait))
            if not isinstance(answer, NoScriptError):
                break
        for reply in (answer, *acknowledged):
            if isinstance(reply, Exception):
                raise reply
        if wait and acknowledged[0] < self.replicas:
            raise StoreUnavailable("Too few replicas have the change. Try again.")
        return answer

    async def run_scripts(
        self, script: LuaScript, calls: Sequence[tuple[Sequence[str], Sequence[bytes]]]
    ) -> list[Any]:
        """Run the script for each of these keys and arguments, wherever the keys are.

        In one round trip; in a cluster side by side. The first error is raised.
        """
        if isinstance(self.redis_client, ClusterClient):
            return await asyncio.gather(*(self.run_script(script, *call) for call in calls))
        commands: list[Command] = [
            ("EVALSHA", script.sha, len(keys), *keys, *arguments) for keys, arguments in calls
        ]
        answers = await self.run_pipeline("", commands)
        for i, answer in enumerate(answers):
            if isinstance(answer, NoScriptError):
                answers[i] = await self.run_script(script, *calls[i])
            elif isinstance(answer, Exception):
                raise answer
        return answers

    async def run_pipeline(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """Run commands about one key (or partition) on one connection, in one round trip.

        Redis's errors are among the answers.
        """
        if isinstance(self.redis_client, ClusterClient):
            return await self.redis_client.run_pipeline(key, commands)
        return await self._run_pipeline_on_pool(commands)

    async def read_many(self, calls: Sequence[tuple[str, Sequence[Command]]]) -> list[list[Any]]:
        """Run commands that only read, about many keys: one round trip, in a cluster side by side.

        They are made again where an answer was lost. Raises StoreUnavailable.
        """
        if isinstance(self.redis_client, ClusterClient):
            return await asyncio.gather(*(self._read_with_retry(*call) for call in calls))
        together = [command for _, commands in calls for command in commands]
        answers = iter(await self._read_with_retry("", together))
        return [[next(answers) for _ in commands] for _, commands in calls]

    async def list_masters(self) -> list[Master]:
        """Return every server that holds keys of its own."""
        if not isinstance(self.redis_client, ClusterClient):
            return [None]
        await self.redis_client.initialize()
        return list(self.redis_client.get_primaries())

    async def find_master(self, key: str) -> Master:
        """Return the server that holds this key."""
        return (
            await self.redis_client.find_master(key)
            if isinstance(self.redis_client, ClusterClient)
            else None
        )

    async def run_pipeline_on(self, master: Master, commands: Sequence[Command]) -> list[Any]:
        """Run commands on one of `masters()`."""
        if isinstance(self.redis_client, ClusterClient) and master:
            return await self.redis_client.run_pipeline_on_node(master, commands)
        return await self._run_pipeline_on_pool(commands)

    async def read_from(self, master: Master, *command: str | bytes | int) -> Any:
        """Return what one command that only reads answers there. Raises StoreUnavailable."""
        (answer,) = await retry_lost_reply(lambda: self.run_pipeline_on(master, (command,)))
        if isinstance(answer, Exception):
            raise StoreUnavailable from answer
        return answer

    async def aclose(self) -> None:
        """Close every connection."""
        await self.redis_client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def _read_with_retry(self, key: str, commands: Sequence[Command]) -> list[Any]:
        answers = await retry_lost_reply(lambda: self.run_pipeline(key, commands))
        for answer in answers:
            if isinstance(answer, Exception):
                raise StoreUnavailable from answer
        return answers

    async def _run_pipeline_on_pool(self, commands: Sequence[Command]) -> list[Any]:
        assert isinstance(self.redis_client, Redis)  # the callers have looked
        pool = self.redis_client.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            return await execute_pipeline(connection, commands)
        finally:
            await pool.release(connection)
