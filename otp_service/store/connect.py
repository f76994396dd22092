"""The redis-py client for one server, for a master behind Sentinel, or for a cluster.

Retries are off everywhere: redis-py 8 repeats a command up to ten times on its own, and a script
whose reply was lost would be run twice (R83). Waiting is bounded too: for a connection, for its
handshake, and for each answer.
"""

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import ConnectionPool, Redis, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import MaxConnectionsError
from redis.maint_notifications import MaintNotificationsConfig

from otp_service.store.client import RedisClient
from otp_service.store.cluster import ClusterClient


CLIENT_NAME = "otp-service"
"""How CLIENT LIST shows us."""


def create_redis_client(  # noqa: PLR0913  # the settings of Redis, one by one: they are a floor above
    *,
    url: str | None = None,
    sentinel: Sequence[str] = (),
    master: str | None = None,
    cluster: Sequence[str] = (),
    username: str | None = None,
    password: str | None = None,
    tls: bool = False,
    tls_ca: str | None = None,
    timeout_ms: int = 500,
    max_connections: int = 50,
) -> RedisClient:
    """Return a client that has not connected yet, for `url`, or `sentinel` and `master`, or `cluster`.

    `sentinel` and `cluster` hold "host:port", of which one has to answer. `timeout` is in
    milliseconds, for each of: a free connection, the handshake, an answer; it has to be longer
    than WAIT may take. `pool` bounds the connections to each server. Sentinels get the same TLS,
    but no credentials: they have users of their own.
    """
    options = _build_options(timeout_ms) | _build_tls_options(
        tls or (url or "").startswith("rediss:"), tls_ca
    )
    login = {"username": username, "password": password, "client_name": CLIENT_NAME}
    if cluster:
        return _create_cluster_client(cluster, max_connections, options | login)
    if sentinel and master:
        return _create_sentinel_client(sentinel, master, max_connections, options, login)
    if url:
        return _create_single_server_client(url, max_connections, options | login)
    raise ValueError("say where Redis is: url, or sentinel and master, or cluster")


class BoundedConnectionPool(ConnectionPool):
    """At most `max_connections`, for one of which a caller waits at most `timeout` seconds.

    redis-py's BlockingConnectionPool is the same with locks, and with telemetry that nobody reads:
    they take longer than the exchange itself.
    """

    def __init__(self, *args: Any, timeout: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._acquire_timeout = timeout
        self._permits = asyncio.Semaphore(self.max_connections)

    async def get_connection(self, *_: Any, **__: Any) -> AbstractConnection:
        """Return a connection that is open, and on which no answer is left over."""
        if self._permits.locked():
            await self._wait_for_permit()
        else:
            await self._permits.acquire()
        connection: AbstractConnection = self.get_available_connection()  # type: ignore[no-untyped-call]
        try:
            if not connection.is_connected or await connection.can_read():
                await connection.disconnect()
                await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def _wait_for_permit(self) -> None:
        try:
            async with asyncio.timeout(self._acquire_timeout):
                await self._permits.acquire()
        except TimeoutError as error:
            raise MaxConnectionsError from error

    async def release(self, connection: AbstractConnection) -> None:
        """Let others have it, open or not."""
        self._in_use_connections.remove(connection)
        self._available_connections.append(connection)
        self._permits.release()


class BoundedSentinelPool(SentinelConnectionPool, BoundedConnectionPool):
    """Connections to whoever is master now; waits for a free one, and closes its Sentinels."""

    async def aclose(self) -> None:
        """Close all of them."""
        await super().aclose()
        await self.sentinel_manager.aclose()


def _build_options(timeout_ms: int) -> dict[str, Any]:
    seconds = timeout_ms / 1000
    return {
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": _create_retry_policy(),
        # As fast as 3 with hiredis (measured), and nothing is ever pushed to us.
        "protocol": 2,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        # None: two commands fewer for each connection, and no version of ours in Redis's logs.
        "driver_info": None,
    }


def _build_tls_options(tls: bool, ca_file: str | None) -> dict[str, Any]:  # noqa: FBT001
    if not tls:
        return {}
    return {"ssl": True, "ssl_cert_reqs": "required", "ssl_ca_certs": ca_file}


def _create_single_server_client(url: str, max_connections: int, options: dict[str, Any]) -> Redis:
    parts = urlsplit(url)
    secure = options.pop("ssl", False)
    if parts.scheme == "unix":
        where: dict[str, Any] = {"path": unquote(parts.path)}
        kind: type[Any] = UnixDomainSocketConnection
    else:
        where = {"host": parts.hostname, "port": parts.port or 6379}
        where["db"] = int(parts.path.strip("/") or 0)
        kind = SSLConnection if secure else Connection
    return Redis.from_pool(
        BoundedConnectionPool(
            connection_class=kind,
            max_connections=max_connections,
            timeout=options["socket_timeout"],
            **where,
            **options,
        )
    )


def _create_sentinel_client(
    sentinels: Sequence[str],
    master: str,
    max_connections: int,
    options: dict[str, Any],
    login: dict[str, Any],
) -> Redis:
    hosts = [_parse_host_port(one) for one in sentinels]
    manager = Sentinel(hosts, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
    client: Redis = manager.master_for(
        master,
        connection_pool_class=BoundedSentinelPool,
        max_connections=max_connections,
        timeout=options["socket_timeout"],
        **options,
        **login,
    )
    return client


def _create_cluster_client(
    nodes: Sequence[str], max_connections: int, options: dict[str, Any]
) -> ClusterClient:
    return ClusterClient(
        max_in_flight=max_connections,
        acquire_timeout=options["socket_timeout"],
        startup_nodes=[ClusterNode(*_parse_host_port(node)) for node in nodes],
        # Half a cluster would refuse half of the numbers and look healthy.
        require_full_coverage=True,
        **options,
    )


def _parse_host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _create_retry_policy() -> Retry:
    return Retry(NoBackoff(), 0)
