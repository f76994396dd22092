"""What happens to the hosts, the store and the links between them while a round runs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from tests.simulation.actors.deployments import ROTATION_STEPS
from tests.simulation.history import FaultKind
from tests.simulation.live.deployment import Deployment
from tests.simulation.live.real_time import read_ms
from tests.simulation.live.service_host import ServiceHost
from tests.simulation.live.store_proxy import StoreProxy
from tests.simulation.live.store_sites import (
    DOWN_AFTER_MS,
    UNKNOWN_LOST_WRITES,
    FaultLog,
    StoreSite,
    wait_until_whole,
)
from tests.simulation.world.ports import Chance


MAX_PAUSE_SECONDS: Final = 4.0
"""Between two faults of one loop. Only the second half of a pause is drawn."""

WATCH_SECONDS: Final = 1.0
"""Between two looks at which servers are masters."""

MAX_HOST_PAUSE_SECONDS: Final = 3.0
MAX_FREEZE_SECONDS: Final = 2.5
MAX_GATHER_SECONDS: Final = 0.4
MAX_SLOW_SECONDS: Final = 4.0
MAX_DELAY_SECONDS: Final = 0.3

Fault = Callable[[Chance], Awaitable[None]]


class LiveFaults:
    """Draws one fault after another until `stop`: one of processes at a time, and one of links."""

    def __init__(
        self,
        chance: Chance,
        site: StoreSite,
        deployment: Deployment,
        report: Callable[[str], None],
        *,
        is_long: bool,
    ) -> None:
        """With `is_long`, hosts are also started again and reloaded, which takes many seconds."""
        self.log = FaultLog()
        self._chance = chance
        self._site = site
        self._deployment = deployment
        self._report = report
        self._is_long = is_long
        self._is_over = asyncio.Event()

    def stop(self) -> None:
        """Let no fault follow."""
        self._is_over.set()

    async def run(self) -> None:
        """Strike until `stop`; return when the last fault has ended."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_loop("processes", self._list_process_faults()))
            group.create_task(self._run_loop("links", self._list_link_faults()))
            group.create_task(self._watch_masters())

    async def _run_loop(self, name: str, faults: Mapping[str, Fault]) -> None:
        chance = self._chance.derive(name)
        while not self._is_over.is_set():
            try:
                async with asyncio.timeout(MAX_PAUSE_SECONDS * (1 + chance.draw_fraction()) / 2):
                    await self._is_over.wait()
            except TimeoutError:
                fault = chance.pick([*faults])
                self._report(fault)
                await faults[fault](chance)

    async def _watch_masters(self) -> None:
        """Record each failover that is not one of the faults: a busy machine looks like a dead master."""
        known, seen_at = await self._site.list_masters(), read_ms()
        while not self._is_over.is_set():
            await asyncio.sleep(WATCH_SECONDS)
            masters, looked_at = await self._site.list_masters(), read_ms()
            if masters != known:
                await wait_until_whole(self._site)
                masters = await self._site.list_masters()
                await asyncio.sleep(WATCH_SECONDS)  # a fault that was meant is recorded by then
                self._record_failover(seen_at)
            known, seen_at = masters, looked_at

    def _record_failover(self, seen_at: int) -> None:
        """Record a failover since the former masters were seen, unless a fault explains it."""
        span = (seen_at - DOWN_AFTER_MS, read_ms())
        if any(
            one.kind is FaultKind.STORE_FAILOVER and (one.until or 0) >= seen_at for one in self.log
        ):
            return
        self._report("store: a failover that was not meant")
        self.log.add(FaultKind.STORE_FAILOVER, span, "not meant", lost_writes=UNKNOWN_LOST_WRITES)
        self.log.add(FaultKind.PARTITION, span, "hosts and store")

    def _list_process_faults(self) -> dict[str, Fault]:
        """Return the faults of servers and of hosts by their names.

        Those of servers are there twice: they are quick, and a rotation takes a minute or more.
        """
        of_store = {
            f"store: {fault.__name__.replace('_', ' ')} ({number})": partial(self._strike, fault)
            for number, fault in enumerate(2 * tuple(self._site.faults), start=1)
        }
        of_hosts: dict[str, Fault] = {
            "host: kill a worker": self.kill_worker,
            "host: pause it": self.pause_host,
        }
        of_long_rounds: dict[str, Fault] = {
            "host: kill the supervisor": partial(self.kill_host, with_workers=False),
            "host: kill all its processes": partial(self.kill_host, with_workers=True),
            "host: restart it": self.restart_host,
            "hosts: rotate a key": self.rotate_key,
        }
        return of_store | of_hosts | (of_long_rounds if self._is_long else {})

    def _list_link_faults(self) -> dict[str, Fault]:
        return {
            "link: cut": self.cut_link,
            "link: lose replies": self.lose_replies,
            "link: lose commands": self.lose_commands,
            "link: freeze": self.freeze_link,
            "link: slow": self.slow_link,
        }

    async def _strike(self, fault: Callable[..., Awaitable[None]], chance: Chance) -> None:
        await fault(chance, self.log)

    # ---- hosts

    async def kill_worker(self, chance: Chance) -> None:
        """End a worker by SIGKILL; its supervisor replaces it."""
        host = chance.pick(self._deployment.hosts)
        host.kill_worker(chance.draw_below(2))
        self._record_crash(host)
        await host.wait_until_ready()

    async def kill_host(self, chance: Chance, *, with_workers: bool) -> None:
        """End the supervisor of a host by SIGKILL, and maybe its workers, and start it again."""
        host = chance.pick(self._deployment.hosts)
        await host.kill(with_workers=with_workers)
        self._record_crash(host)
        await host.start()

    async def pause_host(self, chance: Chance) -> None:
        """Stop a host, as a virtual machine is stopped: what it has decided happens later."""
        host, started_at = chance.pick(self._deployment.hosts), read_ms()
        await host.pause(MAX_HOST_PAUSE_SECONDS * chance.draw_fraction())
        self.log.add(FaultKind.HOST_PAUSED, (started_at, read_ms()), host.name)

    async def restart_host(self, chance: Chance) -> None:
        """Stop a host as a deployment does, and start it again."""
        host, started_at = chance.pick(self._deployment.hosts), read_ms()
        await host.stop()
        await host.start()
        self.log.add(FaultKind.WORKER_RESTART, (started_at, read_ms()), host.name)

    async def rotate_key(self, chance: Chance) -> None:
        """Rotate the key of a ring that was not rotated yet, as docs/key-rotation.md says."""
        rings = self._deployment.list_unrotated_rings()
        if not rings:
            return
        ring, started_at = chance.pick(rings), read_ms()
        for ids in ROTATION_STEPS:
            await self._deployment.change_keys(ring, ids)
        self.log.add(FaultKind.KEY_ROTATION, (started_at, read_ms()), ring)

    def _record_crash(self, host: ServiceHost) -> None:
        at = read_ms()
        self.log.add(FaultKind.WORKER_CRASH, (at, at), host.name)

    # ---- links

    async def cut_link(self, chance: Chance) -> None:
        """Break every connection of the service to a server, with what is in flight."""
        self._draw_proxy(chance).cut()
        at = read_ms()
        self.log.add(FaultKind.LINK_CUT, (at, at), "store")

    async def lose_replies(self, chance: Chance) -> None:
        """Let commands have their effect for a moment, and break the connections before the replies."""
        proxy, started_at = self._draw_proxy(chance), read_ms()
        proxy.freeze_replies()
        await asyncio.sleep(MAX_GATHER_SECONDS * chance.draw_fraction())
        self._break(proxy, started_at)

    async def lose_commands(self, chance: Chance) -> None:
        """Hold commands for a moment, and break the connections before they arrive."""
        proxy, started_at = self._draw_proxy(chance), read_ms()
        proxy.freeze_requests()
        await asyncio.sleep(MAX_GATHER_SECONDS * chance.draw_fraction())
        self._break(proxy, started_at)

    def _break(self, proxy: StoreProxy, started_at: int) -> None:
        proxy.cut()
        proxy.thaw()
        self.log.add(FaultKind.LINK_FROZEN, (started_at, read_ms()), "store")

    async def freeze_link(self, chance: Chance) -> None:
        """Let nothing arrive for a while, and then all of it: also what its caller has given up."""
        proxy, started_at = self._draw_proxy(chance), read_ms()
        (proxy.freeze_requests if chance.has_luck(0.5) else proxy.freeze_replies)()
        await asyncio.sleep(MAX_FREEZE_SECONDS * chance.draw_fraction())
        proxy.thaw()
        self.log.add(FaultKind.LINK_FROZEN, (started_at, read_ms()), "store")

    async def slow_link(self, chance: Chance) -> None:
        """Let everything arrive later for a while."""
        proxy, started_at = self._draw_proxy(chance), read_ms()
        proxy.delay_seconds = MAX_DELAY_SECONDS * chance.draw_fraction()
        await asyncio.sleep(MAX_SLOW_SECONDS * chance.draw_fraction())
        proxy.delay_seconds = 0.0
        self.log.add(FaultKind.LINK_SLOW, (started_at, read_ms()), "store")

    def _draw_proxy(self, chance: Chance) -> StoreProxy:
        return chance.pick(self._site.servers).proxy
