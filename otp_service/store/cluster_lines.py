"""The lines of a worker to a cluster: two for each master that it has used.

redis-py finds the nodes and their slots. They are looked up again after a lost connection, and after a
reply that shows that the master of a key has changed.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.exceptions import AskError, MovedError, RedisClusterException
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as TimedOut

from otp_service.core.errors import StoreUnavailable
from otp_service.store.current_server import RESOLVE_INTERVAL_SECONDS, shows_wrong_server
from otp_service.store.failure_log import describe_error
from otp_service.store.line import Command, Request
from otp_service.store.server_checks import Address
from otp_service.store.server_lines import ServerLines


MAX_REDIRECTS = 5
"""How often a command follows a moved slot, as in Redis's own clients."""

ASKING_REQUEST = Request(("ASKING",))
"""It applies to the next command only, which is the one that touches the key."""


class ClusterLines:
    """Sends each call to the master of its key. MOVED and ASK report that nothing was run.

    `create_cluster` returns a client of redis-py that starts from these nodes, which is used for
    the topology alone. `create_lines` returns the lines to one master.
    """

    sentinel = None

    def __init__(
        self,
        startup_nodes: Sequence[Address],
        create_cluster: Callable[[list[ClusterNode]], RedisCluster],
        create_lines: Callable[[Address], ServerLines],
        *,
        timeout: float,
    ) -> None:
        self.timeout = timeout
        self._startup_nodes = startup_nodes
        self._create_cluster = create_cluster
        self._create_lines = create_lines
        self._cluster: RedisCluster | None = None
        self._lines: dict[Address, ServerLines] = {}
        self._lookup: asyncio.Task[None] | None = None
        self._looked_up_at = -RESOLVE_INTERVAL_SECONDS

    async def run(
        self, key: str, requests: Sequence[Request], wait: Command | None = None
    ) -> list[Any]:
        """Return the replies of the master of a key; see `ServerLines.run`."""
        address, sent = await self.find_master(key), list(requests)
        for _ in range(MAX_REDIRECTS):
            replies = await self.run_on(address, sent, wait)
            del replies[: len(sent) - len(requests)]
            redirect = replies[0]
            if not isinstance(redirect, AskError):  # the base of MovedError too
                break
            address = (redirect.host or address[0], redirect.port)
            sent = (
                list(requests) if isinstance(redirect, MovedError) else [ASKING_REQUEST, *requests]
            )
        return replies

    async def run_on(
        self, address: Address, requests: Sequence[Request], wait: Command | None = None
    ) -> list[Any]:
        """Return the replies of one master; see `ServerLines.run`."""
        lines = self._lines.get(address)
        if lines is None:
            lines = self._lines[address] = self._create_lines(address)
        try:
            replies = await lines.run("", requests, wait)
        except (Disconnected, TimedOut):
            await self._find_nodes_again(failed=address)
            raise
        sent = [*requests, Request(wait)] if wait else requests
        if shows_wrong_server(sent, replies):
            await self._find_nodes_again()
        return replies

    async def find_master(self, key: str) -> Address:
        """Return the address of the master of a key. Raises StoreUnavailable."""
        cluster = await self._get_cluster()
        try:
            node = cluster.get_node_from_key(key)
        except RedisClusterException as error:  # not a RedisError
            raise StoreUnavailable(cause=describe_error(error)) from error
        assert node  # only a replica may be missing
        return _get_address(node)

    async def list_masters(self) -> list[Address]:
        cluster = await self._get_cluster()
        return [_get_address(node) for node in cluster.get_primaries()]

    async def aclose(self) -> None:
        if self._lookup:
            self._lookup.cancel()
            await asyncio.wait([self._lookup])
        for lines in self._lines.values():
            await lines.aclose()
        if self._cluster:
            await self._cluster.aclose()

    async def _get_cluster(self) -> RedisCluster:
        """Return a client that knows the nodes. Raises StoreUnavailable."""
        if self._cluster is None:
            try:
                await self._join_lookup(self._startup_nodes)
            except RedisClusterException as error:
                raise StoreUnavailable(cause=describe_error(error)) from error
        assert self._cluster
        return self._cluster

    async def _find_nodes_again(self, *, failed: Address | None = None) -> None:
        """Look up the nodes, unless that was done a moment ago; keep what is known if none answers."""
        now = asyncio.get_running_loop().time()
        if not self._lookup and now - self._looked_up_at < RESOLVE_INTERVAL_SECONDS:
            return
        self._looked_up_at = now
        nodes: list[ClusterNode] = self._cluster.get_nodes() if self._cluster else []
        known: set[Address] = {*self._startup_nodes, *map(_get_address, nodes)}
        try:
            await self._join_lookup(known - {failed} or known)
        except (Disconnected, TimedOut, RedisClusterException):
            return

    async def _join_lookup(self, addresses: Iterable[Address]) -> None:
        """Look up the nodes, once for all calls that need them now."""
        if self._lookup is None:
            lookup = asyncio.get_running_loop().create_task(self._look_up_nodes(addresses))
            lookup.add_done_callback(self._finish_lookup)
            self._lookup = lookup
        lookup = self._lookup
        await asyncio.wait([lookup])  # asyncio.shield would log what a lookup raises (3.14)
        lookup.result()

    def _finish_lookup(self, lookup: asyncio.Task[None]) -> None:
        self._lookup = None
        if not lookup.cancelled():
            lookup.exception()  # each call that waits for it raises it, if there still is one

    async def _look_up_nodes(self, addresses: Iterable[Address]) -> None:
        cluster = self._create_cluster([ClusterNode(*address) for address in addresses])
        try:
            await cluster.initialize()
        except BaseException:
            await cluster.aclose()
            raise
        former, self._cluster = self._cluster, cluster
        masters = {_get_address(node) for node in cluster.get_primaries()}
        for address in self._lines.keys() - masters:
            self._lines.pop(address).retire()
        if former:
            await former.aclose()


def _get_address(node: ClusterNode) -> Address:
    return node.host, int(node.port)
