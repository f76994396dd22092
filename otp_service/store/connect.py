"""The lines to one server, to a master behind Sentinel, or to a cluster, from the settings.

Nothing is repeated here: redis-py 8 repeats a command up to ten times on its own, and a script whose
reply was lost would be run twice (R83). redis-py finds masters behind Sentinel and in a cluster, with
its retries off; commands do not go through it.
"""

import ssl
from collections.abc import Sequence
from functools import cache, partial
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Sentinel
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from otp_service.store.client import RedisLines
from otp_service.store.cluster_lines import ClusterLines
from otp_service.store.connector import CLIENT_NAME, Connector, Login, SentinelMaster
from otp_service.store.line import MAX_CALLS_IN_FLIGHT
from otp_service.store.server_checks import Address
from otp_service.store.server_lines import ServerLines


def create_redis_lines(  # noqa: PLR0913  # one for each setting: settings are a layer above
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
    max_calls: int = MAX_CALLS_IN_FLIGHT,
) -> RedisLines:
    """Return the lines for `url`, or `sentinel` and `master`, or `cluster`. They connect later.

    `sentinel` and `cluster` hold "host:port", of which one must answer. `timeout_ms` bounds each
    wait: until a connection is open, and for a reply. It must be longer than WAIT may take.
    `max_calls` may wait for replies on one line. Sentinels get the same TLS, but no credentials: they
    have users of their own. Raises ValueError without a server.
    """
    is_tls = tls or (url or "").startswith("rediss:")
    options = _build_redis_py_options(timeout_ms, tls_ca, is_tls=is_tls)
    create_context = cache(partial(ssl.create_default_context, cafile=tls_ca)) if is_tls else None
    login = Login(username, password)

    def create_server_lines(
        server: Address | str | SentinelMaster, login: Login = login
    ) -> ServerLines:
        connector = Connector(
            server, login=login, create_tls_context=create_context, timeout=timeout_ms / 1000
        )
        return ServerLines(connector, max_calls=max_calls)

    if cluster:
        named = {"username": username, "password": password, "client_name": CLIENT_NAME}
        create_cluster = partial(_create_cluster, options | named)
        nodes = list(map(_parse_host_port, cluster))
        return ClusterLines(nodes, create_cluster, create_server_lines, timeout=timeout_ms / 1000)
    if sentinel and master:
        sentinels = [
            Sentinel([_parse_host_port(one)], sentinel_kwargs=options)  # type: ignore[no-untyped-call]
            for one in sentinel
        ]
        return create_server_lines(SentinelMaster(sentinels, master))
    if url:
        server, database = _parse_url(url)
        return create_server_lines(server, login._replace(database=database))
    raise ValueError("say where Redis is: url, or sentinel and master, or cluster")


def _build_redis_py_options(timeout_ms: int, tls_ca: str | None, *, is_tls: bool) -> dict[str, Any]:
    """Return the options of the clients that ask Sentinels, and the nodes of a cluster."""
    seconds = timeout_ms / 1000
    options: dict[str, Any] = {
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        # None: two commands fewer for each connection, and no library version in Redis's logs.
        "driver_info": None,
    }
    if is_tls:
        options |= {"ssl": True, "ssl_cert_reqs": "required", "ssl_ca_certs": tls_ca}
    return options


def _create_cluster(options: dict[str, Any], nodes: list[ClusterNode]) -> RedisCluster:
    # Half a cluster would refuse half of the numbers and look healthy.
    return RedisCluster(startup_nodes=nodes, require_full_coverage=True, **options)


def _parse_url(url: str) -> tuple[Address | str, int]:
    """Return the address or the path of the socket, and the database."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return unquote(parts.path), 0
    return (parts.hostname or "", parts.port or 6379), int(parts.path.strip("/") or 0)


def _parse_host_port(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
