"""A master with replicas behind a Sentinel, and the faults of a test."""

import contextlib
from collections.abc import AsyncIterator

from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.store import redis_servers
from tests.store.redis_servers import SentinelServer


class SentinelLab:
    """Connects to the master, and replaces it."""

    def __init__(
        self, master: EmbeddedServer, replicas: list[EmbeddedServer], sentinel: SentinelServer
    ) -> None:
        self.master = master
        self.servers = [master, *replicas]
        self.sentinel = sentinel

    @contextlib.asynccontextmanager
    async def connect(self, *, replicas: int = 2) -> AsyncIterator[ScriptClient]:
        lines = create_redis_lines(
            sentinel=[f"127.0.0.1:{self.sentinel.port}"], master="otp", timeout_ms=1000
        )
        async with ScriptClient(lines, replicas=replicas, wait_ms=200) as link:
            yield link

    def command_failover(self) -> None:
        """Have Sentinel promote a replica, and return when it names the new master."""
        with redis_servers.open_client(self.sentinel) as client:
            redis_servers.wait_until(
                lambda: redis_servers._start_failover(client, "otp"),
                description="a replica that Sentinel trusts",
            )
        self.wait_for_new_master()

    def wait_for_new_master(self) -> None:
        old = self.master
        redis_servers.wait_until(
            lambda: self.find_master() is not old, description="the new master"
        )
        self.master = self.find_master()

    def find_master(self) -> EmbeddedServer:
        """Return the server that Sentinel names."""
        with redis_servers.open_client(self.sentinel) as client:
            _, port = client.sentinel_get_master_addr_by_name("otp")
        return next(server for server in self.servers if server.port == port)

    def follow_master(self, server: EmbeddedServer) -> None:
        """Make a server a replica of the master, as an operator does instead of waiting."""
        with redis_servers.open_client(server) as client:
            client.replicaof("127.0.0.1", self.master.port)
