"""The undocumented parts of redis-py that store/redis_internals.py uses."""

import inspect
from typing import Any

import pytest
import redis
from redis.asyncio.cluster import ClusterNode, NodesManager, RedisCluster
from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.exceptions import AskError, MovedError

from otp_service.store.redis_internals import BoundedConnectionPool, BoundedSentinelPool


KNOWN_MAJOR_VERSIONS = (8,)

WHAT_TO_CHECK = """\
redis-py {version} is not one that store/redis_internals.py was written for.
1. Compare redis/asyncio/connection.py with BoundedConnectionPool and execute_pipeline: what do
   get_connection, release, get_available_connection and send_packed_command do that these leave out?
2. Compare redis/asyncio/cluster.py with ClusterClient: ClusterNode.acquire_connection and release,
   NodesManager.initialize and move_slot, and how _execute_command follows MOVED and ASK.
3. Run tests/store/test_lost_replies.py, test_redis_failures.py and test_connect.py: they hold what
   happens after a lost reply, a failover, and a used-up pool.
4. Add the version to KNOWN_MAJOR_VERSIONS, and to the top of store/redis_internals.py."""

POOL = ConnectionPool(host="127.0.0.1")
SENTINEL_POOL = SentinelConnectionPool("master", Sentinel([("127.0.0.1", 26379)]))

ATTRIBUTES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "connection": (
        Connection(),
        ("socket_timeout", "is_connected", "connect", "can_read", "_send_packed_command"),
    ),
    "pool": (
        POOL,
        (
            "_available_connections",
            "_in_use_connections",
            "max_connections",
            "get_available_connection",
            "release",
        ),
    ),
    "Sentinel pool": (SENTINEL_POOL, ("sentinel_manager", "service_name")),
    "Sentinel": (SENTINEL_POOL.sentinel_manager, ("sentinels", "aclose")),
    "cluster": (RedisCluster, ("initialize", "get_node_from_key", "get_node", "get_primaries")),
    "node": (ClusterNode, ("acquire_connection", "release", "disconnect_if_needed")),
    "nodes manager": (
        RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", 7000)]).nodes_manager,
        ("initialize", "move_slot", "aclose", "nodes_cache", "startup_nodes"),
    ),
}

PARAMETERS: list[tuple[Any, str]] = [
    (AbstractConnection.read_response, "timeout"),
    (AbstractConnection.disconnect, "nowait"),
    (NodesManager.initialize, "last_failed_node_name"),
    (NodesManager.aclose, "attr"),
    (RedisCluster.get_node, "node_name"),
]


def test_the_major_version_of_redis_py_is_known():
    """A new one may have changed what is overridden, without an error."""
    version = redis.__version__

    assert int(version.split(".")[0]) in KNOWN_MAJOR_VERSIONS, WHAT_TO_CHECK.format(version=version)


@pytest.mark.parametrize("label", ATTRIBUTES)
def test_each_attribute_that_is_used_is_there(label):
    """A missing one would be found by the first call of production."""
    owner, names = ATTRIBUTES[label]

    missing = [name for name in names if not hasattr(owner, name)]

    assert [] == missing, WHAT_TO_CHECK.format(version=redis.__version__)


@pytest.mark.parametrize(("function", "name"), PARAMETERS, ids=[name for _, name in PARAMETERS])
def test_each_parameter_that_is_used_is_there(function, name):
    """As the attributes."""
    parameters = inspect.signature(function).parameters

    assert name in parameters, WHAT_TO_CHECK.format(version=redis.__version__)


def test_a_moved_slot_is_a_kind_of_redirect():
    """ClusterClient.run_pipeline recognises both by AskError."""
    assert issubclass(MovedError, AskError)


def test_a_pool_behind_sentinel_waits_for_a_free_connection_too():
    """The pool of Sentinel takes its connections from the bounded one."""
    assert BoundedSentinelPool.get_connection is BoundedConnectionPool.get_connection
    assert BoundedSentinelPool.release is BoundedConnectionPool.release
