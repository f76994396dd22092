"""The store's client runs on the simulated network unchanged, and sees what it sees on a real one."""

import asyncio
from typing import Any

import pytest

from otp_service.store.connect import create_redis_lines
from otp_service.store.line import Request
from tests.simulation.kernel.conditions import Conditions
from tests.simulation.kernel.network import SimulatedNetwork
from tests.simulation.kernel.runner import run_simulated
from tests.simulation.kernel_redis import TinyRedis
from tests.store.redis_servers import find_free_port
from tests.store.scripted_server import ScriptedServer, answer


async def echo_words(lines: Any, words: list[str]) -> list[Any]:
    """Return the reply to each of these, or a description of its error."""

    async def echo(word: str) -> Any:
        try:
            command = ("EVALSHA", "sha", 0, word, word)  # it returns the last argument as its token
            [reply] = await lines.run("", [Request(command, word.encode())])
        except Exception as error:  # noqa: BLE001  # the errors are what is compared
            return describe(error)
        return reply

    try:
        return await asyncio.gather(*map(echo, words))
    finally:
        await lines.aclose()


def describe(error: BaseException | None) -> list[Any]:
    """Return the class, the text and the causes of an error."""
    if error is None:
        return []
    is_due = getattr(error, "is_due", None)
    return [type(error).__name__, str(error), is_due, *describe(error.__cause__)]


def test_each_of_many_calls_gets_its_own_reply():
    """Over a network that splits and delays half of what is written."""
    words = [f"word-{number}" for number in range(300)]

    async def main(network: SimulatedNetwork):
        server = TinyRedis(network)
        replies = await echo_words(create_redis_lines(url=server.url), words)
        await asyncio.sleep(1)
        return replies, server

    replies, server = run_simulated(main, conditions=Conditions(odd_share=0.5))

    assert [word.encode() for word in words] == replies
    assert [] == server.connections
    assert [b"CLIENT", b"SETNAME", b"otp-service"] == server.commands[0]


@pytest.mark.parametrize("reply", [None, b"+nonsense\r\n", b"!\r\n", b""])
def test_calls_on_a_broken_connection_see_what_they_see_on_a_real_loop(reply: bytes | None):
    """The third of five commands ends the connection, gets a wrong reply, or no reply."""

    def respond(command: list[bytes]) -> bytes | None:
        return reply if command[-1] == b"c" else answer(command)

    async def run_real():
        async with ScriptedServer(respond) as server:
            return await echo_words(create_redis_lines(url=server.url, timeout_ms=100), [*"abcde"])

    async def run_simulation(network: SimulatedNetwork):
        server = TinyRedis(network, respond)
        return await echo_words(create_redis_lines(url=server.url, timeout_ms=100), [*"abcde"])

    real = asyncio.run(run_real())

    assert real == run_simulated(run_simulation)
    assert b"a" == real[0]


def test_a_refused_connection_is_that_of_a_real_loop():
    """With the text and the number of the operating system."""
    port = find_free_port()
    url = f"redis://127.0.0.1:{port}"

    async def run_real():
        return await echo_words(create_redis_lines(url=url, timeout_ms=1000), [*"ab"])

    async def run_simulation(network: SimulatedNetwork):
        TinyRedis(network, host="127.0.0.1", port=port)
        network.stop_listening("127.0.0.1", port)
        return await run_real()

    real = asyncio.run(run_real())

    assert real == run_simulated(run_simulation)
    assert "ConnectionRefusedError" in real[0]


def test_a_silent_server_is_given_up_after_the_timeout():
    """Over a frozen link: the error, and the simulated time at which it comes."""

    async def main(network: SimulatedNetwork):
        server = TinyRedis(network)
        lines = create_redis_lines(url=server.url, timeout_ms=400)
        await lines.run("", [Request(("ECHO", "x"))])
        network.list_links()[0].freeze()
        began_at = asyncio.get_running_loop().time()
        [error] = await echo_words(lines, ["y"])
        return error, asyncio.get_running_loop().time() - began_at

    error, seconds = run_simulated(main)

    assert ["CallInterrupted", "TimeoutError"] == [error[0], error[3]]
    assert 0.4 == pytest.approx(seconds)
