"""The store of a round: a server alone, a master behind Sentinel, or a cluster.

Each site says where the service finds it, and what can happen to its servers. The addresses that it
names, also those that Sentinels and the cluster name, are those of proxies.

A fault is recorded as two spans. In the inner one the servers certainly take no write, so nothing may be
compared or sent in it. The outer one ends when every server is back, so that a 503 in it is explained.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

from tests.simulation.history import FaultKind, FaultRecord
from tests.simulation.live.real_time import read_ms, wait_for
from tests.simulation.live.store_server import StoreServer
from tests.simulation.world.ports import Chance


DOWN_AFTER_MS: Final = 2_000
"""After which Sentinels and the cluster replace a master: a busy machine must not look like a dead one."""

MAX_SHORT_PAUSE_SECONDS: Final = 1.2
"""Of a master: shorter than `DOWN_AFTER_MS`, so that it stays the master."""

MAX_ABSENCE_SECONDS: Final = 3.0
RECOVERY_TIMEOUT_SECONDS: Final = 60.0
UNKNOWN_LOST_WRITES: Final = 1_000
"""How many writes a failover may lose of those that `WAIT` does not follow: nobody counts them."""

Span = tuple[int, int]


class FaultLog(list[FaultRecord]):
    """The faults of a round, with the spans that their kinds need."""

    def add(self, kind: FaultKind, span: Span, target: str, *, lost_writes: int = 0) -> None:
        """Record a fault from and until these instants."""
        at, until = span
        record = FaultRecord(kind=kind, at=at, until=until, target=target, lost_writes=lost_writes)
        self.append(record)


StoreFault = Callable[[Chance, FaultLog], Awaitable[None]]


class StoreSite(Protocol):
    """A store, running."""

    config_lines: str
    """Of the table `[redis]`: where it is."""
    required_replicas: int

    @property
    def servers(self) -> Sequence[StoreServer]:
        """All of them, of which some are replicas."""

    @property
    def faults(self) -> Sequence[StoreFault]:
        """What can happen to its servers. Each returns when all of them are back."""

    async def list_masters(self) -> list[StoreServer]:
        """Return the servers that have the data, each partition once."""

    async def is_whole(self) -> bool:
        """Return whether every server runs, and every replica is up to date."""


async def wait_until_whole(site: StoreSite) -> None:
    """Return once every server runs, and every replica is up to date. Raises TimeoutError."""
    await wait_for(site.is_whole, RECOVERY_TIMEOUT_SECONDS)


def add_outage(log: FaultLog, target: str, started_at: int) -> None:
    """Record the outer span of a fault of the store, which ends now."""
    log.add(FaultKind.PARTITION, (started_at, read_ms()), f"hosts and {target}")


async def pause_server(
    site: StoreSite, server: StoreServer, kind: FaultKind, chance: Chance, log: FaultLog
) -> None:
    """Stop a server for so short a time that nothing takes its place."""
    started_at = read_ms()
    server.pause()
    down_at = read_ms()
    await asyncio.sleep(MAX_SHORT_PAUSE_SECONDS * chance.draw_fraction())
    log.add(kind, (down_at, read_ms()), server.name)
    server.resume()
    await wait_until_whole(site)
    add_outage(log, server.name, started_at)


# ---- one server


class SingleSite:
    """A server without replicas that syncs each write to its disk, so that its end loses nothing."""

    required_replicas = 0

    def __init__(self, server: StoreServer) -> None:
        self.servers: Sequence[StoreServer] = [server]
        self.config_lines = f'url = "redis://127.0.0.1:{server.proxy.port}"'

    @property
    def faults(self) -> Sequence[StoreFault]:
        return (self.kill, self.pause)

    async def list_masters(self) -> list[StoreServer]:
        return list(self.servers)

    async def is_whole(self) -> bool:
        return bool(await self.servers[0].read_replication())

    async def kill(self, chance: Chance, log: FaultLog) -> None:
        """End the server by SIGKILL, and start it again with its data."""
        (server,) = self.servers
        started_at = read_ms()
        server.kill()
        down_at = read_ms()
        await asyncio.sleep(MAX_ABSENCE_SECONDS * chance.draw_fraction())
        log.add(FaultKind.STORE_DOWN, (down_at, read_ms()), server.name)
        log.add(FaultKind.STORE_RESTART, (started_at, started_at), server.name)
        await server.start_again()
        await wait_until_whole(self)
        add_outage(log, server.name, started_at)

    async def pause(self, chance: Chance, log: FaultLog) -> None:
        """Stop the server for a while by SIGSTOP."""
        (server,) = self.servers
        started_at = read_ms()
        server.pause()
        down_at = read_ms()
        await asyncio.sleep(MAX_ABSENCE_SECONDS * chance.draw_fraction())
        log.add(FaultKind.STORE_DOWN, (down_at, read_ms()), server.name)
        server.resume()
        await wait_until_whole(self)
        add_outage(log, server.name, started_at)


@asynccontextmanager
async def start_single(folder: Path) -> AsyncIterator[StoreSite]:
    async with StoreServer(folder / "store", appendfsync="always").run() as server:
        yield SingleSite(server)
