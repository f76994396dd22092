"""A master with two replicas, which three Sentinels watch."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

from tests.simulation.history import FaultKind
from tests.simulation.live.real_time import LOOK_SECONDS, read_ms, wait_for
from tests.simulation.live.store_server import StoreServer
from tests.simulation.live.store_sites import (
    DOWN_AFTER_MS,
    MAX_ABSENCE_SECONDS,
    RECOVERY_TIMEOUT_SECONDS,
    UNKNOWN_LOST_WRITES,
    FaultLog,
    StoreFault,
    StoreSite,
    add_outage,
    pause_server,
    wait_until_whole,
)
from tests.simulation.world.ports import Chance
from tests.store.redis_servers import SentinelServer, open_client


SENTINEL_COUNT: Final = 3
QUORUM: Final = 2
REPLICA_COUNT: Final = 2


class SentinelSite:
    """A master with two replicas, which three Sentinels watch. `WAIT` counts both replicas."""

    required_replicas = 2

    def __init__(self, servers: Sequence[StoreServer], sentinels: Sequence[SentinelServer]) -> None:
        self.servers = servers
        self._sentinels = sentinels
        addresses = ", ".join(f'"127.0.0.1:{sentinel.port}"' for sentinel in sentinels)
        self.config_lines = f'sentinel = [{addresses}]\nmaster = "otp"'

    @property
    def faults(self) -> Sequence[StoreFault]:
        return (
            *(self.kill_master, self.kill_master, self.pause_master_long),
            *(self.pause_master_shortly, self.kill_replica, self.pause_replica),
        )

    async def list_masters(self) -> list[StoreServer]:
        return [await self.find_master()]

    async def is_whole(self) -> bool:
        return await (await self.find_master()).has_replicas(self.required_replicas)

    async def find_master(self) -> StoreServer:
        """Return the server that every Sentinel names; wait until they agree."""
        await wait_for(self._has_one_name, RECOVERY_TIMEOUT_SECONDS)
        return (await self._list_named())[0]

    async def _has_one_name(self) -> bool:
        return len(await self._list_named()) == 1

    async def _list_named(self) -> list[StoreServer]:
        """Return the servers that the Sentinels name, each once."""
        ports = {await asyncio.to_thread(_read_master_port, one) for one in self._sentinels}
        return [server for server in self.servers if server.proxy.port in ports]

    async def kill_master(self, _: Chance, log: FaultLog) -> None:
        """End the master by SIGKILL; after the failover it comes back as a replica."""
        await self._replace_master(log, is_killed=True)

    async def pause_master_long(self, _: Chance, log: FaultLog) -> None:
        """Stop the master until a replica has taken its place. It wakes up as a second master."""
        await self._replace_master(log, is_killed=False)

    async def _replace_master(self, log: FaultLog, *, is_killed: bool) -> None:
        old = await self.find_master()
        started_at = read_ms()
        (old.kill if is_killed else old.pause)()
        down_at = last_named_at = looked_at = read_ms()
        while await self._list_named() == [old]:
            last_named_at = looked_at  # a Sentinel that named it had not given it up by then
            await asyncio.sleep(LOOK_SECONDS)
            looked_at = read_ms()
        new = await self.find_master()
        log.add(FaultKind.STORE_DOWN, (down_at, last_named_at), old.name)
        log.add(FaultKind.REPLICA_DOWN, (down_at, read_ms()), old.name)
        if is_killed:
            await old.start_again(master=new)
        else:
            old.resume()
            await old.follow(new)
        await wait_until_whole(self)
        span = (started_at, read_ms())
        log.add(FaultKind.STORE_FAILOVER, span, new.name, lost_writes=UNKNOWN_LOST_WRITES)
        add_outage(log, old.name, started_at)

    async def pause_master_shortly(self, chance: Chance, log: FaultLog) -> None:
        """Stop the master so shortly that it stays the master."""
        master = await self.find_master()
        await pause_server(self, master, FaultKind.STORE_DOWN, chance, log)

    async def pause_replica(self, chance: Chance, log: FaultLog) -> None:
        """Stop a replica for a while."""
        replica = await self._draw_replica(chance)
        await pause_server(self, replica, FaultKind.REPLICA_DOWN, chance, log)

    async def kill_replica(self, chance: Chance, log: FaultLog) -> None:
        """End a replica by SIGKILL, and start it again."""
        replica, master = await self._draw_replica(chance), await self.find_master()
        started_at = read_ms()
        replica.kill()
        down_at = read_ms()
        await asyncio.sleep(MAX_ABSENCE_SECONDS * chance.draw_fraction())
        log.add(FaultKind.REPLICA_DOWN, (down_at, read_ms()), replica.name)
        await replica.start_again(master=master)
        await wait_until_whole(self)
        add_outage(log, replica.name, started_at)

    async def _draw_replica(self, chance: Chance) -> StoreServer:
        master = await self.find_master()
        return chance.pick([server for server in self.servers if server is not master])


@asynccontextmanager
async def start_sentinel(folder: Path) -> AsyncIterator[StoreSite]:
    """Start the servers, and return once each Sentinel has found the replicas and the others."""
    async with AsyncExitStack() as stack:
        servers: list[StoreServer] = []
        for number in range(1 + REPLICA_COUNT):
            server = _build_server(folder / f"server-{number}", servers[:1])
            servers.append(await stack.enter_async_context(server.run()))
        sentinels = [
            _build_sentinel(folder / f"sentinel-{number}", servers[0])
            for number in range(SENTINEL_COUNT)
        ]
        for sentinel in sentinels:
            await asyncio.to_thread(sentinel.start)
            stack.push_async_callback(asyncio.to_thread, sentinel.stop)
        site = SentinelSite(servers, sentinels)
        await wait_until_whole(site)
        for sentinel in sentinels:
            has_found_all = partial(asyncio.to_thread, _has_found_all, sentinel)
            await wait_for(has_found_all, RECOVERY_TIMEOUT_SECONDS)
        yield site


def _build_server(folder: Path, masters: Sequence[StoreServer]) -> StoreServer:
    server = StoreServer(folder, repl_diskless_sync_delay="0", replica_announce_ip="127.0.0.1")
    server.settings["replica-announce-port"] = str(server.proxy.port)
    for master in masters:
        server.settings["replicaof"] = f"127.0.0.1 {master.proxy.port}"
    return server


def _build_sentinel(folder: Path, master: StoreServer) -> SentinelServer:
    sentinel = SentinelServer(folder, master, "otp", down_after_ms=DOWN_AFTER_MS)
    sentinel._monitor_settings["sentinel monitor otp"] = f"127.0.0.1 {master.proxy.port} {QUORUM}"
    return sentinel


def _has_found_all(sentinel: SentinelServer) -> bool:
    """Return whether a Sentinel knows every replica and every other Sentinel."""
    with open_client(sentinel) as client:
        replicas = client.sentinel_slaves("otp")
        others = client.sentinel_sentinels("otp")
    usable = [one for one in replicas if not one["is_sdown"]]
    return len(usable) == REPLICA_COUNT and len(others) == SENTINEL_COUNT - 1


def _read_master_port(sentinel: SentinelServer) -> int:
    with open_client(sentinel) as client:
        _, port = client.sentinel_get_master_addr_by_name("otp")
    return int(port)
