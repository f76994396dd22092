"""The proxy in front of a server of the store: what arrives, what is lost, and whom it spares."""

import asyncio
import contextlib

import pytest

from tests.simulation.live.store_proxy import StoreProxy
from tests.store.redis_servers import find_free_port


SCRIPT = b"*2\r\n$7\r\nEVALSHA\r\n$1\r\nx\r\n"
OTHER = b"REPLCONF ACK 7\r\n"
SHORT_SECONDS = 0.2
"""What nothing may arrive in: real time, because bytes that are held announce nothing."""


class EchoServer:
    """Repeats what arrives, and remembers it."""

    def __init__(self):
        self.received = b""

    async def serve(self, reader, writer):
        with contextlib.suppress(OSError):
            while chunk := await reader.read(1000):
                self.received += chunk
                writer.write(chunk)
        writer.close()


class Lab:
    """A proxy in front of a server, and the clients of a test."""

    def __init__(self, echo, proxy):
        self.echo = echo
        self.proxy = proxy
        self.writers = []

    async def open(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        self.writers.append(writer)
        return reader, writer

    async def connect(self, first=SCRIPT):
        """Return a connection that has sent something and got its answer."""
        reader, writer = await self.open()
        writer.write(first)
        assert first == await reader.readexactly(len(first))
        return reader, writer


@pytest.fixture
async def lab():
    echo = EchoServer()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with server, StoreProxy(server.sockets[0].getsockname()[1]) as proxy:
        lab = Lab(echo, proxy)
        yield lab
        for writer in lab.writers:
            writer.close()


async def assert_broken(reader):
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)


async def test_a_link_that_is_cut_breaks_the_connections_of_the_service_alone(lab):
    reader, _ = await lab.connect()
    other_reader, other_writer = await lab.connect(OTHER)

    lab.proxy.cut()

    await assert_broken(reader)
    other_writer.write(OTHER)
    assert OTHER == await other_reader.readexactly(len(OTHER))


async def test_a_lost_reply_is_that_of_a_command_that_has_run(lab):
    reader, writer = await lab.connect()

    lab.proxy.freeze_replies()
    writer.write(b"applied")
    async with asyncio.timeout(5):
        while b"applied" not in lab.echo.received:  # noqa: ASYNC110  # the server sets no event
            await asyncio.sleep(0.01)
    lab.proxy.cut()
    lab.proxy.thaw()

    await assert_broken(reader)


async def test_a_lost_command_has_not_run(lab):
    _, writer = await lab.connect()

    lab.proxy.freeze_requests()
    writer.write(b"lost")
    await asyncio.sleep(SHORT_SECONDS)
    lab.proxy.cut()
    lab.proxy.thaw()
    await lab.connect(b"EVALSHA later")

    assert b"lost" not in lab.echo.received


async def test_a_frozen_link_holds_commands_that_run_when_it_thaws(lab):
    reader, writer = await lab.connect()

    lab.proxy.freeze_requests()
    writer.write(b"held")
    await asyncio.sleep(SHORT_SECONDS)
    assert b"held" not in lab.echo.received
    lab.proxy.thaw()

    assert b"held" == await reader.readexactly(4)


async def test_a_client_of_a_server_that_is_down_sees_a_broken_connection(lab):
    async with StoreProxy(find_free_port()) as lab.proxy:
        reader, _ = await lab.open()

        await assert_broken(reader)
