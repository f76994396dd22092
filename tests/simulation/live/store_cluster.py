"""A cluster of three masters with a replica each."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import redis

from tests.simulation.history import FaultKind
from tests.simulation.live.real_time import read_ms, wait_for
from tests.simulation.live.store_server import StoreServer
from tests.simulation.live.store_sites import (
    DOWN_AFTER_MS,
    MAX_ABSENCE_SECONDS,
    MAX_SHORT_PAUSE_SECONDS,
    RECOVERY_TIMEOUT_SECONDS,
    UNKNOWN_LOST_WRITES,
    FaultLog,
    StoreFault,
    StoreSite,
    add_outage,
    wait_until_whole,
)
from tests.simulation.world.ports import Chance
from tests.store.redis_servers import SLOT_COUNT, find_free_port


MASTER_COUNT: Final = 3
SERVER_COUNT: Final = 2 * MASTER_COUNT


class ClusterSite:
    """Three masters and a replica of each. `WAIT` counts the replica.

    A fault concerns the partitions of one master alone, and which call needs them is not known. So no
    inner span is recorded: whether something was compared while they took no write is not judged.
    """

    required_replicas = 1

    def __init__(self, servers: Sequence[StoreServer]) -> None:
        self.servers = servers
        addresses = ", ".join(f'"127.0.0.1:{server.proxy.port}"' for server in servers)
        self.config_lines = f"cluster = [{addresses}]"

    @property
    def faults(self) -> Sequence[StoreFault]:
        return (self.kill_master, self.pause_master, self.pause_shortly, self.kill_replica)

    async def list_masters(self) -> list[StoreServer]:
        return await _list_masters(self.servers)

    async def is_whole(self) -> bool:
        masters = await self.list_masters()
        has_replicas = [await master.has_replicas(self.required_replicas) for master in masters]
        return (
            len(masters) == MASTER_COUNT and all(has_replicas) and await _are_all_up(self.servers)
        )

    async def kill_master(self, chance: Chance, log: FaultLog) -> None:
        """End a master by SIGKILL; after the failover it comes back as a replica."""
        await self._replace_master(chance, log, is_killed=True)

    async def pause_master(self, chance: Chance, log: FaultLog) -> None:
        """Stop a master until its replica has taken its place. It wakes up as a second master."""
        await self._replace_master(chance, log, is_killed=False)

    async def _replace_master(self, chance: Chance, log: FaultLog, *, is_killed: bool) -> None:
        masters = await self.list_masters()
        old = chance.pick(masters)
        started_at = read_ms()
        (old.kill if is_killed else old.pause)()
        others = [server for server in self.servers if server not in masters]
        await wait_for(partial(_list_masters, others), RECOVERY_TIMEOUT_SECONDS)
        new, *_ = await _list_masters(others)
        if is_killed:
            await old.start_again()
        else:
            old.resume()
        await wait_until_whole(self)
        span = (started_at, read_ms())
        log.add(FaultKind.STORE_FAILOVER, span, new.name, lost_writes=UNKNOWN_LOST_WRITES)
        add_outage(log, old.name, started_at)

    async def pause_shortly(self, chance: Chance, log: FaultLog) -> None:
        """Stop a server so shortly that nothing takes its place."""
        server = chance.pick(self.servers)
        started_at = read_ms()
        server.pause()
        await asyncio.sleep(MAX_SHORT_PAUSE_SECONDS * chance.draw_fraction())
        server.resume()
        await wait_until_whole(self)
        add_outage(log, server.name, started_at)

    async def kill_replica(self, chance: Chance, log: FaultLog) -> None:
        """End a replica by SIGKILL, and start it again."""
        masters = await self.list_masters()
        replica = chance.pick([server for server in self.servers if server not in masters])
        started_at = read_ms()
        replica.kill()
        await asyncio.sleep(MAX_ABSENCE_SECONDS * chance.draw_fraction())
        await replica.start_again()
        await wait_until_whole(self)
        add_outage(log, replica.name, started_at)


async def _list_masters(servers: Sequence[StoreServer]) -> list[StoreServer]:
    """Return those of the servers that are masters by their own account."""
    roles = [(await server.read_replication()).get("role") for server in servers]
    return [server for server, role in zip(servers, roles, strict=True) if role == "master"]


async def _are_all_up(servers: Sequence[StoreServer]) -> bool:
    return all([await _is_cluster_up(server) for server in servers])


async def _is_cluster_up(server: StoreServer) -> bool:
    """Return whether a server knows all others, and that each slot has a master."""
    try:
        said = await server.ask("CLUSTER INFO")
    except (redis.exceptions.RedisError, OSError):
        return False
    text = said if isinstance(said, dict) else {}
    return (text.get("cluster_state"), text.get("cluster_known_nodes")) == ("ok", str(SERVER_COUNT))


@asynccontextmanager
async def start_cluster(folder: Path) -> AsyncIterator[StoreSite]:
    """Start the servers, and return once they have met and each master has its replica."""
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(_build_server(folder / f"server-{number}").run())
            for number in range(SERVER_COUNT)
        ]
        await _assemble(servers)
        site = ClusterSite(servers)
        await wait_until_whole(site)
        yield site


def _build_server(folder: Path) -> StoreServer:
    server = StoreServer(
        folder,
        cluster_enabled="yes",
        cluster_port=str(find_free_port()),
        cluster_node_timeout=str(DOWN_AFTER_MS),
        cluster_announce_ip="127.0.0.1",
        repl_diskless_sync_delay="0",
    )
    server.settings["cluster-announce-port"] = str(server.proxy.port)
    return server


async def _assemble(servers: Sequence[StoreServer]) -> None:
    masters, replicas = servers[:MASTER_COUNT], servers[MASTER_COUNT:]
    for number, server in enumerate(servers):
        await server.ask("CLUSTER SET-CONFIG-EPOCH", str(number + 1))
        for other in servers[:number]:
            await server.ask("CLUSTER MEET", *_list_address(other))
    for number, master in enumerate(masters):
        first, last = (SLOT_COUNT * one // MASTER_COUNT for one in (number, number + 1))
        await master.ask("CLUSTER ADDSLOTSRANGE", str(first), str(last - 1))
    await wait_for(partial(_are_all_up, servers), RECOVERY_TIMEOUT_SECONDS)
    for master, replica in zip(masters, replicas, strict=True):
        identity = await master.ask("CLUSTER MYID")
        await replica.ask("CLUSTER REPLICATE", identity.decode())


def _list_address(server: StoreServer) -> tuple[str, str, str]:
    """Return where the bus of a server is: its other members reach it without the proxy."""
    return "127.0.0.1", str(server.port), server.settings["cluster-port"]
