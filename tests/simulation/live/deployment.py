"""The hosts of a round, and the one configuration that all of them read."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tests.simulation.live.live_configuration import LiveConfiguration
from tests.simulation.live.service_host import ServiceHost
from tests.simulation.world.configuration import FIRST_KEY_IDS, KeyIds


class Deployment:
    """Hosts that share a configuration, and the keys that are in force."""

    def __init__(
        self,
        folder: Path,
        configuration: LiveConfiguration,
        host_names: Sequence[str],
        sitecustomize: str = "",
    ) -> None:
        """`sitecustomize` is Python code that each process of the service runs first."""
        self.configuration = configuration
        self.config_path = folder / "otp.toml"
        self.key_ids: KeyIds = FIRST_KEY_IDS
        self.hosts: Sequence[ServiceHost] = [
            ServiceHost(name, folder / f"host-{name}", self.config_path, sitecustomize)
            for name in host_names
        ]

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator["Deployment"]:
        """Run all hosts."""
        self.configuration.write(self.config_path)
        try:
            await asyncio.gather(*(host.start() for host in self.hosts))
            yield self
        finally:
            await asyncio.gather(*(host.stop() for host in self.hosts))

    async def change_keys(self, ring: str, ids: tuple[str, ...]) -> None:
        """Put these keys of a ring in force, on one host after the other."""
        self.key_ids = {**self.key_ids, ring: ids}
        self.configuration.write(self.config_path, self.key_ids)
        for host in self.hosts:
            await host.reload()

    def list_unrotated_rings(self) -> list[str]:
        """Return the rings whose keys are those of the start."""
        return [ring for ring, ids in self.key_ids.items() if ids == FIRST_KEY_IDS[ring]]
