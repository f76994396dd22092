"""The redis-py client for one server, for a master behind Sentinel, or for a cluster.

Retries are off everywhere: redis-py 8 repeats a command up to ten times on its own, and a script
whose reply was lost would be run twice (R83). Each wait is bounded too: for a connection, for its
handshake, and for each reply.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from otp_service.store.client import RedisClient
from otp_service.store.redis_internals import (
    BoundedConnectionPool,
    BoundedSentinelPool,
    ClusterClient,
)


CLIENT_NAME = "otp-service"
"""The name that CLIENT LIST shows."""


def create_redis_client(  # noqa: PLR0913  # one for each setting: settings are a layer above
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
    """Return a client for `url`, or `sentinel` and `master`, or `cluster`. It connects later.

    `sentinel` and `cluster` hold "host:port", of which one must answer. `timeout_ms` bounds each
    wait: for a free connection, for the handshake, for a reply. It must be longer than WAIT may
    take. `max_connections` bounds the connections to each server. Sentinels get the same TLS, but
    no credentials: they have users of their own. Raises ValueError without a server.
    """
    options = _build_options(timeout_ms)
    if tls or (url or "").startswith("rediss:"):
        options |= {"ssl": True, "ssl_cert_reqs": "required", "ssl_ca_certs": tls_ca}
    login = {"username": username, "password": password, "client_name": CLIENT_NAME}
    if cluster:
        return _create_cluster_client(cluster, max_connections, options | login)
    if sentinel and master:
        return _create_sentinel_client(sentinel, master, max_connections, options, login)
    if url:
        return _create_single_server_client(url, max_connections, options | login)
    raise ValueError("say where Redis is: url, or sentinel and master, or cluster")


def _build_options(timeout_ms: int) -> dict[str, Any]:
    seconds = timeout_ms / 1000
    return {
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
        # As fast as 3 with hiredis (measured), and Redis never pushes messages to the service.
        "protocol": 2,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        # None: two commands fewer for each connection, and no library version in Redis's logs.
        "driver_info": None,
    }


def _create_single_server_client(url: str, max_connections: int, options: dict[str, Any]) -> Redis:
    parts = urlsplit(url)
    is_tls = options.pop("ssl", False)
    if parts.scheme == "unix":
        address: dict[str, Any] = {"path": unquote(parts.path)}
        connection_class: type[Any] = UnixDomainSocketConnection
    else:
        address = {"host": parts.hostname, "port": parts.port or 6379}
        address["db"] = int(parts.path.strip("/") or 0)
        connection_class = SSLConnection if is_tls else Connection
    return Redis.from_pool(
        BoundedConnectionPool(
            connection_class=connection_class,
            max_connections=max_connections,
            timeout=options["socket_timeout"],
            **address,
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
    addresses = [_parse_host_port(sentinel) for sentinel in sentinels]
    manager = Sentinel(addresses, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
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
