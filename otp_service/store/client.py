"""Running scripts and commands on one Redis, behind Sentinel, or on a cluster.

ScriptClient repeats only commands that read. A caller that repeats a script, with
`ScriptClient.retry_lost_reply`, does so with the same operation id.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self, TypeVar, cast

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as TimedOut

from otp_service.core.errors import NotReplicated, StoreUnavailable
from otp_service.store.failure_log import FailureLog, is_wrong_server
from otp_service.store.redis_internals import BoundedConnectionPool, ClusterClient, Command
from otp_service.store.server_checks import check_server


MAX_TRIES = 3
"""How often a call is made while its reply is lost; the timeout of the client bounds each try."""

READ_BATCH_KEYS = 1000

ScriptCall = tuple[Sequence[str], Sequence[bytes]]
"""The keys and the arguments of one call of a script."""

T = TypeVar("T")


class LuaScript:
    """A Lua script, and the digest by which Redis knows it."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


RedisClient = Redis | ClusterClient

Master = ClusterNode | None
"""One of the masters of a cluster; None where there is only one server."""


class ScriptClient:
    """Runs scripts on a client that it owns. Raises errors of redis-py and StoreUnavailable.

    For a durable script, WAIT follows on the same connection, for `replicas` replicas and at most
    `wait_ms` milliseconds.
    """

    def __init__(self, redis_client: RedisClient, *, replicas: int = 0, wait_ms: int = 100) -> None:
        self.redis_client = redis_client
        self.replicas = replicas
        self.failure_log = FailureLog()
        if isinstance(redis_client, Redis):
            pool = cast(BoundedConnectionPool, redis_client.connection_pool)
            pool.on_other_server = self._report_server
        self._wait_commands: list[Command] = [("WAIT", replicas, wait_ms)] if replicas else []

    async def run_script(
        self,
        script: LuaScript,
        keys: Sequence[str],
        arguments: Sequence[bytes],
        *,
        durable: bool = False,
    ) -> Any:
        """Run a script by its digest, or by its source if Redis has lost it."""
        wait = self._wait_commands if durable else []
        for command, text in (("EVALSHA", script.sha), ("EVAL", script.source)):
            call: Command = (command, text, len(keys), *keys, *arguments)
            reply, *acknowledged = await self.run_pipeline(keys[0], (call, *wait))
            if not isinstance(reply, NoScriptError):
                break
        for each in (reply, *acknowledged):
            if isinstance(each, Exception):
                raise each
        if wait and acknowledged[0] < self.replicas:
            counts = f"{acknowledged[0]} of {self.replicas} replicas have a change in time"
            raise NotReplicated(reply, cause=counts)
        return reply

    async def run_scripts(self, script: LuaScript, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run a script for each of the calls. Raises the first error.

        This takes one round trip; in a cluster the calls run concurrently.
        """
        if isinstance(self.redis_client, ClusterClient):
            return await asyncio.gather(*(self.run_script(script, *call) for call in calls))
        commands: list[Command] = [
            ("EVALSHA", script.sha, len(keys), *keys, *arguments) for keys, arguments in calls
        ]
        replies = await self.run_pipeline("", commands)
        for i, reply in enumerate(replies):
            if isinstance(reply, NoScriptError):
                replies[i] = await self.run_script(script, *calls[i])
            elif isinstance(reply, Exception):
                raise reply
        return replies

    async def run_pipeline(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """Run commands about one key (or partition) on one connection, in one round trip.

        Errors of Redis are among the replies.
        """
        if isinstance(self.redis_client, ClusterClient):
            return await self.redis_client.run_pipeline(key, commands)
        return await cast(BoundedConnectionPool, self.redis_client.connection_pool).run_pipeline(
            commands
        )

    async def read_many(self, calls: Sequence[tuple[str, Sequence[Command]]]) -> list[list[Any]]:
        """Run commands that only read, each list of them about one key. Raises StoreUnavailable.

        This takes one round trip; in a cluster the lists run concurrently. Lost replies are read
        again.
        """
        if isinstance(self.redis_client, ClusterClient):
            return await asyncio.gather(*(self.repeat_commands(*call) for call in calls))
        joined = [command for _, commands in calls for command in commands]
        replies = iter(await self.repeat_commands("", joined))
        return [[next(replies) for _ in commands] for _, commands in calls]

    async def read_each(self, keys: Sequence[str], command: str, *arguments: str) -> list[Any]:
        """Return the reply to one command for each key. Raises StoreUnavailable.

        One round trip has at most READ_BATCH_KEYS of them.
        """
        replies: list[Any] = []
        for start in range(0, len(keys), READ_BATCH_KEYS):
            batch = keys[start : start + READ_BATCH_KEYS]
            calls = [(key, [(command, key, *arguments)]) for key in batch]
            replies += [reply for (reply,) in await self.read_many(calls)]
        return replies

    async def list_masters(self) -> list[Master]:
        """Return every server that has keys of its own."""
        if not isinstance(self.redis_client, ClusterClient):
            return [None]
        await self.redis_client.initialize()
        return list(self.redis_client.get_primaries())

    async def find_master(self, key: str) -> Master:
        if not isinstance(self.redis_client, ClusterClient):
            return None
        return await self.redis_client.find_master(key)

    async def run_pipeline_on(self, master: Master, commands: Sequence[Command]) -> list[Any]:
        if not isinstance(self.redis_client, ClusterClient):
            return await self.run_pipeline("", commands)
        assert master  # from `list_masters` or `find_master`
        return await self.redis_client.run_pipeline_on_node(master, commands)

    async def read_from(self, master: Master, *command: str | bytes | int) -> Any:
        """Return the reply of a master to a command that only reads. Raises StoreUnavailable."""

        async def read() -> Any:
            (reply,) = _raise_first_error(await self.run_pipeline_on(master, (command,)))
            return reply

        return await self.retry_lost_reply(read)

    async def retry_lost_reply(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return the reply to a call that may be repeated. Raises StoreUnavailable.

        It is also repeated after the answer of a wrong server, whose name is resolved again.
        """
        for tries_left in reversed(range(MAX_TRIES)):
            try:
                return await call()
            except (RedisError, OSError) as error:
                is_lost = isinstance(error, Disconnected | TimedOut | OSError)
                if not tries_left or not (is_lost or is_wrong_server(error)):
                    raise self.failure_log.report(error) from error
            except StoreUnavailable as error:
                if error.cause:
                    self.failure_log.log(f"a call failed: {error.cause}")
                raise
        raise AssertionError("the last try returns or raises")

    async def repeat_commands(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """Run commands about one key that may be repeated. Raises StoreUnavailable."""

        async def run() -> list[Any]:
            return _raise_first_error(await self.run_pipeline(key, commands))

        return await self.retry_lost_reply(run)

    def _report_server(self, info: Mapping[str, str]) -> None:
        """Log what is unsafe about a server that was not used before."""
        for setting, remedy in check_server(info):
            self.failure_log.log(f"the Redis in use is not safe: {setting} {remedy}")

    async def aclose(self) -> None:
        await self.redis_client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()


def _raise_first_error(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
