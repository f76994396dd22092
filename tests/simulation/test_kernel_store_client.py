"""The store's client runs on the simulated network unchanged."""

import asyncio

from otp_service.store.connect import create_redis_lines
from otp_service.store.line import Request
from tests.simulation.kernel.conditions import Conditions
from tests.simulation.kernel.network import SimulatedNetwork
from tests.simulation.kernel.runner import run_simulated
from tests.simulation.kernel.tiny_redis import TinyRedis


def test_each_of_many_calls_gets_its_own_reply():
    """Over a network that splits and delays half of what is written."""

    async def main(network: SimulatedNetwork):
        server = TinyRedis(network)
        lines = create_redis_lines(url=server.url)
        words = [b"word-%d" % number for number in range(300)]

        async def echo(word: bytes) -> bytes:
            [reply] = await lines.run("", [Request(("ECHO", word))])
            return reply

        replies = await asyncio.gather(*map(echo, words))
        await lines.aclose()
        await asyncio.sleep(1)
        return words, replies, server

    words, replies, server = run_simulated(main, conditions=Conditions(odd_share=0.5))

    assert words == replies
    assert [] == server.connections
    assert [b"CLIENT", b"SETNAME", b"otp-service"] == server.commands[0]
