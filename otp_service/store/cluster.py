"""redis-py's cluster client, with what it lacks: several commands on one connection of a key's
master, and waiting for a free connection where it would refuse at once.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.cluster import get_node_name
from redis.exceptions import AskError, MaxConnectionsError, MovedError, RedisClusterException
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as TimedOut

from otp_service.core.errors import StoreUnavailable
from otp_service.store.pipeline import Command, execute_pipeline


MAX_REDIRECTS = 5
"""How often a command is sent elsewhere because the slot has moved; Redis's own clients use 5."""

SPARE_CONNECTIONS_PER_NODE = 2
"""Connections a node may have beyond the pool's, for asking it about the cluster."""


class ClusterClient(RedisCluster):
    """A cluster; at most `places` commands are in flight, over all of its nodes.

    `patience` is in seconds. MOVED and ASK are followed, for they say that nothing was run. After
    a lost connection the nodes are looked up anew, and the caller decides whether to repeat.
    """

    def __init__(self, *, max_in_flight: int, acquire_timeout: float, **options: Any) -> None:
        super().__init__(max_connections=max_in_flight + SPARE_CONNECTIONS_PER_NODE, **options)
        self._permits = asyncio.Semaphore(max_in_flight)
        self._acquire_timeout = acquire_timeout

    async def initialize(self, *args: Any, **options: Any) -> Self:
        """Look the nodes up, if that is to be done. Raises StoreUnavailable."""
        try:
            await super().initialize(*args, **options)
        except RedisClusterException as error:  # which is no RedisError
            raise StoreUnavailable from error
        return self

    async def aclose(self) -> None:
        """Close every connection; redis-py leaves them while the nodes are to be looked up."""
        await super().aclose()
        for kind in ("nodes_cache", "startup_nodes"):
            await self.nodes_manager.aclose(kind)

    async def run_pipeline(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """Run commands about one key on one connection; errors of Redis are among the answers."""
        async with self._hold_permit():
            await self.initialize()
            node, asking = self._find_master(key), False
            for _ in range(MAX_REDIRECTS):
                answers = await self._run_pipeline_on(node, commands, asking=asking)
                asking = type(answers[0]) is AskError
                if not isinstance(answers[0], AskError):  # the base of MovedError too
                    break
                node = await self._follow_redirect(key, answers[0])
        return answers

    async def find_master(self, key: str) -> ClusterNode:
        """Return the node that a key lives on."""
        await self.initialize()
        return self._find_master(key)

    async def run_pipeline_on_node(
        self, node: ClusterNode, commands: Sequence[Command]
    ) -> list[Any]:
        """Run commands on one node, about whatever it holds."""
        async with self._hold_permit():
            return await self._run_pipeline_on(node, commands, asking=False)

    async def _follow_redirect(self, key: str, answer: AskError) -> ClusterNode:
        if isinstance(answer, MovedError):
            await self.nodes_manager.move_slot(answer)
            return self._find_master(key)
        name = get_node_name(answer.host, answer.port)
        return self.get_node(node_name=name) or self._find_master(key)

    def _find_master(self, key: str) -> ClusterNode:
        try:
            node = self.get_node_from_key(key)
        except RedisClusterException as error:
            raise StoreUnavailable from error
        assert node  # only a replica may be missing
        return node

    async def _run_pipeline_on(
        self, node: ClusterNode, commands: Sequence[Command], *, asking: bool
    ) -> list[Any]:
        # ASKING holds for the next command only, which is the one that touches the key.
        ahead: tuple[Command, ...] = (("ASKING",),) if asking else ()
        connection = node.acquire_connection()
        try:
            await node.disconnect_if_needed(connection)
            answers = await execute_pipeline(connection, (*ahead, *commands))
        except (Disconnected, TimedOut):
            with suppress(Disconnected, TimedOut, RedisClusterException):
                await self.nodes_manager.initialize(last_failed_node_name=node.name)
            raise
        finally:
            node.release(connection)
        return answers[len(ahead) :]

    @asynccontextmanager
    async def _hold_permit(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._acquire_timeout):
                await self._permits.acquire()
        except TimeoutError as error:
            raise MaxConnectionsError from error
        try:
            yield
        finally:
            self._permits.release()
