"""Every use of an undocumented or overridden part of redis-py; no other module has one.

Written for redis-py 8.0 and 8.1. `tests/store/test_redis_internals.py` fails on another major
version and where a part is missing, and lists what to compare. Public clients do not suffice:

- their pools take longer than the exchange itself, with locks and telemetry;
- their pipelines cannot send commands that must share a connection, such as a script and WAIT, to
  the master of a key in a cluster;
- their cluster client refuses at once where no connection is free, instead of waiting.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

from hiredis import pack_command
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.cluster import get_node_name
from redis.exceptions import (
    AskError,
    MaxConnectionsError,
    MovedError,
    RedisClusterException,
    ResponseError,
)
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as TimedOut

from otp_service.core.errors import StoreUnavailable
from otp_service.store.current_server import (
    RESOLVE_INTERVAL_SECONDS,
    CurrentServer,
    find_run_id,
    shows_wrong_server,
)
from otp_service.store.failure_log import describe_error
from otp_service.store.server_checks import INFO_SECTIONS, parse_info


MAX_REDIRECTS = 5
"""How often a command follows a moved slot, as in Redis's own clients."""

SPARE_CONNECTIONS_PER_NODE = 2
"""Connections of a node beyond `max_in_flight`, for questions about the cluster."""

Command = tuple[str | bytes | int, ...]

INFO_COMMANDS: tuple[Command, ...] = tuple(("INFO", section) for section in INFO_SECTIONS)


async def execute_pipeline(
    connection: AbstractConnection, commands: Sequence[Command]
) -> list[Any]:
    """Return the replies to commands sent in one write; errors of Redis are among them.

    Everything takes at most the `socket_timeout` of the connection. Raises ConnectionError and
    TimeoutError of redis-py; it is then unknown which commands were run. After these errors and
    after a cancellation the connection is closed, so that no other call reads the late replies
    (CVE-2023-28858).
    """
    # hiredis packs in C what redis-py packs in Python.
    packed = [pack_command(command) for command in commands]  # type: ignore[arg-type]
    try:
        # One timeout around everything: those of redis-py are a task for each write and a timer
        # for each reply, which take longer than the exchange itself.
        async with asyncio.timeout(connection.socket_timeout):
            if not connection.is_connected:
                await connection.connect()  # type: ignore[no-untyped-call]
            await connection._send_packed_command(packed)  # noqa: SLF001  # send_ adds the task
            return [await _read_reply(connection) for _ in commands]
    except BaseException as error:
        await connection.disconnect(nowait=True)
        if isinstance(error, TimeoutError):
            raise TimedOut("Redis has not answered in time") from error
        if isinstance(error, OSError):
            raise Disconnected("the connection to Redis was lost") from error
        raise


async def _read_reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(timeout=math.inf)
    except ResponseError as error:
        return error


async def _acquire_permit(permits: asyncio.Semaphore, timeout: float) -> None:  # noqa: ASYNC109
    """Acquire a permit within `timeout` seconds. Raises MaxConnectionsError."""
    if not permits.locked():  # without the timer
        await permits.acquire()
        return
    try:
        async with asyncio.timeout(timeout):
            await permits.acquire()
    except TimeoutError as error:
        raise MaxConnectionsError from error


