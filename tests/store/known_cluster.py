"""The lines to the cluster of `redis_servers.start_cluster`, whose nodes are known from its start.

redis-py takes about 40 ms of computing to look them up, as it fills a table of 16,384 slots. A test
that is about something else needs no look-up; one after a lost connection or a moved slot is real.
"""

from bisect import bisect
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from redis.asyncio.cluster import RedisCluster
from redis.crc import key_slot

from otp_service.store.client import RedisLines
from otp_service.store.cluster_lines import ClusterLines
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.store.redis_servers import SLOT_COUNT, build_connect_options


class KnownNode(NamedTuple):
    """A master, by the attributes that ClusterLines reads."""

    host: str
    port: int | None


class KnownCluster:
    """A cluster's client of redis-py after its look-up, by the methods that ClusterLines calls."""

    def __init__(self, masters: Sequence[EmbeddedServer]) -> None:
        self._nodes = [KnownNode("127.0.0.1", master.port) for master in masters]
        self._first_slots = [SLOT_COUNT * i // len(masters) for i in range(len(masters))]

    def get_node_from_key(self, key: str) -> KnownNode:
        return self._nodes[bisect(self._first_slots, key_slot(key.encode())) - 1]

    def get_primaries(self) -> list[KnownNode]:
        return self._nodes

    get_nodes = get_primaries

    async def aclose(self) -> None:
        """Close nothing: it has no connections."""


def create_known_lines(masters: Sequence[EmbeddedServer], **options: Any) -> RedisLines:
    """Return the lines to one server, or to the masters of a cluster without a first look-up."""
    lines = create_redis_lines(**build_connect_options(masters), **options)
    if isinstance(lines, ClusterLines):
        lines._cluster = cast("RedisCluster", KnownCluster(masters))
    return lines
