"""One round: a fresh installation, calls and faults for a while, rest, probes, and its history."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Final

import msgspec

from tests.simulation.actors.probes import PROBE_NAMES, probe_logins
from tests.simulation.history import History, StoredBytes
from tests.simulation.kernel.chance import Chance
from tests.simulation.live.crowd import PROBE_CROWD, enter_crowd, run_crowds
from tests.simulation.live.deployment import Deployment
from tests.simulation.live.live_configuration import LiveConfiguration
from tests.simulation.live.live_faults import LiveFaults
from tests.simulation.live.live_gateway import LiveGateway
from tests.simulation.live.live_installation import LiveInstallation
from tests.simulation.live.observer import read_observations
from tests.simulation.live.real_time import read_ms, wait_for
from tests.simulation.live.record_links import link_records
from tests.simulation.live.store_cluster import start_cluster
from tests.simulation.live.store_dump import dump_bytes, dump_events
from tests.simulation.live.store_sentinel import start_sentinel
from tests.simulation.live.store_sites import StoreSite, start_single, wait_until_whole
from tests.simulation.world.world import World
from tests.store.redis_servers import open_client


StartStore = Callable[[Path], AbstractAsyncContextManager[StoreSite]]

STORES: Final[Mapping[str, StartStore]] = {
    "single": start_single,
    "sentinel": start_sentinel,
    "cluster": start_cluster,
}
"""How each kind of store is started, by its name."""

TROUBLE_SHARE: Final = 0.5
"""Of the vendors with which something is wrong."""

SETTLE_SECONDS: Final = 40.0
"""Longer than a call may take: one that runs then is a finding."""

PROBE_SECONDS: Final = 300.0
"""Within which everybody logs in: nobody has spent anything of their limits."""

REFUND_SECONDS: Final = 2.0
"""Within which the refunds of the last calls are applied: they are tried each second."""

LONG_ROUND_SECONDS: Final = 60.0
"""In a shorter round no host is started again, and no person logs in with an app: both take long."""


class RoundRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a round is: the same request draws the same calls and faults, at real and so other times."""

    seed: str
    store: str
    """One of STORES."""
    seconds: float
    """For which the actors and the faults go on."""
    folder: Path
    crowd_interval_seconds: float = 6.0
    has_faults: bool = True
    host_names: tuple[str, ...] = ("a", "b")
    """Each has a supervisor and two workers, whose start takes 6 s of computing."""
    sitecustomize: str = ""
    """Python code that each process of the service runs first: for a bug that a test plants."""
    report: Callable[[str], None] = print


async def run_round(request: RoundRequest) -> History:
    """Return what was observed in a round. Everything that it has started has ended then."""
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(LiveGateway())
        site = await stack.enter_async_context(STORES[request.store](request.folder))
        configuration = LiveConfiguration(
            redis=site.config_lines,
            gateway_url=gateway.url,
            required_replicas=site.required_replicas,
        )
        deployment = Deployment(
            request.folder, configuration, request.host_names, request.sitecustomize
        )
        await stack.enter_async_context(deployment.run())
        live = LiveRound(request, site, deployment)
        gateway.vendors = live.world.vendors
        await live.run()
        return await live.build_history()


class LiveRound:
    """The parts of one round, until its history is built."""

    def __init__(self, request: RoundRequest, site: StoreSite, deployment: Deployment) -> None:
        self.request = request
        self.site = site
        self.deployment = deployment
        chance = Chance(request.seed)
        self.world = World(chance.derive("world"), read_ms, "")
        self.installation = LiveInstallation(self.world.installation.site, deployment)
        self.world.installation = self.installation
        is_long = request.seconds >= LONG_ROUND_SECONDS
        draws = chance.derive("faults")
        self.faults = LiveFaults(draws, site, deployment, self._report, is_long=is_long)
        self.probe_names = frozenset(name for name in PROBE_NAMES if "app" not in name or is_long)
        self._started = time.monotonic()
        draws = chance.derive("vendors")
        for name in self.world.vendors if request.has_faults else ():
            if draws.has_luck(TROUBLE_SHARE):
                self.world.trouble_vendor(name, 0.1 + 0.4 * draws.draw_fraction())

    async def run(self) -> None:
        """Let the actors act and faults strike, come to rest, and let everybody log in."""
        crowds = asyncio.create_task(
            run_crowds(self.world, interval_seconds=self.request.crowd_interval_seconds)
        )
        faults = asyncio.create_task(
            self.faults.run() if self.request.has_faults else _do_nothing()
        )
        try:
            await asyncio.wait({crowds, faults}, timeout=self.request.seconds)
            self.faults.stop()
            await faults
        finally:
            for task in (crowds, faults):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await crowds
        await wait_until_whole(self.site)
        await self._settle()
        self._report("the faults are over, and probes log in")
        probed = enter_crowd(self.world, PROBE_CROWD)
        with contextlib.suppress(
            TimeoutError
        ):  # then somebody has not logged in, which is a finding
            async with asyncio.timeout(PROBE_SECONDS):
                await probe_logins(probed, self.probe_names)
        await asyncio.sleep(REFUND_SECONDS)

    async def build_history(self) -> History:
        """Return what was observed, with what is stored and logged now."""
        masters = await self.site.list_masters()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(open_client(master)) for master in masters]
            events, stored = dump_events(clients), dump_bytes(clients)
        logs = [path for host in self.deployment.hosts for path in host.logs]
        history = self.world.recorder.build_history(
            f"{self.request.store} {self.request.seed}",
            self.deployment.configuration.build_audit_settings(self.probe_names),
            events=events,
            stored=[*stored, *(StoredBytes(place="log", content=p.read_bytes()) for p in logs)],
            unhandled_errors=[error for path in logs for error in find_unhandled_errors(path)],
        )
        observations = read_observations(host.observations for host in self.deployment.hosts)
        if not observations:
            raise RuntimeError("no process of the service has reported anything: see observer.py")
        return link_records(history, observations, self.faults.log)

    async def _settle(self) -> None:
        """Wait until no call runs, or SETTLE_SECONDS have passed. Late receipts may still arrive."""
        self.world.end_faults()
        self.world.recorder.record_calm()
        with contextlib.suppress(TimeoutError):
            await wait_for(self._is_idle, SETTLE_SECONDS)

    async def _is_idle(self) -> bool:
        return not self.installation.has_calls

    def _report(self, text: str) -> None:
        self.request.report(f"  {time.monotonic() - self._started:6.1f} s  {text}")


async def _do_nothing() -> None:
    """Strike nothing."""


def find_unhandled_errors(log: Path) -> list[str]:
    """Return the lines of a log that report an exception which nothing has handled."""
    lines = log.read_text(errors="replace").splitlines()
    return [describe_log_line(line) for line in lines if "never retrieved" in line]


def describe_log_line(line: str) -> str:
    """Return the event of a line of the log, or the line if it is none."""
    try:
        return str(json.loads(line).get("event", line))
    except ValueError:
        return line
