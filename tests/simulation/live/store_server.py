"""A server of the store behind a proxy: every client and every other server reaches it there."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import redis

from otp_service.store.embedded import EmbeddedServer
from tests.simulation.live.store_proxy import StoreProxy
from tests.store.redis_servers import find_free_port, open_client


class StoreServer(EmbeddedServer):
    """A server that can be killed and stopped. Its `name` is that of its folder."""

    def __init__(self, folder: Path, **options: str) -> None:
        port = find_free_port()
        self.proxy = StoreProxy(port)
        self.settings = {name.replace("_", "-"): value for name, value in options.items()}
        super().__init__(folder, port=port, options=self.settings)

    @property
    def name(self) -> str:
        return self.data.name

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator["StoreServer"]:
        """Run it with its proxy."""
        async with self.proxy:
            await asyncio.to_thread(self.start)
            try:
                yield self
            finally:
                self.resume()
                await asyncio.to_thread(self.stop)

    def kill(self) -> None:
        """End it by SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    async def start_again(self, *, master: "StoreServer | None" = None) -> None:
        """Start it after `kill` with its data, as a replica of this master if there is one."""
        await asyncio.to_thread(self.stop)
        if master is not None:
            self.settings["replicaof"] = f"127.0.0.1 {master.proxy.port}"
        else:
            self.settings.pop("replicaof", None)
        await asyncio.to_thread(self.start)

    def pause(self) -> None:
        """Stop it by SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    async def follow(self, master: "StoreServer") -> None:
        """Make it a replica of a master, as an operator does instead of waiting."""
        await self.ask("REPLICAOF", "127.0.0.1", str(master.proxy.port))

    async def ask(self, *command: str) -> Any:
        """Return the reply to a command. Raises redis.exceptions.RedisError."""
        return await asyncio.to_thread(self._ask, *command)

    def _ask(self, *command: str) -> Any:
        with open_client(self) as client:
            return client.execute_command(*command)

    async def read_replication(self) -> dict[str, Any]:
        """Return its section `replication` of INFO; empty if it does not answer."""
        try:
            return dict(await self.ask("INFO", "replication"))
        except (redis.exceptions.RedisError, OSError):
            return {}

    async def has_replicas(self, count: int) -> bool:
        """Return whether it is a master with so many replicas that are up to date."""
        said = await self.read_replication()
        return said.get("role") == "master" and _count_online(said) >= count


def _count_online(said: dict[str, Any]) -> int:
    replicas = (value for name, value in said.items() if name.startswith("slave"))
    return sum(
        isinstance(one, dict) and one.get("state") == "online" and one.get("lag", 9) <= 1
        for one in replicas
    )