class BoundedConnectionPool(ConnectionPool):
    """At most `max_connections`; a caller waits at most `timeout` seconds for a free one.

    BlockingConnectionPool of redis-py does the same, with locks and telemetry.
    """

    def __init__(self, *args: Any, timeout: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._acquire_timeout = timeout
        self._permits = asyncio.Semaphore(self.max_connections)
        self._server = CurrentServer(time.monotonic)
        self.on_other_server: Callable[[Mapping[str, str]], None] = lambda _: None
        """Called with the INFO of a server that a connection reaches for the first time."""

    async def get_connection(self, *_: Any, **__: Any) -> AbstractConnection:
        """Return a connection that is open and has no reply left to read."""
        await _acquire_permit(self._permits, self._acquire_timeout)
        connection: AbstractConnection = self.get_available_connection()  # type: ignore[no-untyped-call]
        try:
            is_usable = connection.is_connected and not self._server.is_outdated(connection)
            if not is_usable or await connection.can_read():
                await connection.disconnect()
                await self._open(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        if self._server.is_outdated(connection):
            await connection.disconnect(nowait=True)
        self._in_use_connections.remove(connection)
        self._available_connections.append(connection)
        self._permits.release()

    async def run_pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands on one connection; errors of Redis are among the replies.

        Where one says that the server may be the wrong one, every connection is opened again at its
        next use, so that the name is resolved, or Sentinel asked, again.
        """
        connection = await self.get_connection()
        try:
            replies = await execute_pipeline(connection, commands)
            if shows_wrong_server(commands, replies):
                self._server.leave(connection)
            return replies
        finally:
            await self.release(connection)

    async def _open(self, connection: AbstractConnection) -> None:
        """Connect, and note which server it is, which closes connections to another one."""
        await connection.connect()  # type: ignore[no-untyped-call]
        replies = await execute_pipeline(connection, INFO_COMMANDS)
        is_other = self._server.add_connection(connection, find_run_id(replies[0]))
        if is_other and not any(isinstance(reply, Exception) for reply in replies):
            self.on_other_server(parse_info(b"".join(replies)))


class BoundedSentinelPool(SentinelConnectionPool, BoundedConnectionPool):
    """Connections to the current master. It closes its Sentinels with itself."""

    async def aclose(self) -> None:
        """Close every connection, also those to Sentinels."""
        await super().aclose()
        await self.sentinel_manager.aclose()


def get_sentinel_pool(client: Redis | RedisCluster) -> SentinelConnectionPool | None:
    """Return the pool of a client behind Sentinel, and None for other clients."""
    pool = client.connection_pool if isinstance(client, Redis) else None
    return pool if isinstance(pool, SentinelConnectionPool) else None


class ClusterClient(RedisCluster):
    """A cluster with at most `max_in_flight` calls at once, over all of its nodes.

    A call waits at most `acquire_timeout` seconds for its turn. MOVED and ASK are followed, because
    they report that nothing was run. After a lost connection the client looks up the nodes again,
    and the caller decides whether to repeat the call.
    """

    def __init__(self, *, max_in_flight: int, acquire_timeout: float, **options: Any) -> None:
        super().__init__(max_connections=max_in_flight + SPARE_CONNECTIONS_PER_NODE, **options)
        self._permits = asyncio.Semaphore(max_in_flight)
        self._acquire_timeout = acquire_timeout
        self._found_nodes_at = -RESOLVE_INTERVAL_SECONDS

    async def initialize(self, *args: Any, **options: Any) -> Self:
        """Look up the nodes, unless they are known. Raises StoreUnavailable."""
        try:
            await super().initialize(*args, **options)
        except RedisClusterException as error:  # not a RedisError
            raise StoreUnavailable(cause=describe_error(error)) from error
        return self

    async def aclose(self) -> None:
        """Close every connection; redis-py leaves them open until it knows the nodes."""
        await super().aclose()
        for cache in ("nodes_cache", "startup_nodes"):
            await self.nodes_manager.aclose(cache)

    async def run_pipeline(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """Run commands on one connection to the master of a key; errors are among the replies."""
        async with self._hold_permit():
            node, is_asking = await self.find_master(key), False
            for _ in range(MAX_REDIRECTS):
                replies = await self._run_pipeline_on(node, commands, is_asking=is_asking)
                if not isinstance(replies[0], AskError):  # the base of MovedError too
                    break
                is_asking = not isinstance(replies[0], MovedError)
                node = await self._follow_redirect(key, replies[0])
        return replies

    async def run_pipeline_on_node(
        self, node: ClusterNode, commands: Sequence[Command]
    ) -> list[Any]:
        """Run commands on one connection to this node."""
        async with self._hold_permit():
            return await self._run_pipeline_on(node, commands, is_asking=False)

    async def find_master(self, key: str) -> ClusterNode:
        await self.initialize()
        try:
            node = self.get_node_from_key(key)
        except RedisClusterException as error:
            raise StoreUnavailable(cause=describe_error(error)) from error
        assert node  # only a replica may be missing
        return node

    async def _follow_redirect(self, key: str, redirect: AskError) -> ClusterNode:
        if isinstance(redirect, MovedError):
            await self.nodes_manager.move_slot(redirect)
            return await self.find_master(key)
        name = get_node_name(redirect.host, redirect.port)
        return self.get_node(node_name=name) or await self.find_master(key)

    async def _run_pipeline_on(
        self, node: ClusterNode, commands: Sequence[Command], *, is_asking: bool
    ) -> list[Any]:
        # ASKING applies to the next command only, which is the one that touches the key.
        prefix: tuple[Command, ...] = (("ASKING",),) if is_asking else ()
        connection = node.acquire_connection()
        try:
            await node.disconnect_if_needed(connection)
            replies = await execute_pipeline(connection, (*prefix, *commands))
            del replies[: len(prefix)]
            # MOVED and ASK are followed by the caller.
            if not isinstance(replies[0], AskError) and shows_wrong_server(commands, replies):
                await connection.disconnect(nowait=True)
                await self._find_nodes_again(node)
        except (Disconnected, TimedOut):
            await self._find_nodes_again(node)
            raise
        finally:
            node.release(connection)
        return replies

    async def _find_nodes_again(self, failed: ClusterNode) -> None:
        """Look up the nodes, unless that was done a moment ago."""
        now = time.monotonic()
        if now - self._found_nodes_at < RESOLVE_INTERVAL_SECONDS:
            return
        self._found_nodes_at = now
        with suppress(Disconnected, TimedOut, RedisClusterException):
            await self.nodes_manager.initialize(last_failed_node_name=failed.name)

    @asynccontextmanager
    async def _hold_permit(self) -> AsyncIterator[None]:
        await _acquire_permit(self._permits, self._acquire_timeout)
        try:
            yield
        finally:
            self._permits.release()
