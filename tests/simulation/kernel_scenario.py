"""A run with many tasks, faults and draws, as a text that shows each difference between two runs."""

import asyncio
import itertools
from functools import partial
from typing import Any

from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.lua_script import LuaScript
from tests.simulation.current_host import CURRENT_HOST
from tests.simulation.kernel.chance import Chance
from tests.simulation.kernel.conditions import Conditions
from tests.simulation.kernel.network import SimulatedNetwork
from tests.simulation.kernel.runner import run_simulated
from tests.simulation.kernel_redis import TinyRedis
from tests.store.scripted_server import answer


SCRIPT = LuaScript("return ARGV[1]")

CLIENT_COUNT = 8


class KernelScenario:
    """Clients of one server whose links are cut, frozen and slowed down, and what they saw."""

    def __init__(self, network: SimulatedNetwork, chance: Chance) -> None:
        self._network = network
        self._chance = chance
        self._replica_count = 1
        self._server = TinyRedis(network, self._respond)
        self._lines: list[str] = []

    async def run(self) -> str:
        """Return a line for each reply, error and fault, with its instant and step."""
        faults = asyncio.create_task(self._draw_faults())
        clients = [
            asyncio.create_task(self._call(f"host-{number}")) for number in range(CLIENT_COUNT)
        ]
        await asyncio.sleep(1.5)
        for task in set(clients):  # in the order of their hashes
            task.cancel()
        await asyncio.wait(clients)
        faults.cancel()
        self._lines += [repr(command) for command in self._server.commands]
        return "\n".join(self._lines)

    async def _call(self, host: str) -> None:
        CURRENT_HOST.set(host)
        chance = self._chance.derive(host)
        lines = create_redis_lines(url=self._server.url, timeout_ms=100)
        client = ScriptClient(lines, replicas=1, wait_ms=50, draw_bytes=chance.draw_bytes)

        async def run_script(argument: bytes) -> Any:
            return await client.run_script(SCRIPT, ["key"], [argument], durable=True)

        try:
            for number in itertools.count():
                await asyncio.sleep(chance.draw_ms(0, 60) / 1000)
                calls = (
                    client.retry_lost_reply(partial(run_script, b"%d-%d" % (number, part)))
                    for part in range(chance.draw_between(1, 5))
                )
                for reply in await asyncio.gather(*calls, return_exceptions=True):
                    self._note(f"{host} {reply!r}")
        finally:
            self._note(f"{host} ends")
            await client.aclose()

    async def _draw_faults(self) -> None:
        loop, chance = asyncio.get_running_loop(), self._chance.derive("faults")
        while True:
            await asyncio.sleep(chance.draw_ms(10, 200) / 1000)
            link = chance.pick(self._network.list_links())
            name = chance.pick(("cut", "freeze", "slow", "lag"))
            self._note(f"{name} {link}")
            if name == "cut":
                link.cut()
            elif name == "freeze":
                link.freeze()
                loop.call_later(chance.draw_ms(1, 400) / 1000, link.thaw)
            elif name == "lag":
                self._replica_count = chance.draw_below(2)
            else:
                link.slow(0.02)
                loop.call_later(0.2, link.hasten, 0.02)

    def _respond(self, command: list[bytes]) -> bytes:
        return b":%d\r\n" % self._replica_count if command[0] == b"WAIT" else answer(command)

    def _note(self, text: str) -> None:
        loop = asyncio.get_running_loop()
        self._lines.append(f"{loop.time()!r} {text}")


def run_scenario(seed: int) -> str:
    """Return what a run of this seed saw."""

    async def main(network: SimulatedNetwork) -> str:
        return await KernelScenario(network, Chance(seed)).run()

    return run_simulated(main, seed=seed, conditions=Conditions.draw(Chance(seed)))
